"""The pytest plugin as users have it: in a session of its own, in which every warning is an error."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import gc
import pytest
import pytest_asyncio
from kubelet_plugin import Device, DevicePlugin
from kubelet_plugin.testing import AsyncKubelet, Kubelet, pod

RESOURCE = "example.com/thing"
IS_STRICT = MODE == "strict"
coroutine = pytest.mark.asyncio if IS_STRICT else lambda test: test
fixture = pytest_asyncio.fixture if IS_STRICT else pytest.fixture


class Things(DevicePlugin):
    resource_name = RESOURCE

    async def devices(self):
        yield [Device("a"), Device("b")]


@fixture
async def registered(kubelet):
    async with kubelet.plugin(Things()):
        await kubelet.wait_for(RESOURCE, allocatable=2)
        yield


def test_ordinary(kubelet):
    assert isinstance(kubelet, Kubelet)


@coroutine
async def test_coroutine(kubelet, registered):
    assert isinstance(kubelet, AsyncKubelet)
    assert (await kubelet.admit(pod({RESOURCE: 1}))).phase == "Running"


class TestClass:
    @coroutine
    async def test_coroutine(self, kubelet, registered):
        assert kubelet.resources()[RESOURCE].allocatable == 2

    @coroutine
    @pytest.mark.parametrize("count", [1, 2])
    async def test_parametrized_coroutine(self, count, kubelet, registered):
        await kubelet.admit(pod({RESOURCE: count}))


@pytest.mark.asyncio(loop_scope="module")
class TestSharedLoop:
    async def test_first(self, kubelet):
        await kubelet.restart()

    async def test_second(self, kubelet):
        await kubelet.restart()


@pytest.mark.kubelet(profile="1.20", grace=7)
class TestMarkers:
    def test_farther(self, kubelet):
        assert kubelet._kubelet._manager.profile.version == "1.20"

    @pytest.mark.kubelet(profile="1.31")
    def test_closer(self, kubelet):
        manager = kubelet._kubelet._manager
        assert (manager.profile.version, manager._settings.grace) == ("1.31", 7)


directories = []


class TestBroken:
    @pytest_asyncio.fixture(loop_scope="module")
    async def begun(self, kubelet):
        directories.append(kubelet.plugin_dir)
        await kubelet.start()

    @pytest_asyncio.fixture(loop_scope="module")
    async def broken(self, begun):
        raise ValueError("no")

    @pytest_asyncio.fixture
    async def broken_on_a_loop_that_is_closed_before(self, kubelet):
        directories.append(kubelet.plugin_dir)
        await kubelet.start()
        raise ValueError("no")

    @pytest.mark.asyncio
    async def test_two_loops(self, begun):
        pass

    @pytest.mark.asyncio(loop_scope="module")
    async def test_never_ran(self, broken):
        pass

    @pytest.mark.asyncio
    async def test_never_ran_either(self, broken_on_a_loop_that_is_closed_before):
        pass

    def test_nothing_is_left(self):
        gc.collect()
        assert len(directories) == 3
        assert not any(directory.exists() for directory in directories)


class TestRefused:
    @pytest.mark.kubelet(profil="1.20")
    def test_name(self, kubelet):
        pass

    @pytest.mark.kubelet(profile="1.2")
    def test_version(self, kubelet):
        pass

    @pytest.mark.kubelet(topology_policy="near")
    def test_policy(self, kubelet):
        pass

    @pytest.mark.kubelet("1.20")
    def test_position(self, kubelet):
        pass


class TestFailed:
    def test_ordinary(self, kubelet):
        kubelet.wait_for(RESOURCE, timeout=0)

    @coroutine
    async def test_coroutine(self, kubelet):
        await kubelet.wait_for(RESOURCE, timeout=0)
"""

QUIET = """
import logging
from kubelet_plugin import Device, DevicePlugin

class Things(DevicePlugin):
    resource_name = "example.com/thing"

    async def devices(self):
        yield [Device("a")]

def test_it(kubelet):
    with kubelet.plugin(Things()):
        kubelet.wait_for("example.com/thing", allocatable=1)
    logging.getLogger("others").debug("this is not theirs")
    assert False
"""

LEVELS = """
import logging

LOGGERS = [logging.getLogger(name) for name in ("asyncio", "hpack")]
for logger in LOGGERS:
    logger.setLevel(logging.LEVEL)

def test_with(kubelet):
    assert [logger.level for logger in LOGGERS] == [max(logging.LEVEL, logging.INFO)] * 2

def test_without():
    assert [logger.level for logger in LOGGERS] == [logging.LEVEL] * 2
"""

PASSED = [
    *("test_ordinary", "test_coroutine", "TestClass::test_coroutine"),
    *("TestClass::test_parametrized_coroutine[1]", "TestClass::test_parametrized_coroutine[2]"),
    *("TestSharedLoop::test_first", "TestSharedLoop::test_second"),
    *("TestMarkers::test_farther", "TestMarkers::test_closer", "TestBroken::test_nothing_is_left"),
]
REFUSED = {
    "name": ": a kubelet has no option 'profil': give one of profile, grace, ",
    "version": ": there is no profile of kubelet '1.2': give one of 1.20, 1.31, ",
    "policy": ": there is no topology policy 'near': give one of none, ",
    "position": " takes options by name alone, not '1.20'",
}


def session(directory: Path, tests: str, *options: str) -> str:
    """Run tests in a session of pytest's, and return its report."""
    (directory / "test_it.py").write_text(tests)
    arguments = ["-X", "dev", "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-rA", "--show-capture=no"]
    done = subprocess.run(
        [sys.executable, *arguments, *options, "test_it.py"], cwd=directory, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module", params=["strict", "auto"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a session with pytest-asyncio, in one of its modes."""
    mode: str = request.param
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")
    tests = TESTS.replace("MODE", repr(mode))
    return session(tmp_path_factory.mktemp("session"), tests, *scope, f"--asyncio-mode={mode}")


@pytest.mark.parametrize("test", PASSED)
def test_a_test_that_is_right_passes(test: str, report: str) -> None:
    assert f"\nPASSED test_it.py::{test}\n" in report, report


def test_no_other_test_passes(report: str) -> None:
    assert report.count("\nPASSED ") == len(PASSED)


@pytest.mark.parametrize("marker", REFUSED)
def test_a_marker_that_cannot_be_is_an_error_of_one_line(marker: str, report: str) -> None:
    title = f" ERROR at setup of TestRefused.test_{marker} "
    line, following = report.partition(title)[2].split("\n")[1:3]
    assert line.startswith(f"@pytest.mark.kubelet{REFUSED[marker]}")
    assert following.startswith(("___", "==="))


def test_a_fixture_on_another_event_loop_is_told_what_to_do(report: str) -> None:
    assert "this kubelet runs on another event loop: let the test and all its fixtures share one" in report


@pytest.mark.parametrize("kind", ["ordinary", "coroutine"])
def test_the_report_of_a_failed_wait_shows_the_line_of_the_test_and_none_of_ours(kind: str, report: str) -> None:
    part = report.partition(f"_ TestFailed.test_{kind} _")[2].partition("\ntest_it.py:")[0]
    assert "kubelet.wait_for(RESOURCE, timeout=0)\nE  " in part
    assert "kubelet_plugin/testing/" not in part


def test_without_a_plugin_for_coroutine_tests_pytest_itself_says_so(tmp_path: Path) -> None:
    report = session(tmp_path, "async def test_it(kubelet):\n    pass\n", "-p", "no:asyncio")
    assert "async def functions are not natively supported" in report


def test_what_a_project_without_device_plugins_pays_is_next_to_nothing() -> None:
    code = "import sys, kubelet_plugin.testing; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"asyncio", "logging", "grpclib", "h2", "subprocess", "tempfile"} & set(loaded)
    assert [name for name in loaded if name.startswith("kubelet_plugin.")] == ["kubelet_plugin.testing"]


def test_before_a_test_asks_for_a_kubelet_nothing_of_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
import sys

def test_it():
    assert not {"h2", "kubelet_plugin.kubelet", "kubelet_plugin.runtime", "kubelet_plugin.api"} & set(sys.modules)
""")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py"], cwd=tmp_path, check=False
    )
    assert done.returncode == 0


def test_a_log_of_everything_is_not_drowned_in_other_libraries_own_affairs(tmp_path: Path) -> None:
    report = session(tmp_path, QUIET, "-p", "no:asyncio", "--log-level=debug", "--show-capture=log")
    assert not re.search(r"^DEBUG +(asyncio|hpack)\b", report, re.MULTILINE)
    assert "DEBUG    others:" in report


@pytest.mark.parametrize("level", ["NOTSET", "DEBUG", "ERROR"])
def test_the_levels_of_other_libraries_logs_are_as_before_afterwards(tmp_path: Path, level: str) -> None:
    assert "2 passed" in session(tmp_path, LEVELS.replace("LEVEL", level), "-p", "no:asyncio")


@pytest.mark.parametrize("name", ["AsyncKubelet", "AsyncProgram", "Kubelet", "Options", "Program", "WaitError", "pod"])
def test_every_public_name_is_there(name: str) -> None:
    from kubelet_plugin import testing

    assert name in testing.__all__
    assert getattr(testing, name).__name__ == name


def test_a_name_that_is_not_public_is_not_there() -> None:
    from kubelet_plugin import testing

    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        testing.nonsense  # noqa: B018


def test_the_marker_and_the_fixture_say_what_they_are() -> None:
    ask = [sys.executable, "-m", "pytest", "--markers"]
    assert (
        "@pytest.mark.kubelet(profile='1.31'" in subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    )
