"""A record of what plugins have said to the kubelet, through all its restarts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.kubelet.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Registered:
    """One Register, and what became of it.

    Attributes:
        resource: The resource.
        endpoint: The name of the plugin's socket.
        version: The version of the API.
        options: The options it carried; None where it carried none.
        failure: What it was answered; empty where it went through.
    """

    resource: str
    endpoint: str
    version: str
    options: v1beta1.DevicePluginOptions | None
    failure: str


@dataclass(slots=True)
class Journal:
    """The record.

    Attributes:
        registrations: The calls of Register in the order in which they were answered.
        dialled: The plugins that have asked for it and are just being dialled, or asked for their options.
        lists: The lists of devices by resource, as they were sent, in the order in which they came.
    """

    registrations: list[Registered] = field(default_factory=list)
    dialled: list[Endpoint] = field(default_factory=list)
    lists: dict[str, list[Sequence[v1beta1.Device]]] = field(default_factory=dict)

    def add_registration(self, request: v1beta1.RegisterRequest, failure: str) -> None:
        """Add a Register and its answer."""
        self.registrations.append(
            Registered(request.resource_name, request.endpoint, request.version, request.options, failure)
        )

    def add_list(self, resource: str, devices: Sequence[v1beta1.Device]) -> None:
        """Add a list of devices."""
        self.lists.setdefault(resource, []).append(tuple(devices))
