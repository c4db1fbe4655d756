"""Names of devices: `vendor/class=name`, whose `vendor/class` is the kind (CDI SPEC.md, "Kind" and "CDI Devices").

Lengths are checked in the kind of a spec, not in a name that asks for a device: one that is too long is in no spec.
"""

import re

from kubelet_plugin.cdi.errors import Error

_QUALIFIER = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_DEVICE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]")
_QUALIFIER_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]")
_DEVICE_FOREIGN = re.compile(r"[^A-Za-z0-9_.:-]")

VENDOR_LIMIT = 253
CLASS_LIMIT = 63


def qualified_name(vendor: str, class_: str, name: str) -> str:
    """Make the name `vendor/class=name`.

    Raises:
        Error: One of the parts is not a legal name.
    """
    validate_vendor(vendor)
    validate_class(class_)
    validate_device_name(name)
    return f"{vendor}/{class_}={name}"


def parse_qualified_name(text: str) -> tuple[str, str, str]:
    """Split `vendor/class=name` into its three parts.

    Raises:
        Error: The text has not this form, or one of the parts is not a legal name.
    """
    vendor, class_, name = split_device(text)
    if not vendor:
        raise Error(f"CDI device {text!r} is not qualified: a name has the form vendor/class=name")
    try:
        validate_vendor(vendor)
        validate_class(class_)
        validate_device_name(name)
    except Error as error:
        raise Error(f"CDI device {text!r}: {error}") from None
    return vendor, class_, name


def validate_vendor(vendor: str) -> None:
    """Check a vendor, the part of a kind before the slash.

    Raises:
        Error: It does not start with a letter, does not end with a letter or digit, or holds another character than
            ASCII letters, digits, `-`, `_` and `.`.
    """
    if not _QUALIFIER.fullmatch(vendor):
        raise Error(_qualifier_fault("vendor", vendor))


def validate_class(class_: str) -> None:
    """Check a class, the part of a kind after the slash. The rule is that of a vendor.

    Raises:
        Error: It breaks the rule of `validate_vendor`.
    """
    if not _QUALIFIER.fullmatch(class_):
        raise Error(_qualifier_fault("class", class_))


def validate_device_name(name: str) -> None:
    """Check the name of a device within its kind.

    Raises:
        Error: It does not start and end with a letter or digit, or holds another character than ASCII letters,
            digits, `-`, `_`, `.` and `:` (which SPEC.md leaves out, but all runtimes take).
    """
    if not _DEVICE.fullmatch(name):
        raise Error(_device_fault(name))


def kind_of(resource_name: str) -> str:
    """The CDI kind under which the devices of a Kubernetes resource are offered.

    That is the resource name itself where it is a kind with two characters or more on each side of the slash (fewer
    make container runtimes crash); else `dev-` goes before the part that is not.

    Args:
        resource_name: An extended resource's name, `domain/name`.

    Raises:
        Error: The name holds no kind even so.
    """
    vendor, class_ = split_kind(resource_name)
    if not vendor:
        raise Error(f"resource name {resource_name!r} has not the form domain/name, so no CDI kind can be made of it")
    kind = f"{_prefixed(vendor)}/{_prefixed(class_)}"
    fault = kind_fault(kind)
    if fault:
        raise Error(f"resource name {resource_name!r} makes no CDI kind: {fault}; set a kind of its own")
    return kind


def validate_kind(kind: str) -> None:
    """Check a kind, `vendor/class`, under which specs are to be written.

    Raises:
        Error: It has not this form, one of its parts is not a legal name, or is too short or too long.
    """
    if fault := kind_fault(kind):
        raise Error(fault)


def kind_fault(kind: str, *, reading: bool = False) -> str:
    """Why nobody may write, or only read, a spec of this kind; an empty string: no reason."""
    vendor, class_ = split_kind(kind)
    if not vendor:
        return f"kind {kind!r} has not the form vendor/class"
    for part, name, limit in (("vendor", vendor, VENDOR_LIMIT), ("class", class_, CLASS_LIMIT)):
        if not _QUALIFIER.fullmatch(name):
            return _qualifier_fault(part, name)
        if len(name) == 1 and not reading:
            return f"{part} {name!r} has one character: container runtimes crash on it, so two or more are needed"
        if len(name) > limit:
            return f"{part} {name!r} has {len(name)} characters: {limit} at most are allowed"
    return ""


def split_kind(kind: str) -> tuple[str, str]:
    """Split `vendor/class` without checking the parts; ("", kind) where there are no two."""
    vendor, _, class_ = kind.partition("/")
    return (vendor, class_) if vendor and class_ else ("", kind)


def split_device(text: str) -> tuple[str, str, str]:
    """Split `vendor/class=name` without checking the parts; ("", "", text) where there are no three."""
    kind, _, name = text.partition("=")
    vendor, class_ = split_kind(kind)
    return (vendor, class_, name) if vendor and name else ("", "", text)


def _prefixed(part: str) -> str:
    return part if len(part) > 1 and _QUALIFIER.fullmatch(part) else f"dev-{part}"


def _qualifier_fault(part: str, name: str) -> str:
    if not name:
        return f"{part} is empty"
    if not (name[0].isascii() and name[0].isalpha()):
        return f"{part} {name!r} starts with {name[0]!r}: it must start with an ASCII letter"
    return _inner_fault(part, name, _QUALIFIER_FOREIGN, "-, _ and .")


def _device_fault(name: str) -> str:
    if not name:
        return "device name is empty"
    if not _ALPHANUMERIC.match(name):
        return f"device name {name!r} starts with {name[0]!r}: it must start with an ASCII letter or digit"
    return _inner_fault("device name", name, _DEVICE_FOREIGN, "-, _, . and :")


def _inner_fault(part: str, name: str, foreign: re.Pattern[str], others: str) -> str:
    found = foreign.search(name)
    if found:
        return (
            f"{part} {name!r} holds {found[0]!r} at position {found.start() + 1}: "
            f"only ASCII letters, digits, {others} are allowed"
        )
    return f"{part} {name!r} ends with {name[-1]!r}: it must end with an ASCII letter or digit"
