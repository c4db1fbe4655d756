"""Containers of the embedded kubelet that are really run: what is inside, how they end, and that nothing is left."""

import asyncio
import contextlib
import json
import os
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.errors import ConfigurationError, ContainerStartError
from kubelet_plugin.kubelet.options import RunContainerOptions
from kubelet_plugin.kubelet.pods import Container, Pod
from kubelet_plugin.kubelet.runtimes import Runc
from tests.asynchronous import asynchronous

pytestmark = pytest.mark.skipif(bool(Runc.unavailable()), reason=Runc.unavailable() or "it can be used")

NOBODY = 65534
NAME = f"kubelet-plugin-{os.getpid()}-"
READ = ("sh", "-c", "head -c 4 /dev/x | wc -c")
DENIED = "Operation not permitted"


def opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError:
        return False
    return True


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test there is no directory, cgroup, mount or process of its containers."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield
    assert os.listdir(scratch) == []
    assert [path for path in Path("/sys/fs/cgroup").glob("**/*") if path.name.startswith(NAME)] == []
    assert str(scratch) not in Path("/proc/mounts").read_text()
    assert [pid for pid in os.listdir("/proc") if pid.isdigit() and is_alive_in_our_cgroups(pid)] == []


def is_alive_in_our_cgroups(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and NAME in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host's root with a device node of its own, like /dev/zero: /dev/node, 0600 and root's."""
    (tmp_path / "host/dev").mkdir(parents=True)
    os.mknod(tmp_path / "host/dev/node", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    return tmp_path / "host"


class Running:
    """A container that runs, and its runtime."""

    def __init__(self, runtime: Runc, pod: Pod, code: asyncio.Future[int]) -> None:
        self.runtime = runtime
        self.pod = pod
        self.code = code

    async def run(self, *argv: str) -> str:
        """What a command in it prints; it must succeed."""
        code, output = await self.runtime.exec(self.pod, "c", *argv)
        assert code == 0, output
        return output.strip()

    async def complaint(self, *argv: str) -> str:
        """What a command in it prints; it must fail."""
        code, output = await self.runtime.exec(self.pod, "c", *argv)
        assert code != 0, output
        return output


@contextlib.asynccontextmanager
async def running(
    options: RunContainerOptions | None = None,
    *,
    host_root: Path = Path("/"),
    cdi: Mapping[str, Any] | None = None,
    **container: Any,
) -> AsyncIterator[Running]:
    if cdi is not None:
        edits = {"cdiVersion": "0.5.0", "kind": "vendor.example/dev", "devices": [{"name": "d", "containerEdits": cdi}]}
        (host_root / "d.json").write_text(json.dumps(edits))
        options = RunContainerOptions(cdi_devices=("vendor.example/dev=d",))
    made = Container(name="c", **container)
    pod = Pod(name="pod", uid="u-1", containers=(made,))
    runtime = Runc([str(host_root)], host_root=str(host_root))
    code = asyncio.get_running_loop().create_future()
    try:
        await runtime.start(pod, made, options or RunContainerOptions(), code.set_result)
        yield Running(runtime, pod, code)
    finally:
        await runtime.stop(pod)


def device(host_path: str, permissions: str = "rw") -> RunContainerOptions:
    spec = v1beta1.DeviceSpec(container_path="/dev/x", host_path=host_path, permissions=permissions)
    return RunContainerOptions(devices=(spec,))


def node(**fields: Any) -> dict[str, Any]:
    return {"deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/node", **fields}]}


# Devices.


@asynchronous
async def test_a_container_has_the_device_of_a_spec(host: Path) -> None:
    async with running(device("/dev/node"), host_root=host) as container:
        assert (await container.run("ls", "-l", "/dev/x")).split()[:6] == ["crw-------", "1", "0", "0", "1,", "5"]
        assert await container.run(*READ) == "4"


@asynchronous
async def test_by_a_spec_the_hosts_mode_decides_for_others_than_root(host: Path) -> None:
    async with running(device("/dev/node"), host_root=host, user=NOBODY, group=NOBODY) as container:
        assert "Permission denied" in await container.complaint("head", "-c", "4", "/dev/x")


@pytest.mark.parametrize("user", [0, NOBODY])
@asynchronous
async def test_a_cdi_device_belongs_to_the_containers_user(host: Path, user: int) -> None:
    async with running(host_root=host, cdi=node(fileMode=0o600), user=user, group=user) as container:
        assert (await container.run("ls", "-ln", "/dev/x")).split()[:4] == ["crw-------", "1", str(user), str(user)]
        assert await container.run(*READ) == "4"


@asynchronous
async def test_a_cdi_device_has_the_mode_of_its_spec(host: Path) -> None:
    async with running(host_root=host, cdi=node(fileMode=0o640, uid=0, gid=0), user=NOBODY) as container:
        assert (await container.run("ls", "-l", "/dev/x")).split()[0] == "crw-r-----"
        assert "Permission denied" in await container.complaint("tee", "/dev/x")


@asynchronous
async def test_a_cdi_device_comes_with_its_variables_mounts_and_hooks(host: Path) -> None:
    (host / "data").mkdir()
    (host / "data/file").write_text("from the host")
    mount = {"hostPath": "/data", "containerPath": "/in/data", "options": ["bind", "ro"]}
    hook = {"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", f"echo hooked > {host}/data/hook"]}
    async with running(host_root=host, cdi={"env": ["A=b"], "mounts": [mount], "hooks": [hook]}) as container:
        assert await container.run("sh", "-c", "echo $A; cat /in/data/*") == "b\nfrom the hosthooked"
        assert "Read-only" in await container.complaint("touch", "/in/data/new")


@pytest.mark.skipif(not opens("/dev/fuse"), reason="/dev/fuse cannot be opened on this machine")
@asynchronous
async def test_a_device_can_be_used_as_its_spec_permits() -> None:
    async with running(device("/dev/fuse", "r")) as container:
        await container.run("sh", "-c", "exec 3</dev/x")
        assert DENIED in await container.complaint("sh", "-c", "exec 3>/dev/x")


@pytest.mark.skipif(not opens("/dev/fuse"), reason="/dev/fuse cannot be opened on this machine")
@asynchronous
async def test_a_device_that_is_not_given_cannot_be_used() -> None:
    async with running() as container:
        await container.run("mknod", "/tmp/fuse", "c", "10", "229")
        assert DENIED in await container.complaint("sh", "-c", "exec 3<>/tmp/fuse")


@pytest.mark.skipif(not opens("/dev/kvm"), reason="/dev/kvm cannot be opened on this machine")
@asynchronous
async def test_kvm_opens_inside() -> None:
    async with running(device("/dev/kvm")) as container:
        await container.run("sh", "-c", "exec 3<>/dev/x")


@asynchronous
async def test_a_privileged_container_has_the_hosts_devices(host: Path) -> None:
    async with running(host_root=host, privileged=True) as container:
        assert await container.run("sh", "-c", "head -c 4 /dev/node | wc -c") == "4"


# The process.


@asynchronous
async def test_the_pods_command_is_run_and_its_output_kept() -> None:
    async with running(command=("sh", "-c"), args=("echo out; echo err >&2; id -u",), user=NOBODY) as container:
        assert await container.code == 0
        assert set(container.runtime.output(container.pod, "c").splitlines()) == {"out", "err", str(NOBODY)}


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("true", 0)])
@asynchronous
async def test_the_exit_code_is_told(script: str, code: int) -> None:
    async with running(command=("sh", "-c", script)) as container:
        assert await container.code == code


@asynchronous
async def test_without_a_command_it_sleeps() -> None:
    async with running(args=("ignored",)) as container:
        assert await container.run("cat", "/proc/1/cmdline") == "sleep\0infinity\0"
        assert not container.code.done()


@asynchronous
async def test_it_sees_no_process_and_no_network_of_the_host() -> None:
    async with running() as container:
        assert len((await container.run("sh", "-c", "echo /proc/[0-9]*")).split()) == 2
        assert (await container.run("ls", "/sys/class/net")).split() == ["lo"]


@asynchronous
async def test_no_thread_is_needed() -> None:
    before = threading.active_count()
    async with running() as container:
        await container.run("true")
        assert threading.active_count() == before


# Starts that fail, and ends.


@asynchronous
async def test_a_command_that_is_not_there_is_an_error_in_containerds_words() -> None:
    with pytest.raises(ContainerStartError) as caught:
        async with running(command=("nonesuch",)):
            pass
    assert caught.value.reason == "RunContainerError"
    assert caught.value.message == (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
        'unable to start container process: exec: "nonesuch": executable file not found in $PATH: unknown'
    )


@asynchronous
async def test_what_cannot_be_composed_is_not_started(host: Path) -> None:
    with pytest.raises(ContainerStartError, match="lstat /dev/absent: no such file or directory"):
        async with running(device("/dev/absent"), host_root=host):
            pass


@asynchronous
async def test_nothing_is_left_of_a_start_that_was_cancelled_half_way(host: Path) -> None:
    os.mkfifo(host / "reached")
    hook = {
        "hookName": "createRuntime",
        "path": "/bin/sh",
        "args": ["sh", "-c", f"echo > {host}/reached; sleep 1000"],
    }
    begun = asyncio.Event()
    reached = os.open(host / "reached", os.O_RDONLY | os.O_NONBLOCK)
    asyncio.get_running_loop().add_reader(reached, begun.set)

    async def start() -> None:
        async with running(host_root=host, cdi={"hooks": [hook]}):
            pass

    starting = asyncio.create_task(start())
    await begun.wait()
    asyncio.get_running_loop().remove_reader(reached)
    os.close(reached)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


@asynchronous
async def test_nobody_is_told_of_the_end_of_a_container_that_was_stopped() -> None:
    async with running() as container:
        pass
    await asyncio.sleep(0)
    assert not container.code.done()


@asynchronous
async def test_a_container_that_is_started_again_takes_the_place_of_its_last_run() -> None:
    async with running() as container:
        await container.run("touch", "/before")
        (made,) = container.pod.containers
        await container.runtime.start(container.pod, made, RunContainerOptions(), lambda _: None)
        assert "before" not in await container.run("ls", "/")


@asynchronous
async def test_all_containers_of_a_pod_end_with_it() -> None:
    runtime, codes = Runc(None), list[int]()
    pod = Pod(name="pod", uid="u-1", containers=(Container(name="a"), Container(name="b")))
    for container in pod.containers:
        await runtime.start(pod, container, RunContainerOptions(), codes.append)
    await runtime.stop(pod)
    assert not codes


@pytest.mark.parametrize(
    "ask",
    [
        lambda runtime, pod: runtime.exec(pod, "other", "true"),
        lambda runtime, pod: asyncio.to_thread(runtime.output, pod, "other"),
    ],
)
@asynchronous
async def test_a_container_that_was_not_started_is_not_looked_into(ask: Callable[[Runc, Pod], Any]) -> None:
    with pytest.raises(ConfigurationError, match="pod default/pod has no container other started"):
        await ask(Runc(None), Pod(name="pod", uid="u-1", containers=()))
