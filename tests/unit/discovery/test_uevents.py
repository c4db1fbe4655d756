"""The kernel's events, from a socket that a test writes to, and from the kernel itself."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin.discovery.uevents import Uevents
from tests.asynchronous import asynchronous
from tests.unit.discovery.listening import Bell, descriptors, loop_has_read

LATE = 10.0
NODE = {"ACTION": "add", "SUBSYSTEM": "tty", "MAJOR": "188", "MINOR": "0", "DEVNAME": "ttyUSB0"}


class Wire:
    """What the kernel's events come through; `fault` is raised once, `sender` is who sends."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._near.setblocking(False)
        self.fault: OSError | None = None
        self.sender: object = (0, 1)

    def open(self) -> Any:
        return self

    def send(self, message: bytes) -> None:
        self._far.send(message)

    def event(self, **fields: str) -> None:
        path = "/devices/pci0000:00/0000:00:14.0"
        self.send("\0".join([f"add@{path}", f"DEVPATH={path}", *(f"{k}={v}" for k, v in fields.items()), ""]).encode())

    def recvfrom(self, size: int) -> tuple[bytes, object]:
        message = self._near.recv(size)
        if fault := self.fault:
            self.fault = None
            raise fault
        return message, self.sender

    def fileno(self) -> int:
        return self._near.fileno()

    def close(self) -> None:
        self._near.close()
        self._far.close()


@contextmanager
def listening(wire: Wire) -> Iterator[Bell]:
    uevents, bell = Uevents(asyncio.get_running_loop(), wire.open), Bell()
    uevents.subscribe(bell, bell)
    try:
        yield bell
    finally:
        uevents.unsubscribe(bell)


@pytest.mark.parametrize(
    "fields",
    [
        NODE,
        {"ACTION": "remove", "SUBSYSTEM": "usb", "DEVTYPE": "usb_device"},
        {"ACTION": "bind", "SUBSYSTEM": "pci", "DRIVER": "vfio-pci"},
        {"ACTION": "add", "SUBSYSTEM": "module"},
    ],
    ids=["a node", "a USB device", "a PCI function", "a module"],
)
def test_what_may_be_a_device_wakes(fields: dict[str, str]) -> None:
    @asynchronous
    async def body() -> None:
        wire = Wire()
        with listening(wire) as bell:
            wire.event(**fields)
            assert await bell.rang()

    body()


@pytest.mark.parametrize(
    "message",
    [
        b"add@/devices/virtual/bdi/7:0\0ACTION=add\0SUBSYSTEM=bdi\0",
        b"libudev\0\xfe\xed\xca\xfe\0\0\0(DEVNAME=/dev/ttyUSB0\0SUBSYSTEM=usb\0",
        b"DEVNAME=ttyUSB0\0",
        b"\xff@\xff\0\xff\0=\0",
        b"",
    ],
    ids=["of another subsystem", "udev's", "headless", "noise", "empty"],
)
def test_nothing_else_wakes(message: bytes) -> None:
    @asynchronous
    async def body() -> None:
        wire = Wire()
        with listening(wire) as bell:
            wire.send(message)
            assert not await bell.rang()

    body()


@asynchronous
async def test_one_event_that_matters_is_enough_whatever_comes_with_it() -> None:
    wire = Wire()
    with listening(wire) as bell:
        wire.send(b"noise@\xff\0\xff\0=\0")
        wire.event(**NODE)
        wire.send(b"noise@\xff\0\xff\0=\0")
        assert await bell.rang()


@asynchronous
async def test_what_another_process_sends_does_not_wake() -> None:
    wire = Wire()
    wire.sender = (os.getpid(), 1)
    with listening(wire) as bell:
        wire.event(**NODE)
        assert not await bell.rang()


@asynchronous
async def test_many_events_wake_once() -> None:
    wire = Wire()
    with listening(wire) as bell:
        for _ in range(5):
            wire.event(**NODE)
        await loop_has_read()
        assert bell.rings == 1


@asynchronous
async def test_more_events_than_are_read_at_once_are_all_read() -> None:
    wire = Wire()
    woken = asyncio.Event()
    uevents = Uevents(asyncio.get_running_loop(), wire.open)
    uevents.subscribe("last", woken.set)

    async def send() -> None:
        for _ in range(1000):
            while True:
                try:
                    wire._far.send(b"add@/x\0SUBSYSTEM=bdi\0", socket.MSG_DONTWAIT)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0)
        wire.event(SUBSYSTEM="usb")

    async with asyncio.timeout(LATE):
        await send()
        await woken.wait()
    uevents.unsubscribe("last")


@asynchronous
async def test_lost_events_wake_everybody() -> None:
    wire = Wire()
    uevents = Uevents(asyncio.get_running_loop(), wire.open)
    every, some = Bell(), Bell()
    uevents.subscribe(every, every)
    uevents.subscribe(some, some)
    wire.fault = OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
    wire.send(b"lost")
    assert (await every.rang(), await some.rang()) == (True, True)
    wire.event(**NODE)
    assert (await every.rang(), await some.rang()) == (True, True)
    uevents.unsubscribe(every)
    uevents.unsubscribe(some)


@asynchronous
async def test_one_who_is_woken_may_end_another() -> None:
    wire = Wire()
    uevents = Uevents(asyncio.get_running_loop(), wire.open)
    woken: list[str] = []

    def wake(name: str, other: str) -> None:
        woken.append(name)
        uevents.unsubscribe(other)

    uevents.subscribe("one", lambda: wake("one", "two"))
    uevents.subscribe("two", lambda: wake("two", "one"))
    wire.event(**NODE)
    await loop_has_read()
    assert woken == ["one"]
    uevents.unsubscribe("one")


@asynchronous
async def test_the_last_to_leave_closes_the_socket_and_the_next_opens_another() -> None:
    wires: list[Wire] = []

    def opened() -> Any:
        wires.append(Wire())
        return wires[-1]

    uevents = Uevents(asyncio.get_running_loop(), opened)
    before = descriptors()
    one, two = Bell(), Bell()
    uevents.subscribe(one, one)
    uevents.subscribe(two, two)
    uevents.unsubscribe(one)
    assert descriptors() == before + 2
    uevents.unsubscribe(two)
    uevents.unsubscribe(two)
    assert descriptors() == before
    uevents.subscribe(one, one)
    wires[-1].event(**NODE)
    assert (len(wires), await one.rang(), await two.rang()) == (2, True, False)
    uevents.unsubscribe(one)


@asynchronous
async def test_all_on_one_loop_share_one_until_the_last_has_left() -> None:
    loop = asyncio.get_running_loop()
    shared = Uevents.of_loop(loop)
    assert Uevents.of_loop(loop) is shared
    shared.subscribe("one", Bell())
    shared.unsubscribe("one")
    assert Uevents.of_loop(loop) is not shared
    Uevents.of_loop(loop).unsubscribe("one")


@asynchronous
async def test_a_socket_that_the_kernel_does_not_grant_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    def refused() -> socket.socket:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    uevents = Uevents(asyncio.get_running_loop(), refused)
    with caplog.at_level(logging.WARNING, "kubelet_plugin.discovery"):
        uevents.subscribe("one", Bell())
        uevents.subscribe("two", Bell())
    assert not uevents.heard
    uevents.unsubscribe("one")
    uevents.unsubscribe("two")
    assert [record.getMessage() for record in caplog.records] == [
        "the kernel's events cannot be heard: Operation not permitted; hot-plug is noticed late"
    ]


# The kernel itself.

NULL = Path("/sys/class/mem/null/uevent")  # writing `change` to it changes nothing, but makes the kernel say so


def heard_by_the_kernel() -> bool:
    try:
        with open(NULL, "w"), socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) as sock:
            sock.bind((0, 1))
    except OSError:
        return False
    return True


kernel = pytest.mark.skipif(not heard_by_the_kernel(), reason="the kernel lets us neither make nor hear an event")


@kernel
@asynchronous
async def test_the_kernel_s_own_event_wakes() -> None:
    woken = asyncio.Event()
    uevents = Uevents.of_loop(asyncio.get_running_loop())
    uevents.subscribe("null", woken.set)
    NULL.write_text("change")
    try:
        async with asyncio.timeout(LATE):
            await woken.wait()
    finally:
        uevents.unsubscribe("null")


@kernel
@asynchronous
async def test_another_process_cannot_pass_for_the_kernel() -> None:
    bell = Bell()
    uevents = Uevents.of_loop(asyncio.get_running_loop())
    uevents.subscribe(bell, bell)
    assert uevents._socket
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) as other:
        other.sendto(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=usb\0", (uevents._socket.getsockname()[0], 0))
    assert not await bell.rang()
    uevents.unsubscribe(bell)


@asynchronous
async def test_in_a_user_namespace_of_its_own_it_does_not_count_on_events(caplog: pytest.LogCaptureFixture) -> None:
    ours, _kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    uevents = Uevents(asyncio.get_running_loop(), lambda: ours, is_first=False)
    uevents.subscribe("me", lambda: None)
    assert not uevents.heard
    assert "may send no events into this user namespace" in caplog.text
    uevents.unsubscribe("me")
    _kernels.close()
