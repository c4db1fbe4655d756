"""Writes docs/reference/configuration.schema.json, and the fields in docs/reference/configuration.md.

Run from the root of the repository: `python -m tools.config_reference`.
"""

import json
from pathlib import Path

from msgspec import inspect

from kubelet_plugin.config import schema
from kubelet_plugin.config.json_schema import descriptions, summary
from kubelet_plugin.config.json_schema import schema as json_schema
from kubelet_plugin.config.wording import alternatives, expected, listed

PAGE = Path("docs/reference/configuration.md")
SCHEMA = Path("docs/reference/configuration.schema.json")

_MARK = "<!-- What follows is made by `python -m tools.config_reference`. -->\n"

_PARTS: tuple[type[schema.Part], ...] = (
    schema.Configuration,
    schema.Resource,
    schema.Device,
    schema.DeviceOptions,
    schema.Member,
    schema.Usb,
    schema.Pci,
    schema.Sysfs,
    schema.SysfsParent,
    schema.Probe,
    schema.Mount,
    schema.EnabledWhen,
)


def page(written: str) -> str:
    """The reference page.

    Args:
        written: The page as it is; what is above the mark is kept.
    """
    introduction = written.partition(_MARK)[0]
    return introduction + _MARK + "\n".join(["", "## Fields", *map(_part, _PARTS), ""])


def schema_text() -> str:
    """The text of the schema's file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _part(part: type[schema.Part]) -> str:
    own = descriptions(part)
    if issubclass(part, schema.DeviceOptions) and part is not schema.DeviceOptions:
        own = {name: text for name, text in own.items() if name not in descriptions(schema.DeviceOptions)}
    lines = ["", f"### {part.__name__}", "", summary(part)]
    if own.keys() != descriptions(part).keys():
        lines[-1] += " The fields of [DeviceOptions](#deviceoptions) go here, too."
    lines += ["", "| field | value | meaning |", "|---|---|---|"]
    fields = {field.encode_name: field for field in _struct(part).fields}
    for name, text in own.items():
        field = fields[name]
        needed = ", required" if field.required else ""
        lines.append(f"| `{name}` | {_value(field.type)}{needed} | {text} |")
    return "\n".join(lines)


def _struct(part: type[schema.Part]) -> inspect.StructType:
    kind = inspect.type_info(part)
    assert isinstance(kind, inspect.StructType)
    return kind


def _value(kind: inspect.Type) -> str:
    words: list[str] = []
    for each in alternatives(kind):
        match each:
            case inspect.StructType(cls=cls):
                words.append(f"[{cls.__name__}](#{cls.__name__.lower()})")
            case inspect.VarTupleType(item_type=item):
                words.append(f"{expected(each)}, each {_value(item)}")
            case inspect.LiteralType(values=values):
                words += [f"`{value}`" for value in values]
            case _:
                words.append(expected(each))
    return listed(words)


if __name__ == "__main__":
    SCHEMA.write_text(schema_text())
    PAGE.write_text(page(PAGE.read_text()))
