"""Pod manifests, with what matters to a device plugin alone."""

from collections.abc import Mapping
from typing import Any

Limits = Mapping[str, int]


def pod(
    limits: Limits | None = None,
    *,
    name: str = "pod",
    init: Mapping[str, Limits] | None = None,
    containers: Mapping[str, Limits] | None = None,
    restart_policy: str = "Always",
) -> dict[str, Any]:
    """Make the manifest of a pod.

    Args:
        limits: How many devices of each resource its only container, `main`, asks for.
        name: Its name.
        init: Its init containers, in order: the limits of each by its name.
        containers: Its containers, in the place of `main`: the limits of each by its name.
        restart_policy: `Always`, `OnFailure` or `Never`.

    Returns:
        The manifest; it may be changed freely.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": restart_policy,
            "initContainers": _containers(init or {}),
            "containers": _containers(containers or {"main": limits or {}}),
        },
    }


def _containers(limits: Mapping[str, Limits]) -> list[dict[str, Any]]:
    return [
        {"name": name, "image": "busybox", "resources": {"limits": dict(of_container)}}
        for name, of_container in limits.items()
    ]
