import copy
import re

from kubelet_plugin.kubelet.pods import Container, Pod
from tests.unit.kubelet.pod_documents import R, container, manifest, with_resources


def only(document: object) -> Container:
    (container,) = Pod.from_document(document).containers
    return container


# What a pod is made of.


def test_a_manifest_gives_names_and_containers() -> None:
    pod = Pod.from_document(
        manifest(
            container("main"),
            metadata={"name": "x", "namespace": "ns", "uid": "u1"},
            initContainers=[container("first"), container("side", restartPolicy="Always")],
            restartPolicy="Never",
        )
    )
    assert (pod.name, pod.namespace, pod.uid, pod.restart_policy) == ("x", "ns", "u1", "Never")
    assert [one.name for one in pod.containers] == ["main"]
    assert [(one.name, one.restarts_always) for one in pod.init_containers] == [("first", False), ("side", True)]


def test_only_an_init_container_can_be_a_sidecar() -> None:
    assert not only(manifest(container(restartPolicy="Always"))).restarts_always


def test_what_is_not_given_has_kubernetes_defaults() -> None:
    pod = Pod.from_document(manifest())
    assert (pod.namespace, pod.restart_policy, pod.init_containers) == ("default", "Always", ())
    assert pod.containers == (Container(name="a", image="busybox"),)


def test_a_pod_without_a_uid_gets_one_that_its_names_decide() -> None:
    first, again, other = (
        Pod.from_document(manifest(metadata={"name": "x", "namespace": namespace})).uid
        for namespace in ("default", "default", "other")
    )
    assert first == again
    assert first != other
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", first)


def test_a_container_has_what_its_process_starts_with() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "NODE", "valueFrom": {"fieldRef": {}}}, {"name": "B"}]
    got = only(manifest(container(command=["sh"], args=["-c", "$(A)"], workingDir="/w", env=env)))
    assert (got.command, got.args, got.working_dir) == (("sh",), ("-c", "$(A)"), "/w")
    assert got.env == (("A", "1"), ("B", ""))


def test_a_containers_identity_is_its_own_over_the_pods() -> None:
    pod_wide = {"runAsUser": 1, "runAsGroup": 2}
    first, second = Pod.from_document(
        manifest(
            container(securityContext={"runAsUser": 0, "privileged": True}), container("b"), securityContext=pod_wide
        )
    ).containers
    assert (first.user, first.group, first.privileged) == (0, 2, True)
    assert (second.user, second.group, second.privileged) == (1, 2, False)


def test_supplemental_groups_are_the_pods_with_its_fs_group() -> None:
    assert only(manifest(securityContext={"fsGroup": 0, "supplementalGroups": [5, 6]})).supplemental_groups == (0, 5, 6)


def test_limits_are_those_of_extended_resources() -> None:
    limits = {
        R: "2",
        "example.com/more": "1k",
        "cpu": "500m",
        "hugepages-2Mi": "2Mi",
        "memory": 1,
        "kubernetes.io/x": 1,
    }
    assert only(with_resources(limits=limits)).limits == {R: 2, "example.com/more": 1000}


def test_a_limit_of_nothing_is_a_limit() -> None:
    assert only(with_resources(limits={R: 0})).limits == {R: 0}


def test_a_limit_over_what_a_kubelet_counts_is_cut() -> None:
    assert only(with_resources(limits={R: "100E"})).limits == {R: 2**63 - 1}


def test_a_request_that_equals_its_limit_is_accepted_in_any_notation() -> None:
    assert only(with_resources(limits={R: "1k"}, requests={R: "1000"})).limits == {R: 1000}


def test_a_pod_serves_as_a_key() -> None:
    pod = Pod.from_document(with_resources(limits={R: 1}))
    assert {pod: 1}[Pod.from_document(with_resources(limits={R: 1}))] == 1
    assert pod != Pod.from_document(with_resources(limits={R: 2}))


# The document.


def test_the_document_keeps_all_fields_and_fills_in_what_is_not_given() -> None:
    given = manifest(metadata={"name": "x", "labels": {"l": "1"}}, volumes=[{"name": "v", "emptyDir": {}}])
    pod = Pod.from_document(given)
    assert pod.document == {
        "metadata": {"name": "x", "namespace": "default", "uid": pod.uid, "labels": {"l": "1"}},
        "spec": {**given["spec"], "restartPolicy": "Always"},
    }


def test_in_the_document_what_is_limited_is_requested() -> None:
    document = Pod.from_document(with_resources(limits={R: 1, "cpu": 2}, requests={"cpu": 1, "memory": 5})).document
    assert document["spec"]["containers"][0]["resources"]["requests"] == {R: 1, "cpu": 1, "memory": 5}


def test_the_given_document_stays_as_it_is() -> None:
    given = with_resources(limits={R: 1})
    before = copy.deepcopy(given)
    Pod.from_document(given, node_name="n", source="/m/x.yaml").document["spec"]["containers"].clear()
    assert given == before


# Static pods.


def static(document: object, *, node_name: str = "Node1", source: str = "/m/x.yaml", seen: float | None = None) -> Pod:
    return Pod.from_document(document, node_name=node_name, source=source, seen=seen)


def test_a_static_pods_name_ends_in_the_node_in_lower_case() -> None:
    pod = static(manifest())
    assert (pod.name, pod.document["metadata"]["name"], pod.document["spec"]["nodeName"]) == (
        "x-node1",
        "x-node1",
        "Node1",
    )


def test_a_static_pods_uid_is_a_digest_that_stays_with_node_file_and_content() -> None:
    uid = static(manifest()).uid
    assert re.fullmatch(r"[0-9a-f]{32}", uid)
    assert static(dict(reversed(manifest().items()))).uid == uid
    assert static(manifest(), node_name="node2").uid != uid
    assert static(manifest(), source="/m/y.yaml").uid != uid
    assert static(manifest(container("b"))).uid != uid


def test_a_static_pod_keeps_a_uid_that_its_manifest_gives() -> None:
    pod = static(manifest(metadata={"name": "x", "uid": "u1"}))
    assert (pod.uid, pod.document["metadata"]["annotations"]["kubernetes.io/config.hash"]) == ("u1", "u1")


def test_a_static_pod_carries_where_it_is_from() -> None:
    pod = static(manifest(metadata={"name": "x", "annotations": {"a": "b"}}), seen=1_700_000_000.25)
    assert pod.document["metadata"]["annotations"] == {
        "a": "b",
        "kubernetes.io/config.hash": pod.uid,
        "kubernetes.io/config.source": "file",
        "kubernetes.io/config.seen": "2023-11-14T22:13:20.250000Z",
    }


def test_a_static_pod_tolerates_what_would_evict_it() -> None:
    mine, all_of_them = {"key": "k", "operator": "Exists"}, {"operator": "Exists", "effect": "NoExecute"}
    for given, filled in (([mine], [mine, all_of_them]), ([all_of_them], [all_of_them])):
        assert static(manifest(tolerations=given)).document["spec"]["tolerations"] == filled


def test_text_that_is_no_unicode_is_no_trouble() -> None:
    assert static(manifest(metadata={"name": "x", "annotations": {"a": "\ud800"}})).uid
