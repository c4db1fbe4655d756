import json
import tracemalloc

import pytest

from kubelet_plugin import cdi

KVM = cdi.ContainerEdits(device_nodes=(cdi.DeviceNode("/dev/kvm", file_mode=0o660),))
FULL = cdi.Spec(
    "vendor.com/class",
    (
        cdi.Device(
            "dev",
            cdi.ContainerEdits(
                env=("A=1",),
                device_nodes=(
                    cdi.DeviceNode(
                        "/dev/x",
                        host_path="/dev/y",
                        type="c",
                        major=10,
                        minor=0,
                        file_mode=0o600,
                        permissions="rw",
                        uid=0,
                        gid=36,
                    ),
                ),
                mounts=(cdi.Mount("/a", "/b", options=("ro",), type="bind"),),
                hooks=(cdi.Hook("poststop", "/h", args=("h",), env=("B=2",), timeout=5),),
                additional_gids=(36, 5),
                intel_rdt=cdi.IntelRdt(
                    clos_id="gold",
                    l3_cache_schema="L3:0=f",
                    mem_bw_schema="MB:0=20",
                    schemata=("L2:0=f",),
                    enable_monitoring=True,
                ),
                net_devices=(cdi.NetDevice("eth1", "net0"),),
            ),
            annotations=(("k", "v"),),
        ),
    ),
    container_edits=cdi.ContainerEdits(env=("C=ü",)),
    annotations=(("b", "2"), ("a", "1")),
)


def many(count: int) -> cdi.Spec:
    return cdi.Spec(
        "vendor.com/class",
        tuple(
            cdi.Device(f"dev{i}", cdi.ContainerEdits(device_nodes=(cdi.DeviceNode(f"/dev/dev{i}", file_mode=0o660),)))
            for i in range(count)
        ),
    )


def test_the_kvm_spec_is_written_with_nothing_but_what_it_says() -> None:
    spec = cdi.Spec("github.com.ihcsim/kvm", (cdi.Device("kvm0", KVM),))
    assert cdi.dumps(spec) == (
        '{"cdiVersion":"0.3.0","kind":"github.com.ihcsim/kvm","devices":[{"name":"kvm0",'
        '"containerEdits":{"deviceNodes":[{"path":"/dev/kvm","fileMode":432}]}}]}\n'
    )


def test_every_field_is_written_in_the_order_of_the_spec() -> None:
    """SPEC.md "JSON Definition"."""
    assert cdi.dumps(FULL) == (
        '{"cdiVersion":"1.1.0","kind":"vendor.com/class","annotations":{"b":"2","a":"1"},'
        '"devices":[{"name":"dev","annotations":{"k":"v"},"containerEdits":{"env":["A=1"],'
        '"deviceNodes":[{"path":"/dev/x","hostPath":"/dev/y","type":"c","major":10,"minor":0,"fileMode":384,'
        '"permissions":"rw","uid":0,"gid":36}],'
        '"mounts":[{"hostPath":"/a","containerPath":"/b","options":["ro"],"type":"bind"}],'
        '"hooks":[{"hookName":"poststop","path":"/h","args":["h"],"env":["B=2"],"timeout":5}],'
        '"additionalGids":[36,5],"netDevices":[{"hostInterfaceName":"eth1","name":"net0"}],'
        '"intelRdt":{"closID":"gold","l3CacheSchema":"L3:0=f","memBwSchema":"MB:0=20","schemata":["L2:0=f"],'
        '"enableMonitoring":true}}}],"containerEdits":{"env":["C=ü"]}}\n'
    )


@pytest.mark.parametrize("spec", [cdi.Spec("vendor.com/class"), FULL, many(3)], ids=["no devices", "full", "many"])
def test_the_text_is_the_json_of_the_document(spec: cdi.Spec) -> None:
    assert cdi.dumps(spec) == json.dumps(cdi.document(spec), separators=(",", ":"), ensure_ascii=False) + "\n"


def test_the_document_is_made_of_what_json_knows() -> None:
    assert json.loads(cdi.dumps(FULL)) == cdi.document(FULL)


def test_a_version_that_was_given_is_kept() -> None:
    assert cdi.document(cdi.Spec("vendor.com/class", version="1.0.0"))["cdiVersion"] == "1.0.0"


def test_the_fields_that_1_1_dropped_are_written_for_those_who_know_them() -> None:
    edits = cdi.ContainerEdits(intel_rdt=cdi.IntelRdt(enable_cmt=True, enable_mbm=True))
    spec = cdi.Spec("vendor.com/class", container_edits=edits)
    assert '"cdiVersion":"0.7.0"' in cdi.dumps(spec)
    assert '"intelRdt":{"enableCMT":true,"enableMBM":true}' in cdi.dumps(spec)


def test_a_class_of_service_of_defaults_is_written() -> None:
    spec = cdi.Spec("vendor.com/class", container_edits=cdi.ContainerEdits(intel_rdt=cdi.IntelRdt()))
    assert cdi.document(spec)["containerEdits"] == {"intelRdt": {}}


def test_the_text_of_many_devices_is_made_without_a_document_of_them_all() -> None:
    spec = many(2_000)
    size = len(cdi.dumps(spec))
    tracemalloc.start()
    try:
        cdi.dumps(spec)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * size
