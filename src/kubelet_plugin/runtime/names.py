"""Names that a kubelet accepts (IsExtendedResourceName)."""

import re

from kubelet_plugin.errors import ConfigurationError

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_RESOURCE_NAME = re.compile(rf"(?P<domain>{_LABEL}(\.{_LABEL})*)/(?P<name>([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])")


def check_resource_name(name: str) -> None:
    """Refuse a name that a kubelet would not accept as an extended resource.

    Raises:
        ConfigurationError: With the rule that is broken.
    """
    match = _RESOURCE_NAME.fullmatch(name)
    if not match:
        raise ConfigurationError(
            f"the resource name {name!r} is not DOMAIN/NAME: a DNS domain in lower case, one slash, and a name of "
            "letters, digits, '-', '_' and '.' that begins and ends with a letter or digit"
        )
    if "kubernetes.io/" in name or name.startswith("requests."):
        raise ConfigurationError(f"the resource name {name!r} is in a domain reserved for Kubernetes itself")
    if len(match["domain"]) > 244 or len(match["name"]) > 63:  # noqa: PLR2004 -- the rule's own figures
        raise ConfigurationError(
            f"the resource name {name!r} is too long: a domain of at most 244 characters, a name of at most 63"
        )
