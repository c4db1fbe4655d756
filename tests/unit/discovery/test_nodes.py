import asyncio
import os
import stat
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from random import Random

import pytest

from kubelet_plugin.discovery import Finding, Node, Probe, Roots, probes, watch
from kubelet_plugin.discovery.nodes import paths_of
from kubelet_plugin.errors import ConfigurationError
from tests.asynchronous import asynchronous
from tests.unit.discovery.listening import descriptors, loop_has_read

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")

Lists = AsyncGenerator[tuple[Node, ...], None]

SOON = 0.01
LATE = 30.0


def mknod(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 8))


def names(nodes: tuple[Node, ...]) -> list[str]:
    return [node.name for node in nodes]


async def next_list(lists: Lists) -> tuple[Node, ...]:
    async with asyncio.timeout(LATE):
        return await anext(lists)


class Test:
    """A probe's test that counts its calls by path, and hangs where it is told to."""

    __test__ = False

    def __init__(self, *hanging: str) -> None:
        self.calls: list[str] = []
        self.entered = threading.Event()
        self._hanging = hanging
        self._released = threading.Event()

    def __call__(self, path: str) -> Finding:
        self.calls.append(os.path.basename(path))
        self.entered.set()
        if os.path.basename(path) in self._hanging:
            assert self._released.wait(LATE)
        return Finding(True, f"answered {len(self.calls)}")

    def release(self) -> None:
        self._hanging = ()
        self._released.set()


@asynchronous
async def test_a_fixed_node_is_listed_with_its_reason_while_absent(tmp_path: Path) -> None:
    async with aclosing(watch("/dev/kvm", probe=probes.kvm, host_root=str(tmp_path))) as lists:
        (node,) = await next_list(lists)
    reason = f"{tmp_path}/dev/kvm is absent; {probes.kvm.remedy}"
    assert node == Node("/dev/kvm", False, 0, 0, 0, False, reason)
    assert node.name == "kvm"


@asynchronous
async def test_a_glob_lists_nothing_where_nothing_is(tmp_path: Path) -> None:
    async with aclosing(watch("/dev/crand*", host_root=str(tmp_path))) as lists:
        assert await next_list(lists) == ()


@asynchronous
async def test_a_node_carries_its_mode_and_owner() -> None:
    status = os.stat("/dev/null")
    async with aclosing(watch("/dev/null", probe=probes.open_node)) as lists:
        (node,) = await next_list(lists)
    owner = (status.st_uid, status.st_gid)
    assert node == Node("/dev/null", True, stat.S_IMODE(status.st_mode), *owner, True, "", number=status.st_rdev)


@asynchronous
async def test_what_is_no_device_node_is_present_and_unhealthy(tmp_path: Path) -> None:
    (tmp_path / "crand0").mkdir(mode=0o755)
    async with aclosing(watch(f"{tmp_path}/crand*")) as lists:
        (node,) = await next_list(lists)
    assert (node.present, node.healthy, node.mode) == (True, False, 0o755)
    assert "is a directory" in node.reason


@asynchronous
async def test_nodes_are_sorted_by_their_numbers(tmp_path: Path) -> None:
    for name in ("crand10", "crand2", "crand", "crand1x", "crand01", "crand1"):
        (tmp_path / name).touch()
    async with aclosing(watch(f"{tmp_path}/crand*")) as lists:
        assert names(await next_list(lists)) == ["crand", "crand01", "crand1", "crand1x", "crand2", "crand10"]


@asynchronous
async def test_nodes_come_in_the_order_of_the_patterns_and_once_each(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b1"):
        (tmp_path / name).touch()
    async with aclosing(watch(f"{tmp_path}/zz", f"{tmp_path}/b*", f"{tmp_path}/a2", f"{tmp_path}/a*")) as lists:
        assert names(await next_list(lists)) == ["zz", "b1", "a2", "a1"]


@asynchronous
async def test_a_relative_pattern_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'dev/kvm' is not an absolute path"):
        await anext(watch("dev/kvm"))


@as_root
@asynchronous
async def test_nodes_come_and_go(tmp_path: Path) -> None:
    async with aclosing(watch(f"{tmp_path}/crand*")) as lists:
        assert await next_list(lists) == ()
        mknod(tmp_path / "crand0")
        (node,) = await next_list(lists)
        assert (node.name, node.present, node.healthy) == ("crand0", True, True)
        mknod(tmp_path / "crand1")
        assert names(await next_list(lists)) == ["crand0", "crand1"]
        (tmp_path / "crand0").unlink()
        assert names(await next_list(lists)) == ["crand1"]


@as_root
@asynchronous
async def test_a_fixed_node_comes_with_its_directories_and_goes(tmp_path: Path) -> None:
    async with aclosing(watch("/dev/net/tun", host_root=str(tmp_path))) as lists:
        assert [node.healthy for node in await next_list(lists)] == [False]
        (tmp_path / "dev/net").mkdir(parents=True)
        mknod(tmp_path / "dev/net/tun")
        while not (nodes := await next_list(lists))[0].present:
            pass
        assert [(node.path, node.healthy) for node in nodes] == [("/dev/net/tun", True)]
        (tmp_path / "dev/net/tun").unlink()
        assert [node.present for node in await next_list(lists)] == [False]


@as_root
@asynchronous
async def test_a_change_of_mode_or_owner_is_yielded_and_probed(tmp_path: Path) -> None:
    mknod(tmp_path / "crand0")
    test = Test()
    async with aclosing(watch(f"{tmp_path}/crand*", probe=Probe("test", test))) as lists:
        await next_list(lists)
        (tmp_path / "crand0").chmod(0o640)
        (node,) = await next_list(lists)
        assert (node.mode, node.reason) == (0o640, "answered 2")
        os.chown(tmp_path / "crand0", 7, 8)
        (node,) = await next_list(lists)
        assert (node.uid, node.gid, node.reason) == (7, 8, "answered 3")


@as_root
@asynchronous
async def test_a_node_that_stayed_as_it_was_is_not_probed_for_its_neighbours_sake(tmp_path: Path) -> None:
    mknod(tmp_path / "crand0")
    test = Test()
    async with aclosing(watch(f"{tmp_path}/crand*", probe=Probe("test", test))) as lists:
        await next_list(lists)
        mknod(tmp_path / "crand1")
        await next_list(lists)
    assert test.calls == ["crand0", "crand1"]


@as_root
@asynchronous
async def test_a_node_replaced_by_another_is_probed(tmp_path: Path) -> None:
    mknod(tmp_path / "crand0")
    test = Test()
    async with aclosing(watch(f"{tmp_path}/crand0", probe=Probe("test", test))) as lists:
        await next_list(lists)
        mknod(tmp_path / "other")
        (tmp_path / "other").rename(tmp_path / "crand0")
        await next_list(lists)
    assert test.calls == ["crand0", "crand0"]


@asynchronous
async def test_a_resync_probes_and_yields_though_nothing_happened(tmp_path: Path) -> None:
    test = Test()
    async with aclosing(watch("/dev/null", probe=Probe("test", test), resync=SOON)) as lists:
        reasons = [(await next_list(lists))[0].reason for _ in range(3)]
    assert reasons == ["answered 1", "answered 2", "answered 3"]


@asynchronous
async def test_unrelated_names_yield_nothing(tmp_path: Path) -> None:
    async with aclosing(watch(f"{tmp_path}/crand*", f"{tmp_path}/kvm", gather=0)) as lists:
        await next_list(lists)
        waiting = asyncio.ensure_future(next_list(lists))
        (tmp_path / "rand0").touch()
        (tmp_path / "kvm2").touch()
        await loop_has_read()
        assert not waiting.done()
        (tmp_path / "kvm").touch()
        await loop_has_read()
        assert waiting.done()


@asynchronous
async def test_what_happens_while_the_consumer_is_busy_is_not_lost(tmp_path: Path) -> None:
    async with aclosing(watch(f"{tmp_path}/crand*")) as lists:
        await next_list(lists)
        (tmp_path / "crand0").touch()
        await loop_has_read()
        (tmp_path / "crand1").touch()
        await loop_has_read()
        assert names(await next_list(lists)) == ["crand0", "crand1"]


@asynchronous
async def test_a_storm_ends_in_the_right_list_and_few_yields(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    gather = 0.010
    yields = 0

    async def storm() -> None:
        for number in range(1000):
            (tmp_path / f"crand{number}").touch()
            if number % 10:
                (tmp_path / f"crand{number}").unlink()
            await asyncio.sleep(0)

    expected = [f"crand{number}" for number in range(0, 1000, 10)]
    async with aclosing(watch(f"{tmp_path}/crand*", gather=gather)) as lists:
        await next_list(lists)
        begun = loop.time()
        storming = asyncio.create_task(storm())
        while names(await next_list(lists)) != expected:
            yields += 1
        lasted = loop.time() - begun
        await storming
    assert yields <= lasted / gather + 1


@as_root
@asynchronous
async def test_a_storm_of_nodes_and_links_to_them_ends_in_the_right_list(tmp_path: Path) -> None:
    (tmp_path / "dev/by-id").mkdir(parents=True)
    random = Random(1)

    def change(number: int) -> None:
        link, node = tmp_path / f"dev/by-id/x{number}", tmp_path / f"dev/tty{number}"
        if os.path.lexists(link) and random.random() < 0.5:
            link.unlink()
        elif not os.path.lexists(link):
            link.symlink_to(random.choice([f"../tty{number}", f"/dev/tty{number % 7}"]))
        if node.exists():
            node.unlink()
        else:
            mknod(node)

    async def storm() -> None:
        for _ in range(1000):
            change(random.randrange(20))
            await asyncio.sleep(0)

    def there() -> list[tuple[str, bool, str]]:
        told = []
        for path in paths_of(["/dev/by-id/*"], str(tmp_path)):
            target = Roots(str(tmp_path)).resolve(path)
            told.append((path, bool(target), target))
        return told

    async with aclosing(watch("/dev/by-id/*", host_root=str(tmp_path), gather=0.005, resync=LATE * 2)) as lists:
        storming = asyncio.create_task(storm())
        told = await next_list(lists)
        while not storming.done() or [(node.path, node.present, node.target) for node in told] != there():
            told = await next_list(lists)


@as_root
@asynchronous
async def test_a_probe_that_hangs_delays_nobody_beyond_the_deadline(tmp_path: Path) -> None:
    for name in ("crand0", "crand1"):
        mknod(tmp_path / name)
    test = Test("crand0")
    async with aclosing(watch(f"{tmp_path}/crand*", probe=Probe("test", test), deadline=SOON)) as lists:
        hanging, working = await next_list(lists)
        assert (hanging.present, hanging.healthy, working.healthy) == (True, False, True)
        assert "crand0 did not answer the test probe within 0.01 s" in hanging.reason
        test.release()


@as_root
@asynchronous
async def test_a_probe_that_hangs_is_not_begun_again_until_it_ends_and_then_it_is(tmp_path: Path) -> None:
    mknod(tmp_path / "crand0")
    test = Test("crand0")
    async with aclosing(watch(f"{tmp_path}/crand*", probe=Probe("test", test), deadline=SOON)) as lists:
        await next_list(lists)
        (tmp_path / "crand0").chmod(0o600)
        (node,) = await next_list(lists)
        assert (node.mode, node.healthy, test.calls) == (0o600, False, ["crand0"])
        test.release()
        (node,) = await next_list(lists)
        assert (node.healthy, test.calls) == (True, ["crand0", "crand0"])


@asynchronous
async def test_a_probe_that_raises_makes_its_node_unhealthy() -> None:
    def test(path: str) -> Finding:
        raise ZeroDivisionError("oh")

    async with aclosing(watch("/dev/null", probe=Probe("mine", test))) as lists:
        (node,) = await next_list(lists)
    assert (node.present, node.healthy) == (True, False)
    assert node.reason == "/dev/null could not be probed (mine): ZeroDivisionError: oh"


@asynchronous
async def test_closing_leaves_nothing_behind(tmp_path: Path) -> None:
    before = descriptors(), threading.active_count()
    lists = watch(f"{tmp_path}/crand*", "/dev/null", probe=probes.open_node)
    await next_list(lists)
    assert descriptors() > before[0]
    await lists.aclose()
    assert (descriptors(), threading.active_count()) == before


@asynchronous
async def test_cancelling_leaves_nothing_behind(tmp_path: Path) -> None:
    async def follow(first: asyncio.Event) -> None:
        async for _ in watch(f"{tmp_path}/crand*"):
            first.set()

    before = descriptors()
    first = asyncio.Event()
    following = asyncio.create_task(follow(first))
    await first.wait()
    assert descriptors() > before
    following.cancel()
    await asyncio.wait({following})
    assert descriptors() == before


@asynchronous
async def test_cancelling_while_a_probe_hangs_leaves_no_descriptor_behind() -> None:
    before = descriptors()
    test = Test("null")
    lists = watch("/dev/null", probe=Probe("test", test), deadline=LATE)
    waiting = asyncio.ensure_future(anext(lists))
    await asyncio.to_thread(test.entered.wait)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert descriptors() == before
    test.release()


# Which paths fit.


def test_a_link_among_the_directories_leads_to_the_host_s(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/crand0").touch()
    (tmp_path / "dev/by").symlink_to("/dev")
    assert list(paths_of(["/dev/by/crand*", "/dev/by/nul*", "/*/by/crand0"], str(tmp_path))) == [
        "/dev/by/crand0",
    ]


@pytest.mark.parametrize("name", [b"crand\xff", b"crand\n1", b"crand\x1b[1m"])
def test_a_name_that_cannot_be_written_fits_no_glob(name: bytes, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(name)).touch()
    (tmp_path / "crandé").touch()
    assert list(paths_of(["/crand*"], str(tmp_path))) == ["/crandé"]


def test_a_pattern_s_own_paths_are_told_with_it(tmp_path: Path) -> None:
    for name in ("crand0", "crand1"):
        (tmp_path / name).touch()
    assert paths_of(["/crand1", "/crand*", "//absent"], str(tmp_path)) == {
        "/crand1": "/crand1",
        "/crand0": "/crand*",
        "/absent": "//absent",
    }
