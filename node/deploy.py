#!/usr/bin/env python3
"""The pod of kubelet/pod.yaml on the node of `make kubelet`: start it and show what it got, or remove it.

deploy.py up | down

Exit status 1 when the pod is refused, does not come up or gets no KVM that works; the reason is shown.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
RUN = Path(os.environ.get("R", "/tmp/kubelet-plugin-node"))
MANIFEST = RUN / "manifests" / "kvm.yaml"
CHECKPOINT = RUN / "kubelet/device-plugins/kubelet_internal_checkpoint"
POD, RESOURCE = "kvm-node1", "github.com.ihcsim/kvm"
PATIENCE = 60  # seconds until a pod has to run, or be gone

Pod = dict[str, Any]
T = TypeVar("T")


def node(*arguments: str) -> str:
    """What node.sh says."""
    done = subprocess.run(["bash", str(HERE / "node.sh"), *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit("deploy: there is no node to deploy to: `make kubelet` starts one")
    return done.stdout


def status() -> Pod | None:
    """The pod as the kubelet sees it."""
    pods: list[Pod] = json.loads(node("pods"))["items"] or []
    return next((pod for pod in pods if pod["metadata"]["name"] == POD), None)


def until(what: str, look: Callable[[], T | None]) -> T:
    """The first thing that `look` finds."""
    deadline = time.monotonic() + PATIENCE
    while (found := look()) is None:
        if time.monotonic() > deadline:
            sys.exit(f"deploy: waited {PATIENCE} s {what}: {explanation(status())}; logs: {RUN}/*.log, {RUN}/log/pods")
        time.sleep(0.2)
    return found


def explanation(pod: Pod | None) -> str:
    """Why the pod is not running, in the words of the kubelet and the container runtime."""
    if pod is None:
        return "the kubelet does not know the pod"
    state = pod["status"]
    waiting = [each.get("state", {}).get("waiting", {}) for each in state.get("containerStatuses", [])]
    words = [f"{each.get('reason', '')}: {each.get('message', '')}" for each in (state, *waiting) if each.get("reason")]
    return "; ".join(words) or f"it is {state.get('phase')}"


def settled() -> Pod | None:
    """The pod, once it runs or never will."""
    pod = status()
    if pod is None:
        return None
    containers = pod["status"].get("containerStatuses", [])
    running = containers and all("running" in each.get("state", {}) for each in containers)
    return pod if running or pod["status"].get("phase") == "Failed" else None


def registered() -> bool:
    """Does the kubelet know the resource? Where it does not, a pod that asks for it starts without, in silence."""
    try:
        return RESOURCE in (json.loads(CHECKPOINT.read_text())["Data"]["RegisteredDevices"] or {})
    except FileNotFoundError:
        return False


def remove() -> None:
    """Remove the pod and wait until it is gone."""
    node("in", "true")
    MANIFEST.unlink(missing_ok=True)
    until("for the pod to be gone", lambda: True if status() is None else None)


def show(container: str) -> int:
    """What is inside the container; the exit status of the KVM check there."""
    for command in (["ls", "-l", "/dev/kvm"], ["kvm-check"]):
        print(f"$ {' '.join(command)}", flush=True)
        exec_id = f"deploy-{time.monotonic_ns()}"
        arguments = ["ctr", "tasks", "exec", "--exec-id", exec_id, container, *command]
        code = subprocess.run(["bash", str(HERE / "node.sh"), *arguments], check=False).returncode
    return code


def deploy() -> int:
    """Start the pod afresh and show what it got."""
    remove()
    if not registered():
        sys.exit(f"deploy: no plugin serves {RESOURCE} on this node: `make run.kvm` does")
    # A pod's UID is made from its manifest: one more time must not look like the last one.
    text = (HERE.parent / "kubelet/pod.yaml").read_text()
    text = text.replace("  name: kvm\n", f'  name: kvm\n  annotations: {{deployed: "{time.time_ns()}"}}\n', 1)
    part = MANIFEST.with_name(".kvm.yaml")
    part.write_text(text)
    part.rename(MANIFEST)
    pod = until("for the pod to run", settled)
    if pod["status"].get("phase") == "Failed":
        print(f"deploy: the pod is refused: {explanation(pod)}", file=sys.stderr)
        return 1
    print(f"pod {POD} is running; in its container:")
    code = show(pod["status"]["containerStatuses"][0]["containerID"].partition("://")[2])
    print("`make undeploy` removes it")
    return 1 if code else 0


def main(verb: str) -> int:
    """One verb."""
    if verb == "up":
        return deploy()
    remove()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
