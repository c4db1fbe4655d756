import asyncio
from typing import Any

import pytest

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api.wire import decode
from kubelet_plugin.errors import DeviceListError, ListTooLargeError
from kubelet_plugin.runtime import Device, Health, check_size
from kubelet_plugin.runtime.inventory import DeviceList, Inventory, shown
from tests.asynchronous import asynchronous


def listing(*devices: Device) -> DeviceList:
    return DeviceList("example.com/thing", devices)


def test_the_message_holds_ids_health_and_topology() -> None:
    message = decode(v1beta1.ListAndWatchResponse, listing(Device("a", numa_nodes=(0, 1))).message.data)
    assert message.devices == [
        v1beta1.Device(
            ID="a",
            health="Healthy",
            topology=v1beta1.TopologyInfo(nodes=[v1beta1.NUMANode(ID=0), v1beta1.NUMANode(ID=1)]),
        )
    ]


def test_a_device_without_numa_nodes_has_no_topology_at_all() -> None:
    (device,) = decode(v1beta1.ListAndWatchResponse, listing(Device("a")).message.data).devices
    assert device.topology is None


def test_an_id_twice_is_no_list() -> None:
    with pytest.raises(DeviceListError, match="'b' is on the list twice"):
        listing(Device("a"), Device("b"), Device("b"))


def test_a_list_just_under_the_limit_is_accepted() -> None:
    per_device = len(listing(Device("x" * 63)).message.data)
    listing(*(Device(f"{n:063}") for n in range(4 * 1024 * 1024 // per_device)))


def test_a_list_just_over_the_limit_is_refused_with_its_size() -> None:
    per_device = len(listing(Device("x" * 63)).message.data)
    with pytest.raises(ListTooLargeError, match=r"takes \d+ bytes, and a kubelet accepts 4194304"):
        listing(*(Device(f"{n:063}") for n in range(4 * 1024 * 1024 // per_device + 1)))


def test_the_size_known_beforehand_is_that_of_the_message() -> None:
    devices = [Device(f"kvm0::{n:03}", health=Health.UNHEALTHY) for n in range(1000)]
    size = len(listing(*devices).message.data)
    fits = 4 * 1024 * 1024 // (size // 1000)
    check_size("example.com/thing", (f"kvm0::{n:03}" for n in [7] * (fits - 10)))
    with pytest.raises(ListTooLargeError):
        check_size("example.com/thing", (f"kvm0::{n:03}" for n in [7] * (fits + 10)))


@asynchronous
async def test_a_late_subscriber_gets_the_list_at_once() -> None:
    inventory = Inventory()
    inventory.replace(listing(Device("a")))
    assert (await anext(inventory.lists())).devices == (Device("a"),)


@asynchronous
async def test_a_burst_coalesces_into_the_last_list() -> None:
    inventory = Inventory()
    inventory.replace(listing(Device("a")))
    lists = inventory.lists()
    await anext(lists)
    for n in range(100):
        inventory.replace(listing(Device(f"n{n}")))
    assert (await anext(lists)).devices == (Device("n99"),)


@asynchronous
async def test_a_list_whose_message_is_the_same_is_not_handed_on_but_is_the_latest() -> None:
    inventory = Inventory()
    inventory.replace(listing(Device("a")))
    lists = inventory.lists()
    await anext(lists)
    changed = Device("a", reason="still well")
    waiting = asyncio.ensure_future(anext(lists))
    inventory.replace(listing(changed))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert inventory.latest
    assert inventory.latest.by_id["a"] is changed
    inventory.replace(listing())
    assert (await waiting).devices == ()


def test_few_ids_are_shown_and_the_rest_counted() -> None:
    assert shown(["a", "b"]) == "a, b"
    assert shown([str(n) for n in range(9)]) == "0, 1, 2, 3, 4 and 4 more"


@asynchronous
async def test_the_last_list_is_the_last() -> None:
    inventory = Inventory()
    inventory.replace(listing(Device("a")))
    lists = inventory.lists()
    await anext(lists)
    inventory.end(listing())
    inventory.replace(listing(Device("late")))
    assert [each.devices async for each in lists] == [()]
    assert [each.devices async for each in inventory.lists()] == [()]


@asynchronous
async def test_a_last_list_that_was_sent_already_is_not_sent_again() -> None:
    inventory = Inventory()
    inventory.replace(listing())
    lists = inventory.lists()
    await anext(lists)
    inventory.end(listing())
    assert [each async for each in lists] == []


@pytest.mark.parametrize("pairs", [(("key", 1),), [("key", "value")], (("key",),), ("key",), {"key": "value"}])
def test_annotations_that_are_no_pairs_of_texts_are_no_list(pairs: Any) -> None:
    with pytest.raises(DeviceListError, match="no tuple of pairs of texts"):
        listing(Device("a", annotations=pairs))
