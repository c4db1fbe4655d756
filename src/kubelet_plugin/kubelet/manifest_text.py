"""The text of a manifest, YAML or JSON, read as a kubelet reads it."""

import functools
import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubelet_plugin.errors import ManifestError

if TYPE_CHECKING:
    import yaml

_DEPTH = 200  # a pod is some ten levels deep
_TOO_DEEP = f"exceeded max depth of {_DEPTH}"

_TAG = "tag:yaml.org,2002:"
_KINDS = ("bool", "int", "float", "null", "str", "seq", "map")
_SCALARS = (
    ("bool", r"y|Y|yes|Yes|YES|on|On|ON|true|True|TRUE|n|N|no|No|NO|off|Off|OFF|false|False|FALSE", "yYoOtTnNfF"),
    ("int", r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]*|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)


def parse(content: bytes) -> object:
    """Read a file's content: JSON where it begins with a brace, else the first document of the YAML.

    Returns:
        The document as JSON: dicts with strings as keys, lists, strings, numbers, truth values and None.

    Raises:
        ManifestError: It is neither.
    """
    try:
        if content.lstrip().startswith(b"{"):
            document = json.loads(content)
        else:
            document = json.loads(json.dumps(_yaml(content), allow_nan=False))  # which also makes all keys strings
    except RecursionError:
        raise ManifestError(_TOO_DEEP) from None
    except (ValueError, TypeError, LookupError) as error:
        raise ManifestError(f"couldn't get version/kind; json parse error: {error}") from None
    level = [document]
    for _ in range(_DEPTH):
        level = [value for parent in level for value in _values(parent)]
    if level:
        raise ManifestError(_TOO_DEEP)
    return document


def _values(parent: object) -> Iterable[object]:
    if isinstance(parent, dict):
        return parent.values()
    return parent if isinstance(parent, list) else ()


def _yaml(content: bytes) -> object:
    import yaml  # noqa: PLC0415 -- the rest of the package does without

    try:
        _check_depth(yaml.parse(content, Loader=_loader()))
        return next(yaml.load_all(content, Loader=_loader()), None)
    except yaml.reader.ReaderError as error:
        raise ManifestError(f"yaml: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        raise ManifestError(f"yaml: {_place(error)}{error.problem}") from None


def _check_depth(events: "Iterable[yaml.Event]") -> None:
    """Refuse a first document that is so deep that the library would overrun its stack, and end the process."""
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > _DEPTH:
            raise ManifestError(_TOO_DEEP)
        if kind == "DocumentEndEvent":
            return


def _place(error: "yaml.MarkedYAMLError") -> str:
    """Name the line as the kubelet's library does: off by one, but for errors of the scanner."""
    import yaml  # noqa: PLC0415

    line = error.problem_mark.line if error.problem_mark else 0
    if line and isinstance(error, yaml.scanner.ScannerError):
        line += 1
    if not line and error.context_mark:
        line = error.context_mark.line
    return f"line {line}: " if line else ""


@functools.cache
def _loader() -> Any:
    """Make a loader that takes the same plain words for truth values and numbers as the kubelet's, and none for dates.

    PyYAML's own reads `12:30` as 750, `2024-01-01` as a date, `1e3` as a string and `y` as a string. A tag of no plain
    kind is left aside: some of PyYAML's constructors fail in ways of their own.
    """
    import yaml  # noqa: PLC0415

    base = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    attributes = {
        "yaml_implicit_resolvers": {},
        "yaml_constructors": {f"{_TAG}{kind}": base.yaml_constructors[f"{_TAG}{kind}"] for kind in _KINDS},
        "bool_values": {**base.bool_values, "y": True, "n": False},
    }
    loader: Any = type("Loader", (base,), attributes)
    loader.add_constructor(None, _untagged)
    for kind, pattern, first in _SCALARS:
        loader.add_implicit_resolver(f"{_TAG}{kind}", re.compile(rf"(?:{pattern})\Z"), list(first))
    return loader


def _untagged(loader: Any, node: Any) -> object:
    constructors = {"scalar": "str", "sequence": "seq", "mapping": "map"}
    return loader.yaml_constructors[f"{_TAG}{constructors[node.id]}"](loader, node)
