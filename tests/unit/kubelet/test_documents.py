"""Pods and the node as the Kubernetes API says them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin.kubelet import documents
from kubelet_plugin.kubelet.machine import Machine
from kubelet_plugin.kubelet.pods import Pod
from kubelet_plugin.kubelet.profile import VERSIONS, Profile
from kubelet_plugin.kubelet.status import ContainerStatus, Phase, PodStatus, State
from tests.unit.kubelet.pod_documents import R, container, manifest

BEGAN = 1_700_000_000.75  # 2023-11-14T22:13:20Z, and three quarters of a second
TIMES = {second: f"2023-11-14T22:13:{20 + second}Z" for second in range(10)}


def waiting(name: str = "a", **fields: Any) -> ContainerStatus:
    return ContainerStatus(name=name, **fields)


def running(name: str = "a", at: int = 1, **fields: Any) -> ContainerStatus:
    return ContainerStatus(name=name, state=State.RUNNING, started_at=BEGAN + at, **fields)


def ended(name: str = "a", code: int = 0, at: int = 2, **fields: Any) -> ContainerStatus:
    return ContainerStatus(
        name=name,
        state=State.TERMINATED,
        reason="Error" if code else "Completed",
        exit_code=code,
        started_at=BEGAN + 1,
        finished_at=BEGAN + at,
        **fields,
    )


def admitted(
    *containers: ContainerStatus,
    inits: tuple[ContainerStatus, ...] = (),
    sidecars: tuple[str, ...] = (),
    phase: Phase = Phase.RUNNING,
    **spec: Any,
) -> PodStatus:
    """A pod of containers that became this; the init containers named as sidecars are some."""
    document = manifest(
        *(container(each.name) for each in containers),
        initContainers=[
            container(each.name, **({"restartPolicy": "Always"} if each.name in sidecars else {})) for each in inits
        ],
        metadata={"name": "x", "uid": "u1", "labels": {"app": "demo"}},
        **spec,
    )
    pod = Pod.from_document(document)
    return PodStatus(pod=pod, phase=phase, started_at=BEGAN, init_containers=inits, containers=containers)


def refused() -> PodStatus:
    return PodStatus(
        pod=admitted(waiting()).pod, phase=Phase.FAILED, reason="NoLuck", message="Pod had none", started_at=BEGAN
    )


def item(status: PodStatus, version: str = "1.36", health: str = "Healthy") -> dict[str, Any]:
    """A pod as a client reads it."""
    document = documents.pod_list(
        [status], profile=Profile.of(version), health=lambda resource, device: health, node_name="node1"
    )
    [pod] = json.loads(json.dumps(document))["items"]
    assert isinstance(pod, dict)
    return pod


def status_of(status: PodStatus, version: str = "1.36") -> dict[str, Any]:
    found = item(status, version)["status"]
    assert isinstance(found, dict)
    return found


def conditions_of(status: PodStatus, version: str = "1.36") -> dict[str, tuple[str, ...]]:
    """The conditions by type: status, reason and message, as far as there is any."""
    return {
        each["type"]: tuple(each[key] for key in ("status", "reason", "message") if key in each)
        for each in status_of(status, version)["conditions"]
    }


def since(status: PodStatus, condition: str) -> str:
    [found] = [each for each in status_of(status)["conditions"] if each["type"] == condition]
    return str(found["lastTransitionTime"])


# Pods.


def test_pods_make_a_list_of_the_api() -> None:
    document = documents.pod_list([], profile=Profile.of("1.36"), health=lambda *_: "", node_name="node1")
    assert document == {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": None}


def test_pods_keep_their_order() -> None:
    pods = [PodStatus(pod=Pod(name=name, uid=name, containers=()), phase=Phase.PENDING) for name in "ba"]
    document = documents.pod_list(pods, profile=Profile.of("1.36"), health=lambda *_: "", node_name="node1")
    assert [each["metadata"]["name"] for each in document["items"]] == ["b", "a"]


def test_a_pod_has_its_manifests_metadata_and_spec_and_a_node() -> None:
    pod = item(admitted(running(), hostNetwork=True))
    assert (
        pod["metadata"].items() >= {"name": "x", "namespace": "default", "uid": "u1", "labels": {"app": "demo"}}.items()
    )
    assert (pod["spec"]["hostNetwork"], pod["spec"]["nodeName"]) == (True, "node1")


def test_the_pods_own_document_stays_as_it_is() -> None:
    status = admitted(running())
    before = json.dumps(status.pod.document)
    item(status, "1.20")
    assert json.dumps(status.pod.document) == before


@pytest.mark.parametrize(
    ("version", "shown"), [("1.33", {"creationTimestamp": None}), ("1.34", {})], ids=["null", "absent"]
)
def test_a_creation_time_that_is_not_known_is_null_in_old_versions(version: str, shown: dict[str, None]) -> None:
    metadata = item(admitted(running()), version)["metadata"]
    assert {key: value for key, value in metadata.items() if key == "creationTimestamp"} == shown


def test_a_pod_that_was_only_just_seen_has_a_phase_alone() -> None:
    status = dataclasses.replace(admitted(waiting(), phase=Phase.PENDING), started_at=None)
    assert status_of(status) == {"phase": "Pending"}


@pytest.mark.parametrize(("version", "more"), [("1.20", {}), ("1.31", {"qosClass": "BestEffort"})])
def test_of_a_refused_pod_nothing_is_said_but_why(version: str, more: dict[str, str]) -> None:
    assert (
        status_of(refused(), version)
        == {
            "phase": "Failed",
            "reason": "NoLuck",
            "message": "Pod had none",
            "startTime": TIMES[0],
        }
        | more
    )


def test_times_are_in_whole_seconds_of_utc() -> None:
    assert status_of(admitted(running()))["startTime"] == "2023-11-14T22:13:20Z"


def test_a_pod_has_its_nodes_address_and_none_of_its_own() -> None:
    status = status_of(admitted(running()))
    assert (status["hostIP"], "podIP" in status) == ("127.0.0.1", False)


# Containers.


def test_a_container_that_runs_is_ready() -> None:
    [shown] = status_of(admitted(running(restarts=2)))["containerStatuses"]
    assert shown.pop("containerID").startswith("embedded://")
    assert shown == {
        "name": "a",
        "state": {"running": {"startedAt": TIMES[1]}},
        "lastState": {},
        "ready": True,
        "started": True,
        "restartCount": 2,
        "image": "busybox",
        "imageID": "",
    }


def test_a_container_that_waits_says_why() -> None:
    [shown] = status_of(admitted(waiting(reason="CreateContainerConfigError", message="no")))["containerStatuses"]
    assert shown == {
        "name": "a",
        "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "no"}},
        "lastState": {},
        "ready": False,
        "started": False,
        "restartCount": 0,
        "image": "busybox",
        "imageID": "",
    }


def test_a_container_that_ended_says_how() -> None:
    [shown] = status_of(admitted(ended(code=3)))["containerStatuses"]
    assert shown["state"] == {
        "terminated": {
            "exitCode": 3,
            "reason": "Error",
            "startedAt": TIMES[1],
            "finishedAt": TIMES[2],
            "containerID": shown["containerID"],
        }
    }
    assert (shown["ready"], shown["started"]) == (False, False)


def test_a_container_waits_to_be_created_where_nothing_else_is_known() -> None:
    [shown] = status_of(admitted(waiting()))["containerStatuses"]
    assert shown["state"] == {"waiting": {"reason": "ContainerCreating"}}


def test_all_containers_wait_for_the_pods_initialization_where_there_are_init_containers() -> None:
    status = status_of(admitted(waiting(), inits=(running("i1"), waiting("i2"))))
    states = [each["state"] for each in (*status["containerStatuses"], status["initContainerStatuses"][1])]
    assert states == [{"waiting": {"reason": "PodInitializing"}}] * 2


def test_containers_are_sorted_and_init_containers_are_not() -> None:
    status = status_of(admitted(running("b"), running("a"), inits=(ended("d"), ended("c"))))
    assert [each["name"] for each in status["containerStatuses"]] == ["a", "b"]
    assert [each["name"] for each in status["initContainerStatuses"]] == ["d", "c"]


def test_a_pod_without_init_containers_does_not_speak_of_them() -> None:
    assert "initContainerStatuses" not in status_of(admitted(running()))


@pytest.mark.parametrize(
    ("init", "ready"), [(ended("i"), True), (ended("i", code=1), False), (running("i"), False), (waiting("i"), False)]
)
def test_an_init_container_is_ready_once_it_has_succeeded(init: ContainerStatus, ready: bool) -> None:
    [shown] = status_of(admitted(waiting(), inits=(init,)))["initContainerStatuses"]
    assert shown["ready"] is ready


@pytest.mark.parametrize(("sidecar", "ready"), [(running("s"), True), (ended("s"), False), (waiting("s"), False)])
def test_a_sidecar_is_ready_while_it_runs(sidecar: ContainerStatus, ready: bool) -> None:
    [shown] = status_of(admitted(waiting(), inits=(sidecar,), sidecars=("s",)))["initContainerStatuses"]
    assert (shown["ready"], shown["started"]) == (ready, ready)


@pytest.mark.parametrize(("version", "said"), [("1.20", False), ("1.31", True)])
def test_only_todays_kubelets_say_whether_an_init_container_has_started(version: str, said: bool) -> None:
    [shown] = status_of(admitted(waiting(), inits=(running("i"),)), version)["initContainerStatuses"]
    assert ("started" in shown) is said


def test_each_start_of_a_container_has_an_id_of_its_own() -> None:
    starts = [admitted(running("a", restarts=number), running("b", restarts=number)) for number in range(2)]
    ids = {each["containerID"] for status in starts for each in status_of(status)["containerStatuses"]}
    assert len(ids) == 4


def test_a_container_keeps_the_id_of_its_last_start_after_its_end() -> None:
    [[before], [after]] = [status_of(admitted(each))["containerStatuses"] for each in (running(), ended())]
    assert before["containerID"] == after["containerID"]


# Health of devices.

HOLDER = running("a", devices={"z.com/z": ("z0",), R: ("w0", "w1")})


def test_a_container_says_how_its_devices_are() -> None:
    document = documents.pod_list(
        [admitted(HOLDER)],
        profile=Profile.of("1.36"),
        health=lambda resource, device: "Unhealthy" if (resource, device) == (R, "w1") else "Healthy",
        node_name="node1",
    )
    assert document["items"][0]["status"]["containerStatuses"][0]["allocatedResourcesStatus"] == [
        {
            "name": R,
            "resources": [
                {"resourceID": "w0", "health": "Healthy"},
                {"resourceID": "w1", "health": "Unhealthy"},
            ],
        },
        {"name": "z.com/z", "resources": [{"resourceID": "z0", "health": "Healthy"}]},
    ]


def test_a_container_without_devices_does_not_speak_of_them() -> None:
    [shown] = status_of(admitted(running()))["containerStatuses"]
    assert "allocatedResourcesStatus" not in shown


def test_an_init_container_never_says_how_its_devices_are() -> None:
    [shown] = status_of(admitted(waiting("b"), inits=(HOLDER,)))["initContainerStatuses"]
    assert "allocatedResourcesStatus" not in shown


@pytest.mark.parametrize("version", [version for version in VERSIONS if not Profile.of(version).reports_health])
def test_kubelets_that_do_not_report_health_do_not(version: str) -> None:
    [shown] = status_of(admitted(HOLDER), version)["containerStatuses"]
    assert "allocatedResourcesStatus" not in shown


# Conditions.

TRUE = ("True",)


def test_a_pod_whose_containers_run_meets_all_conditions() -> None:
    assert conditions_of(admitted(running(), inits=(ended("i"), running("s")), sidecars=("s",))) == {
        "PodReadyToStartContainers": TRUE,
        "Initialized": TRUE,
        "Ready": TRUE,
        "ContainersReady": TRUE,
        "PodScheduled": TRUE,
    }


def test_kubelet_1_20_does_not_speak_of_sandboxes() -> None:
    assert list(conditions_of(admitted(running()), "1.20")) == [
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]


def test_a_pod_is_not_initialized_until_its_init_containers_have_succeeded_and_its_sidecars_run() -> None:
    inits = (ended("i1"), running("s1"), waiting("s2"), ended("i2", code=1))
    assert conditions_of(admitted(waiting(), inits=inits, sidecars=("s1", "s2")))["Initialized"] == (
        "False",
        "ContainersNotInitialized",
        "containers with incomplete status: [s2 i2]",
    )


def test_a_sidecar_that_starts_again_leaves_a_pod_initialized() -> None:
    assert conditions_of(admitted(running(), inits=(ended("s"),), sidecars=("s",)))["Initialized"] == TRUE


def test_a_pod_is_not_ready_until_its_containers_and_sidecars_run() -> None:
    status = admitted(running("a"), waiting("b"), inits=(ended("i"), ended("s")), sidecars=("s",))
    why = ("False", "ContainersNotReady", "containers with unready status: [s b]")
    conditions = conditions_of(status)
    assert (conditions["Ready"], conditions["ContainersReady"]) == (why, why)


def test_a_pod_that_has_succeeded_is_completed() -> None:
    assert conditions_of(admitted(ended(), inits=(ended("i"),), phase=Phase.SUCCEEDED)) == {
        "PodReadyToStartContainers": ("False",),
        "Initialized": ("True", "PodCompleted"),
        "Ready": ("False", "PodCompleted"),
        "ContainersReady": ("False", "PodCompleted"),
        "PodScheduled": TRUE,
    }


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("1.20", ("False", "ContainersNotReady", "containers with unready status: [a]")),
        ("1.31", ("False", "PodFailed")),
    ],
)
def test_a_pod_that_has_failed_is_not_ready(version: str, why: tuple[str, ...]) -> None:
    conditions = conditions_of(admitted(ended(code=1), phase=Phase.FAILED), version)
    assert (conditions["Ready"], conditions["ContainersReady"]) == (why, why)


def test_readiness_gates_stay_closed() -> None:
    gates = [{"conditionType": "example.com/a"}, {"conditionType": "example.com/b"}]
    conditions = conditions_of(admitted(running(), readinessGates=gates))
    assert conditions["ContainersReady"] == TRUE
    assert conditions["Ready"][:2] == ("False", "ReadinessGatesNotReady")
    assert conditions["Ready"][2].split(", ") == [
        'corresponding condition of pod readiness gate "example.com/a" does not exist.',
        'corresponding condition of pod readiness gate "example.com/b" does not exist.',
    ]


@pytest.mark.parametrize(
    ("condition", "status", "moment"),
    [
        ("PodScheduled", admitted(running(at=5)), 0),
        ("PodReadyToStartContainers", admitted(running(at=5)), 0),
        ("PodReadyToStartContainers", admitted(ended(at=6), phase=Phase.SUCCEEDED), 6),
        ("Initialized", admitted(waiting()), 0),
        ("Initialized", admitted(waiting(), inits=(running("i"),)), 0),
        ("Initialized", admitted(waiting(), inits=(ended("i", at=3), running("s", at=4)), sidecars=("s",)), 4),
        ("Ready", admitted(running("a", at=5), running("b", at=6)), 6),
        ("Ready", admitted(running("a", at=5), waiting("b")), 0),
        ("Ready", admitted(running("a", at=8), ended("b", at=7)), 7),
    ],
)
def test_a_condition_is_as_old_as_what_made_it_so(condition: str, status: PodStatus, moment: int) -> None:
    assert since(status, condition) == TIMES[moment]


# Quality of service.


def qos_class(*resources: dict[str, Any], inits: tuple[dict[str, Any], ...] = ()) -> str:
    document = manifest(
        *(container(f"c{number}", resources=each) for number, each in enumerate(resources)),
        initContainers=[container(f"i{number}", resources=each) for number, each in enumerate(inits)],
    )
    pod = Pod.from_document(document)
    status = PodStatus(
        pod=pod,
        phase=Phase.PENDING,
        started_at=BEGAN,
        init_containers=tuple(waiting(each.name) for each in pod.init_containers),
        containers=tuple(waiting(each.name) for each in pod.containers),
    )
    return str(status_of(status)["qosClass"])


BOTH = {"cpu": "500m", "memory": "1Gi"}


def test_a_pod_without_cpu_and_memory_is_best_effort() -> None:
    assert qos_class({"limits": {R: 1}}, {"requests": {"cpu": 0}}) == "BestEffort"


def test_a_pod_that_requests_what_it_is_limited_to_is_guaranteed() -> None:
    assert qos_class({"limits": BOTH}, {"limits": BOTH, "requests": {"cpu": "0.5", "memory": "1024Mi"}}) == "Guaranteed"


@pytest.mark.parametrize(
    "resources",
    [
        ({"limits": BOTH, "requests": {"cpu": "100m"}},),
        ({"limits": {"cpu": 1}},),
        ({"limits": BOTH}, {}),
        ({"requests": BOTH},),
    ],
    ids=["less requested", "one resource", "one container", "no limit"],
)
def test_any_other_pod_is_burstable(resources: tuple[dict[str, Any], ...]) -> None:
    assert qos_class(*resources) == "Burstable"


def test_init_containers_bear_on_the_quality_of_service() -> None:
    assert qos_class({"limits": BOTH}, inits=({},)) == "Burstable"


# The node.

MACHINE = Machine(
    cpus=4,
    memory=8 << 30,
    architecture="arm64",
    kernel="6.1.0",
    os_image="Some Linux 1",
    machine_id="m1",
    boot_id="b1",
)


def test_a_node_has_its_machines_resources_and_its_devices_as_quantities() -> None:
    node = documents.node("node1", {R: 3}, {R: 2}, version="1.36", machine=MACHINE)
    assert node["status"]["capacity"] == {"cpu": "4", "memory": "8Gi", "pods": "110", R: "3"}
    assert node["status"]["allocatable"] == {"cpu": "4", "memory": "8092Mi", "pods": "110", R: "2"}


def test_a_node_is_never_short_of_less_than_nothing() -> None:
    machine = dataclasses.replace(MACHINE, memory=1024)
    node = documents.node("node1", {}, {}, version="1.36", machine=machine)
    assert (node["status"]["capacity"]["memory"], node["status"]["allocatable"]["memory"]) == ("1Ki", "0")


def test_a_node_is_named_and_ready() -> None:
    node = documents.node("node1", {}, {}, version="1.36", machine=MACHINE)
    assert (node["apiVersion"], node["kind"], node["metadata"]["name"]) == ("v1", "Node", "node1")
    assert [(each["type"], each["status"]) for each in node["status"]["conditions"]] == [("Ready", "True")]


def test_a_node_says_what_it_runs() -> None:
    info = documents.node("node1", {}, {}, version="1.36", machine=MACHINE)["status"]["nodeInfo"]
    assert (info["kubeletVersion"], info["kernelVersion"], info["osImage"]) == ("v1.36.0", "6.1.0", "Some Linux 1")
    assert (info["operatingSystem"], info["architecture"]) == ("linux", "arm64")


def test_a_node_is_this_machine_unless_another_is_given() -> None:
    node = documents.node("node1", {}, {}, version="1.36")
    assert node == documents.node("node1", {}, {}, version="1.36", machine=Machine.read())


def test_a_machine_is_read_from_its_files(tmp_path: Path) -> None:
    for path, content in {
        "proc/meminfo": "MemTotal:        2048 kB\nMemFree:  1 kB\n",
        "proc/sys/kernel/osrelease": "6.1.0\n",
        "proc/sys/kernel/random/boot_id": "b1\n",
        "etc/machine-id": "m1\n",
        "etc/os-release": 'ID=some\nPRETTY_NAME="Some Linux 1"\n',
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    machine = Machine.read(str(tmp_path))
    assert (machine.memory, machine.kernel, machine.os_image) == (2 << 20, "6.1.0", "Some Linux 1")
    assert (machine.machine_id, machine.boot_id) == ("m1", "b1")


def test_a_machine_that_does_not_tell_is_still_one(tmp_path: Path) -> None:
    machine = Machine.read(str(tmp_path))
    assert (machine.memory, machine.os_image) == (0, "")
    assert machine.cpus > 0
