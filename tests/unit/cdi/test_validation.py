"""What may be written and read; a rule of SPEC.md is named by its section, and what has none is the runtimes' own."""

import dataclasses

import pytest

from kubelet_plugin import cdi
from kubelet_plugin.cdi.validation import HOOK_NAMES, faults, refusals, validate_spec

EDITS = cdi.ContainerEdits(env=("A=1",))
SPEC = cdi.Spec("vendor.com/class", (cdi.Device("dev", EDITS),))


def of_kind(kind: str) -> cdi.Spec:
    return dataclasses.replace(SPEC, kind=kind)


def of_devices(*names: str) -> cdi.Spec:
    return dataclasses.replace(SPEC, devices=tuple(cdi.Device(name, EDITS) for name in names))


def of_edits(edits: cdi.ContainerEdits, *, version: str = "") -> cdi.Spec:
    return dataclasses.replace(SPEC, container_edits=edits, version=version)


def node(path: str = "/dev/x", **fields: object) -> cdi.ContainerEdits:
    return cdi.ContainerEdits(device_nodes=(dataclasses.replace(cdi.DeviceNode(path), **fields),))  # type: ignore[arg-type]


def hook(name: str = "poststop", path: str = "/h", **fields: object) -> cdi.ContainerEdits:
    return cdi.ContainerEdits(hooks=(dataclasses.replace(cdi.Hook(name, path), **fields),))  # type: ignore[arg-type]


def net(*names: tuple[str, str]) -> cdi.ContainerEdits:
    return cdi.ContainerEdits(net_devices=tuple(cdi.NetDevice(*each) for each in names))


def rdt(clos_id: str = "", **flags: bool) -> cdi.ContainerEdits:
    return cdi.ContainerEdits(intel_rdt=dataclasses.replace(cdi.IntelRdt(clos_id=clos_id), **flags))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        # What makes runtimes crash
        (of_kind("v/class"), "vendor 'v' has one character: container runtimes crash on it, so two or more are needed"),
        (of_kind("vendor.com/c"), "class 'c' has one character: container runtimes crash on it"),
        # SPEC.md "Kind"
        (of_kind("vendor"), "kind 'vendor' has not the form vendor/class"),
        (of_kind("1vendor/class"), "vendor '1vendor' starts with '1'"),
        (of_kind("vendor/cl/ass"), "class 'cl/ass' holds '/' at position 3"),
        (of_kind("../class"), "vendor '..' starts with '.'"),
        (of_kind(f"vendor/{'c' * 64}"), "64 characters: 63 at most"),
        # SPEC.md "CDI Devices"
        (of_devices(), "there are no devices"),
        (of_devices("a", "b", "a"), "device 'a' is there more than once"),
        (of_devices("a", "-b"), "device name '-b' starts with '-'"),
        (of_devices(""), "device name is empty"),
        # What runtimes refuse, too
        (dataclasses.replace(SPEC, devices=(cdi.Device("dev", cdi.ContainerEdits()),)), "'dev' has empty container"),
        # SPEC.md "Released versions"
        (dataclasses.replace(SPEC, version="0.2.0"), "version '0.2.0' is none of 0.3.0"),
        (dataclasses.replace(of_devices("0"), version="0.4.0"), "'0.4.0' cannot express this spec: 0.5.0 or later"),
        # SPEC.md "Specification version"
        (dataclasses.replace(SPEC, version="v1.0.0"), "version 'v1.0.0' is none of 0.3.0"),
        # The dropped fields of 1.1.0
        (of_edits(rdt(enable_cmt=True), version="1.1.0"), "version 1.1.0 has no enableCMT and no enableMBM"),
        (of_edits(rdt(enable_mbm=True, enable_monitoring=True)), "version 1.1.0 has no enableCMT and no enableMBM"),
    ],
)
def test_a_spec_that_must_not_be_written_is_refused_with_the_reason(spec: cdi.Spec, fault: str) -> None:
    with pytest.raises(cdi.Error) as raised:
        validate_spec(spec)
    assert str(raised.value).startswith(f"CDI spec {spec.kind!r}: ")
    assert fault in str(raised.value)


BAD_EDITS = [
    # SPEC.md "OCI Edits": env
    (cdi.ContainerEdits(env=("A",)), "env 'A' has not the form NAME=value"),
    (cdi.ContainerEdits(env=("=1",)), "env '=1' has not the form NAME=value"),
    (cdi.ContainerEdits(env=("",)), "env '' has not the form NAME=value"),
    # SPEC.md "OCI Edits": deviceNodes
    (node("dev/x"), "device node 'dev/x': its path is not absolute"),
    (node(""), "device node '': its path is not absolute"),
    (node(host_path="dev/x"), "device node '/dev/x': host path 'dev/x' is not absolute"),
    (node(type="x"), "type 'x' is none of c, b, u, p"),
    (node(major=-1), "major -1 is not in 0.."),
    (node(minor=-1), "minor -1 is not in 0.."),
    (node(uid=-1), "uid -1 is not in 0..4294967295"),
    (node(gid=-1), "gid -1 is not in 0..4294967295"),
    (node(gid=2**32), "gid 4294967296 is not in 0..4294967295"),
    (node(file_mode=-1), "file mode -0o1 is not in 0..0o7777"),
    (node(file_mode=0o20660), "file mode 0o20660 is not in 0..0o7777"),
    (node(permissions="rx"), "permissions 'rx': only the letters r, w and m are allowed"),
    (node(permissions="none"), "permissions 'none': only the letters r, w and m are allowed"),
    (node(permissions="RW"), "permissions 'RW'"),
    # SPEC.md "OCI Edits": mounts
    (cdi.ContainerEdits(mounts=(cdi.Mount("/a", "b"),)), "mount 'b': its container path is not absolute"),
    (cdi.ContainerEdits(mounts=(cdi.Mount("", "/b"),)), "mount '/b': its host path is empty"),
    (cdi.ContainerEdits(mounts=(cdi.Mount("/a", ""),)), "mount '': its container path is empty"),
    # SPEC.md "OCI Edits": hooks
    (hook("prestop"), "hook 'prestop': the name is none of prestart, createRuntime"),
    (hook(path="h"), "hook 'poststop': path 'h' is not absolute"),
    (hook(timeout=0), "hook 'poststop': timeout 0 is not more than 0 seconds"),
    (hook(env=("B",)), "hook 'poststop': env 'B' has not the form NAME=value"),
    # SPEC.md "OCI Edits": additionalGids
    (cdi.ContainerEdits(additional_gids=(-1,)), "additional gid -1 is not in 1.."),
    (cdi.ContainerEdits(additional_gids=(0,)), "additional gid 0 is not in 1.."),
    # Net devices, as runtimes refuse them
    (net(("", "n")), "net device '' with name 'n': both names are needed"),
    (net(("e", "")), "net device 'e' with name '': both names are needed"),
    (net(("e", "a"), ("e", "b")), "net device 'e' is there more than once"),
    (net(("e", "a"), ("f", "a")), "more than one net device is to have the name 'a'"),
    # SPEC.md "OCI Edits": intelRdt, whose closID is the name of a directory of resctrl
    *((rdt(name), f"closID {name!r} names no directory") for name in (".", "..", "a/b", "a\nb", "ü" * 2048)),
]


@pytest.mark.parametrize(("edits", "fault"), BAD_EDITS)
def test_faulty_edits_of_a_device_are_refused_with_its_name(edits: cdi.ContainerEdits, fault: str) -> None:
    with pytest.raises(cdi.Error) as raised:
        validate_spec(dataclasses.replace(SPEC, devices=(cdi.Device("dev", edits),)))
    assert "CDI spec 'vendor.com/class': device 'dev': " in str(raised.value)
    assert fault in str(raised.value)


@pytest.mark.parametrize(("edits", "fault"), BAD_EDITS)
def test_faulty_edits_of_the_whole_spec_are_refused(edits: cdi.ContainerEdits, fault: str) -> None:
    with pytest.raises(cdi.Error) as raised:
        validate_spec(dataclasses.replace(SPEC, container_edits=edits))
    assert "CDI spec 'vendor.com/class': container edits: " in str(raised.value)
    assert fault in str(raised.value)


@pytest.mark.parametrize(
    "edits",
    [
        # SPEC.md "OCI Edits", as far as it goes
        cdi.ContainerEdits(env=("A=", "B=x=y")),
        node(file_mode=0),
        node(file_mode=0o7777),
        node(major=0, minor=0, uid=0, gid=2**32 - 1, type="b"),
        *(node(permissions=letters) for letters in ("", "r", "rw", "mwr")),
        cdi.ContainerEdits(mounts=(cdi.Mount("tmpfs", "/b", type="tmpfs"),)),
        *(hook(name, timeout=1, env=("A=1",)) for name in HOOK_NAMES),
        cdi.ContainerEdits(additional_gids=(1, 2**32 - 1)),
        net(("e", "f"), ("f", "e")),
        *(rdt(name) for name in ("", "/", "a b", "ü" * 2047)),
    ],
)
def test_what_a_runtime_takes_is_not_refused(edits: cdi.ContainerEdits) -> None:
    validate_spec(dataclasses.replace(SPEC, devices=(cdi.Device("dev", edits),), container_edits=edits))


def test_all_faults_are_found_in_their_order() -> None:
    spec = dataclasses.replace(of_devices("-a"), kind="v/class", container_edits=cdi.ContainerEdits(env=("A",)))
    assert [str(fault).split()[0] for fault in faults(spec)] == ["vendor", "device", "container"]


READABLE = [
    # SPEC.md "Kind" sets no least length
    dataclasses.replace(of_kind("v/c"), version="0.3.0"),
    # SPEC.md "Released versions", with their tags' v
    *(dataclasses.replace(SPEC, version=version) for version in ("0.3.0", "1.1.0", "v1.1.0")),
    # SPEC.md "OCI Edits" asks no path but a hook's to be absolute, and ignores gids of 0
    of_edits(node("dev/x", host_path="dev/y"), version="1.1.0"),
    of_edits(node(major=-1, minor=-1), version="1.1.0"),
    of_edits(node(file_mode=2**32 - 1), version="1.1.0"),
    of_edits(node(permissions="none"), version="1.1.0"),
    of_edits(cdi.ContainerEdits(mounts=(cdi.Mount("a", "b"),)), version="1.1.0"),
    of_edits(cdi.ContainerEdits(additional_gids=(0,)), version="1.1.0"),
]


@pytest.mark.parametrize("spec", READABLE)
def test_what_the_runtimes_read_is_no_reason_to_refuse_a_file(spec: cdi.Spec) -> None:
    assert [*refusals(spec)] == []


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        # SPEC.md "Specification version" and "Released versions"
        (SPEC, "there is no cdiVersion"),
        (dataclasses.replace(SPEC, version="0.2.0"), "version '0.2.0' is none of 0.3.0"),
        (dataclasses.replace(SPEC, version="vv1.0.0"), "version 'vv1.0.0' is none of 0.3.0"),
        # SPEC.md "Kind"
        (dataclasses.replace(of_kind(f"vendor/{'c' * 64}"), version="1.1.0"), "64 characters: 63 at most"),
        # SPEC.md "OCI Edits"
        (of_edits(node(""), version="1.1.0"), "device node '': its path is empty"),
        (of_edits(node(type="x"), version="1.1.0"), "type 'x' is none of c, b, u, p"),
        (of_edits(node(permissions="nonew"), version="1.1.0"), "permissions 'nonew': only the letters"),
        (of_edits(hook(path="h"), version="1.1.0"), "path 'h' is not absolute"),
        (of_edits(hook(timeout=0), version="1.1.0"), "timeout 0 is not more than 0 seconds"),
        # The dropped fields of 1.1.0
        (of_edits(rdt(enable_cmt=True), version="v1.1.0"), "version 1.1.0 has no enableCMT"),
    ],
)
def test_what_no_runtime_reads_or_the_specification_forbids_is_refused(spec: cdi.Spec, fault: str) -> None:
    assert fault in "; ".join(map(str, refusals(spec)))
