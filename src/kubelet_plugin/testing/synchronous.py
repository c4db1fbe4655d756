"""A kubelet for tests that are ordinary functions."""

from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.errors import Error
from kubelet_plugin.kubelet import NodeResource, Pod, PodStatus
from kubelet_plugin.kubelet.journal import Registered
from kubelet_plugin.runtime import DevicePlugin
from kubelet_plugin.testing.asynchronous import TIMEOUT, AsyncKubelet
from kubelet_plugin.testing.blocks import WithOnly, acting, block
from kubelet_plugin.testing.failures import hides_frames
from kubelet_plugin.testing.faults import Faults
from kubelet_plugin.testing.loop import LoopThread
from kubelet_plugin.testing.node import Node
from kubelet_plugin.testing.options import Options
from kubelet_plugin.testing.program import FAREWELL, Program
from kubelet_plugin.testing.serving import Serving

P = TypeVar("P", bound=DevicePlugin)
T = TypeVar("T")

__tracebackhide__ = hides_frames


class Kubelet(WithOnly, Node):
    """A kubelet in a temporary directory, for tests that are ordinary functions.

    A context manager: the kubelet runs, on an event loop in a thread of its own, while the block does. Its methods may
    be called from any thread but that one.

    Args:
        options: How it behaves, as `Options` lists it.

    Attributes:
        faults: What is to go wrong on a plugin's side of the wire.

    Raises:
        ConfigurationError: There is no such option, or no such kubelet.
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        self._kubelet = AsyncKubelet(**options)
        super().__init__(self._kubelet._root)  # noqa: SLF001 -- the other half of this class
        self.faults = Faults(self._kubelet.faults, self._running)
        self._loop: LoopThread | None = None

    @property
    def host_root(self) -> Path:
        """Where the host's device nodes are seen when a container is started. It may be set."""
        return self._kubelet.host_root

    @host_root.setter
    def host_root(self, root: Path) -> None:
        self._kubelet.host_root = root

    # Its life.

    def __enter__(self) -> Self:
        """Start it."""
        self._loop = LoopThread("kubelet")
        try:
            self._loop.run(self._kubelet.start())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, and remove its directory."""
        with self._running() as loop:
            loop.run(self._kubelet.__aexit__(kind, error, traceback))
        self._loop = None

    def _running(self) -> LoopThread:
        if self._loop is None:
            raise Error("this kubelet does not run: use it as a context manager, within the block")
        return self._loop

    def start(self) -> None:
        """Start it after a `stop`: directories, checkpoint and pods are those of before."""
        self._run(self._kubelet.start())

    def stop(self) -> None:
        """End it, as the end of a kubelet's process does: plugins lose their connections, containers go on."""
        self._run(self._kubelet.stop())

    def restart(self) -> None:
        """Stop it and start it again; it removes the sockets of plugins, as kubelets do."""
        self._run(self._kubelet.restart())

    # Plugins.

    @block
    def plugin(self, plugin: P, **settings: Any) -> Iterator[P]:
        """Serve a plugin while the block runs. It is served on an event loop in a thread of its own.

        Args:
            plugin: The plugin.
            settings: What to change in the `kubelet_plugin.Settings` that point it at this kubelet.

        Raises:
            Exception: Serving has ended, with this. A wait under way fails with it at once.
        """
        kubelet = self._kubelet
        serving = Serving(plugin, kubelet._settings(settings), kubelet._wake_soon)  # noqa: SLF001 -- see above
        with LoopThread(f"the plugin {type(plugin).__name__}") as loop:
            loop.run(serving.start())
            actors = kubelet._actors  # noqa: SLF001 -- see above
            with acting(actors, serving, lambda: loop.run(serving.end(), timeout=FAREWELL)):
                yield plugin

    @block
    def command(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, mounted: bool = False
    ) -> Iterator[Program]:
        """Run a plugin that is a program of its own, in whatever language, while the block runs.

        It finds the directories in `KUBELET_PLUGIN_PLUGIN_DIR` and `KUBELET_PLUGIN_CDI_DIR`, so that
        `kubelet-plugin run` needs no options. At the end of the block it is given SIGTERM, and killed where it does not
        heed that within 5 seconds, with all that it has started. What it has written is a note on whatever exception
        leaves the block.

        Args:
            command: The program and its arguments.
            env: What to change in its environment, which is that of the test.
            mounted: Whether it sees the directories where every node has them, `/var/lib/kubelet` and `/var/run/cdi`,
                in a private mount namespace: most plugins have these paths compiled in. It takes root or a user
                namespace.

        Raises:
            ConfigurationError: No such mounts can be made.
            OSError: The program cannot be started.
            WaitError: It has ended though the test neither waited for that nor caused it; a wait under way fails with
                it at once. Or the SIGTERM at the end of the block, the test's first signal to it, went unheeded.
        """
        kubelet = self._kubelet
        environment = self._environment(env or {}, mounted=mounted)
        program = Program(command, environment, self._mounts() if mounted else None, kubelet._wake_soon)  # noqa: SLF001
        with acting(kubelet._actors, program, program.end):  # noqa: SLF001 -- see above
            yield program

    # Waiting.

    def wait_for(
        self, resource: str, *, allocatable: int | None = None, capacity: int | None = None, timeout: float = TIMEOUT
    ) -> NodeResource:
        """Wait until the node offers so many devices of a resource; with no number, until there is a list of it.

        Args:
            resource: The resource.
            allocatable: How many Healthy devices there are to be.
            capacity: How many devices there are to be.
            timeout: For how many seconds to wait, on the machine's clock.

        Returns:
            What the node offers then.

        Raises:
            WaitError: The time is up, or a program has ended; with what there is, who has registered, what the kubelet
                has logged and what the programs have written.
            Exception: Serving a plugin has ended, with this.
        """
        return self._run(self._kubelet.wait_for(resource, allocatable=allocatable, capacity=capacity, timeout=timeout))

    def wait_until(self, look: Callable[[], T], *, what: str = "", timeout: float = TIMEOUT) -> T:
        """Wait until `look` returns something true, and return that.

        Args:
            look: Looks, at this kubelet or anything else; it is called again and again, in the kubelet's thread.
            what: What is waited for, for people.
            timeout: For how many seconds to wait, on the machine's clock.

        Raises:
            WaitError: As of `wait_for`.
            Exception: What `look` raises, or what serving a plugin has ended with.
        """
        return self._run(self._kubelet.wait_until(look, what=what, timeout=timeout))

    # Pods.

    def admit(self, pod: Pod | Mapping[str, object], *, timeout: float = TIMEOUT) -> PodStatus:
        """Hand a pod to the kubelet: it is admitted or refused, and its containers are started as far as they can be.

        Args:
            pod: The pod or its manifest, such as `kubelet_plugin.testing.pod` makes.
            timeout: For how many seconds to wait: a kubelet itself waits for ever for a plugin's answer.

        Returns:
            What became of it by then: its phase, why it was refused, what each container holds and was started with.

        Raises:
            ManifestError: The manifest is none of a pod.
            ConfigurationError: There is a pod of that name.
            WaitError: The time is up.
        """
        return self._run(self._kubelet.admit(pod, timeout=timeout))

    def restart_container(
        self, name: str, container: str = "", *, namespace: str = "default", timeout: float = TIMEOUT
    ) -> PodStatus:
        """Start a container of a pod again, as after its end: the answer of its allocation is replayed.

        Args:
            name: The pod's name.
            container: The container's; empty: the first.
            namespace: The pod's namespace.
            timeout: For how many seconds to wait.

        Raises:
            LookupError: There is no such pod or container; the message says which there are.
            WaitError: The time is up.
        """
        return self._run(self._kubelet.restart_container(name, container, namespace=namespace, timeout=timeout))

    def remove(self, name: str, *, namespace: str = "default") -> None:
        """End a pod and forget it. Its devices are free once the next allocation collects garbage, as with any kubelet.

        Raises:
            LookupError: There is no such pod; the message says which there are.
        """
        self._run(self._kubelet.remove(name, namespace=namespace))

    def pods(self) -> list[PodStatus]:
        """What became of all pods, in the order in which they came."""
        return self._running().call(self._kubelet.pods)

    def pod_status(self, name: str, *, namespace: str = "default") -> PodStatus:
        """What became of a pod by now.

        Raises:
            LookupError: There is no such pod; the message says which there are.
        """
        return self._running().call(self._kubelet.pod_status, name, namespace=namespace)

    # What it sees.

    def resources(self) -> dict[str, NodeResource]:
        """What the node offers by now, by resource; one that was there once stays, at 0."""
        return self._running().call(self._kubelet.resources)

    def devices(self, resource: str) -> dict[str, str]:
        """The health of each device in the latest list of a resource, as its plugin said it."""
        return self._running().call(self._kubelet.devices, resource)

    def lists(self, resource: str) -> list[dict[str, str]]:
        """Every list of a resource that plugins have sent, in order: the health of each device by its id."""
        return self._running().call(self._kubelet.lists, resource)

    def registrations(self) -> list[Registered]:
        """Every Register that plugins have called, in the order in which they were answered, refused ones too."""
        return self._running().call(self._kubelet.registrations)

    def options(self, resource: str) -> v1beta1.DevicePluginOptions:
        """The options of the plugin of a resource, as the kubelet goes by them.

        Raises:
            ConfigurationError: No plugin of it has registered.
        """
        return self._running().call(self._kubelet.options, resource)

    # Calls of the test's own.

    def allocate(self, resource: str, *ids: str, timeout: float = TIMEOUT) -> v1beta1.AllocateResponse:
        """Call Allocate of a plugin, for one container and no pod: nothing becomes of the answer.

        Args:
            resource: The resource.
            ids: The devices' ids, whether or not there are such devices.
            timeout: For how many seconds to wait.

        Raises:
            ConfigurationError: No plugin of it has registered.
            EndpointError: The call failed; the text holds the gRPC code and the plugin's words.
            WaitError: The time is up.
        """
        return self._run(self._kubelet.allocate(resource, *ids, timeout=timeout))

    def get_preferred_allocation(
        self,
        resource: str,
        available: Collection[str],
        size: int,
        *,
        must_include: Collection[str] = (),
        timeout: float = TIMEOUT,
    ) -> list[str]:
        """Call GetPreferredAllocation of a plugin, for one container.

        Args:
            resource: The resource.
            available: The ids to choose among.
            size: How many to choose.
            must_include: Those that have to be among the chosen.
            timeout: For how many seconds to wait.

        Returns:
            The ids that the plugin chose.

        Raises:
            ConfigurationError: No plugin of it has registered.
            EndpointError: The call failed.
            WaitError: The time is up.
        """
        work = self._kubelet.get_preferred_allocation(
            resource, available, size, must_include=must_include, timeout=timeout
        )
        return self._run(work)

    def pre_start_container(self, resource: str, *ids: str, timeout: float = TIMEOUT) -> None:
        """Call PreStartContainer of a plugin.

        Args:
            resource: The resource.
            ids: The devices' ids.
            timeout: For how many seconds to wait.

        Raises:
            ConfigurationError: No plugin of it has registered.
            EndpointError: The call failed.
            WaitError: The time is up.
        """
        self._run(self._kubelet.pre_start_container(resource, *ids, timeout=timeout))

    # What befalls it.

    def advance(self, seconds: float) -> None:
        """Move the kubelet's time on; whoever sleeps until then wakes, but may not have done anything yet.

        Raises:
            ConfigurationError: Its time is the machine's; choose `manual_clock=True`.
        """
        self._run(self._kubelet.advance(seconds))

    def cut(self, resource: str) -> None:
        """End the stream of a resource's plugin, as a lost connection would; the kubelet has noticed when this returns.

        Raises:
            ConfigurationError: No plugin of it has registered.
        """
        self._run(self._kubelet.cut(resource))

    def delete_sockets(self) -> None:
        """Remove all sockets of the plugin directory, the kubelet's own too, as somebody does who tidies up there."""
        self._run(self._kubelet.delete_sockets())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
        return self._running().run(work)
