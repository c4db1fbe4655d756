"""Names that a kubelet accepts (IsExtendedResourceName)."""

import re

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_RESOURCE_NAME = re.compile(rf"(?P<domain>{_LABEL}(\.{_LABEL})*)/(?P<name>([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])")


def fault(name: str) -> str:
    """Why a kubelet would not accept a name as an extended resource, with the rule; empty where it does."""
    match = _RESOURCE_NAME.fullmatch(name)
    if not match:
        return (
            f"the resource name {name!r} is not DOMAIN/NAME: a DNS domain in lower case, one slash, and a name of "
            "letters, digits, '-', '_' and '.' that begins and ends with a letter or digit"
        )
    if "kubernetes.io/" in name or name.startswith("requests."):
        return f"the resource name {name!r} is in a domain reserved for Kubernetes itself"
    if len(match["domain"]) > 244 or len(match["name"]) > 63:  # noqa: PLR2004 -- the rule's own figures
        return f"the resource name {name!r} is too long: a domain of at most 244 characters, a name of at most 63"
    return ""
