"""A container that is really run: by runc, with a root file system of busybox in the place of its image."""

import asyncio
import contextlib
import functools
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Self

from kubelet_plugin.errors import ConfigurationError, ContainerStartError
from kubelet_plugin.kubelet import log
from kubelet_plugin.kubelet.oci import CAPABILITIES

_PATIENCE = 10.0  # seconds from the kill of a container until runc itself is killed
_GLANCE = 0.005  # seconds between two looks for what cannot be waited for
_GLANCES = 1000
_CACHE = "~/.cache/kubelet-plugin/node"
_CGROUPS = "/sys/fs/cgroup"


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that it takes.

    Attributes:
        runc: runc.
        busybox: A static busybox.
    """

    runc: str
    busybox: str

    @classmethod
    def find(cls, directories: Iterable[str] | None = None) -> Self:
        """Find them.

        Args:
            directories: Where to look; by default on PATH, where root's programs are, and where node/fetch.sh puts what
                it fetches.

        Raises:
            ConfigurationError: One of them is missing; says what to install.
        """
        places = _default_directories() if directories is None else tuple(directories)
        runc = next(_programs("runc", places), None)
        if runc is None:
            raise ConfigurationError("runc is not on this machine: apt-get install runc")
        busybox = next(filter(_is_static, _programs("busybox", places)), None)
        if busybox is None:
            raise ConfigurationError("a static busybox is not on this machine: apt-get install busybox-static")
        return cls(runc, busybox)


def check_privileges() -> None:
    """Check that this process may run containers.

    Raises:
        ConfigurationError: It may not; says what to do.
    """
    if os.geteuid() != 0:
        raise ConfigurationError("running containers takes root: use sudo")
    if "CAP_SYS_ADMIN" not in _own_capabilities():
        raise ConfigurationError(
            "this root may not make namespaces (CAP_SYS_ADMIN is missing): in a container, run it privileged"
        )
    if not os.access(_CGROUPS, os.W_OK):
        raise ConfigurationError(f"{_CGROUPS} is read-only: in a container, run it privileged")


def _default_directories() -> tuple[str, ...]:
    return (*os.get_exec_path(), "/usr/local/sbin", "/usr/sbin", "/sbin", "/bin", os.path.expanduser(_CACHE))


def _programs(name: str, directories: Iterable[str]) -> Iterator[str]:
    return (path for each in directories if os.access(path := os.path.join(each, name), os.X_OK))


def _is_static(program: str) -> bool:
    with open(program, "rb") as file:
        return b"/ld-" not in file.read(4096)  # the interpreter's name, just behind the program headers


def _own_capabilities() -> set[str]:
    with open("/proc/self/status", encoding="ascii") as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return {name for number, name in enumerate(CAPABILITIES) if mask >> number & 1}


class RuncContainer:
    """One run of one container, in a directory of its own, with runc's state in it; its cgroup bears the same name.

    Its configuration differs from the composed one where it must, to run here: its cgroup is `/kubelet-plugin-…`, apart
    from all others; the root file system is busybox, there being no image, and it sleeps where the pod leaves the
    command to the image; it gets only those capabilities that this process has itself; binds are from below
    `host_root`. It joins no sandbox: an empty network namespace is all its network. Hooks run on this machine, as they
    would on a node.

    Args:
        tools: The programs to use.
        config: The composed configuration.
        host_root: Where the host's `/` is.
        has_command: Whether the pod gives a command.
    """

    def __init__(self, tools: Tools, config: Mapping[str, Any], *, host_root: str, has_command: bool) -> None:
        self._tools = tools
        self._config = _adapted(config, host_root=host_root, has_command=has_command)
        self._directory = ""
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it.

        Raises:
            ContainerStartError: It cannot be started. What is left of it stays until `remove`.
        """
        try:
            self._process = process = self._run()
        except OSError as error:
            raise ContainerStartError("RunContainerError", f"failed to create containerd task: {error}") from error
        while process.poll() is None and not self._has_begun():  # noqa: ASYNC110 -- runc has no event to offer
            await asyncio.sleep(_GLANCE)
        if not self._has_begun():
            raise ContainerStartError("RunContainerError", self._complaint())

    async def exit_code(self) -> int:
        """Wait until it has ended, and return how."""
        assert self._process is not None
        return await _exit_code(self._process)

    async def exec(self, argv: Sequence[str]) -> tuple[int, str]:
        """Run a command in it, as its own process is run; returns the exit code, and all that it has written."""
        with tempfile.TemporaryFile(dir=self._directory) as output:
            code = await _exit_code(self._runc("exec", self._name, *argv, output=output))
            output.seek(0)
            return code, output.read().decode(errors="replace")

    def output(self) -> str:
        """What it has written so far, errors included."""
        return _text(self._path("output"))

    async def remove(self) -> None:
        """Kill it, and leave nothing of it behind."""
        process = self._process
        if process is not None and process.poll() is None:
            if self._has_begun():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._kill(process), _PATIENCE)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with its hooks, and what is not in the cgroup yet
            await _exit_code(process)
        if self._directory:
            await _remove_cgroups(self._name)
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _kill(self, process: "subprocess.Popen[bytes]") -> None:
        await _exit_code(self._runc("kill", self._name, "KILL"))
        await _exit_code(process)

    def _has_begun(self) -> bool:
        return os.path.exists(self._path("pid"))  # there is no other sign of it

    def _run(self) -> "subprocess.Popen[bytes]":
        self._directory = tempfile.mkdtemp(prefix=f"kubelet-plugin-{os.getpid()}-")
        self._make_bundle()
        with open(self._path("output"), "wb") as output:
            return self._runc(
                *("--log", self._path("log"), "--log-format", "json", "run"),
                *("--bundle", self._directory, "--pid-file", self._path("pid"), self._name),
                output=output,
            )

    def _make_bundle(self) -> None:
        rootfs = self._path("rootfs")
        for directory, mode in (("", 0o755), ("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)):
            os.makedirs(os.path.join(rootfs, directory), exist_ok=True)
            os.chmod(os.path.join(rootfs, directory), mode)
        shutil.copy(self._tools.busybox, os.path.join(rootfs, "bin"))
        for link, target in (("sbin", "bin"), ("usr", "."), *_applets(self._tools.busybox)):
            os.symlink(target, os.path.join(rootfs, link))
        config = {**self._config, "linux": {**self._config["linux"], "cgroupsPath": f"/{self._name}"}}
        with open(self._path("config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)

    def _runc(self, *arguments: str, output: IO[bytes] | int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 -- the machine's own runc
            [self._tools.runc, "--root", self._path("state"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            start_new_session=True,  # Ctrl-C is for this process alone
        )

    def _complaint(self) -> str:
        """Why runc failed, in containerd's words."""
        entries = [json.loads(line) for line in _text(self._path("log")).splitlines()]
        reasons = [entry["msg"] for entry in entries if entry["level"] == "error"]
        reason = str(reasons[-1] if reasons else self.output().strip()).replace("runc run failed", "runc create failed")
        shim = "failed to create containerd task: failed to create shim task"
        return f"{shim}: OCI runtime create failed: {reason}: unknown"

    @property
    def _name(self) -> str:
        return os.path.basename(self._directory)

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)


def _adapted(config: Mapping[str, Any], *, host_root: str, has_command: bool) -> dict[str, Any]:
    own, root = _own_capabilities(), host_root.rstrip("/")
    sets = config["process"]["capabilities"]
    process = {
        **config["process"],
        "capabilities": {kind: [each for each in names if each in own] for kind, names in sets.items()},
    }
    if not has_command:
        process["args"] = ["sleep", "infinity"]
    mounts = [{**each, "source": root + each["source"]} if _is_bind(each) else each for each in config["mounts"]]
    return {**config, "process": process, "mounts": mounts}


def _is_bind(mount: Mapping[str, Any]) -> bool:
    return mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(mount.get("options", ()))


@functools.cache
def _applets(busybox: str) -> tuple[tuple[str, str], ...]:
    listed = subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return tuple((f"bin/{name}", "busybox") for name in listed.stdout.split() if name != "busybox")


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


async def _exit_code(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process, without a thread."""
    if process.poll() is None:
        loop, descriptor, ended = asyncio.get_running_loop(), os.pidfd_open(process.pid), asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    return process.wait()


async def _remove_cgroups(name: str) -> None:
    """Remove a cgroup that runc did not, in all hierarchies, with the processes and cgroups in it."""
    for top in glob.glob(f"{_CGROUPS}/{name}") + glob.glob(f"{_CGROUPS}/*/{name}"):
        for directory, _, _ in os.walk(top, topdown=False):
            for _ in range(_GLANCES):
                if _is_removed(directory):
                    break
                await asyncio.sleep(_GLANCE)  # until its processes are gone
            else:
                log.error(None, "Failed to remove cgroup", cgroup=directory)


def _is_removed(cgroup: str) -> bool:
    for pid in _text(f"{cgroup}/cgroup.procs").split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    try:
        os.rmdir(cgroup)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
