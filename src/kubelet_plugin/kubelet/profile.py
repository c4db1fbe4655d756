"""What kubelets of different ages do differently.

Each switch of `Profile` says in which versions it is on, and which section of docs/reference/kubelet.md states it.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from kubelet_plugin.errors import ConfigurationError

VERSIONS = ("1.20", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36")
"""The versions that there are profiles of, oldest first. What lies between 1.20 and 1.31 is not known well enough."""

_FIRST = 20


def _switch(*, since: int = _FIRST, until: int = 99, section: str) -> Any:
    """A switch that is on from minor version `since` to minor version `until`."""
    return dataclasses.field(metadata={"since": since, "until": until, "section": section})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a kubelet of one version behaves. `dataclasses.replace` turns a single switch.

    Attributes:
        minor: The version, without the `1.` before it.
        removes_every_file: At its start it removes all files of the plugin directory, not the sockets alone.
        starts_unclean: It starts although something of the plugin directory could not be removed.
        dials_inside_register: It dials back, and has asked for the options, before it answers a Register.
        bounds_dial_by_register: The deadline of the plugin's Register bounds the dial and the call for the options.
        disconnects_by_name: A stream's end disconnects whoever is registered under that resource by then: the defect
            that an old instance's exit cuts off the new one.
        retries_registration: A registration by way of plugins_registry that failed in its last step is tried again.
        checks_before_need: An allocation checks the health of the resource even where it needs no device.
        says_cannot: The wording of two refusals, `cannot allocate` instead of `can't allocate`, and `Pod was rejected`.
        records_no_numa: Devices without a NUMA node are recorded under -1 instead of 0.
        hints_device_nodes_only: Topology hints leave out the NUMA nodes that carry no device of the resource.
        merges_strictly: Topology hints of several resources are merged by the rule of 1.24 and later.
        counts_empty_topology: A device listed with a topology of no NUMA node makes its resource NUMA-aware.
        refuses_zero: Its own count of what the node has left refuses a pod that asks for none of a resource, too, where
            others have more than there is by now.
        dumps_go_structs: An answer without containers is shown in the error as a Go struct, not as a proto text.
        passes_cdi_devices: It passes the `cdi_devices` of an answer on to the runtime.
        annotates_cdi_devices: It adds them as an annotation as well.
        skips_zero_at_start: A container that asks for no device of a resource is started without a call to its plugin.
        reallocates_any_pod: A container that lost its allocation gets another one even when its pod is not active.
        lists_allocatable: The pod-resources API knows GetAllocatableResources.
        gets_pods: The pod-resources API knows Get; before it is enabled, it says so.
        has_get: The pod-resources API has Get at all.
        limits_pod_resources: The calls of the pod-resources API are limited.
        lists_each_device: List has an entry for each device, and those of sidecars.
        lists_active_pods: List leaves out pods that have ended.
        tells_todays_status: Pod status in `/pods` is as it is today, in its conditions and in what is left out.
        leaves_out_creation: A creation time that is not known is left out of `/pods`, not null.
        reports_health: Pod status holds `allocatedResourcesStatus`.
        logs_pods: Log lines are those of 1.33 and later: more of them name pod and container.
        logs_endpoints: The log line of an endpoint that became unhealthy names it.
        logs_expiry_twice: It logs of a resource that has expired that its tables are out of sync, too.
    """

    minor: int
    removes_every_file: bool = _switch(until=32, section="Start")
    starts_unclean: bool = _switch(until=20, section="Start")
    dials_inside_register: bool = _switch(since=31, section="Registration")
    bounds_dial_by_register: bool = _switch(since=35, section="Registration")
    disconnects_by_name: bool = _switch(since=31, section="Loss of a plugin")
    retries_registration: bool = _switch(since=36, section="Registration by plugins_registry")
    checks_before_need: bool = _switch(since=31, section="Choosing devices")
    says_cannot: bool = _switch(since=31, section="Refusals")
    refuses_zero: bool = _switch(until=20, section="Refusals")
    records_no_numa: bool = _switch(since=31, section="Checkpoint")
    hints_device_nodes_only: bool = _switch(since=35, section="Topology")
    merges_strictly: bool = _switch(since=31, section="Topology")
    counts_empty_topology: bool = _switch(until=20, section="Topology")
    dumps_go_structs: bool = _switch(until=33, section="Refusals")
    passes_cdi_devices: bool = _switch(since=31, section="What a container gets")
    annotates_cdi_devices: bool = _switch(since=31, until=31, section="What a container gets")
    skips_zero_at_start: bool = _switch(since=31, section="Container start")
    reallocates_any_pod: bool = _switch(until=20, section="Container start")
    lists_allocatable: bool = _switch(since=31, section="Pod-resources")
    has_get: bool = _switch(since=31, section="Pod-resources")
    gets_pods: bool = _switch(since=34, section="Pod-resources")
    limits_pod_resources: bool = _switch(since=31, section="Pod-resources")
    lists_each_device: bool = _switch(since=31, section="Pod-resources")
    lists_active_pods: bool = _switch(since=34, section="Pod-resources")
    tells_todays_status: bool = _switch(since=31, section="The read-only port")
    leaves_out_creation: bool = _switch(since=34, section="The read-only port")
    reports_health: bool = _switch(since=36, section="Health in pod status")
    logs_pods: bool = _switch(since=33, section="Log")
    logs_endpoints: bool = _switch(until=35, section="Log")
    logs_expiry_twice: bool = _switch(until=34, section="Log")

    @classmethod
    def of(cls, version: str) -> Self:
        """Return the profile of a version.

        Raises:
            ConfigurationError: There is none of that version.
        """
        if version not in VERSIONS:
            raise ConfigurationError(f"there is no profile of kubelet {version!r}: give one of {', '.join(VERSIONS)}")
        minor = int(version.partition(".")[2])
        switches = {
            field.name: field.metadata["since"] <= minor <= field.metadata["until"]
            for field in dataclasses.fields(cls)
            if field.metadata
        }
        return cls(minor=minor, **switches)

    @property
    def version(self) -> str:
        """The version, such as `1.36`."""
        return f"1.{self.minor}"
