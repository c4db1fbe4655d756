"""One real node for all tests here; each has its own plugin processes and pods, which end with it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.node import Node, Plugins, fetched

ROOT = 0
LOGS = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--skips-fail", action="store_true", help="a skipped test is a failure")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not session.config.getoption("--skips-fail"):
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal and terminal.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if logs := config.stash.get(LOGS, None):
        terminalreporter.write_line(f"the node's logs: {logs}")


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node with a private /dev."""
    if os.geteuid() != ROOT:
        pytest.fail("these tests need root: sudo make e2e")
    run = Path(tempfile.mkdtemp(prefix="kubelet-plugin-e2e-"))
    node = Node(run)
    try:
        node.control("up")
        yield node
    finally:
        node.control("down")
        if request.session.testsfailed:
            request.config.stash[LOGS] = run
        else:
            shutil.rmtree(run)


@pytest.fixture
def plugin(node: Node) -> Iterator[Plugins]:
    """Starts plugins."""
    with Plugins(node).ending() as plugins:
        yield plugins


@pytest.fixture(scope="session")
def kvm() -> None:
    """The host's /dev/kvm answers."""
    answer = subprocess.run([fetched("kvm-check")], stdout=subprocess.PIPE, text=True, check=False)
    if answer.returncode != 0:
        pytest.skip(f"this machine's /dev/kvm does not answer: {answer.stdout.strip()}")
