"""The JSON Schema of the configuration file, for editors: made of `schema`, with the words of its docstrings.

Where text is wanted, it takes what YAML reads as a number or a boolean, too, and digits in quotes where a number is: a
file's scalars are taken as written.
"""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from kubelet_plugin.config import schema as language
from kubelet_plugin.config.presets import PRESETS
from kubelet_plugin.config.scalars import Duration, FileMode, HexId
from kubelet_plugin.config.schema import Configuration, Part

ID = "https://raw.githubusercontent.com/ihcsim/kubelet-plugin/main/docs/reference/configuration.schema.json"

_TEXT = ["string", "number", "boolean"]
_DIGITS = {"type": "string", "pattern": "^(0|[1-9][0-9]*)$"}

# What YAML readers make of a scalar differs: `0660` may be a number. Then its digits cannot be looked at.
_SCALARS: Mapping[type, Mapping[str, Any]] = {
    Duration: {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?(ms|s|m|h))+)$"},
        ]
    },
    FileMode: {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^(0o?)?[0-7]{3}$"}]},
    HexId: {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^(0[xX])?[0-9A-Fa-f]{2,6}$"}]},
}

_EXACTLY_ONE = {
    "Device": ("path", "usb", "pci", "sysfs", "group"),
    "Member": ("path", "usb", "pci", "sysfs"),
    "Probe": ("command", "entry_point"),
}
_AT_LEAST_ONE = {"EnabledWhen": ("module", "path"), "Resource": ("name", "preset")}
_NODES_OF = {
    "if": {"required": ["nodes"]},
    "then": {"anyOf": [{"required": [kind]} for kind in ("usb", "pci", "sysfs")]},
}
_TOGETHER = {
    "Resource": [{"if": {"not": {"required": ["preset"]}}, "then": {"required": ["devices"]}}],
    "Device": [
        _NODES_OF,
        *(
            {"if": {"required": ["id_by"], "properties": {"id_by": {"enum": ways}}}, "then": {"required": [kind]}}
            for ways, kind in ((["serial", "port"], "usb"), (["parent"], "sysfs"))
        ),
        {"if": {"required": ["id"]}, "then": {"anyOf": [{"required": [kind]} for kind in ("path", "group")]}},
    ],
    "Member": [_NODES_OF],
}

_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def schema() -> dict[str, Any]:
    """Make the JSON Schema, of version 2020-12."""
    (root,), parts = msgspec.json.schema_components(
        [Configuration], schema_hook=lambda kind: dict(_SCALARS[kind]), ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "Configuration of kubelet-plugin",
        **root,
        "$defs": {name: _described(getattr(language, name), part) for name, part in sorted(parts.items())},
    }


def summary(struct: type[Part]) -> str:
    """What a mapping of the file stands for, in a sentence or two."""
    return " ".join(inspect.getdoc(struct).partition("\n\nAttributes:")[0].split())  # type: ignore[union-attr]


def descriptions(struct: type[Part]) -> dict[str, str]:
    """What the fields of a mapping mean, by their names in the file, those of the mapping itself first."""
    found: dict[str, str] = {}
    for base in struct.__mro__:
        if issubclass(base, Part):
            attributes = (inspect.getdoc(base) or "").partition("\n\nAttributes:")[2]
            for name, text in _ATTRIBUTE.findall(attributes):
                found.setdefault(name, " ".join(text.split()))
    return {name: found[name] for name in found if name in struct.__struct_encode_fields__}


def _described(struct: type[Part], part: dict[str, Any]) -> dict[str, Any]:
    """Put in a part's words, and what it says of several fields together."""
    name, words = struct.__name__, descriptions(struct)
    part |= {"description": summary(struct)}
    part["properties"] = {field: {"description": words[field], **_plain(part["properties"][field])} for field in words}
    if name == "Resource":
        part["properties"]["preset"] |= {"enum": sorted(PRESETS)}
    part.pop("title")
    if not part["required"]:
        part.pop("required")
    if name in _EXACTLY_ONE:
        part["oneOf"] = [{"required": [field]} for field in _EXACTLY_ONE[name]]
    if name in _AT_LEAST_ONE:
        part["anyOf"] = [{"required": [field]} for field in _AT_LEAST_ONE[name]]
    if name in _TOGETHER:
        part["allOf"] = _TOGETHER[name]
    return part


def _plain(kind: dict[str, Any]) -> dict[str, Any]:
    """A type without null, which nobody needs to write, without defaults, and with texts as YAML has them."""
    kind = {key: value for key, value in kind.items() if key not in {"default", "description"}}
    if "anyOf" in kind:
        options = [_plain(option) for option in kind["anyOf"] if option != {"type": "null"}]
        kind = {"anyOf": options} if len(options) > 1 else options[0]
    if kind.get("type") == "string" and "pattern" not in kind:
        kind["type"] = _TEXT
    if kind.get("type") == "integer":
        kind = {"anyOf": [kind, _DIGITS]}
    for inner in ("items", "additionalProperties"):
        if isinstance(kind.get(inner), dict):
            kind[inner] = _plain(kind[inner])
    return kind
