"""Pod manifests as documents, for the tests of this room."""

import json
from typing import Any

R = "example.com/widget"


def container(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", **fields}


def manifest(*containers: dict[str, Any], metadata: object = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"} if metadata is None else metadata,
        "spec": {"containers": list(containers) or [container()], **spec},
    }


def with_resources(**resources: dict[str, Any]) -> dict[str, Any]:
    return manifest(container(resources=resources))


def manifest_text(name: str, container_name: str = "a") -> str:
    """A whole manifest of a pod."""
    return json.dumps(manifest(container(container_name), metadata={"name": name}))
