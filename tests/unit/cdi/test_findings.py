"""What `examine` finds; a rule of SPEC.md is named by its section."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from kubelet_plugin import cdi
from tests.unit.cdi.golden import DATA
from tests.unit.cdi.strategies import specs

ALL = tuple(cdi.RUNTIMES)
TEXT = """\
cdiVersion: {version}
kind: {kind}
devices:
- name: d
  containerEdits:
    {edits}
"""


def text(version: str = "0.7.0", kind: str = "vendor.com/class", edits: str = "additionalGids: [5]") -> str:
    return TEXT.format(version=version, kind=kind, edits=edits)


def node(fields: str) -> str:
    return f"deviceNodes: [{{{fields}}}]\n    additionalGids: [5]"


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., str]:
    def put(content: str, name: str = "a.yaml", mode: int = 0o644) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o755)
        path.write_text(content)
        path.chmod(mode)
        return str(path)

    return put


def found(*paths: str, **options: object) -> list[tuple[str, str, int | None]]:
    """The rules that are broken, with the file and the line."""
    findings, _ = cdi.examine(*paths, **options)  # type: ignore[arg-type]
    return [(finding.rule, os.path.basename(finding.path), finding.line) for finding in findings]


def test_a_spec_that_is_well_has_no_findings(put: Callable[..., str]) -> None:
    path = put(text())
    assert cdi.examine(path) == ([], (path,))


@pytest.mark.parametrize(
    ("content", "rule", "line"),
    [
        pytest.param("{", "not-a-spec", 1, id="CDI JSON Specification: a document"),
        pytest.param(text() + "unknown: 1\n", "not-a-spec", 7, id="CDI JSON Specification: known fields"),
        pytest.param(text() + "kind: a/b\n", "not-a-spec", 7, id="CDI JSON Specification: a field once"),
        pytest.param(text(edits="env: [1, {}]"), "not-a-spec", 6, id="CDI JSON Specification: types"),
        pytest.param(text(version='""'), "version", 1, id="Released versions: there is one"),
        pytest.param(text(version="0.2.0"), "version", 1, id="Released versions: one of them"),
        pytest.param(text(version="0.6.0"), "version", 1, id="Released versions: what a version has"),
        pytest.param(text(version="v0.7.0"), "prefixed-version", 1, id="Released versions: their form"),
        pytest.param(text(kind="vendor"), "invalid", 2, id="Kind: vendor/class"),
        pytest.param(text(kind="1vendor/class"), "invalid", 2, id="Kind: starts with a letter"),
        pytest.param(text(kind="vendor/class-"), "invalid", 2, id="Kind: ends with a letter or digit"),
        pytest.param(text(kind="v/class"), "short-kind", 2, id="a vendor of one character"),
        pytest.param(text(kind="vendor/c"), "short-kind", 2, id="a class of one character"),
        pytest.param(
            text().replace("- name: d", "- name: -d"),
            "invalid",
            4,
            id="CDI Devices: names begin with a letter or digit",
        ),
        pytest.param(
            text() + "- name: d\n  containerEdits: {env: [A=1]}\n",
            "duplicate-device",
            7,
            id="CDI Devices: unique names",
        ),
        pytest.param(text().split("devices:")[0] + "devices: []\n", "invalid", 3, id="CDI Devices: one or more"),
        pytest.param(text(edits="env: [A]"), "invalid", 6, id="OCI Edits: env has the form NAME=value"),
        pytest.param(text(edits="additionalGids: [0, 1]"), "gid-of-no-effect", 6, id="OCI Edits: gids above 0"),
        pytest.param(text(edits="mounts: [{hostPath: /a, containerPath: b}]"), "invalid", 6, id="OCI Edits: paths"),
        pytest.param(
            text(edits="hooks: [{hookName: never, path: /a}]"), "invalid", 6, id="OCI Edits: the names of hooks"
        ),
        pytest.param(text() + "annotations: {a/b/c: x}\n", "annotation-key", 7, id="a key that Kubernetes refuses"),
        pytest.param(
            text().replace("- name: d", "- name: d\n  annotations:\n    a: x\n    -b: x"),
            "annotation-key",
            7,
            id="a key of a device that Kubernetes refuses",
        ),
        pytest.param(text(edits="additionalGids: [1_0]"), "ambiguous", 6, id="a number that readers differ about"),
        pytest.param(text().replace("name: d", "name: 5"), "ambiguous", 4, id="a number in the place of text"),
    ],
)
def test_a_broken_rule_is_found_with_its_line(put: Callable[..., str], content: str, rule: str, line: int) -> None:
    assert (rule, "a.yaml", line) in found(put(content), host_root=None)


def test_all_that_is_wrong_in_a_file_is_found_in_the_order_of_its_lines(put: Callable[..., str]) -> None:
    content = text(version="0.6.0", kind="v/class", edits="env: [A, B]")
    assert [line for _, _, line in found(put(content))] == [1, 2, 6, 6]


def test_a_version_that_is_newer_than_needed_hurts_those_that_read_only_the_older(put: Callable[..., str]) -> None:
    ((finding,), _) = cdi.examine(put(text(version="1.0.0")))
    assert (finding.rule, finding.severity) == ("newer-than-needed", "warning")
    assert finding.runtimes == ("containerd-1.7", "cri-o-1.31", "docker-27", "podman-5.2")
    assert finding.message == "version 1.0.0 is declared where 0.7.0 would do"


def test_a_version_that_is_needed_is_an_error_only_to_a_runtime_that_is_named(put: Callable[..., str]) -> None:
    path = put(text())
    assert found(path) == []
    assert found(path, runtimes=["podman-4.3", "containerd-1.7"]) == [("too-new", "a.yaml", 1)]


@pytest.mark.parametrize(
    ("edits", "feature"),
    [
        ("netDevices: [{hostInterfaceName: eth1, name: net0}]", "netDevices"),
        ("intelRdt: {schemata: [L3:0=f]}", "schemata of intelRdt"),
        ("intelRdt: {enableMonitoring: true}", "enableMonitoring of intelRdt"),
    ],
)
def test_a_version_that_no_known_runtime_reads_is_a_warning_of_what_needs_it(
    put: Callable[..., str], edits: str, feature: str
) -> None:
    ((finding,), _) = cdi.examine(put(text(version="1.1.0", edits=edits)))
    assert (finding.rule, finding.severity, finding.line, finding.runtimes) == ("read-by-none", "warning", 1, ALL)
    assert finding.message.startswith(f"version 1.1.0, which {feature} needs, is newer than any known runtime reads")
    assert all(f"{each.name} reads {each.newest}" in finding.message for each in cdi.RUNTIMES.values())


def test_a_version_that_neither_a_runtime_reads_nor_the_spec_needs_is_both_told(put: Callable[..., str]) -> None:
    findings, _ = cdi.examine(put(text(version="1.1.0")))
    assert [each.rule for each in findings] == ["newer-than-needed", "read-by-none"]
    assert findings[1].message.startswith("version 1.1.0 is newer than any known runtime reads")


def test_a_version_that_no_runtime_reads_is_told_once_of_each_that_is_named(put: Callable[..., str]) -> None:
    path = put(text(version="1.1.0", edits="netDevices: [{hostInterfaceName: eth1, name: net0}]"))
    assert found(path, runtimes=["containerd-2.1"]) == [("too-new", "a.yaml", 1)]


def test_a_key_of_an_annotation_that_kubernetes_refuses_is_a_warning_with_the_reason(put: Callable[..., str]) -> None:
    ((finding,), _) = cdi.examine(put(text() + f"annotations: {{vendor.com/{'k' * 64}: x, vendor.com/k: x}}\n"))
    assert (finding.rule, finding.severity, finding.line) == ("annotation-key", "warning", 7)
    assert finding.message.endswith("has 64 characters after the slash: 63 at most are allowed")


def test_what_hurts_only_other_runtimes_is_left_out_where_some_are_named(put: Callable[..., str]) -> None:
    assert found(put(text(version="1.0.0")), runtimes=["containerd-2.1"]) == []


def test_a_vendor_of_one_character_is_fatal_to_every_runtime(put: Callable[..., str]) -> None:
    ((finding,), _) = cdi.examine(put(text(kind="v/class")))
    assert (finding.severity, finding.runtimes) == ("fatal", ALL)


def test_two_files_of_a_directory_with_one_device_are_both_told(put: Callable[..., str], tmp_path: Path) -> None:
    one, two = put(text()), put(text(), "b.yaml")
    findings, files = cdi.examine(str(tmp_path))
    assert files == (one, two)
    assert [(each.rule, each.path, each.line, each.runtimes) for each in findings] == [
        ("conflict", one, 4, ALL),
        ("conflict", two, 4, ALL),
    ]
    assert findings[0].message == f"vendor.com/class=d is in {two}, too: no runtime resolves it"


def test_a_device_that_a_later_directory_hides_is_a_warning(put: Callable[..., str], tmp_path: Path) -> None:
    put(text(), "etc/a.yaml")
    high = put(text(), "run/b.yaml")
    (finding,), _ = cdi.examine(str(tmp_path / "etc"), str(tmp_path / "run"))
    assert (finding.rule, finding.severity, finding.line) == ("shadowed", "warning", 4)
    assert finding.message == f"vendor.com/class=d is hidden by {high}, whose directory has a higher priority"


def test_files_that_are_given_one_by_one_do_not_conflict(put: Callable[..., str]) -> None:
    assert found(put(text()), put(text(), "b.yaml")) == []


def test_many_devices_in_two_files_are_one_finding_of_each(put: Callable[..., str], tmp_path: Path) -> None:
    devices = "".join(f"- {{name: d{index}, containerEdits: {{env: [A=1]}}}}\n" for index in range(1000))
    content = f"cdiVersion: 0.3.0\nkind: vendor.com/class\ndevices:\n{devices}"
    put(content), put(content, "b.yaml")
    findings, _ = cdi.examine(str(tmp_path))
    assert len(findings) == 2
    assert "vendor.com/class=d0 (and 999 more) is in" in findings[0].message


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ("path: /dev/none", "missing-node"),
        ("path: /dev/a, hostPath: /dev/none", "missing-node"),
        ("path: /dev/none, type: c, major: 1, minor: 3", None),
        ("path: /dev/file", "wrong-node"),
        ("path: /dev/link", "wrong-node"),
        ("path: /dev/pipe, type: b", "wrong-node"),
        ("path: /dev/pipe", None),
        ("path: /dev/pipe, gid: 44", None),
        ("path: /dev/pipe, uid: 0", None),
        ("path: /dev/pipe, uid: 0, gid: 44", "closed-to-non-root"),
        ("path: /dev/pipe, uid: 0, gid: 5", None),
        ("path: /dev/pipe, uid: 0, gid: 44, fileMode: 438", None),
        ("path: /dev/pipe, uid: 0, gid: 44, fileMode: 436, permissions: r", None),
        ("path: /dev/pipe, uid: 0, fileMode: 384", "closed-to-non-root"),
        ("path: /dev/pipe, fileMode: 384", None),
    ],
)
def test_device_nodes_are_looked_at_on_the_host(
    put: Callable[..., str], tmp_path: Path, fields: str, rule: str | None
) -> None:
    dev = tmp_path / "host" / "dev"
    dev.mkdir(parents=True)
    os.mkfifo(dev / "pipe")
    (dev / "pipe").chmod(0o660)
    (dev / "file").touch()
    (dev / "link").symlink_to("pipe")
    expected = [(rule, "a.yaml", 6)] if rule else []
    assert found(put(text(edits=node(fields))), host_root=str(tmp_path / "host")) == expected


def test_without_a_host_only_what_a_spec_says_is_looked_at(put: Callable[..., str]) -> None:
    assert found(put(text(edits=node("path: /dev/none"))), host_root=None) == []
    closed = text(edits=node("path: /dev/none, uid: 0, gid: 44, fileMode: 432"))
    assert found(put(closed), host_root=None) == [("closed-to-non-root", "a.yaml", 6)]


@pytest.mark.parametrize(
    ("mode", "rules"), [(0o644, []), (0o600, ["file-mode"]), (0o664, ["writable"]), (0o755, ["file-mode"])]
)
def test_the_mode_of_a_file_is_looked_at(put: Callable[..., str], mode: int, rules: list[str]) -> None:
    assert [rule for rule, _, _ in found(put(text(), mode=mode))] == rules


@pytest.mark.parametrize(
    ("mode", "rules"),
    [(0o755, []), (0o700, ["closed-directory"]), (0o777, ["writable"]), (0o1777, []), (0o750, ["closed-directory"])],
)
def test_the_mode_of_a_directory_is_looked_at(tmp_path: Path, mode: int, rules: list[str]) -> None:
    tmp_path.chmod(mode)
    assert [rule for rule, _, _ in found(str(tmp_path))] == rules


def test_a_file_that_no_runtime_reads_is_told(put: Callable[..., str], tmp_path: Path) -> None:
    put(text(), "a.yml")
    (finding,), files = cdi.examine(str(tmp_path))
    assert (finding.rule, files) == ("other-ending", ())
    assert "no runtime reads a.yml" in finding.message


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("a.json")
    tmp_path.chmod(0o755)
    assert found(str(tmp_path)) == [("unreadable", "a.json", None)]
    assert found(str(tmp_path / "none")) == [("unreadable", "none", None)]


def test_a_mistake_that_is_made_many_times_is_not_told_without_an_end(put: Callable[..., str]) -> None:
    findings, _ = cdi.examine(put(text(edits=f"env: [{'A, ' * 3000}]")), host_root=None)
    assert len([finding for finding in findings if finding.rule == "invalid"]) == 1000


@pytest.mark.parametrize("name", sorted(os.listdir(DATA / "good")))
def test_a_good_sample_has_no_findings_but_that_its_version_is_ahead(put: Callable[..., str], name: str) -> None:
    content = (DATA / "good" / name).read_text()
    expected = [("read-by-none", name, 1)] if "cdiVersion: 1.1.0" in content else []
    assert found(put(content, name), host_root=None) == expected


@pytest.mark.parametrize("name", sorted(os.listdir(DATA / "bad")))
def test_a_bad_sample_breaks_the_rule_that_it_is_named_after(name: str) -> None:
    rules = {rule for rule, _, _ in found(str(DATA / "bad" / name), host_root=None)}
    assert name.split("_", maxsplit=1)[0] in rules


@settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specs)
def test_whatever_may_be_written_has_no_findings_but_of_who_can_open_or_read_it(tmp_path: Path, spec: cdi.Spec) -> None:
    path = cdi.write(spec, str(tmp_path))
    assert {rule for rule, _, _ in found(path, host_root=None)} <= {"closed-to-non-root", "read-by-none"}


def test_every_rule_has_a_title_and_a_remedy() -> None:
    assert all(rule.title.endswith(".") and rule.remedy.endswith(".") for rule in cdi.RULES.values())
