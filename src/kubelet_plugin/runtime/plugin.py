"""The contract between a device plugin and the runtime."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Sequence

from kubelet_plugin.cdi import ContainerEdits
from kubelet_plugin.runtime.device import NO_EDITS, Device
from kubelet_plugin.runtime.inject import Inject


class DevicePlugin(ABC):
    """One resource of a node, and the devices behind it.

    A subclass sets `resource_name` and writes `devices()`; `serve` and `run` do all the rest: the socket, the
    registration and every re-registration, the stream of lists, the CDI spec file, the answers to the kubelet.

    The other methods are hooks. Override one to take part in that step; the options the kubelet is told are derived
    from which ones are overridden. A hook may be a coroutine function or an ordinary one: an ordinary one runs in a
    thread of its own, so it may block. A hook that raises, or is not done within its deadline, fails the one call it
    was made for; while one hangs, no second call of the same hook begins.

    Attributes:
        resource_name: The extended resource that pods ask for, `vendor.example/thing`.
        grace: For how many seconds a device that is no longer yielded stays listed, as Unhealthy. It stays longer while
            a pod holds it, where the kubelet's pod-resources socket can be read.
        cdi_kind: The kind of the CDI spec; empty derives it from the resource name.
        inject: What an Allocate answer of this resource holds; None: as the settings say.
    """

    resource_name: str
    grace: float = 300.0
    cdi_kind: str = ""
    inject: Inject | None = None

    @abstractmethod
    def devices(self) -> AsyncIterator[Sequence[Device]]:
        """Yield the complete list of devices: first at once, then whenever anything about it changed.

        Written as an async generator. A list equal to the last one goes no further, so yield when in doubt. A generator
        that returns has said its last word: its list stays. One that raises is reported and begun anew after a while;
        until then the last list stays.

        A device that is expected but missing is best listed as Unhealthy with its reason, not left out.
        """

    def allocate(self, devices: Sequence[Device]) -> ContainerEdits | Awaitable[ContainerEdits]:
        """Give a container more than its devices' own edits, such as an environment variable.

        Called for each container that was given devices of this resource, before it is created. It must be quick and
        idempotent: it is repeated for the same devices, in any order, and there is no call when they are given back.
        What it returns goes into the answer itself, which can hold `env`, `device_nodes` and `mounts`.

        Args:
            devices: The devices of this container; all were Healthy a moment ago.

        Returns:
            What to add.
        """
        del devices
        return NO_EDITS

    def preferred_allocation(
        self, available: Sequence[Device], must_include: Sequence[Device], size: int
    ) -> Sequence[Device] | Awaitable[Sequence[Device]]:
        """Choose which devices go well together.

        Args:
            available: What the kubelet offers, `must_include` among it.
            must_include: What the answer has to contain.
            size: How many devices the answer should have.

        Returns:
            The chosen devices, all of them from `available`. The kubelet takes it as a hint.
        """
        return [*must_include, *(device for device in available if device not in must_include)][:size]

    def pre_start_container(self, devices: Sequence[Device]) -> Awaitable[None] | None:
        """Make devices ready, just before each start of a container that holds them.

        The kubelet gives it 30 seconds, and skips it after its own restart until the plugin has registered again: do
        not rely on it alone to wipe a device.

        Args:
            devices: The devices of this container.
        """
        del devices
        return None

    def overrides(self, hook: str) -> bool:
        """Tell whether this plugin's class has its own version of the hook of this name."""
        return getattr(type(self), hook) is not getattr(DevicePlugin, hook)
