import asyncio
import re
from pathlib import Path

import pytest

from kubelet_plugin.kubelet import log
from tests.asynchronous import asynchronous
from tests.unit.kubelet.foreign_plugin import THING, answer, device
from tests.unit.kubelet.node import Node, container, node

OTHER = "example.com/other"


Lines = dict[str, tuple[int, list[str]]]
"""At which verbosity each message was logged, and with which keys; `-1` stands for an error."""


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """What is logged in the test."""
    seen: Lines = {}
    info, error = log.info, log.error

    def spying_info(verbosity: int, message: str, /, **keys: object) -> None:
        seen[message] = verbosity, list(keys)
        info(verbosity, message, **keys)

    def spying_error(cause: object, message: str, /, **keys: object) -> None:
        seen[message] = -1, [*(["err"] if cause else []), *keys]
        error(cause, message, **keys)

    monkeypatch.setattr(log, "info", spying_info)
    monkeypatch.setattr(log, "error", spying_error)
    return seen


async def story(one: Node) -> None:
    """All that plugins and pods make a kubelet say."""
    plugin = await one.plugin("a", "b", "c", prefer=True, pre_start=True)
    quiet = await one.plugin("a", resource=OTHER)
    quiet.on_allocate = lambda ids: [
        answer(
            envs={"A": "1"},
            annotations={"n": "1"},
            devices=[{"container_path": "/dev/a", "host_path": "/dev/1"}],
            mounts=[{"container_path": "/a", "host_path": "/1"}],
            cdi_devices=[{"name": "v.com/x=a"}],
        )
    ]
    await one.running("p", container("c", {THING: 1, OTHER: 1}))
    await one.manager.remove("p")
    await one.running("q", 1, static=True)
    await one.manager.restart()
    await one.register(await one.serving(resource="bad"), version="v2")
    await one.register(await one.serving(resource="bad"))
    await one.die(await one.plugin("a"))
    one.manager.faults.fail(THING, "GetDevicePluginOptions", "no")
    await one.register(await one.serving())
    failing = asyncio.create_task(one.register(plugin, endpoint="nowhere.sock"))
    await one.until(lambda: one.clock.sleepers == 2)
    one.clock.advance(301)
    await failing
    one.manager.resources()


POD = ["pod", "containerName"]
UNIT = ["resourceName", "podUID", "containerName"]
ALWAYS: Lines = {
    "Creating Device Plugin manager": (2, ["path"]),
    "Creating device plugin registration server": (2, ["version", "socket"]),
    "Starting Device Plugin manager": (2, []),
    "Starting device plugin registration server": (2, []),
    "Get checkpoint entry": (2, ["podUID", "containerName", "resourceName", "deviceIDs", "allocated"]),
    "Got registration request from device plugin with resource": (0, ["resourceName"]),
    "Bad registration request from device plugin with resource": (0, ["resourceName", "err"]),
    "Bad registration request from device plugin": (0, ["err"]),
    "Registered client": (2, ["name"]),
    "Deregistered client": (2, ["name"]),
    "Unable to connect to device plugin client with socket path": (-1, ["err", "path"]),
    "Failed to connect to new client": (-1, ["err", "resource"]),
    "Error connecting to device plugin client": (0, ["err"]),
    "Device plugin connected": (2, ["resourceName"]),
    "State pushed for device plugin": (2, ["resource", "resourceCapacity"]),
    "Processed device updates for resource": (2, ["resourceName", "totalCount", "healthyCount"]),
    "ListAndWatch ended unexpectedly for device plugin": (-1, ["err", "resource"]),
    "Mark all resources Unhealthy for resource": (2, ["resourceName"]),
    "Found pre-allocated devices for resource on pod": (3, ["resourceName", "containerName", "podUID", "devices"]),
    "Container detected running, nothing to do": (3, ["deviceNumber", *UNIT]),
    "Need devices to allocate for pod": (3, ["deviceNumber", *UNIT]),
    "Issuing a PreStartContainer call for container": (4, ["containerName", "podUID"]),
    "Add env": (4, ["envKey", "envValue"]),
    "Add device": (4, ["containerPath", "hostPath"]),
    "Add mount": (4, ["containerPath", "hostPath"]),
    "Add annotation": (4, ["annotationKey", "annotationValue"]),
    "Add CDI device": (4, ["name"]),
    "Pods to be removed": (3, ["podUIDs"]),
    "Set capacity for removed resource to 0 on device removal": (2, ["device"]),
}
TO_1_32: Lines = {
    "Looking for needed resources": (3, ["resourceName", "needed"]),
    "Making allocation request for device plugin": (3, ["devices", "resourceName"]),
    "Issuing a GetPreferredAllocation call for container": (4, ["podUID", "containerName"]),
    "Plugin options indicate to skip GetPreferredAllocation for resource": (4, ["resourceName"]),
    "Plugin options indicate to skip PreStartContainer for resource": (4, ["resourceName"]),
}
FROM_1_33: Lines = {
    "Read data from checkpoint file": (4, ["checkpoint"]),
    "Checkpoint file written": (4, ["checkpoint"]),
    "Connected to new client": (2, ["resource"]),
    "Device plugin disconnected": (2, ["resource"]),
    "Looking for needed resources": (3, ["resourceName", *POD, "needed"]),
    "Making allocation request for device plugin": (4, ["devices", "resourceName", *POD]),
    "Issuing a GetPreferredAllocation call for container": (4, UNIT),
    "Plugin options indicate to skip GetPreferredAllocation for resource": (5, UNIT),
    "Plugin options indicate to skip PreStartContainer for resource": (5, UNIT),
}
OUT_OF_SYNC: Lines = {"Unexpected: unhealthyDevices and endpoints became out of sync": (0, [])}


def unhealthy(*keys: str) -> Lines:
    return {"Endpoint became unhealthy": (2, ["resourceName", *keys])}


@asynchronous
@pytest.mark.parametrize(
    ("version", "own"),
    [
        ("1.31", TO_1_32 | OUT_OF_SYNC | unhealthy("endpoint")),
        ("1.32", TO_1_32 | OUT_OF_SYNC | unhealthy("endpoint")),
        ("1.33", FROM_1_33 | OUT_OF_SYNC | unhealthy("endpoint")),
        ("1.34", FROM_1_33 | OUT_OF_SYNC | unhealthy("endpoint")),
        ("1.35", FROM_1_33 | unhealthy("endpoint")),
        ("1.36", FROM_1_33 | unhealthy()),
    ],
)
async def test_a_kubelet_logs_in_the_words_of_its_version(
    tmp_path: Path, lines: Lines, version: str, own: Lines
) -> None:
    async with node(tmp_path, version) as one:
        await story(one)
    assert lines == ALWAYS | own


@asynchronous
async def test_nothing_is_said_against_a_plugin_that_registers(tmp_path: Path, lines: Lines) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
    assert [message for message in lines if "rror" in message or "Failed" in message or "Bad" in message] == []


@asynchronous
async def test_a_lost_list_is_logged_as_grpc_words_it(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.lose(await one.plugin("a"))
        assert f'"ListAndWatch ended unexpectedly for device plugin" err="EOF" resource="{THING}"' in one.lines


@asynchronous
async def test_a_list_that_is_too_long_is_logged_with_its_size(tmp_path: Path) -> None:
    async with node(tmp_path, message_limit=100) as one:
        plugin = await one.plugin("a")
        await one.offer_unheard(plugin, device("x" * 100))
        await one.has(1, 0)
        (line,) = [line for line in one.lines if line.startswith('"ListAndWatch ended')]
        text = r"rpc error: code = ResourceExhausted desc = grpc: received message larger than max \(\d+ vs. 100\)"
        assert re.search(f'err="{text}"', line)


@asynchronous
async def test_a_plugin_that_dies_is_logged_as_unavailable(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        await one.plugin("a")
        one.manager.cut(THING)
        await one.has(1, 0)
        text = "rpc error: code = Unavailable desc = error reading from server: EOF"
        assert f'"ListAndWatch ended unexpectedly for device plugin" err="{text}" resource="{THING}"' in one.lines


@asynchronous
async def test_a_plugin_that_is_cut_off_is_logged_as_closed(tmp_path: Path) -> None:
    async with node(tmp_path) as one:
        old = await one.plugin("a")
        await one.plugin("b")
        await one.die(old)
        await one.until(lambda: one.ends == 2)
        text = "rpc error: code = Canceled desc = grpc: the client connection is closing"
        assert f'"ListAndWatch ended unexpectedly for device plugin" err="{text}" resource="{THING}"' in one.lines
