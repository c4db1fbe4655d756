"""The API server's rules for pods, as far as they bear on names, devices and identities, and its words for a breach.

A fault is a line such as `spec.containers[0].name: Required value`. The words are those of Kubernetes 1.36; where the
API server goes through a map in random order, it is the document's order here.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping

from kubelet_plugin.api import resource_names
from kubelet_plugin.kubelet.fields import Fields
from kubelet_plugin.kubelet.quantities import Quantity

RESTART_POLICIES = ("Always", "OnFailure", "Never")

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VARIABLE = r"[ -<>-~]+"
_LABEL_BYTES, _SUBDOMAIN_BYTES = 63, 253
_MAX_ID = 2**31 - 1


def _rule(words: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{words} (e.g. {shown}regex used for validation is '{pattern}')"


_ENDS = "and must start and end with an alphanumeric character"
_NAME_RULE = _rule(
    f"must consist of alphanumeric characters, '-', '_' or '.', {_ENDS}", _NAME, "MyName", "my.name", "123-abc"
)
_LABEL_RULE = _rule(
    f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {_ENDS}",
    _LABEL,
    "my-name",
    "123-abc",
)
_SUBDOMAIN_RULE = _rule(
    f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', {_ENDS}",
    _SUBDOMAIN,
    "example.com",
)
_VARIABLE_RULE = "a valid environment variable name must consist only of printable ASCII characters other than '='"

Faults = Iterator[str]


def pod(name: str, namespace: str, spec: Fields) -> Faults:
    """Find what is wrong with a pod.

    Args:
        name: Its name; empty where it has none.
        namespace: Its namespace.
        spec: Its spec.

    Raises:
        ManifestError: A field of the spec is of another type than it should be.
    """
    if name:
        yield from _all_invalid("metadata.name", name, _subdomain)
    else:
        yield _required("metadata.name", "name or generateName is required")
    yield from _all_invalid("metadata.namespace", namespace, _label)
    names: set[str] = set()
    if not spec.each("containers", "Container"):
        yield _required("spec.containers")
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.each(kind, "Container")):
            at = f"spec.{kind}[{index}]"
            yield from _container(at, container)
            own_name = container.text("name")
            if own_name in names:
                yield f"{at}.name: Duplicate value: {_quoted(own_name)}"
            if own_name or kind == "containers":  # as the API server has it
                names.add(own_name)
    policy = spec.text("restartPolicy", "v1.RestartPolicy")
    if policy and policy not in RESTART_POLICIES:
        supported = ", ".join(map(_quoted, RESTART_POLICIES))
        yield f"spec.restartPolicy: Unsupported value: {_quoted(policy)}: supported values: {supported}"
    yield from _pod_security_context("spec.securityContext", spec.nested("securityContext", "PodSecurityContext"))


def is_extended(resource: str) -> bool:
    """Tell whether a resource is an extended one, which device plugins offer."""
    return not resource_names.fault(resource)


def _container(at: str, container: Fields) -> Faults:
    if name := container.text("name"):
        yield from _all_invalid(f"{at}.name", name, _label)
    else:
        yield _required(f"{at}.name")
    if not (image := container.text("image")):
        yield _required(f"{at}.image")
    elif image != image.strip():
        yield _invalid(f"{at}.image", image, "must not have leading or trailing whitespace")
    for index, variable in enumerate(container.each("env", "EnvVar")):
        if not (name := variable.text("name")):
            yield _required(f"{at}.env[{index}].name")
        elif not re.fullmatch(_VARIABLE, name):
            yield _invalid(f"{at}.env[{index}].name", name, _VARIABLE_RULE)
    yield from _resources(f"{at}.resources", container.nested("resources", "ResourceRequirements"))
    context = container.nested("securityContext", "SecurityContext")
    for identity in ("runAsUser", "runAsGroup"):
        yield from _identity(f"{at}.securityContext.{identity}", context.number(identity))


def _pod_security_context(at: str, context: Fields) -> Faults:
    for identity in ("fsGroup", "runAsUser", "runAsGroup"):
        yield from _identity(f"{at}.{identity}", context.number(identity))
    for index, group in enumerate(context.numbers("supplementalGroups")):
        yield from _identity(f"{at}.supplementalGroups[{index}]", group)


def _identity(at: str, number: int | None) -> Faults:
    if number is not None and not 0 <= number <= _MAX_ID:
        yield _invalid(at, number, f"must be between 0 and {_MAX_ID}, inclusive")


def quantities(requirements: Fields, kind: str) -> dict[str, Quantity]:
    """Read the `limits` or `requests` of a container.

    Raises:
        ManifestError: One is no quantity.
    """
    return {name: Quantity.parse(given) for name, given in requirements.mapping(kind, "v1.ResourceList").items()}


def _resources(at: str, requirements: Fields) -> Faults:
    limits = quantities(requirements, "limits")
    requests = quantities(requirements, "requests")
    for name, limit in limits.items():
        yield from _resource(f"{at}.limits[{name}]", name, limit)
    for name, request in {**limits, **requests}.items():  # what is only limited is requested as well
        yield from _resource(f"{at}.requests[{name}]", name, request)
        yield from _overcommitment(at, name, request, limits)


def _resource(at: str, name: str, quantity: Quantity) -> Faults:
    misnamed = [_invalid(at, name, reason) for reason in _qualified_name(name)]
    yield from misnamed
    if "/" in name:
        if not _is_native(name) and not is_extended(name):
            yield _invalid(at, name, "doesn't follow extended resource name standard")
    elif not _is_standard(name):
        if not misnamed:
            yield _invalid(at, name, "must be a standard resource type or fully qualified")
        yield _invalid(at, name, "must be a standard resource for containers")
    if quantity.value < 0:
        yield _invalid(at, str(quantity), "must be greater than or equal to 0")
    if is_extended(name) and quantity.value.denominator != 1:
        yield _invalid(at, str(quantity), "must be an integer")


def _overcommitment(at: str, name: str, request: Quantity, limits: Mapping[str, Quantity]) -> Faults:
    may_overcommit = _is_native(name) and not name.startswith("hugepages-")
    limit = limits.get(name)
    if limit is None:
        if not may_overcommit:
            yield _required(f"{at}.limits", "Limit must be set for non overcommitable resources")
    elif request.value != limit.value and not may_overcommit:
        yield _invalid(f"{at}.requests", str(request), f"must be equal to {name} limit of {limit}")
    elif request.value > limit.value:
        yield _invalid(f"{at}.requests", str(request), f"must be less than or equal to {name} limit of {limit}")


def _is_native(resource: str) -> bool:
    return "/" not in resource or "kubernetes.io/" in resource


def _is_standard(resource: str) -> bool:
    return resource in {"cpu", "memory", "ephemeral-storage"} or resource.startswith("hugepages-")


def _qualified_name(value: str) -> Faults:
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        yield f"a qualified name {_NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return
    if slash and not prefix:
        yield "prefix part must be non-empty"
    elif slash:
        yield from (f"prefix part {reason}" for reason in _subdomain(prefix))
    if not name:
        yield "name part must be non-empty"
    elif len(name) > _LABEL_BYTES:
        yield f"name part must be no more than {_LABEL_BYTES} bytes"
    if not re.fullmatch(_NAME, name):
        yield f"name part {_NAME_RULE}"


def _label(value: str) -> Faults:
    if len(value) > _LABEL_BYTES:
        yield f"must be no more than {_LABEL_BYTES} bytes"
    if not re.fullmatch(_LABEL, value):
        yield "must not contain dots" if re.fullmatch(_SUBDOMAIN, value) else _LABEL_RULE


def _subdomain(value: str) -> Faults:
    if len(value) > _SUBDOMAIN_BYTES:
        yield f"must be no more than {_SUBDOMAIN_BYTES} bytes"
    if not re.fullmatch(_SUBDOMAIN, value):
        yield _SUBDOMAIN_RULE


def _all_invalid(at: str, value: str, rule: Callable[[str], Faults]) -> Faults:
    return (_invalid(at, value, reason) for reason in rule(value))


def _invalid(at: str, value: str | int, reason: str) -> str:
    return f"{at}: Invalid value: {_quoted(value)}: {reason}"


def _required(at: str, reason: str = "") -> str:
    return f"{at}: Required value" + (f": {reason}" if reason else "")


def _quoted(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False)
