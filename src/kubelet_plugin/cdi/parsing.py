"""Reading a CDI spec from the text of a file, JSON or YAML, as strictly as the container runtimes do or more so."""

import codecs
import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

from kubelet_plugin.cdi import yaml_text
from kubelet_plugin.cdi.decoding import MisfitError, decode_document, keys_of
from kubelet_plugin.cdi.errors import ParseError
from kubelet_plugin.cdi.lines import Keys, line_of, lines_of, place_text
from kubelet_plugin.cdi.spec import Spec
from kubelet_plugin.cdi.validation import refusals

SIZE_LIMIT = 16 * 2**20
"""The largest text that is read, in bytes: room for tens of thousands of devices."""

# What the runtimes' reader, to which JSON is YAML, refuses, and a JSON reader does not.
_UNREADABLE = re.compile("[\x7f-\x84\x86-\x9f\ufffe\uffff]")

# No number of a spec has so many digits, and turning very many into one takes long.
_DIGITS_LIMIT = 30

Warn = Callable[[ParseError], object]


def parse(data: bytes, *, path: str = "", warn: Warn | None = None) -> Spec:
    """Read a spec.

    Text that starts with `{` is JSON; where it is not, and in every other case, it is YAML, as for the runtimes, whose
    resolution of scalars it has (`0660` is octal, `y` is true, `12:34` is text).

    Args:
        data: The content of the file, UTF-8.
        path: The file, for messages alone.
        warn: Called with each thing that another reader would refuse or understand differently.

    Raises:
        ParseError: It is too large, neither JSON nor YAML, has an unknown field, a field twice, of a wrong type or a
            null in a list, or it breaks a rule of SPEC.md, or of what all runtimes demand.
    """
    spec = decode(data, path=path, warn=warn)
    fault = next(refusals(spec), None)
    if fault:
        raise ParseError(fault.text, path=path, line=line_of(data, fault.keys))
    return spec


def decode(data: bytes, *, path: str = "", warn: Warn | None = None) -> Spec:
    """Read a spec as `parse` does, but check its form alone, not whether what it says is valid.

    Raises:
        ParseError: As `parse`, without the rules of SPEC.md.
    """

    def report(reason: str, line: int | None, keys: Keys = ()) -> None:
        if warn:
            warn(ParseError(reason, path=path, line=line, place=place_text(keys)))

    odd: list[tuple[str, Keys]] = []
    try:
        document, is_yaml = _load(data, report)
        spec = decode_document(
            document, is_yaml=is_yaml, warn=lambda reason, place: odd.append((reason, keys_of(place)))
        )
    except MisfitError as misfit:
        keys = keys_of(misfit.place)
        raise ParseError(misfit.reason, path=path, line=line_of(data, keys), place=place_text(keys)) from None
    except ParseError as error:
        raise ParseError(error.reason, path=path, line=error.line) from None
    lines = lines_of(data, [keys for _, keys in odd]) if warn and odd else {}
    for reason, keys in odd:
        report(reason, lines.get(keys), keys)
    return spec


def _load(data: bytes, warn: yaml_text.Warn) -> tuple[Any, bool]:
    """The document, and whether it was read as YAML."""
    if len(data) > SIZE_LIMIT:
        raise ParseError(f"{len(data)} bytes are too many: {SIZE_LIMIT} at most are read")
    if data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] != b"{":
        return _encodable(yaml_text.load(data, warn), data), True
    try:
        return _encodable(_load_json(data), data), False
    except ParseError as error:
        # To the runtimes all is YAML, which forgives more. If it fails too, it knows the line of a double key.
        fault = error
    try:
        document = _encodable(yaml_text.load(data, warn), data)
    except ParseError as error:
        raise error if fault.line is None else fault from None
    warn(f"YAML, but {fault.reason}: not every reader takes it", fault.line or 1)
    return document, True


def _encodable(document: Any, data: bytes) -> Any:
    """`document`, if no escape in the text it was made of is half of a character."""
    if b"\\u" in data or b"\\U" in data:
        try:
            json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ParseError("half of a surrogate pair is in it") from None
    return document


def _load_json(data: bytes) -> Any:
    try:
        text = data.decode("utf-8-sig")
        document = json.loads(
            text, object_pairs_hook=_object_of, parse_int=_number, parse_constant=_refuse_constant, strict=True
        )
        if unreadable := _UNREADABLE.search(text):
            raise ParseError(f"container runtimes do not read the character {unreadable[0]!r}")
    except json.JSONDecodeError as error:
        raise ParseError(f"no JSON: {error.msg}", line=error.lineno) from None
    except UnicodeDecodeError as error:
        raise ParseError("no JSON: it is not UTF-8", line=data.count(b"\n", 0, error.start) + 1) from None
    except RecursionError:
        raise ParseError("nested too deeply") from None
    return document


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        for key, _ in pairs:
            if key not in fields:
                raise ParseError(f"key {key!r} is there twice")
            del fields[key]
    return fields


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) < _DIGITS_LIMIT else float(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError(f"no JSON: {name}")
