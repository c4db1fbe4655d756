import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet_plugin import cdi

NODE = cdi.DeviceNode("/dev/kvm", file_mode=0o660)
MOUNT = cdi.Mount("/usr/share/x", "/x", options=("ro", "bind"))
NET = cdi.NetDevice("eth1", "net0")
HOOK = cdi.Hook("createContainer", "/usr/bin/hook", args=("hook", "-v"))

edits = st.builds(
    cdi.ContainerEdits,
    env=st.lists(st.sampled_from(["A=1", "A=2", "B=1"])).map(tuple),
    device_nodes=st.lists(st.sampled_from([NODE, cdi.DeviceNode("/dev/null")])).map(tuple),
    additional_gids=st.lists(st.integers(1, 4)).map(tuple),
)


def test_edits_without_a_part_are_false() -> None:
    assert not cdi.ContainerEdits()


@pytest.mark.parametrize(
    "given_edits",
    [
        cdi.ContainerEdits(env=("A=1",)),
        cdi.ContainerEdits(device_nodes=(NODE,)),
        cdi.ContainerEdits(mounts=(MOUNT,)),
        cdi.ContainerEdits(hooks=(HOOK,)),
        cdi.ContainerEdits(additional_gids=(36,)),
        cdi.ContainerEdits(net_devices=(NET,)),
        cdi.ContainerEdits(intel_rdt=cdi.IntelRdt()),
    ],
)
def test_edits_with_any_part_are_true(given_edits: cdi.ContainerEdits) -> None:
    assert given_edits


def test_edits_are_values() -> None:
    one = cdi.ContainerEdits(device_nodes=(cdi.DeviceNode("/dev/kvm", file_mode=0o660),), mounts=(MOUNT,))
    same = cdi.ContainerEdits(device_nodes=(NODE,), mounts=(dataclasses.replace(MOUNT),))
    assert {one: "found"}[same] == "found"


def test_merging_keeps_the_order_and_equal_parts_once() -> None:
    merged = cdi.merge(
        cdi.ContainerEdits(env=("B=1", "A=1"), device_nodes=(NODE,), mounts=(MOUNT,), additional_gids=(5,)),
        cdi.ContainerEdits(env=("A=1", "C=1"), device_nodes=(NODE,), hooks=(HOOK,), additional_gids=(4, 5)),
        cdi.ContainerEdits(mounts=(MOUNT,), hooks=(HOOK,), net_devices=(NET,)),
        cdi.ContainerEdits(net_devices=(cdi.NetDevice("eth0", "net1"), NET)),
    )
    assert merged == cdi.ContainerEdits(
        env=("B=1", "A=1", "C=1"),
        device_nodes=(NODE,),
        mounts=(MOUNT,),
        hooks=(HOOK,),
        additional_gids=(5, 4),
        net_devices=(NET, cdi.NetDevice("eth0", "net1")),
    )


def test_merging_keeps_the_last_class_of_service() -> None:
    first, last = cdi.IntelRdt(clos_id="first"), cdi.IntelRdt(clos_id="last")
    edits = [cdi.ContainerEdits(intel_rdt=rdt) for rdt in (first, last, None)]
    assert cdi.merge(*edits).intel_rdt == last


def test_merging_keeps_both_values_of_one_variable() -> None:
    merged = cdi.merge(cdi.ContainerEdits(env=("A=1",)), cdi.ContainerEdits(env=("A=2",)))
    assert merged.env == ("A=1", "A=2")


def test_merging_nothing_gives_empty_edits() -> None:
    assert cdi.merge() == cdi.ContainerEdits()


@settings(derandomize=True, deadline=None)
@given(edits, edits, edits)
def test_merging_step_by_step_gives_what_merging_at_once_gives(
    one: cdi.ContainerEdits, two: cdi.ContainerEdits, three: cdi.ContainerEdits
) -> None:
    assert cdi.merge(cdi.merge(one, two), three) == cdi.merge(one, cdi.merge(two, three)) == cdi.merge(one, two, three)
