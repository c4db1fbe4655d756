"""What a kubelet's checkpoint says, read by nothing of ours."""

import base64
import json
from pathlib import Path
from typing import Any

from tests.unit.kubelet.foreign_plugin import v1beta1


def _data(directory: Path) -> Any:
    return json.loads((directory / "kubelet_internal_checkpoint").read_text())["Data"]


def registered(directory: Path) -> dict[str, set[str]]:
    """The healthy devices by resource."""
    return {resource: set(ids) for resource, ids in _data(directory)["RegisteredDevices"].items()}


def held(directory: Path) -> dict[tuple[str, str], dict[str, set[str]]]:
    """The devices of each container and resource, by NUMA node."""
    return {
        (entry["ContainerName"], entry["ResourceName"]): {node: set(ids) for node, ids in entry["DeviceIDs"].items()}
        for entry in _data(directory)["PodDeviceEntries"] or ()
    }


def responses(directory: Path) -> list[Any]:
    """The answers of plugins."""
    return [
        v1beta1.ContainerAllocateResponse.FromString(base64.b64decode(entry["AllocResp"]))
        for entry in _data(directory)["PodDeviceEntries"] or ()
    ]
