"""What edits make of a configuration; a rule of SPEC.md is named by its section."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet_plugin import cdi


def with_node(path: str = "/dev/x", **fields: Any) -> cdi.ContainerEdits:
    return cdi.ContainerEdits(device_nodes=(cdi.DeviceNode(path, **fields),))


def devices_of(oci: dict[str, Any]) -> list[dict[str, Any]]:
    devices: list[dict[str, Any]] = oci["linux"]["devices"]
    return devices


def test_a_configuration_without_edits_stays_equal() -> None:
    oci = {"ociVersion": "1.1.0", "process": {"env": []}, "x": [None]}
    assert cdi.apply_edits(oci) == cdi.apply_edits(oci, cdi.ContainerEdits()) == oci


def test_what_is_not_edited_is_kept_though_nobody_knows_it() -> None:
    oci = {"ociVersion": "1.1.0", "process": {"env": ["A=0"], "noNewPrivileges": True}, "com.example": {"k": 1}}
    edited = cdi.apply_edits(oci, cdi.ContainerEdits(env=("A=1",)))
    assert edited == {**oci, "process": {"env": ["A=1"], "noNewPrivileges": True}}


def test_the_given_configuration_is_not_changed() -> None:
    oci: dict[str, Any] = {
        "process": {"user": {"uid": 1, "additionalGids": [1]}, "env": ["A=0"]},
        "hooks": {"poststop": [{"path": "/h"}]},
        "mounts": [{"destination": "/b"}, {"destination": "/a/b"}, {"destination": "/a"}],
        "linux": {"devices": [{"path": "/dev/x"}], "resources": {"devices": []}, "netDevices": {}, "intelRdt": {}},
    }
    edits = cdi.ContainerEdits(
        env=("A=1",),
        device_nodes=(cdi.DeviceNode("/dev/x", type="c", major=1, minor=3, file_mode=0o600),),
        mounts=(cdi.Mount("/a", "/b"),),
        hooks=(cdi.Hook("poststop", "/h"),),
        additional_gids=(5,),
        intel_rdt=cdi.IntelRdt(clos_id="c"),
        net_devices=(cdi.NetDevice("e", "n"),),
    )
    before = json.dumps(oci)
    assert cdi.apply_edits(oci, edits, edits) != oci
    assert json.dumps(oci) == before


def test_the_root_of_the_host_is_a_parameter(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / "dev/pipe")
    (tmp_path / "dev/pipe").chmod(0o640)
    edited = cdi.apply_edits({}, with_node("/dev/p", host_path="/dev/pipe"), host_root=str(tmp_path))
    assert devices_of(edited) == [{"path": "/dev/p", "type": "p", "major": 0, "minor": 0, "fileMode": 0o640}]


def test_type_numbers_and_mode_that_are_missing_are_those_of_the_host() -> None:
    """SPEC.md "OCI Edits": type, major, minor and fileMode are optional; hostPath is where the node is."""
    status = os.stat("/dev/null")
    edited = cdi.apply_edits({}, with_node("/dev/n", host_path="/dev/null"))
    assert devices_of(edited) == [
        {
            "path": "/dev/n",
            "type": "c",
            "major": os.major(status.st_rdev),
            "minor": os.minor(status.st_rdev),
            "fileMode": status.st_mode & 0o7777,
        }
    ]


def test_a_mode_that_is_given_stays() -> None:
    """SPEC.md "OCI Edits": fileMode."""
    assert devices_of(cdi.apply_edits({}, with_node("/dev/null", file_mode=0o600)))[0]["fileMode"] == 0o600


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "no such file or directory"),
        (lambda path: path.write_text(""), "not a device node"),
        (lambda path: path.mkdir(), "not a device node"),
        (lambda path: path.symlink_to("/dev/null"), "not a device node"),
    ],
)
def test_a_host_without_the_node_is_an_error_in_the_words_of_the_runtimes(
    tmp_path: Path, make: Any, reason: str
) -> None:
    """SPEC.md "Error Handling": a resource that does not exist is an error when the container is created."""
    make(tmp_path / "x")
    with pytest.raises(cdi.Error) as raised:
        cdi.apply_edits({}, with_node("/dev/x", host_path="/x"), host_root=str(tmp_path))
    assert str(raised.value) == f'failed to inject devices: failed to stat CDI host device "/x": {reason}'


def test_a_path_that_no_file_can_have_is_an_error() -> None:
    with pytest.raises(cdi.Error, match="null byte"):
        cdi.apply_edits({}, with_node("/dev/\0"))


def test_a_node_of_another_type_than_the_host_s_is_an_error() -> None:
    with pytest.raises(cdi.Error, match=r"host type mismatch \(b, c\)"):
        cdi.apply_edits({}, with_node("/dev/null", type="b"))


def test_a_node_that_is_given_in_full_needs_no_host(tmp_path: Path) -> None:
    """SPEC.md "OCI Edits": type, major and minor."""
    edited = cdi.apply_edits({}, with_node(type="b", major=8, minor=1), host_root=str(tmp_path))
    assert devices_of(edited) == [{"path": "/dev/x", "type": "b", "major": 8, "minor": 1}]


def test_of_two_nodes_of_one_path_in_the_configuration_one_is_left() -> None:
    oci = {"linux": {"devices": [{"path": path, "type": "c"} for path in ("/dev/x", "/dev/y", "/dev/x", "/dev/z")]}}
    edited = cdi.apply_edits(oci, with_node(type="b", major=8, file_mode=0o600))
    assert [(each["path"], each["type"]) for each in devices_of(edited)] == [
        ("/dev/y", "c"),
        ("/dev/x", "b"),
        ("/dev/z", "c"),
    ]


def test_of_a_variable_that_the_configuration_has_twice_the_last_is_replaced() -> None:
    """SPEC.md "OCI Edits": env, which runtimes, other than its text, replace by name."""
    edited = cdi.apply_edits({"process": {"env": ["A=1", "B=2", "A=3"]}}, cdi.ContainerEdits(env=("A=4",)))
    assert edited["process"]["env"] == ["A=1", "B=2", "A=4"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["bind"], ["bind", "idmap"]),
        (["rbind", "ro"], ["rbind", "ro", "ridmap"]),
        (["bind", "ridmap"], ["bind", "ridmap"]),
        (["ro"], ["ro"]),
    ],
)
def test_a_bind_mount_into_a_user_namespace_is_id_mapped(options: list[str], expected: list[str]) -> None:
    """SPEC.md "OCI Edits": the options of mounts, and what runtimes add."""
    edits = cdi.ContainerEdits(mounts=(cdi.Mount("/a", "/b", options=tuple(options)),))
    edited = cdi.apply_edits({"linux": {"namespaces": [{"type": "pid"}, {"type": "user"}]}}, edits)
    assert edited["mounts"][0]["options"] == expected


@pytest.mark.parametrize("oci", [{}, {"process": None}, {"process": {"cwd": "/"}}])
def test_a_user_that_is_made_for_its_groups_is_root(oci: dict[str, Any]) -> None:
    """SPEC.md "OCI Edits": additionalGids, of which 0 is ignored."""
    edited = cdi.apply_edits(oci, cdi.ContainerEdits(additional_gids=(0, 5)))
    assert edited["process"]["user"] == {"uid": 0, "gid": 0, "additionalGids": [5]}


def test_a_process_that_is_made_is_made_anew_each_time() -> None:
    edits = cdi.ContainerEdits(env=("A=1",))
    cdi.apply_edits({}, edits)["process"]["user"]["uid"] = 7
    assert cdi.apply_edits({}, edits)["process"] == {"user": {"uid": 0, "gid": 0}, "cwd": "", "env": ["A=1"]}


def test_groups_of_no_effect_make_no_process() -> None:
    """SPEC.md "OCI Edits": additional gids of 0 are ignored."""
    assert cdi.apply_edits({}, cdi.ContainerEdits(additional_gids=(0,))) == {}


def test_the_fields_that_cdi_1_1_dropped_reach_the_configuration() -> None:
    """SPEC.md "OCI Edits": enableCMT and enableMBM of intelRdt."""
    edits = cdi.ContainerEdits(intel_rdt=cdi.IntelRdt(enable_cmt=True, enable_mbm=True))
    assert cdi.apply_edits({}, edits) == {"linux": {"intelRdt": {"enableCMT": True, "enableMBM": True}}}


@pytest.mark.parametrize(
    ("oci", "message"),
    [
        ({"process": []}, "process is no object"),
        ({"process": {"env": {}}}, "process.env is no list"),
        ({"process": {"env": [1]}}, "process.env is no list of strings"),
        ({"linux": "x"}, "linux is no object"),
        ({"linux": {"devices": ["/dev/x"]}}, "linux.devices is no list of objects"),
        ({"mounts": [None]}, "mounts is no list of objects"),
    ],
)
def test_what_is_no_configuration_is_refused(oci: dict[str, Any], message: str) -> None:
    edits = cdi.ContainerEdits(
        env=("A=1",),
        device_nodes=(cdi.DeviceNode("/dev/x", type="c", major=1, file_mode=0),),
        mounts=(cdi.Mount("/a", "/b"),),
    )
    with pytest.raises(cdi.Error, match=f"^no OCI runtime configuration: {message}$"):
        cdi.apply_edits(oci, edits)


@pytest.mark.parametrize(
    ("edits", "fault"),
    [
        (cdi.ContainerEdits(hooks=(cdi.Hook("prestop", "/h"),)), "hook 'prestop': the name is none of"),
        (cdi.ContainerEdits(env=("A",)), "env 'A' has not the form NAME=value"),
    ],
)
def test_edits_that_are_not_valid_are_not_applied(edits: cdi.ContainerEdits, fault: str) -> None:
    """SPEC.md "OCI Edits": the names of hooks, and the form of env."""
    with pytest.raises(cdi.Error, match=f"^failed to inject devices: {fault}"):
        cdi.apply_edits({}, edits)


idempotent = st.builds(
    cdi.ContainerEdits,
    env=st.lists(st.sampled_from(["A=1", "A=2", "B=1"])).map(tuple),
    mounts=st.lists(st.builds(cdi.Mount, st.just("/s"), st.sampled_from(["/a", "/a/b", "/c", "/c/d/e"]))).map(tuple),
    additional_gids=st.lists(st.integers(0, 3)).map(tuple),
    net_devices=st.sampled_from("ef").map(lambda host: (cdi.NetDevice(host, "n"),)),
    intel_rdt=st.none() | st.just(cdi.IntelRdt(clos_id="c")),
)


@settings(derandomize=True, deadline=None)
@given(idempotent)
def test_what_replaces_by_name_is_the_same_applied_twice_but_for_the_order_of_mounts(edits: cdi.ContainerEdits) -> None:
    def unordered(oci: dict[str, Any]) -> dict[str, Any]:
        return oci | {"mounts": sorted(oci.get("mounts", []), key=lambda mount: str(mount["destination"]))}

    once = cdi.apply_edits({}, edits)
    assert unordered(cdi.apply_edits(once, edits)) == unordered(once)
