"""One look after another at device nodes, below a host's root."""

import asyncio
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kubelet_plugin.discovery import Finding, Node, Probe, Roots
from kubelet_plugin.discovery.probes import exists
from kubelet_plugin.discovery.survey import Survey
from tests.asynchronous import asynchronous

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")

LATE = 30.0


class Test:
    """A probe's test that keeps the paths it was called with."""

    __test__ = False

    def __init__(self, *, healthy: bool = True) -> None:
        self.paths: list[str] = []
        self._healthy = healthy

    def __call__(self, path: str) -> Finding:
        self.paths.append(path)
        return Finding(self._healthy, "tested")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host with a node and, beside its root, one that is not its own."""
    (tmp_path / "host/dev/by-id").mkdir(parents=True)
    mknod(tmp_path / "host/dev/ttyUSB0")
    mknod(tmp_path / "ours")
    return tmp_path / "host"


def mknod(path: Path, minor: int = 3) -> None:
    os.mknod(path, stat.S_IFCHR, os.makedev(1, minor))
    path.chmod(0o660)


def survey(host: Path, freed: Callable[[], None] = lambda: None, deadline: float | None = None) -> Survey:
    return Survey(Roots(str(host)), freed, deadline=deadline)


async def one(surveying: Survey, path: str, probe: Probe = exists, *, anew: bool = False) -> Node:
    return (await surveying.look({path: probe}, anew=anew))[path]


@asynchronous
async def test_a_node_is_told_with_its_number_and_kind(host: Path) -> None:
    os.mknod(host / "dev/loop0", stat.S_IFBLK | 0o600, os.makedev(7, 5))
    nodes = await survey(host).look({"/dev/loop0": exists, "/dev/ttyUSB0": exists}, anew=False)
    told = [(node.path, node.block, os.major(node.number), os.minor(node.number)) for node in nodes.values()]
    assert told == [("/dev/loop0", True, 7, 5), ("/dev/ttyUSB0", False, 1, 3)]


@asynchronous
async def test_each_path_has_a_probe_of_its_own(host: Path) -> None:
    mknod(host / "dev/ttyUSB1")
    one_, two = Test(), Test(healthy=False)
    nodes = await survey(host).look({"/dev/ttyUSB0": Probe("a", one_), "/dev/ttyUSB1": Probe("b", two)}, anew=False)
    assert [node.healthy for node in nodes.values()] == [True, False]
    assert (one_.paths, two.paths) == ([f"{host}/dev/ttyUSB0"], [f"{host}/dev/ttyUSB1"])


@asynchronous
async def test_a_path_whose_probe_was_changed_is_probed(host: Path) -> None:
    surveying, first, second = survey(host), Test(), Test(healthy=False)
    await one(surveying, "/dev/ttyUSB0", Probe("a", first))
    assert not (await one(surveying, "/dev/ttyUSB0", Probe("b", second))).healthy


@asynchronous
async def test_what_stayed_as_it_was_is_probed_again_only_anew(host: Path) -> None:
    surveying, test = survey(host), Test()
    for anew in (False, False, True, False):
        assert (await one(surveying, "/dev/ttyUSB0", Probe("a", test), anew=anew)).reason == "tested"
    assert len(test.paths) == 2


@asynchronous
async def test_what_was_changed_and_changed_back_is_probed(host: Path) -> None:
    surveying, test = survey(host), Test()
    for mode in (0o600, 0o660):
        await one(surveying, "/dev/ttyUSB0", Probe("a", test))
        (host / "dev/ttyUSB0").chmod(mode)
    os.utime(host / "dev/ttyUSB0", ns=(0, 0))
    await one(surveying, "/dev/ttyUSB0", Probe("a", test))
    assert len(test.paths) == 3


@asynchronous
async def test_what_was_not_looked_for_is_forgotten(host: Path) -> None:
    surveying, test = survey(host), Test()
    await one(surveying, "/dev/ttyUSB0", Probe("a", test))
    await surveying.look({}, anew=False)
    assert not surveying._known
    await one(surveying, "/dev/ttyUSB0", Probe("a", test))
    assert len(test.paths) == 2


@asynchronous
async def test_what_is_absent_or_no_device_is_not_probed(host: Path) -> None:
    test = Test()
    (host / "dev/file").touch()
    nodes = await survey(host).look({f"/dev/{name}": Probe("a", test) for name in ("file", "absent")}, anew=False)
    assert [(node.present, node.healthy) for node in nodes.values()] == [(True, False), (False, False)]
    assert test.paths == []


# Links.


@pytest.mark.parametrize("target", ["/dev/ttyUSB0", "../ttyUSB0", "../../../../dev/ttyUSB0"])
def test_a_link_is_told_with_where_it_leads_on_the_host_and_what_is_there(host: Path, target: str) -> None:
    @asynchronous
    async def body() -> None:
        (host / "dev/by-id/x").symlink_to(target)
        node = await one(survey(host), "/dev/by-id/x")
        assert (node.path, node.target, node.outside) == ("/dev/by-id/x", "/dev/ttyUSB0", False)
        assert (node.present, node.healthy, node.mode, node.number) == (True, True, 0o660, os.makedev(1, 3))

    body()


@asynchronous
async def test_through_a_link_the_node_of_the_host_is_probed(host: Path) -> None:
    test = Test()
    (host / "dev/null").symlink_to("/dev/ttyUSB0")
    await one(survey(host), "/dev/null", Probe("a", test))
    assert test.paths == [f"{host}/dev/ttyUSB0"]


@asynchronous
async def test_a_link_that_was_turned_to_the_like_of_its_node_is_probed(host: Path) -> None:
    surveying, test = survey(host), Test()
    (host / "dev/x").symlink_to("ttyUSB0")
    await one(surveying, "/dev/x", Probe("a", test))
    os.link(host / "dev/ttyUSB0", host / "dev/ttyUSB1")
    (host / "dev/x").unlink()
    (host / "dev/x").symlink_to("ttyUSB1")
    assert (await one(surveying, "/dev/x", Probe("a", test))).target == "/dev/ttyUSB1"
    assert test.paths[-1] == f"{host}/dev/ttyUSB1"


@asynchronous
async def test_two_links_to_one_node_are_both_told(host: Path) -> None:
    test = Test()
    for name in ("x", "y"):
        (host / "dev" / name).symlink_to("ttyUSB0")
    surveying = survey(host)
    nodes = {}
    for anew in (True, False):
        nodes = await surveying.look({"/dev/x": Probe("a", test), "/dev/y": exists}, anew=anew)
    assert [(node.path, node.reason) for node in nodes.values()] == [("/dev/x", "tested"), ("/dev/y", "")]


@asynchronous
async def test_a_node_that_two_links_lead_to_is_probed_for_one_after_the_other(host: Path) -> None:
    test = Test()
    for name in ("x", "y"):
        (host / "dev" / name).symlink_to("ttyUSB0")
    wanted = {path: Probe("a", test) for path in ("/dev/x", "/dev/ttyUSB0", "/dev/y")}
    nodes = await survey(host).look(wanted, anew=False)
    assert [(node.healthy, node.reason) for node in nodes.values()] == [(True, "tested")] * 3


@pytest.mark.parametrize("target", ["gone", "/dev/gone", "/ours"])
def test_a_link_that_leads_nowhere_says_where(host: Path, target: str) -> None:
    @asynchronous
    async def body() -> None:
        (host / "dev/x").symlink_to(target)
        node = await one(survey(host), "/dev/x")
        assert (node.present, node.healthy, node.target, node.number) == (False, False, "", 0)
        assert node.reason.startswith(f"{host}/dev/x is a symbolic link to {target}, which is absent; ")

    body()


@asynchronous
async def test_links_in_a_circle_are_absent(host: Path) -> None:
    (host / "dev/x").symlink_to("x")
    assert not (await one(survey(host), "/dev/x")).present


@asynchronous
async def test_a_stand_in_that_leads_out_of_the_host_by_going_up_is_told_as_outside(host: Path) -> None:
    (host / "dev/x").symlink_to("../../ours")
    node = await one(survey(host), "/dev/x")
    assert (node.present, node.healthy, node.outside, node.target) == (True, True, True, f"{host.parent}/ours")


@asynchronous
async def test_a_link_among_the_directories_leads_to_the_host_s(host: Path) -> None:
    test = Test()
    (host / "dev/by").symlink_to("/dev")
    node = await one(survey(host), "/dev/by/ttyUSB0", Probe("a", test))
    assert (node.present, node.healthy, node.target) == (True, True, "")
    assert test.paths == [f"{host}/dev/ttyUSB0"]
    node = await one(survey(host), "/dev/by/null")
    assert (node.present, node.healthy) == (False, False)


@pytest.mark.parametrize("name", [b"tty\xff", b"tty\n"])
def test_a_link_to_a_name_that_cannot_be_written_is_unhealthy_and_says_so_in_one_line(host: Path, name: bytes) -> None:
    @asynchronous
    async def body() -> None:
        mknod(host / "dev" / os.fsdecode(name))
        (host / "dev/x").symlink_to(os.fsdecode(name))
        (host / "dev/y").symlink_to(os.fsdecode(name) + "gone")
        for path in ("/dev/x", "/dev/y"):
            node = await one(survey(host), path)
            assert (node.healthy, node.target) == (False, "")
            assert node.reason.isprintable()

    body()


@asynchronous
async def test_one_that_is_freed_after_its_deadline_says_so(host: Path) -> None:
    freed, release = asyncio.Event(), threading.Event()

    def hang(path: str) -> Finding:
        release.wait(LATE)
        return Finding(True)

    surveying = survey(host, freed.set, deadline=0.01)
    assert not (await one(surveying, "/dev/ttyUSB0", Probe("a", hang))).healthy
    assert not surveying._known
    release.set()
    async with asyncio.timeout(LATE):
        await freed.wait()
