import re

import pytest

from kubelet_plugin.errors import ManifestError
from kubelet_plugin.kubelet import manifest_text


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("yes", True),
        ("y", True),
        ("off", False),
        ("010", 8),
        ("0o10", 8),
        ("0x10", 16),
        ("1_000", 1000),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.5m", "1.5m"),
        ("'1'", "1"),
        ("~", None),
        ("", None),
    ],
)
def test_a_plain_scalar_is_what_the_kubelet_takes_it_for(scalar: str, value: object) -> None:
    parsed = manifest_text.parse(f"a: {scalar}\n".encode())
    assert parsed == {"a": value}
    assert isinstance(parsed, dict)
    assert type(parsed["a"]) is type(value)


def test_a_dumped_json_file_is_read_as_json() -> None:
    assert manifest_text.parse(b' \n{"a": [1, "yes", null]}') == {"a": [1, "yes", None]}


def test_what_begins_with_a_brace_must_be_json() -> None:
    with pytest.raises(ManifestError, match="couldn't get version/kind; json parse error: "):
        manifest_text.parse(b"{a: 1}")


@pytest.mark.parametrize("text", ["a: 1\n---\nb: 2\n", "---\na: 1\n---\nb: [\n"])
def test_only_the_first_document_counts(text: str) -> None:
    assert manifest_text.parse(text.encode()) == {"a": 1}


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n"])
def test_nothing_is_none(text: str) -> None:
    assert manifest_text.parse(text.encode()) is None


def test_keys_are_strings() -> None:
    assert manifest_text.parse(b"2: a\ny: b\n") == {"2": "a", "true": "b"}


def test_anchors_and_merge_keys_work() -> None:
    text = b"a: &a {x: 1}\nb: {<<: *a, z: 2}\n"
    assert manifest_text.parse(text) == {"a": {"x": 1}, "b": {"x": 1, "z": 2}}


def test_tags_that_mean_nothing_here_are_left_aside() -> None:
    text = b"{a: !own 1, b: !!timestamp x, c: !own [1], d: !!set {x}, e: !!str 1}"
    assert manifest_text.parse(b"---\n" + text) == {"a": "1", "b": "x", "c": [1], "d": {"x": None}, "e": "1"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a: b: c\n", "yaml: mapping values are not allowed in this context"),
        (b"a:\n\t- b\n", "yaml: line 2: found character that cannot start any token"),
        (b"a: [1, 2\nb: 3\n", "yaml: line 1: did not find expected ',' or ']'"),
        (b"\x00\x01\x02", "yaml: control characters are not allowed"),
    ],
)
def test_broken_yaml_is_refused_in_the_kubelets_words(text: bytes, words: str) -> None:
    with pytest.raises(ManifestError, match=f"^{re.escape(words)}$"):
        manifest_text.parse(text)


def test_a_pod_may_be_as_deep_as_any_is() -> None:
    nested = b"[" * 150 + b"]" * 150
    assert manifest_text.parse(b'{"a":' + nested + b"}") == manifest_text.parse(b"a: " + nested)


@pytest.mark.parametrize("opening", [b'{"a":', b"a: "], ids=["JSON", "YAML"])
def test_what_is_deeper_than_any_pod_is_refused(opening: bytes) -> None:
    with pytest.raises(ManifestError, match="exceeded max depth of 200"):
        manifest_text.parse(opening + b"[" * 250 + b"]" * 250 + b"}" * (opening == b'{"a":'))


@pytest.mark.parametrize(
    "text",
    [
        b"a: \xff\xfe",
        b"&a [*a]",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"a: 1e999\n",
        b"? [1]\n: 2\n",
        b"a: *b",
        b"a: !!bool maybe",
        b"a: !!int ''",
        b"a: !!float x",
    ],
    ids=[
        "no UTF-8",
        "contains itself",
        "deep YAML",
        "deep JSON",
        "infinite",
        "a list as key",
        "no anchor",
        "no bool",
        "no int",
        "no float",
    ],
)
def test_what_is_no_json_in_any_way_is_refused(text: bytes) -> None:
    with pytest.raises(ManifestError):
        manifest_text.parse(text)
