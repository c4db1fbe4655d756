"""The container that would run. What is expected of mounts, devices and texts is what containerd 1.7.24 was seen doing."""

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.errors import ContainerStartError
from kubelet_plugin.kubelet.cdi_cache import CdiCache
from kubelet_plugin.kubelet.oci import container_config
from kubelet_plugin.kubelet.options import RunContainerOptions
from kubelet_plugin.kubelet.pods import Container, Pod

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")

NULL = {"path": "/dev/x", "type": "c", "major": 1, "minor": 3}
DENY_ALL = {"allow": False, "access": "rwm"}
SPEC = "failed to generate spec: "
CDI = "failed to create containerd container: "


def config(
    options: RunContainerOptions | None = None,
    *,
    cdi: Path | None = None,
    host_root: Path = Path("/"),
    document: Mapping[str, Any] | None = None,
    **container: Any,
) -> dict[str, Any]:
    made = Container(name="c", image="busybox:1", **container)
    pod = Pod(name="pod", namespace="ns", uid="u-1", containers=(made,), document=document or {})
    cache = None if cdi is None else CdiCache([str(cdi)])
    return container_config(pod, made, options or RunContainerOptions(), cdi_cache=cache, host_root=str(host_root))


def refusal(
    options: RunContainerOptions, *, cdi: Path | None = None, host_root: Path = Path("/")
) -> ContainerStartError:
    with pytest.raises(ContainerStartError) as caught:
        config(options, cdi=cdi, host_root=host_root)
    assert caught.value.reason == "CreateContainerError"
    return caught.value


def devices(*specs: tuple[str, str], permissions: str = "rw") -> RunContainerOptions:
    return RunContainerOptions(
        devices=tuple(
            v1beta1.DeviceSpec(container_path=inside, host_path=host, permissions=permissions) for inside, host in specs
        )
    )


def mounts(*pairs: tuple[str, str], read_only: bool = False) -> RunContainerOptions:
    return RunContainerOptions(
        mounts=tuple(
            v1beta1.Mount(container_path=inside, host_path=host, read_only=read_only) for inside, host in pairs
        )
    )


def destinations(options: RunContainerOptions, **rest: Any) -> list[str]:
    return [mount["destination"] for mount in config(options, **rest)["mounts"]]


def paths(options: RunContainerOptions, host_root: Path) -> list[str]:
    return [device["path"] for device in config(options, host_root=host_root)["linux"]["devices"]]


def mknod(path: Path, *, mode: int = 0o600, numbers: tuple[int, int] = (1, 8), kind: int = stat.S_IFCHR) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, kind | mode, os.makedev(*numbers))
    path.chmod(mode)


@pytest.fixture
def cdi(tmp_path: Path) -> Path:
    """A directory with the CDI device vendor.example/dev=one: /dev/x with mode 0600, a variable and a mount."""
    directory = tmp_path / "cdi"
    directory.mkdir()
    edits = {
        "env": ["FROM=cdi"],
        "deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/null", "fileMode": 0o600}],
        "mounts": [{"hostPath": "/opt", "containerPath": "/opt", "options": ["bind"]}],
        "hooks": [{"hookName": "createRuntime", "path": "/bin/true"}],
        "additionalGids": [44],
    }
    write_spec(directory, "one", edits)
    return directory


def write_spec(directory: Path, name: str, edits: Mapping[str, Any]) -> None:
    device = {"name": name, "containerEdits": edits}
    spec = {"cdiVersion": "0.7.0", "kind": "vendor.example/dev", "devices": [device]}
    (directory / f"{name}.json").write_text(json.dumps(spec))


# The process.


def test_the_arguments_are_the_command_and_the_args() -> None:
    assert config(command=("sh", "-c"), args=("true",))["process"]["args"] == ["sh", "-c", "true"]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(POD)", "pod"),
        ("$(PLUGIN)", "plugin"),
        ("a$(POD)b$(PLUGIN)c", "apodbpluginc"),
        ("$(NONE)", "$(NONE)"),
        ("$$(POD)", "$(POD)"),
        ("$$$(POD)", "$pod"),
        ("$(POD", "$(POD"),
        ("$x $ $()$", "$x $ $()$"),
    ],
)
def test_variables_in_arguments_are_expanded_as_by_a_kubelet(text: str, expanded: str) -> None:
    options = RunContainerOptions(envs={"PLUGIN": "plugin", "POD": "overridden"})
    assert config(options, command=(text,), env=(("POD", "pod"),))["process"]["args"] == [expanded]


def test_variables_in_values_are_those_of_the_pod_before_them() -> None:
    env = (("EARLY", "early"), ("VALUE", "$(EARLY) $(LATE) $(PLUGIN)"), ("LATE", "late"))
    got = config(RunContainerOptions(envs={"PLUGIN": "plugin"}), env=env)["process"]["env"]
    assert "VALUE=early $(LATE) $(PLUGIN)" in got


def test_values_of_plugins_are_not_expanded() -> None:
    got = config(RunContainerOptions(envs={"A": "$(B)"}), env=(("B", "b"),))["process"]["env"]
    assert "A=$(B)" in got


def test_the_pods_variables_come_after_the_plugins_so_that_they_win() -> None:
    options = RunContainerOptions(envs={"A": "plugin", "B": "plugin"})
    assert config(options, env=(("B", "pod"),))["process"]["env"][2:] == ["A=plugin", "B=plugin", "B=pod"]


def test_a_default_variable_gives_its_place_to_a_given_one() -> None:
    assert config(RunContainerOptions(envs={"PATH": "/x"}))["process"]["env"] == ["PATH=/x", "HOSTNAME=pod"]


def test_the_process_is_root_without_further_groups_where_the_pod_says_nothing() -> None:
    assert config()["process"]["user"] == {"uid": 0, "gid": 0, "additionalGids": [0]}


def test_the_groups_are_the_users_own_and_the_pods_sorted() -> None:
    got = config(user=1000, group=2000, supplemental_groups=(9, 5, 2000))["process"]["user"]
    assert got == {"uid": 1000, "gid": 2000, "additionalGids": [5, 9, 2000]}


@pytest.mark.parametrize(("given", "cwd"), [("", "/"), ("/work", "/work")])
def test_the_working_directory_is_the_pods(given: str, cwd: str) -> None:
    assert config(working_dir=given)["process"]["cwd"] == cwd


def test_an_ordinary_container_has_the_default_capabilities() -> None:
    bounding = config()["process"]["capabilities"]["bounding"]
    assert "CAP_MKNOD" in bounding
    assert "CAP_SYS_ADMIN" not in bounding
    assert len(bounding) == 14


def test_no_more_is_kept_from_the_process_than_the_pod_asks_for() -> None:
    assert "noNewPrivileges" not in config()["process"]


@pytest.mark.parametrize(
    ("document", "hostname"),
    [({}, "pod"), ({"spec": {"hostname": "own"}}, "own"), ({"spec": {}}, "pod")],
)
def test_the_host_name_is_the_pods(document: Mapping[str, Any], hostname: str) -> None:
    assert config(document=document)["hostname"] == hostname


def test_a_long_host_name_is_cut_to_a_dns_label() -> None:
    container = Container(name="c")
    pod = Pod(name="a" * 62 + "-b", uid="u", containers=(container,))
    got = container_config(pod, container, RunContainerOptions(), cdi_cache=None)
    assert got["hostname"] == "a" * 62
    assert f"HOSTNAME={'a' * 62}" in got["process"]["env"]


def test_the_annotations_say_whose_container_it_is() -> None:
    assert config()["annotations"] == {
        "io.kubernetes.cri.container-name": "c",
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.image-name": "busybox:1",
        "io.kubernetes.cri.sandbox-name": "pod",
        "io.kubernetes.cri.sandbox-namespace": "ns",
        "io.kubernetes.cri.sandbox-uid": "u-1",
    }


def test_annotations_of_plugins_do_not_reach_the_configuration() -> None:
    assert config(RunContainerOptions(annotations={"a.example/b": "c"})) == config()


# Mounts.


def test_a_container_has_containerds_default_mounts() -> None:
    defaults = ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]
    assert destinations(RunContainerOptions()) == defaults


@pytest.mark.parametrize(("read_only", "access"), [(True, "ro"), (False, "rw")])
def test_a_mount_is_a_private_bind(read_only: bool, access: str) -> None:
    mount = config(mounts(("/data", "/proc/self/ns"), read_only=read_only))["mounts"][-1]
    assert mount["options"] == ["rbind", "rprivate", access]
    assert (mount["destination"], mount["type"], mount["source"]) == ("/data", "bind", "/proc/self/ns")


def test_mounts_that_others_may_lie_in_come_first() -> None:
    given = mounts(("/a/b/c", "/"), ("/z", "/"), ("/a", "/"), ("//m/n/", "/"))
    assert destinations(given)[7:] == ["/z", "/a", "//m/n/", "/a/b/c"]


def test_a_mount_takes_the_place_of_a_default() -> None:
    assert destinations(mounts(("/dev/shm/", "/"))).count("/dev/shm") == 0


def test_a_mount_at_dev_takes_the_defaults_below_away() -> None:
    assert destinations(mounts(("/dev", "/"))) == ["/proc", "/sys", "/sys/fs/cgroup", "/dev"]


def test_a_source_that_is_a_link_is_followed_below_the_hosts_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("/real")
    assert config(mounts(("/x", "/link")), host_root=tmp_path)["mounts"][-1]["source"] == "/real"


def test_a_source_below_a_link_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "real/data").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    assert config(mounts(("/x", "/link/data")), host_root=tmp_path)["mounts"][-1]["source"] == "/link/data"


def test_a_source_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert config(mounts(("/x", "/nonesuch")), host_root=tmp_path)["mounts"][-1]["source"] == "/nonesuch"
    assert not (tmp_path / "nonesuch").exists()


def test_a_source_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = refusal(mounts(("/x", "/file/y")), host_root=tmp_path)
    assert error.message.endswith(f'{SPEC}failed to stat "/file/y": stat /file/y: not a directory')


# Device specs.


def test_without_devices_all_are_denied() -> None:
    assert config()["linux"]["resources"] == {"devices": [DENY_ALL]}
    assert "devices" not in config()["linux"]


def test_a_device_is_the_hosts_node_under_its_path_in_the_container() -> None:
    status = os.stat("/dev/null")
    owner = {"fileMode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid}
    assert config(devices(("/dev/x", "/dev/null")))["linux"]["devices"] == [NULL | owner]


def test_a_device_without_a_path_in_the_container_has_the_hosts() -> None:
    assert paths(devices(("", "/dev/null")), Path("/")) == ["/dev/null"]


def test_a_device_is_allowed_what_its_spec_permits() -> None:
    rules = config(devices(("/dev/x", "/dev/null"), permissions="r"))["linux"]["resources"]["devices"]
    assert rules == [DENY_ALL, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}]


def test_no_permissions_are_handed_on_as_none() -> None:
    rules = config(devices(("/dev/x", "/dev/null"), permissions=""))["linux"]["resources"]["devices"]
    assert rules[1] == {"allow": True, "type": "c", "major": 1, "minor": 3}


@as_root
def test_type_numbers_mode_and_owner_are_the_nodes(tmp_path: Path) -> None:
    mknod(tmp_path / "dev/disk", mode=0o2640, numbers=(7, 3), kind=stat.S_IFBLK)
    os.chown(tmp_path / "dev/disk", 12, 34)
    (tmp_path / "dev/disk").chmod(0o2640)
    (device,) = config(devices(("/dev/x", "/dev/disk")), host_root=tmp_path)["linux"]["devices"]
    numbers = {"type": "b", "major": 7, "minor": 3}
    assert device == {"path": "/dev/x", **numbers, "fileMode": 0o2640, "uid": 12, "gid": 34}


@as_root
def test_links_to_a_node_are_followed_below_the_hosts_root(tmp_path: Path) -> None:
    mknod(tmp_path / "dev/real/node")
    (tmp_path / "dev/directory").symlink_to("/dev/real")
    (tmp_path / "dev/link").symlink_to("../dev/./directory/node")
    (device,) = config(devices(("/dev/x", "/dev/link")), host_root=tmp_path)["linux"]["devices"]
    assert (device["path"], device["minor"]) == ("/dev/x", 8)
    assert paths(devices(("", "/dev/link")), tmp_path) == ["/dev/real/node"]


@as_root
def test_a_directory_means_all_character_and_block_devices_below(tmp_path: Path) -> None:
    mknod(tmp_path / "dev/all/b")
    mknod(tmp_path / "dev/all/sub/c", kind=stat.S_IFBLK)
    mknod(tmp_path / "dev/all/a")
    for skipped in ("console", "pts/0", "shm/x", "mqueue/x", ".udev/x"):
        mknod(tmp_path / "dev/all" / skipped)
    os.mkfifo(tmp_path / "dev/all/fifo")
    (tmp_path / "dev/all/file").touch()
    (tmp_path / "dev/all/link").symlink_to("a")
    expected = ["/dev/in/a", "/dev/in/b", "/dev/in/sub/c"]
    assert paths(devices(("/dev/in", "/dev/all")), tmp_path) == expected
    rules = config(devices(("/dev/in", "/dev/all")), host_root=tmp_path)["linux"]["resources"]["devices"]
    assert [rule.get("type") for rule in rules] == [None, "c", "c", "b"]


def test_a_fifo_is_a_device_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (device,) = config(devices(("/dev/x", "/fifo")), host_root=tmp_path)["linux"]["devices"]
    assert (device["type"], device["major"], device["minor"]) == ("p", 0, 0)


@pytest.mark.parametrize(
    ("host_path", "why"),
    [
        ("/dev/nonesuch", "lstat /dev/nonesuch: no such file or directory"),
        ("/absent/node", "lstat /absent/node: no such file or directory"),
        ("/dev/dangling", "lstat /dev/nowhere: no such file or directory"),
        ("/dev/file", "not a device node"),
        ("", "lstat : no such file or directory"),
        ("/dev/\0", "lstat /dev/\0: invalid argument"),
        ("/dev/loop", "lstat /dev/loop: too many levels of symbolic links"),
    ],
)
def test_without_the_node_there_is_no_container(tmp_path: Path, host_path: str, why: str) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/file").touch()
    (tmp_path / "dev/dangling").symlink_to("nowhere")
    (tmp_path / "dev/loop").symlink_to("loop")
    error = refusal(devices(("/dev/x", host_path)), host_root=tmp_path)
    assert error.message.startswith('failed to generate container "')
    assert error.message.endswith(f'" spec: {SPEC}{why}')


# Privileged containers.


@as_root
def test_a_privileged_container_has_all_devices_of_the_host(tmp_path: Path) -> None:
    mknod(tmp_path / "dev/one")
    mknod(tmp_path / "dev/net/tun")
    linux = config(privileged=True, host_root=tmp_path)["linux"]
    assert [device["path"] for device in linux["devices"]] == ["/dev/net/tun", "/dev/one"]
    assert linux["resources"] == {"devices": [{"allow": True, "access": "rwm"}]}


def test_a_privileged_container_has_all_capabilities_and_nothing_is_hidden_from_it() -> None:
    got = config(privileged=True)
    assert "CAP_SYS_ADMIN" in got["process"]["capabilities"]["effective"]
    assert not {"maskedPaths", "readonlyPaths"} & got["linux"].keys()
    access = {mount["destination"]: mount["options"][-1] for mount in got["mounts"]}
    assert (access["/sys"], access["/sys/fs/cgroup"]) == ("rw", "rw")


# CDI.


def test_a_cdi_device_is_injected(cdi: Path) -> None:
    got = config(RunContainerOptions(cdi_devices=("vendor.example/dev=one",)), cdi=cdi)
    assert got["linux"]["devices"] == [NULL | {"fileMode": 0o600}]
    assert got["linux"]["resources"]["devices"][1]["access"] == "rwm"
    assert "FROM=cdi" in got["process"]["env"]
    assert "/opt" in {mount["destination"] for mount in got["mounts"]}
    assert got["hooks"] == {"createRuntime": [{"path": "/bin/true"}]}
    assert 44 in got["process"]["user"]["additionalGids"]


def test_a_cdi_device_belongs_to_the_containers_user(cdi: Path) -> None:
    options = RunContainerOptions(cdi_devices=("vendor.example/dev=one",))
    (device,) = config(options, cdi=cdi, user=1000, group=2000)["linux"]["devices"]
    assert (device["uid"], device["gid"]) == (1000, 2000)


def test_annotations_ask_for_cdi_devices_too(cdi: Path) -> None:
    by_annotation = RunContainerOptions(annotations={"cdi.k8s.io/any": "vendor.example/dev=one"})
    by_field = RunContainerOptions(cdi_devices=("vendor.example/dev=one",))
    assert config(by_annotation, cdi=cdi) == config(by_field, cdi=cdi)


def test_a_device_named_twice_is_injected_once(cdi: Path) -> None:
    name = "vendor.example/dev=one"
    options = RunContainerOptions(
        cdi_devices=(name,), annotations={"cdi.k8s.io/a": f"{name},{name}", "cdi.k8s.io/b": name}
    )
    assert config(options, cdi=cdi)["hooks"] == {"createRuntime": [{"path": "/bin/true"}]}


def test_a_cdi_edit_wins_over_a_device_spec(cdi: Path) -> None:
    specs = devices(("/dev/x", "/dev/zero")).devices
    got = config(RunContainerOptions(devices=specs, cdi_devices=("vendor.example/dev=one",)), cdi=cdi)
    assert got["linux"]["devices"] == [NULL | {"fileMode": 0o600}]


def test_a_cdi_node_is_looked_up_below_the_hosts_root(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o640)
    write_spec(tmp_path, "pipe", {"deviceNodes": [{"path": "/dev/pipe", "hostPath": "/pipe", "fileMode": 0o600}]})
    options = RunContainerOptions(cdi_devices=("vendor.example/dev=pipe",))
    (device,) = config(options, cdi=tmp_path, host_root=tmp_path)["linux"]["devices"]
    assert device["type"] == "p"


def test_with_cdi_off_names_are_ignored_in_silence() -> None:
    options = RunContainerOptions(cdi_devices=("nonsense",), annotations={"cdi.k8s.io/x": "nonsense"})
    assert config(options) == config()


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("kvm0",), "kvm0"),
        (("",), ""),
        (("vendor.example/dev=two", "other.example/dev=one"), "vendor.example/dev=two, other.example/dev=one"),
        (("vendor.example/dev=one", "vendor.example/dev=two"), "vendor.example/dev=two"),
    ],
)
def test_a_name_that_is_not_resolved_is_refused(cdi: Path, names: Sequence[str], shown: str) -> None:
    error = refusal(RunContainerOptions(cdi_devices=tuple(names)), cdi=cdi)
    assert error.message == f"{CDI}CDI device injection failed: unresolvable CDI devices {shown}"


@pytest.mark.parametrize(("value", "shown"), [("kvm0", "kvm0"), ("", ""), ("vendor.example/dev=one,", "")])
def test_an_annotation_that_is_no_list_of_qualified_names_is_refused(cdi: Path, value: str, shown: str) -> None:
    error = refusal(RunContainerOptions(annotations={"cdi.k8s.io/x": value}), cdi=cdi)
    assert error.message == f'{CDI}failed to parse CDI device annotations: invalid CDI device name "{shown}"'


def test_without_the_node_of_a_cdi_device_there_is_no_container(tmp_path: Path) -> None:
    write_spec(tmp_path, "gone", {"deviceNodes": [{"path": "/dev/gone"}]})
    error = refusal(RunContainerOptions(cdi_devices=("vendor.example/dev=gone",)), cdi=tmp_path, host_root=tmp_path)
    what = 'failed to stat CDI host device "/dev/gone": no such file or directory'
    assert error.message == f"{CDI}CDI device injection failed: failed to inject devices: {what}"


# The document.


def test_the_document_is_the_same_each_time(cdi: Path) -> None:
    options = RunContainerOptions(
        envs={"B": "b", "A": "a"},
        mounts=mounts(("/x", "/"), ("/y", "/")).mounts,
        devices=devices(("/dev/n", "/dev/null"), ("/dev/z", "/dev/zero")).devices,
        cdi_devices=("vendor.example/dev=one",),
    )
    first, again = (json.dumps(config(options, cdi=cdi, command=("sh",))) for _ in range(2))
    assert first == again


def test_an_injected_device_does_not_show_in_other_configurations(cdi: Path) -> None:
    before = json.dumps(config())
    config(RunContainerOptions(cdi_devices=("vendor.example/dev=one",)), cdi=cdi, privileged=True)
    config(RunContainerOptions(cdi_devices=("vendor.example/dev=one",)), cdi=cdi)
    assert json.dumps(config()) == before
