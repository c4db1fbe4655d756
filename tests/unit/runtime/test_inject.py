import pytest

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.cdi import ContainerEdits, DeviceNode
from kubelet_plugin.errors import DeviceListError
from kubelet_plugin.runtime import Device, Inject
from kubelet_plugin.runtime.device import NO_EDITS
from kubelet_plugin.runtime.inject import annotation_key, answer, check_deliverable, needs_cdi

RESOURCE = "example.com/thing"


def answered(*devices: Device, inject: Inject = Inject.BOTH) -> v1beta1.ContainerAllocateResponse:
    return answer(RESOURCE, inject, devices, [f"{RESOURCE}={device.cdi_name}" for device in devices], NO_EDITS)


def owned(uid: int | None = None, gid: int | None = None) -> Device:
    node = DeviceNode("/dev/thing", file_mode=0o660, uid=uid, gid=gid)
    return Device("thing", ContainerEdits(device_nodes=(node,)))


@pytest.mark.parametrize("inject", list(Inject))
def test_annotations_of_devices_are_in_the_answer_however_it_injects(inject: Inject) -> None:
    annotations = answered(Device("a", annotations=(("example.com/serial", "42"),)), inject=inject).annotations
    assert annotations["example.com/serial"] == "42"


def test_annotations_of_all_devices_are_joined() -> None:
    devices = (Device("a", annotations=(("one", "1"),)), Device("b", annotations=(("two", "2"),)))
    assert answered(*devices).annotations == {"one": "1", "two": "2"}


def test_of_two_values_for_one_annotation_the_first_stays() -> None:
    devices = (Device("a", annotations=(("key", "1"),)), Device("b", annotations=(("key", "2"),)))
    assert answered(*devices).annotations == {"key": "1"}


def test_no_annotation_takes_the_place_of_the_cdi_names() -> None:
    device = Device("a", annotations=((annotation_key(RESOURCE), "mine"),))
    assert answered(device, inject=Inject.CDI_ANNOTATION).annotations == {annotation_key(RESOURCE): f"{RESOURCE}=a"}


def test_a_device_spec_names_the_stable_link_to_the_node() -> None:
    node = DeviceNode("/dev/modem", host_path="/dev/ttyUSB0", file_mode=0o660)
    links = (("/dev/ttyUSB0", "/dev/serial/by-id/modem"),)
    (spec,) = answered(Device("modem", ContainerEdits(device_nodes=(node,)), links=links)).devices
    assert (spec.container_path, spec.host_path) == ("/dev/modem", "/dev/serial/by-id/modem")


def test_a_device_spec_of_a_node_without_a_link_names_the_node() -> None:
    nodes = (DeviceNode("/dev/a"), DeviceNode("/dev/b"))
    specs = answered(Device("a", ContainerEdits(device_nodes=nodes), links=(("/dev/b", "/dev/by-id/b"),))).devices
    assert [spec.host_path for spec in specs] == ["/dev/a", "/dev/by-id/b"]


@pytest.mark.parametrize("device", [owned(uid=0), owned(gid=107)])
def test_a_nodes_owner_cannot_be_delivered_by_a_device_spec(device: Device) -> None:
    with pytest.raises(DeviceListError, match="has a node's owner, which a device spec cannot carry: use --inject"):
        check_deliverable(Inject.DEVICE_SPEC, [device])


@pytest.mark.parametrize("inject", [Inject.BOTH, Inject.CDI, Inject.CDI_ANNOTATION])
def test_a_nodes_owner_is_delivered_by_cdi(inject: Inject) -> None:
    check_deliverable(inject, [owned(uid=0)])


def test_a_nodes_mode_is_no_reason_to_refuse_it() -> None:
    check_deliverable(Inject.DEVICE_SPEC, [owned()])


def test_a_device_whose_node_has_an_owner_is_not_handed_out_without_its_spec() -> None:
    assert needs_cdi(owned(gid=107), Inject.BOTH)
    assert not needs_cdi(owned(), Inject.BOTH)
