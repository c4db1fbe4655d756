import dataclasses
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from kubelet_plugin import cdi
from kubelet_plugin.cdi.parsing import SIZE_LIMIT
from tests.unit.cdi.fuzzing import judge, mutations
from tests.unit.cdi.strategies import specs

SPEC = {
    "cdiVersion": "1.1.0",
    "kind": "vendor.com/class",
    "devices": [{"name": "d", "containerEdits": {"env": ["A=1"]}}],
}
REMEDY = "quote it if text is meant, else write true, false or a decimal number"
YAML = b"""\
cdiVersion: 1.1.0
kind: vendor.com/class
devices:
- name: d
  containerEdits:
    env: [A=1]
"""


@pytest.fixture(params=["with C", "without C"])
def loaders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without C":
        monkeypatch.delattr(yaml, "CSafeLoader")


def with_edits(**edits: Any) -> bytes:
    return json.dumps(SPEC | {"containerEdits": edits}).encode()


def error_of(data: bytes, read: Callable[..., object] = cdi.parse) -> cdi.ParseError:
    with pytest.raises(cdi.ParseError) as raised:
        read(data, path="f.json")
    return raised.value


def warnings_of(data: bytes) -> list[str]:
    warnings: list[cdi.ParseError] = []
    cdi.parse(data, path="f.yaml", warn=warnings.append)
    return [str(each) for each in warnings]


def test_json_and_yaml_of_one_spec_are_read_as_the_same() -> None:
    expected = cdi.Spec("vendor.com/class", (cdi.Device("d", cdi.ContainerEdits(env=("A=1",))),), version="1.1.0")
    assert cdi.parse(json.dumps(SPEC).encode()) == cdi.parse(YAML) == expected


@pytest.mark.parametrize(
    ("edits", "place", "reason"),
    [
        ({"extra": 1}, "extra", "this field is not known"),
        ({"Env": []}, "Env", "this field is not known: env is"),
        ({"env": "A=1"}, "env", "text is there, but a list is needed"),
        ({"env": ["A=1", None]}, "env[1]", "null is there, but text is needed"),
        ({"env": [1]}, "env[0]", "the number 1 is there, but text is needed"),
        ({"deviceNodes": [[]]}, "deviceNodes[0]", "a list is there, but an object is needed"),
        ({"deviceNodes": [{}]}, "deviceNodes[0].path", "this field is missing"),
        ({"deviceNodes": [{"path": None}]}, "deviceNodes[0].path", "this field is missing"),
        (
            {"deviceNodes": [{"path": "/x", "uid": -1}]},
            "deviceNodes[0].uid",
            "the number -1 is there, but an integer in 0..4294967295 is needed",
        ),
        (
            {"deviceNodes": [{"path": "/x", "major": True}]},
            "deviceNodes[0].major",
            "a boolean is there, but an integer in -9223372036854775808..9223372036854775807 is needed",
        ),
        (
            {"intelRdt": {"enableMonitoring": "yes"}},
            "intelRdt.enableMonitoring",
            "text is there, but true or false is needed",
        ),
        ({"intelRdt": {"enableCMT": False}}, "intelRdt.enableCMT", "this field is not known"),
    ],
)
def test_a_document_of_the_wrong_form_is_refused_with_the_place(edits: Any, place: str, reason: str) -> None:
    """SPEC.md "JSON Definition": fields and types; "General considerations": what is not optional is required."""
    error = error_of(with_edits(**edits))
    assert (error.path, error.line, error.place, error.reason) == ("f.json", 1, f"containerEdits.{place}", reason)
    assert str(error) == f"f.json:1: containerEdits.{place}: {reason}"


@pytest.mark.parametrize(
    ("text", "line", "place"),
    [
        (YAML + b"extra: 1\n", 7, "extra"),
        (YAML.replace(b"name: d", b"nam: d"), 4, "devices[0].nam"),
        (YAML + b"- containerEdits: {}\n", 7, "devices[1].name"),
        (YAML.replace(b"env: [A=1]", b"env:\n    - A=1\n    -\n    - B=1"), 8, "devices[0].containerEdits.env[1]"),
        (YAML.replace(b"containerEdits:", b"containerEdits: &e").replace(b"env: [A=1]", b"x: 1") + b"  ", 6, "x"),
        (b"a: &a {x: 1}\nkind: k\ndevices: [{containerEdits: *a}]\n", 1, "a"),
        (b"kind: k\ndevices:\n- &d {name: d, x: [1]}\n- *d\n", 3, "devices[0].x"),
        (json.dumps(SPEC | {"extra": 1}, indent=1).encode(), 14, "extra"),
        (b"[]", 1, ""),
    ],
)
@pytest.mark.usefixtures("loaders")
def test_the_line_of_what_is_wrong_is_found(text: bytes, line: int, place: str) -> None:
    error = error_of(text)
    assert error.line == line
    assert error.place.endswith(place)


def test_the_line_of_what_came_through_an_alias_is_that_of_the_alias() -> None:
    text = b"cdiVersion: 1.1.0\nkind: vendor.com/class\nannotations: &a {k: v}\ndevices:\n- *a\n"
    assert (error_of(text).line, error_of(text).place) == (5, "devices[0].k")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a":1,\n"b":2,\n"a":3}', "f.json:3: key 'a' is there twice"),
        (b'{"a":1,\n"b":2', "f.json:2: no JSON: Expecting ',' delimiter"),
        (b'{"a":"\\ud800"}', "f.json:1: no YAML: found invalid Unicode character escape code"),
        (b'{"a":\n"\xff"}', "f.json:2: no JSON: it is not UTF-8"),
        (b'{"a":\n"\x7f"}', "f.json:2: no YAML: control characters are not allowed"),
        (b'{"a":' * 5000, "f.json:1: nested more than 100 levels deep"),
        (b"a: 1\nb: 2\na: 3\n", "f.json:3: key 'a' is there twice"),
        (b"a: {b: 1, b: 2}", "f.json:1: key 'b' is there twice"),
        (b"a: &a {b: 1}\nc:\n  <<: *a\n  b: 2\n", "f.json:4: key 'b' is there twice"),
        (b"a: 1\n<<: 5\n", "f.json:2: what << merges must be a mapping, or a list of mappings"),
        (b"~: 1\n", "f.json:1: a key is null"),
        (b"? [a]\n: 1\n", "f.json:1: a list or a mapping cannot be a key"),
        (b"a: &a [b]\n*a : 1\n", "f.json:2: a list or a mapping cannot be a key"),
        (b"a: *b\n", "f.json:1: there is no anchor 'b'"),
        (b"a: &a\n- *a\n", "f.json:2: anchor 'a' contains itself"),
        (b"a: &a 1\nb: &a\n- *a\n", "f.json:3: anchor 'a' contains itself"),
        (b"a: !!int x\n", "f.json:1: 'x' is no !!int"),
        (b"", "f.json: there is no document in it"),
        (b"# nothing\n", "f.json: there is no document in it"),
        (b" " * (SIZE_LIMIT + 1), f"f.json: {SIZE_LIMIT + 1} bytes are too many: {SIZE_LIMIT} at most are read"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_the_line(text: bytes, message: str) -> None:
    assert str(error_of(text)) == message


@pytest.mark.usefixtures("loaders")
def test_an_alias_bomb_is_refused_before_it_goes_off() -> None:
    levels = [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    text = "\n".join(["a0: &a0 [x,x,x,x,x,x,x,x,x]", *levels]).encode()
    assert "aliases make" in error_of(text).reason


@pytest.mark.parametrize("text", [b"[" * 1_000_000, b"- " * 1_000_000, b"- " + b"{a: " * 300_000])
@pytest.mark.usefixtures("loaders")
def test_a_deep_document_is_refused_at_once(text: bytes) -> None:
    assert error_of(text).reason == "nested more than 100 levels deep"


def test_more_values_than_can_be_read_in_time_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubelet_plugin.cdi.yaml_text._NODES_LIMIT", 9)
    assert cdi.parse(json.dumps(SPEC).encode()) == cdi.parse(json.dumps(SPEC, indent=1).encode())
    assert str(error_of(b"- a\n" * 20)) == "f.json:10: more than 9 values"


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\\UFFFFFFFF"', b"a: [\n", b"\xff", b"a: \x01"])
@pytest.mark.usefixtures("loaders")
def test_no_yaml_is_an_error_of_ours(text: bytes) -> None:
    assert error_of(text).path == "f.json"


def test_aliases_that_repeat_little_are_read() -> None:
    text = YAML.replace(b"containerEdits:", b"containerEdits: &e") + b"- name: e\n  containerEdits: *e\n"
    spec = cdi.parse(text)
    assert spec.devices[1].container_edits == spec.devices[0].container_edits


def test_a_merge_key_brings_the_keys_of_the_other_mapping() -> None:
    text = YAML.replace(b"- name: d", b"- name: d\n  annotations: {<<: [{a: b}, {c: d}], e: f}")
    assert cdi.parse(text).devices[0].annotations == (("a", "b"), ("c", "d"), ("e", "f"))


@pytest.mark.parametrize(
    ("given_fields", "edits"),
    [
        ({"fileMode": "0660"}, {"file_mode": 0o660}),
        ({"fileMode": "1e2"}, {"file_mode": 100}),
        ({"major": "1.0"}, {"major": 1}),
        ({"hostPath": "~"}, {"host_path": ""}),
        ({"hostPath": "12:34"}, {"host_path": "12:34"}),
        ({"permissions": "!!binary cnc="}, {"permissions": "rw"}),
    ],
)
def test_yaml_scalars_are_what_they_are_to_the_runtimes(given_fields: Any, edits: Any) -> None:
    fields = ", ".join(f"{key}: {value}" for key, value in given_fields.items())
    text = YAML + f"containerEdits: {{deviceNodes: [{{path: /dev/x, {fields}}}]}}\n".encode()
    [node] = cdi.parse(text).container_edits.device_nodes
    assert node == dataclasses.replace(cdi.DeviceNode("/dev/x"), **edits)


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (YAML, []),
        (json.dumps(SPEC).encode(), []),
        (
            YAML.replace(b"name: d", b"name: y"),
            [
                f"f.yaml:4: 'y' is true to container runtimes, something else to others: {REMEDY}",
                "f.yaml:4: devices[0].name: true is taken as text, which other readers refuse: quote it",
            ],
        ),
        (
            YAML.replace(b"name: d", b"name: 12:34"),
            [f"f.yaml:4: '12:34' is text '12:34' to container runtimes, something else to others: {REMEDY}"],
        ),
        (YAML.replace(b"name: d", b"name: 'y'"), []),
        (YAML + b"---\nx: 1\n", ["f.yaml:9: what follows the first YAML document is ignored"]),
        (YAML + b"...\n[", ["f.yaml:8: what follows the first YAML document is ignored"]),
        (
            YAML + b"annotations: {1: a, '1': b}\n",
            ["f.yaml:7: key '1' is there twice, in two types: readers take the one or the other"],
        ),
        (
            json.dumps(SPEC).encode()[:-1] + b',"annotations":{"a":NaN}}',
            ["f.yaml:1: YAML, but no JSON: NaN: not every reader takes it"],
        ),
        (
            json.dumps(SPEC).encode()[:-1] + b",\n}",
            [
                "f.yaml:2: YAML, but no JSON: Expecting property name enclosed in double quotes: not every reader takes it"
            ],
        ),
    ],
)
def test_what_another_reader_would_understand_differently_deserves_a_warning(text: bytes, warnings: list[str]) -> None:
    assert warnings_of(text) == warnings


@pytest.mark.parametrize("version", ["0.7.0", "1.0.0", "v1.0.0"])
def test_the_fields_that_1_1_dropped_are_read_in_older_files_and_kept(version: str) -> None:
    rdt = {"enableCMT": True, "enableMBM": True}
    document = SPEC | {"cdiVersion": version, "containerEdits": {"intelRdt": rdt}}
    spec = cdi.parse(json.dumps(document).encode())
    assert spec.container_edits.intel_rdt == cdi.IntelRdt(enable_cmt=True, enable_mbm=True)
    assert cdi.document(spec) == document


def test_a_key_that_the_runtimes_cannot_read_is_refused() -> None:
    assert cdi.parse(json.dumps(SPEC | {"annotations": {"k" * 1022: ""}}).encode()).annotations == (("k" * 1022, ""),)
    assert "1022 characters" in error_of(json.dumps(SPEC | {"annotations": {"k" * 1023: ""}}).encode()).reason


def test_decoding_checks_the_form_alone() -> None:
    text = json.dumps(SPEC | {"kind": "-", "cdiVersion": "9"}).encode()
    assert cdi.decode(text).kind == "-"
    assert error_of(text).reason.startswith("kind '-' has not the form")


@settings(derandomize=True, deadline=None, max_examples=50)
@given(specs)
def test_what_is_written_is_read_back_equal(spec: cdi.Spec) -> None:
    assert cdi.parse(cdi.dumps(spec).encode()) == spec


@settings(derandomize=True, deadline=None, max_examples=30)
@given(specs)
def test_what_is_written_as_yaml_is_read_back_equal(spec: cdi.Spec) -> None:
    warnings: list[object] = []
    assert cdi.parse(cdi.dumps_yaml(spec).encode(), warn=warnings.append) == spec
    assert warnings == []


@pytest.mark.parametrize("name", ["y", "12:34", "1e3", "0660", "2024-01-01", "null", "0", ".5"])
def test_text_that_looks_like_something_else_is_quoted_in_yaml(name: str) -> None:
    spec = cdi.Spec("vendor.com/class", (cdi.Device(name, cdi.ContainerEdits(env=("A=1",))),))
    assert f'- name: "{name}"\n' in cdi.dumps_yaml(spec)


def test_edits_that_several_devices_share_are_written_in_full_in_yaml() -> None:
    edits = cdi.ContainerEdits(env=("A=1",))
    text = cdi.dumps_yaml(cdi.Spec("vendor.com/class", (cdi.Device("a", edits), cdi.Device("b", edits))))
    assert text == (
        "cdiVersion: 0.3.0\nkind: vendor.com/class\ndevices:\n"
        "- name: a\n  containerEdits:\n    env:\n    - A=1\n- name: b\n  containerEdits:\n    env:\n    - A=1\n"
    )


@pytest.mark.parametrize(("inputs", "has_c"), [(3_000, True), (300, False)])
def test_whatever_the_bytes_there_is_a_valid_spec_or_an_error_of_ours(
    inputs: int, has_c: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_c:
        monkeypatch.delattr(yaml, "CSafeLoader")
    for text in itertools.islice(mutations(4), inputs):
        judge(text)
