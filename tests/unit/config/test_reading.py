import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet_plugin.config.schema import Resource
from kubelet_plugin.errors import ConfigurationFileError, Problem
from tests.configurations import read

HEAD = "version: v1\nresources:\n"


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigurationFileError) as caught:
        read(text, "f.yaml")
    return list(caught.value.problems)


def one(text: str) -> str:
    (problem,) = problems(text)
    return str(problem)


def resource(text: str) -> Resource:
    (found,) = read(f"{HEAD}- {{{text}}}", "f.yaml").resources
    return found


def test_a_file_is_read() -> None:
    text = HEAD + "- name: serial\n  count: 4\n  devices:\n  - usb: {vendor: 0403, product: 0x6001}\n"
    (found,) = read(text, "f.yaml").resources
    assert (found.name, found.count) == ("serial", 4)
    (device,) = found.devices
    assert device.usb
    assert (device.usb.vendor, device.usb.product) == ("0403", "6001")


def test_json_is_read() -> None:
    data = {"version": "v1", "resources": [{"name": "a", "count": 3, "devices": [{"path": "/dev/a"}]}]}
    assert read(json.dumps(data), "f.json").resources[0].count == 3


@pytest.mark.parametrize(
    "text", ["0042", "1e3", "no", "yes", "on", "12:34", "0x10", "2026-01-01", "1_000", "=", ".inf"]
)
def test_a_text_is_what_is_written(text: str) -> None:
    assert resource(f"env: {{A: {text}}}").env == {"A": text}


@pytest.mark.parametrize("text", ["null", "~", "Null", "NULL", ""])
def test_a_field_with_nothing_is_not_given(text: str) -> None:
    assert resource(f"preset: {text}").preset is None


@pytest.mark.parametrize("text", ['"null"', "'~'"])
def test_what_is_quoted_is_text(text: str) -> None:
    assert resource(f"preset: {text}").preset == text[1:-1]


@pytest.mark.parametrize(
    ("text", "seconds"), [("300", 300), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5), ("1.5s", 1.5), ("0", 0)]
)
def test_a_duration_is_seconds_or_as_kubernetes_writes_it(text: str, seconds: float) -> None:
    assert resource(f"grace: {text}").grace == seconds


@pytest.mark.parametrize("text", ["0660", "660", "0o660"])
def test_a_mode_is_octal(text: str) -> None:
    assert resource(f"file_mode: {text}").file_mode == 0o660


def test_a_problem_has_file_line_column_field_what_is_wrong_and_what_to_do() -> None:
    text = HEAD + "- name: a\n  devices:\n  - path: /dev/a\n  - usb:\n      vendor: '04 03'\n      product: 6001\n"
    (problem,) = problems(text)
    assert (problem.file, problem.line, problem.column) == ("f.yaml", 7, 7)
    assert problem.field == "resources[0].devices[1].usb.vendor"
    assert str(problem) == (
        "f.yaml:7:7: resources[0].devices[1].usb.vendor: found `04 03`; write hexadecimal digits such as `0403`"
    )


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("nmua: 1", "nmua", "unknown field `nmua`; did you mean `numa`?"),
        ("usb: {}", "usb", "unknown field `usb`; it is a field of `devices` or `group`; here there are `count`, "),
        ("zzz: 1", "zzz", "unknown field `zzz`; here there are `count`, "),
        ("<<: {count: 1}", "<<", "unknown field `<<`; here there are `count`, "),
        ('"x` - at `$.y": 1', "x` - at `$.y", "unknown field `x` - at `$.y`; here there are `count`, "),
        ('"a\\nb": 1', "a\\nb", "unknown field `a\\nb`; here there are `count`, "),
        ("count: 0", "count", "found `0`; write a whole number from 1 to 100000"),
        ("count: many", "count", "found `many`; write a whole number from 1 to 100000"),
        ("count: 0660", "count", "found `0660`; write a whole number from 1 to 100000"),
        ("count: []", "count", "found an empty list; write a whole number from 1 to 100000"),
        ("uid: -1", "uid", "found `-1`; write a whole number from 0 to 4294967294"),
        ("permissions: rr", "permissions", "found `rr`; write one or more of `r`, `w` and `m`, each once"),
        ('permissions: "rw\\n"', "permissions", "found `rw\\n`; write one or more of `r`, `w` and `m`, each once"),
        ("container_path: dev/a", "container_path", "found `dev/a`; write an absolute path"),
        ("file_mode: 888", "file_mode", "found `888`; write a file mode in octal such as `0660`"),
        ("file_mode: 4755", "file_mode", "found `4755`; write a file mode in octal such as `0660`"),
        ("grace: 5 minutes", "grace", "found `5 minutes`; write a duration such as `30s`, `5m` or `1h30m`"),
        (f"grace: {'9' * 400}h", "grace", "write a duration such as `30s`, `5m` or `1h30m`"),
        ("grace: [1]", "grace", "found a list; write a duration such as `30s`, `5m` or `1h30m`"),
        ("numa: one", "numa", "found `one`; write `auto`, `none` or a whole number, 0 or more"),
        ("inject: no", "inject", "found `no`; write `both`, `cdi`, `cdi-annotation` or `device-spec`"),
        ("probe: opne", "probe", "found `opne`; write `exists`, `kvm`, `open` or a mapping"),
        ("probe: {comand: [a]}", "probe.comand", "unknown field `comand`; did you mean `command`?"),
        ("probe: {command: []}", "probe.command", "found an empty list; write a list of one or more"),
        ("env: {A: , B: b}", "env.A", "found nothing; write a text"),
        ("env: {A: {id}}", "env.A", 'found a mapping; write a text: quote it, as `"{id}"`'),
        ("annotations: {A: {id}}", "annotations.A", 'write a text: quote it, as `"{id}"`'),
        ("env: {A: a, B: [b]}", "env.B", "found a list; write a text"),
        ("env: [A]", "env", "found a list; write a mapping of names to texts"),
        ("mounts: [{read_only: true}]", "mounts[0].host_path", "this is missing; write an absolute path"),
        ("additional_gids: [1, x]", "additional_gids[1]", "found `x`; write a whole number from 0 to 4294967294"),
        ("enabled_when: {module: []}", "enabled_when.module", "found an empty list; write a text that is not empty or"),
        ("devices: {path: /dev/a}", "devices", "found a mapping; write a list: begin each entry with `- `"),
        ("devices: {-path: /dev/a}", "devices", "found a mapping; write a list: a space goes after `-`"),
        ("devices: [{-path: /dev/a}]", "devices[0].-path", "unknown field `-path`; write a space after `-`"),
        ("devices: [/dev/a]", "devices[0]", "found `/dev/a`; write a mapping"),
        (
            "devices: [{pci: {vendor: 8086, class: vga}}]",
            "devices[0].pci.class",
            "found `vga`; write hexadecimal digits",
        ),
        ("devices: [{id: -a}]", "devices[0].id", "found `-a`; write letters, digits, `_`, `.`, `:` and `-`"),
        ('devices: [{id: "a\\n"}]', "devices[0].id", "found `a\\n`; write letters"),
        ("devices: [{group: []}]", "devices[0].group", "found an empty list; write a list of one or more"),
        (
            "devices: [{group: [{optional: yes}]}]",
            "devices[0].group[0].optional",
            "found `yes`; write `true` or `false`",
        ),
        ('name: ""', "name", "found an empty text; write a text that is not empty"),
        (f"inject: {'x' * 1000}", "inject", f"found `{'x' * 60}…`; write"),
    ],
)
def test_a_wrong_field_is_told_in_words(text: str, field: str, message: str) -> None:
    (problem,) = problems(f"{HEAD}- {{{text}}}")
    assert problem.field == f"resources[0].{field}"
    assert message in problem.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml: nothing is in this file; begin with `version: v1`, and list `resources`"),
        ("# TODO\n", "f.yaml: nothing is in this file; begin with `version: v1`, and list `resources`"),
        ("- a", "f.yaml: this is no mapping; begin with `version: v1`, and list `resources`"),
        ("a\n", "f.yaml: this is no mapping; begin with `version: v1`, and list `resources`"),
        ("resources: []", "f.yaml: version: this is missing; write `v1`"),
        ("version: v2", "f.yaml:1:1: version: found `v2`; write `v1`"),
        ("version: v1\nresource: []", "f.yaml:2:1: resource: unknown field `resource`; did you mean `resources`?"),
        ("version: v1\nresources:", "f.yaml:2:1: resources: found nothing; write a list"),
        ("version: v1\nresources: {}", "f.yaml:2:1: resources: found a mapping; write a list"),
        (f"{HEAD}- a", "f.yaml:3:3: resources[0]: found `a`; write a mapping"),
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1: `a` is there twice, first at 1:1; remove one of them"),
        ("a: &x 1", "f.yaml:1:4: anchors are not read; write it out where it is wanted"),
        ("-a: 1\n-a: 2", "f.yaml:2:1: `-a` is there twice, first at 1:1; write a space after `-`"),
        ("a: *x", "f.yaml:1:4: aliases are not read; write it out"),
        ("a: !!str 1", "f.yaml:1:4: the tag `tag:yaml.org,2002:str` is not read; remove it"),
        ("a: !x {}", "f.yaml:1:4: the tag `!x` is not read; remove it"),
        ("a: 1\n---\nb: 1", "f.yaml:3:1: a second document begins here; put it into a file of its own"),
        ("? [a]\n: 1", "f.yaml:1:3: a list or a mapping is there as a key; quote it, if it is meant as text"),
        ('a: "\\0"', "f.yaml:1:4: this text holds a character that no name or variable can; remove the escape"),
        ("a: 1\nb: [", "f.yaml:3:1: this is no YAML: "),
        ("a: 1\n b: 2", "f.yaml:2:3: this is no YAML: mapping values are not allowed in this context"),
        ("a: 1\nb: \x07", "f.yaml:2: this is no YAML: control characters are not allowed; write plain UTF-8 text"),
        ("[" * 100_000, "f.yaml:1:33: this is nested more than 32 levels deep; no configuration is"),
    ],
)
def test_a_file_of_the_wrong_form_is_refused_with_its_line(text: str, message: str) -> None:
    assert one(text).startswith(message)


@pytest.mark.parametrize(
    ("text", "line", "remedy"),
    [
        ("a:\n\tb: 1", 2, "write spaces, not tabs"),
        ("a:\n  b: 1\n\tc: 1", 3, "write spaces, not tabs"),
        ("a: *", 1, "quote what begins with `*`"),
        ("a: [*.x]", 1, "quote what begins with `*`"),
        ("a:\n-b: 1\n  c: 1", 3, "write a space after the `-` that begins an entry"),
        ("a: 1\n b: 1", 2, "see to the indentation and the quotes"),
    ],
)
def test_what_is_no_yaml_is_told_with_what_to_do(text: str, line: int, remedy: str) -> None:
    (problem,) = problems(text)
    assert problem.line == line
    assert problem.message.endswith(f"; {remedy}")


def test_an_alias_may_be_a_text_without_quotes() -> None:
    assert one("a: *x").endswith("quote a text that begins with `*`")


@pytest.mark.parametrize(
    ("kind", "remedy"), [("ConfigMap", "give what is in its `data`, as a file"), ("Pod", "name a configuration file")]
)
def test_a_kubernetes_manifest_is_one_problem(kind: str, remedy: str) -> None:
    text = f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: x}}\ndata: {{a: b}}"
    assert one(text) == f"f.yaml:2:1: kind: this is a Kubernetes manifest; {remedy}"


@pytest.mark.parametrize("field", ["devices[0]", "devices[0].group[0]"])
def test_two_ways_to_match_are_told_with_what_is_missing_of_one(field: str) -> None:
    entry = "{path: /dev/a, usb: {vendor: 0403}}"
    first, second = problems(f"{HEAD}- devices: [{f'{{group: [{entry}]}}' if 'group' in field else entry}]")
    assert first.field == f"resources[0].{field}.usb"
    assert first.message == "`path` and `usb` are given; write one of them, or an entry for each"
    assert second.field == f"resources[0].{field}.usb.product"


def test_what_many_aliases_would_make_is_never_made() -> None:
    bomb = "a: &a [x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    assert one(bomb).startswith("f.yaml:1:4: anchors are not read")


def test_each_wrong_resource_is_a_problem_of_its_own() -> None:
    found = problems(HEAD + "- {count: 0}\n- {name: fine}\n- {nmua: 1}\n- {grace: x}\n")
    assert [problem.field for problem in found] == ["resources[0].count", "resources[2].nmua", "resources[3].grace"]
    assert [problem.line for problem in found] == [3, 5, 6]


def test_all_that_is_wrong_with_a_resource_is_told_at_once() -> None:
    text = (
        "domian: x\n" + HEAD + "- nmua: 1\n  count: 0\n  devices:\n  - path: dev\n  - usb: {vendor: 1234, product: x}\n"
    )
    assert {problem.field for problem in problems(text)} == {
        "domian",
        "resources[0].nmua",
        "resources[0].count",
        "resources[0].devices[0].path",
        "resources[0].devices[1].usb.product",
    }


def test_a_problem_is_told_in_a_few_words_whatever_is_written() -> None:
    (problem,) = problems(f"{HEAD}- {'x' * 10_000}: 1")
    assert len(str(problem)) < 1500


def test_very_many_problems_of_one_resource_are_not_all_told() -> None:
    assert len(problems(HEAD + "- {" + ", ".join(f"x{n}: 1" for n in range(1000)) + "}")) == 20


texts = st.text(st.sampled_from("ab01:-[]{},&*!|>'\"#%@`~? \n\t\\\0\x85\ufeff\ud800é/.<$"), max_size=60)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(Resource.__struct_fields__), inner),
    max_leaves=10,
)


def refusal(text: str) -> ConfigurationFileError | None:
    try:
        read(text, "f.yaml")
    except ConfigurationFileError as error:
        return error
    return None


def holds(text: str) -> None:
    """It is read, or refused with problems of which each is a line that says where."""
    found = refusal(text)
    if found is not None:
        assert found.problems
        assert len(str(found).splitlines()) == len(found.problems)
        lines = len(text.splitlines()) + 1
        assert all(problem.message and (problem.line is None or problem.line <= lines) for problem in found.problems)


@given(texts)
def test_any_text_is_read_or_refused(text: str) -> None:
    holds(text)
    holds(HEAD + text)


@given(values)
def test_any_data_is_read_or_refused(data: Any) -> None:
    holds(json.dumps(data))
    holds(json.dumps({"version": "v1", "resources": [data]}))


@given(st.sampled_from([*Resource.__struct_fields__, "class", "$", "a\nb", "a` - at `$.b[0]"]), values)
def test_any_field_is_read_or_refused(field: str, data: Any) -> None:
    holds(json.dumps({"version": "v1", "resources": [{field: data, "devices": [{field: data}]}]}))
