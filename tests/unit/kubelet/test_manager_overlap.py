import asyncio
import dataclasses
import os
from pathlib import Path

import pytest

from kubelet_plugin.kubelet.manager import NodeResource
from kubelet_plugin.kubelet.profile import Profile
from tests.asynchronous import asynchronous
from tests.unit.kubelet.foreign_plugin import THING
from tests.unit.kubelet.node import node

DEFECTIVE = ["1.31", "1.36"]
SOUND = dataclasses.replace(Profile.of("1.36"), disconnects_by_name=False)


@asynchronous
@pytest.mark.parametrize("version", ["1.20", *DEFECTIVE])
async def test_the_new_instances_list_takes_the_place_of_the_olds(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        await one.plugin("a")
        await one.plugin("b", "c")
        assert one.manager.resources()[THING] == NodeResource(2, 2)


@asynchronous
@pytest.mark.parametrize("version", ["1.20", *DEFECTIVE])
async def test_the_old_instance_is_not_cut_off_by_the_new_one(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        old = await one.plugin("a")
        await one.plugin("b")
        await one.offer(old, "c", "d")
        assert one.manager.resources()[THING] == NodeResource(2, 2)


@asynchronous
@pytest.mark.parametrize("version", DEFECTIVE)
async def test_the_old_instances_end_makes_the_news_devices_unhealthy(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        old = await one.plugin("a")
        await one.plugin("b", "c")
        await one.die(old)
        assert one.manager.resources()[THING] == NodeResource(2, 0)


@asynchronous
@pytest.mark.parametrize("version", DEFECTIVE)
async def test_the_new_instance_sees_its_stream_end_with_the_old(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        old = await one.plugin("a")
        new = await one.plugin("b")
        await one.die(old)
        await one.asked(new, "ListAndWatch ended")


@asynchronous
@pytest.mark.parametrize("version", DEFECTIVE)
async def test_the_new_instance_has_its_devices_back_when_it_registers_again(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        old = await one.plugin("a")
        new = await one.plugin("b")
        await one.die(old)
        await one.asked(new, "ListAndWatch ended")
        await one.register(new)
        await one.has(1, 1)


@asynchronous
@pytest.mark.parametrize("kubelet", ["1.20", SOUND], ids=["1.20", "switched off"])
async def test_without_the_defect_the_old_instances_end_concerns_nobody_else(
    tmp_path: Path, kubelet: str | Profile
) -> None:
    async with node(tmp_path, kubelet) as one:
        old = await one.plugin("a")
        new = await one.plugin("b", "c")
        await one.die(old)
        assert one.manager.resources()[THING] == NodeResource(2, 2)
        await one.offer(new, "b")


@asynchronous
@pytest.mark.parametrize("kubelet", ["1.20", SOUND], ids=["1.20", "switched off"])
async def test_without_the_defect_the_new_instances_end_is_its_own_loss(tmp_path: Path, kubelet: str | Profile) -> None:
    async with node(tmp_path, kubelet) as one:
        await one.plugin("a")
        new = await one.plugin("b", "c")
        await one.die(new)
        assert one.manager.resources()[THING] == NodeResource(2, 0)


@asynchronous
@pytest.mark.parametrize("version", DEFECTIVE)
async def test_after_a_failed_registration_nobody_notices_the_old_instances_end(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        old = await one.plugin("a")
        new = await one.serving("b")
        one.manager.faults.fail(THING, "GetDevicePluginOptions", "no")
        await one.register(new)
        await one.die(old)
        assert one.manager.resources()[THING] == NodeResource(1, 1)


@asynchronous
@pytest.mark.parametrize("version", DEFECTIVE)
async def test_devices_of_a_plugin_whose_end_nobody_noticed_cannot_be_had(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        old = await one.plugin("a")
        new = await one.serving("b")
        one.manager.faults.fail(THING, "GetDevicePluginOptions", "no")
        await one.register(new)
        await one.die(old)
        assert (await one.refused("p", 1)).startswith("rpc error: code = Unavailable desc = ")


@asynchronous
@pytest.mark.parametrize("version", DEFECTIVE)
async def test_the_old_instances_end_while_the_new_one_is_dialled_makes_the_olds_devices_unhealthy(
    tmp_path: Path, version: str
) -> None:
    async with node(tmp_path, version) as one:
        old = await one.plugin("a")
        new = await one.serving("b", socket="early.sock")
        answer = asyncio.create_task(one.register(new, endpoint="late.sock"))
        await one.until(lambda: one.clock.sleepers == 2)
        await one.die(old)
        assert one.manager.resources()[THING] == NodeResource(1, 0)
        os.link(tmp_path / "early.sock", tmp_path / "late.sock")
        one.clock.advance(1)
        assert await answer == ""


@asynchronous
@pytest.mark.parametrize("version", DEFECTIVE)
async def test_an_instance_that_was_dialled_while_the_old_one_ended_is_never_missed(
    tmp_path: Path, version: str
) -> None:
    """It is in nobody's table of clients by then."""
    async with node(tmp_path, version) as one:
        old = await one.plugin("a")
        new = await one.serving("b", "c", socket="early.sock")
        answer = asyncio.create_task(one.register(new, endpoint="late.sock"))
        await one.until(lambda: one.clock.sleepers == 2)
        await one.die(old)
        os.link(tmp_path / "early.sock", tmp_path / "late.sock")
        one.clock.advance(1)
        await answer
        await one.has(2, 2)
        await one.die(new)
        assert one.manager.resources()[THING] == NodeResource(2, 2)


@asynchronous
@pytest.mark.parametrize("version", DEFECTIVE)
async def test_the_old_instances_end_fails_a_registration_that_waits_for_options(tmp_path: Path, version: str) -> None:
    async with node(tmp_path, version) as one:
        old = await one.plugin("a")
        new = await one.serving("b")
        new.hold("GetDevicePluginOptions")
        answer = asyncio.create_task(one.register(new))
        await one.asked(new, "GetDevicePluginOptions")
        await one.die(old)
        assert await answer == (
            "UNKNOWN: failed to get device plugin options: "
            "rpc error: code = Canceled desc = grpc: the client connection is closing"
        )
