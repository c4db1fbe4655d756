"""The pod-resources API as a monitoring agent asks it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from tests.foreign import messages
from tests.scenarios.observed import Held

v1 = messages("podresources/v1.proto")

ANSWER_WITHIN = 10.0


def held_by(socket: Path, pod: str) -> Mapping[str, tuple[Held, ...]]:
    """What the containers of a pod hold, by name."""
    with grpc.insecure_channel(f"unix:{socket}", options=[("grpc.default_authority", "localhost")]) as channel:
        call: Any = channel.unary_unary("/v1.PodResourcesLister/List")
        answer = v1.ListPodResourcesResponse.FromString(call(b"", timeout=ANSWER_WITHIN))
    (found,) = (each for each in answer.pod_resources if each.name == pod)
    return {container.name: tuple(sorted(_held(each) for each in container.devices)) for container in found.containers}


def _held(devices: Any) -> Held:
    nodes = tuple(node.ID for node in devices.topology.nodes)
    return Held(devices.resource_name, tuple(sorted(devices.device_ids)), nodes)
