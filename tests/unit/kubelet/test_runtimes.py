import asyncio
import os
from pathlib import Path

import pytest

from kubelet_plugin.errors import ConfigurationError, ContainerStartError
from kubelet_plugin.kubelet.options import RunContainerOptions
from kubelet_plugin.kubelet.pods import Container, Pod
from kubelet_plugin.kubelet.runc import Tools
from kubelet_plugin.kubelet.runtimes import DryRuntime, Runc
from tests.asynchronous import asynchronous

NONSENSE = RunContainerOptions(cdi_devices=("nonsense",))
NOTHING = RunContainerOptions()

init, sidecar, main = Container(name="init"), Container(name="side", restarts_always=True), Container(name="main")
POD = Pod(name="pod", uid="u", init_containers=(init, sidecar), containers=(main,))


async def codes_of(container: Container) -> list[int]:
    codes: list[int] = []
    await DryRuntime().start(POD, container, NOTHING, codes.append)
    assert not codes
    await asyncio.sleep(0)
    return codes


@asynchronous
async def test_an_init_container_that_nothing_runs_ends_at_once_and_well() -> None:
    assert await codes_of(init) == [0]


@asynchronous
async def test_other_containers_that_nothing_runs_go_on() -> None:
    assert await codes_of(sidecar) == []
    assert await codes_of(main) == []


@asynchronous
async def test_nobody_hears_of_the_end_of_a_container_whose_pod_was_stopped() -> None:
    codes: list[int] = []
    runtime = DryRuntime()
    await runtime.start(POD, init, NOTHING, codes.append)
    await runtime.stop(POD)
    await asyncio.sleep(0)
    assert not codes


@asynchronous
async def test_what_would_run_is_composed() -> None:
    config = await DryRuntime().start(POD, Container(name="main", command=("sh",)), NOTHING, lambda _: None)
    assert config["process"]["args"] == ["sh"]


@asynchronous
async def test_a_name_that_no_directory_resolves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContainerStartError, match="unresolvable CDI devices nonsense"):
        await DryRuntime([str(tmp_path)]).start(POD, main, NONSENSE, lambda _: None)


@asynchronous
async def test_without_directories_cdi_is_off() -> None:
    assert await DryRuntime(None).start(POD, main, NONSENSE, lambda _: None)


# Really running them; tests/integration/test_runc.py does it.


def program(path: Path, content: bytes = b"") -> None:
    path.write_bytes(b"\x7fELF" + content)
    path.chmod(0o755)


def test_only_root_can_run_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Runc.unavailable() == "running containers takes root: use sudo"
    with pytest.raises(ConfigurationError, match="use sudo"):
        Runc()


def test_the_programs_are_the_first_that_can_be_executed(tmp_path: Path) -> None:
    for directory in ("first", "second", "third"):
        (tmp_path / directory).mkdir()
    program(tmp_path / "second/runc")
    program(tmp_path / "third/runc")
    (tmp_path / "first/runc").touch(0o644)
    program(tmp_path / "first/busybox")
    tools = Tools.find([str(tmp_path / directory) for directory in ("first", "second", "third")])
    assert (tools.runc, tools.busybox) == (str(tmp_path / "second/runc"), str(tmp_path / "first/busybox"))


def test_without_runc_it_says_what_to_install(tmp_path: Path) -> None:
    program(tmp_path / "busybox")
    with pytest.raises(ConfigurationError, match=r"apt-get install runc$"):
        Tools.find([str(tmp_path)])


def test_a_busybox_that_needs_libraries_does_not_do(tmp_path: Path) -> None:
    program(tmp_path / "runc")
    program(tmp_path / "busybox", b"/lib64/ld-linux-x86-64.so.2")
    with pytest.raises(ConfigurationError, match=r"apt-get install busybox-static$"):
        Tools.find([str(tmp_path)])
