import asyncio
from pathlib import Path

import pytest

from kubelet_plugin.cli import choosing, devices_watch, offers
from kubelet_plugin.cli.offers import Offer
from kubelet_plugin.cli.owners import Owners
from kubelet_plugin.config.presets import preset
from kubelet_plugin.config.schema import Device, Resource
from kubelet_plugin.discovery import Roots
from kubelet_plugin.errors import ConfigurationError
from tests.fake_node import FakeNode


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path)


def test_owners_have_the_names_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n# none\n\nhalf:x\n")
    (tmp_path / "etc/group").write_text("dialout:x:20:anna\n")
    owners = Owners(Roots(host=str(tmp_path)))
    assert (owners.user(0), owners.user(7), owners.group(20), owners.group(0)) == ("root", "7", "dialout", "0")


def test_owners_of_a_host_without_such_files_are_numbers(tmp_path: Path) -> None:
    assert Owners(Roots(host=str(tmp_path))).user(0) == "0"


def test_sysfs_and_udev_are_those_below_the_root_where_it_has_them(node: FakeNode) -> None:
    place = str(node.place)
    assert choosing.roots(place, None) == Roots(host=place, sysfs=f"{place}/sys", udev=f"{place}/run/udev")
    assert choosing.roots(f"{place}/dev", None) == Roots(host=f"{place}/dev", sysfs="/sys", udev="/run/udev")
    assert choosing.roots(place, "/elsewhere").sysfs == "/elsewhere"


def test_a_resource_with_nothing_here_is_neither_healthy_nor_there(node: FakeNode) -> None:
    (offer,) = asyncio.run(offers.look([preset("fuse", "a.example")], node.roots))
    assert (len(offer.devices), offer.is_healthy, offer.is_empty) == (1, False, True)


def test_a_device_whose_node_works_makes_its_resource_healthy(node: FakeNode) -> None:
    node.char("fuse")
    (offer,) = asyncio.run(offers.look([preset("fuse", "a.example")], node.roots))
    assert (offer.is_healthy, offer.is_empty) == (True, False)


def test_a_list_that_equals_the_one_before_is_no_change(node: FakeNode) -> None:
    node.char("fuse")
    first, again = (asyncio.run(offers.look([preset("fuse", "a.example")], node.roots))[0] for _ in range(2))
    owners = Owners(node.roots)
    assert [*devices_watch._changes(first, again, owners)] == []
    assert [(each.before, each.after) for each in devices_watch._changes(None, first, owners)] == [("", "Healthy")]


def test_what_is_no_longer_offered_takes_its_devices_along(node: FakeNode) -> None:
    node.char("fuse")
    (first,) = asyncio.run(offers.look([preset("fuse", "a.example")], node.roots))
    changes = devices_watch._changes(
        first, Offer(first.resource, "no kernel module fuse is loaded"), Owners(node.roots)
    )
    assert [(each.device, each.before, each.after) for each in changes] == [
        ("", "offered", "not offered"),
        ("fuse", "Healthy", ""),
    ]


def test_a_resource_that_cannot_be_observed_ends_the_watch_with_its_error(node: FakeNode) -> None:
    broken = Resource(name="a.example/a", devices=(Device(path="/dev/a"),), probe="none")  # type: ignore[arg-type]

    async def follow() -> None:
        async for _ in offers.follow([broken], node.roots):
            pass

    with pytest.raises(KeyError):
        asyncio.run(follow())


def test_a_preset_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match="there is no preset 'gpu'; there are dri, fuse"):
        choosing.resources(["gpu"], [], [], domain="a.example", form=None)
