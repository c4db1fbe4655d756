"""Annotations `cdi.k8s.io/*`, by which a container asks for CDI devices where the CRI has no field for them."""

import re
from collections.abc import Iterable, Mapping

from kubelet_plugin.cdi.errors import Error
from kubelet_plugin.cdi.names import parse_qualified_name

ANNOTATION_PREFIX = "cdi.k8s.io/"

NAME_LIMIT = 63
"""What Kubernetes allows of an annotation's key after the slash."""

PREFIX_LIMIT = 253
"""What Kubernetes allows of an annotation's key before the slash."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
# Kubernetes looks at the key in lower case.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def annotation_key(plugin: str, device_id: str) -> str:
    """The key under which a plugin asks for the devices of one of its ids: `cdi.k8s.io/plugin_id`.

    Args:
        plugin: The plugin, such as `vendor.class`.
        device_id: What tells this allocation from the plugin's others; a `/` in it becomes `_`.

    Raises:
        Error: One of them is empty, or the part after the slash has more than 63 characters, does not start and end
            with a letter or digit, or holds another character than ASCII letters, digits, `-`, `_` and `.`.
    """
    if not plugin or not device_id:
        raise Error("a CDI annotation key is made of a plugin and a device id, and neither may be empty")
    key = f"{ANNOTATION_PREFIX}{plugin}_{device_id.replace('/', '_')}"
    if fault := key_fault(key):
        raise Error(f"CDI annotation key {key!r} {fault}")
    return key


def key_fault(key: str) -> str:
    """Why Kubernetes would not take `key` as that of an annotation, `[prefix/]name`; an empty string: it would."""
    prefix, slash, name = key.partition("/") if "/" in key else ("", "", key)
    if slash and not _SUBDOMAIN.fullmatch(prefix):
        return "must have a DNS subdomain before its slash"
    if len(prefix) > PREFIX_LIMIT:
        return f"has {len(prefix)} characters before the slash: {PREFIX_LIMIT} at most are allowed"
    where = " after the slash" if slash else ""
    if len(name) > NAME_LIMIT:
        return f"has {len(name)} characters{where}: {NAME_LIMIT} at most are allowed"
    if not _NAME.fullmatch(name):
        return f"must start and end{where} with an ASCII letter or digit, with letters, digits, -, _ and . between"
    return ""


def annotation_value(devices: Iterable[str]) -> str:
    """The qualified names of devices as the value of an annotation.

    Raises:
        Error: One of them is no qualified name.
    """
    names = tuple(devices)
    for name in names:
        parse_qualified_name(name)
    return ",".join(names)


def annotate(annotations: Mapping[str, str], plugin: str, device_id: str, devices: Iterable[str]) -> dict[str, str]:
    """`annotations`, and one more that asks for `devices`.

    Raises:
        Error: The key is not legal (see `annotation_key`) or in use already, or a device's name is not qualified.
    """
    key = annotation_key(plugin, device_id)
    if key in annotations:
        raise Error(f"CDI annotation {key} is there already: use another device id")
    return {**annotations, key: annotation_value(devices)}


def annotated_devices(annotations: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The devices that annotations ask for, by key; keys without the prefix are somebody else's.

    Raises:
        Error: A value is not a list, separated by commas alone, of qualified names.
    """
    return {
        key: tuple(_names_in(key, value)) for key, value in annotations.items() if key.startswith(ANNOTATION_PREFIX)
    }


def _names_in(key: str, value: str) -> Iterable[str]:
    for name in value.split(","):
        try:
            parse_qualified_name(name)
        except Error as error:
            raise Error(f"CDI annotation {key}: {error}") from None
        yield name
