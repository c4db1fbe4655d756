import json
from typing import Any

import pytest

from kubelet_plugin.errors import ManifestError
from kubelet_plugin.kubelet.pods import Container, Pod
from tests.unit.kubelet.pod_documents import R, container, manifest, with_resources

LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
NAME = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def refusal(document: object, **place: str) -> str:
    with pytest.raises(ManifestError) as caught:
        Pod.from_document(document, **place)  # type: ignore[arg-type]  # names and texts alone
    return str(caught.value)


# What is no pod.


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "Object 'Kind' is missing in 'null'"),
        ({"apiVersion": "v1", "metadata": {}}, """Object 'Kind' is missing in '{"apiVersion":"v1","metadata":{}}'"""),
        ({"kind": "Pod"}, """Object 'apiVersion' is missing in '{"kind":"Pod"}'"""),
        (
            {"apiVersion": "apps/v1", "kind": "Deployment"},
            'no kind "Deployment" is registered for version "apps/v1" in scheme "pkg/api/legacyscheme/scheme.go:30"',
        ),
        ({"apiVersion": "v1", "kind": "Service"}, "invalid pod: it is a Service"),
        (
            "hello",
            (
                "couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { "
                r'APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
            ),
        ),
    ],
)
def test_what_is_no_pod_at_all_is_refused_in_the_words_of_the_kubelet(document: object, words: str) -> None:
    place = {"node_name": "node1", "source": "/m/x.yaml"}
    assert refusal(document, **place) == f"/m/x.yaml: couldn't parse as pod({words}), please check config file"
    assert refusal(document) == f'Pod in version "v1" cannot be handled as a Pod: {words}'


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (manifest(metadata="x"), "string into Go struct field Pod.metadata of type v1.ObjectMeta"),
        (manifest(metadata={"name": 1}), "number into Go struct field ObjectMeta.metadata.name of type string"),
        (
            manifest(metadata={"name": "x", "annotations": {"a": 1}}),
            "number into Go struct field ObjectMeta.metadata.annotations of type string",
        ),
        ({**manifest(), "spec": []}, "array into Go struct field Pod.spec of type v1.PodSpec"),
        (manifest(containers={}), "object into Go struct field PodSpec.spec.containers of type []v1.Container"),
        (manifest(containers=["a"]), "string into Go struct field PodSpec.spec.containers of type v1.Container"),
        (manifest(initContainers=""), "string into Go struct field PodSpec.spec.initContainers of type []v1.Container"),
        (
            manifest(restartPolicy=False),
            "bool into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
        ),
        (manifest(container(image=5)), "number into Go struct field Container.spec.containers.image of type string"),
        (
            manifest(container(command="sh")),
            "string into Go struct field Container.spec.containers.command of type []string",
        ),
        (
            manifest(container(args=[1.5])),
            "number into Go struct field Container.spec.containers.args of type string",
        ),
        (
            manifest(container(env=[{"name": "A", "value": True}])),
            "bool into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            manifest(container(securityContext={"runAsUser": "root"})),
            "string into Go struct field SecurityContext.spec.containers.securityContext.runAsUser of type int64",
        ),
        (
            manifest(securityContext={"runAsUser": True}),
            "bool into Go struct field PodSecurityContext.spec.securityContext.runAsUser of type int64",
        ),
        (
            manifest(securityContext={"supplementalGroups": [1.5]}),
            "number 1.5 into Go struct field PodSecurityContext.spec.securityContext.supplementalGroups of type int64",
        ),
        (
            manifest(container(securityContext={"privileged": "true"})),
            "string into Go struct field SecurityContext.spec.containers.securityContext.privileged of type bool",
        ),
        (
            manifest(container(resources={"limits": [1]})),
            "array into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList",
        ),
    ],
)
def test_a_field_of_another_type_is_refused_with_the_field(document: object, words: str) -> None:
    assert refusal(document).endswith(f": json: cannot unmarshal {words}")


def test_tolerations_of_a_static_pod_are_a_list() -> None:
    words = "cannot unmarshal number into Go struct field PodSpec.spec.tolerations of type []v1.Toleration"
    assert words in refusal(manifest(tolerations=1), node_name="node1", source="/m/x.yaml")


def test_a_malformed_quantity_is_refused() -> None:
    assert "quantities must match the regular expression" in refusal(with_resources(requests={"cpu": "much"}))


def test_null_is_as_good_as_nothing() -> None:
    bare = container(command=None, env=None, resources=None, securityContext=None)
    assert Pod.from_document(manifest(bare, initContainers=None, securityContext=None)).containers == (
        Container(name="a", image="busybox"),
    )


# What is no valid pod.


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (manifest(metadata={}), "metadata.name: Required value: name or generateName is required"),
        (manifest(metadata={"name": "X_y"}), f'metadata.name: Invalid value: "X_y": {SUBDOMAIN}'),
        (
            manifest(metadata={"name": "x", "namespace": "a.b"}),
            'metadata.namespace: Invalid value: "a.b": must not contain dots',
        ),
        (manifest(containers=[]), "spec.containers: Required value"),
        (
            manifest(restartPolicy="Maybe"),
            'spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"',
        ),
        (manifest(container(), container()), 'spec.containers[1].name: Duplicate value: "a"'),
        (manifest(initContainers=[container()]), 'spec.initContainers[0].name: Duplicate value: "a"'),
        (manifest({"image": "i"}), "spec.containers[0].name: Required value"),
        (manifest(container("A")), f'spec.containers[0].name: Invalid value: "A": {LABEL}'),
        (
            manifest(container("a" * 64)),
            f'spec.containers[0].name: Invalid value: "{"a" * 64}": must be no more than 63 bytes',
        ),
        (manifest({"name": "a"}), "spec.containers[0].image: Required value"),
        (
            manifest(container(image=" i")),
            'spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace',
        ),
        (manifest(container(env=[{"value": "1"}])), "spec.containers[0].env[0].name: Required value"),
        (
            manifest(container(env=[{"name": "a=b"}])),
            (
                'spec.containers[0].env[0].name: Invalid value: "a=b": a valid environment variable name must consist only '
                "of printable ASCII characters other than '='"
            ),
        ),
        (
            manifest(container(securityContext={"runAsUser": -1})),
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
        (
            manifest(securityContext={"supplementalGroups": [1, 2**31]}),
            (
                "spec.securityContext.supplementalGroups[1]: Invalid value: 2147483648: must be between 0 and 2147483647, "
                "inclusive"
            ),
        ),
        (
            with_resources(requests={R: 1}),
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (
            with_resources(requests={R: 1}, limits={R: 2}),
            f'spec.containers[0].resources.requests: Invalid value: "1": must be equal to {R} limit of 2',
        ),
        (
            with_resources(requests={"cpu": 2}, limits={"cpu": "1500m"}),
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1500m',
        ),
    ],
)
def test_one_fault_is_told_as_the_api_server_does(document: dict[str, Any], fault: str) -> None:
    name = document["metadata"].get("name", "")
    assert refusal(document) == f"Pod {json.dumps(name)} is invalid: {fault}"


@pytest.mark.parametrize(
    ("resource", "quantity", "reasons"),
    [
        (R, "1500m", ['"1500m": must be an integer']),
        (R, 0.5, ['"500m": must be an integer']),
        (R, -1, ['"-1": must be greater than or equal to 0']),
        ("memory", -1, ['"-1": must be greater than or equal to 0']),
        (
            "gpu",
            1,
            [
                '"gpu": must be a standard resource type or fully qualified',
                '"gpu": must be a standard resource for containers',
            ],
        ),
        ("requests.foo.com/bar", 1, ['"requests.foo.com/bar": doesn\'t follow extended resource name standard']),
        (
            "Foo/bar",
            1,
            [f'"Foo/bar": prefix part {SUBDOMAIN}', '"Foo/bar": doesn\'t follow extended resource name standard'],
        ),
        (
            "foo.com/_bar",
            1,
            [f'"foo.com/_bar": name part {NAME}', '"foo.com/_bar": doesn\'t follow extended resource name standard'],
        ),
        (
            "/bar",
            1,
            ['"/bar": prefix part must be non-empty', '"/bar": doesn\'t follow extended resource name standard'],
        ),
        (
            "a/b/c",
            1,
            [
                (
                    f"\"a/b/c\": a qualified name {NAME} with an optional DNS subdomain prefix and '/' "
                    "(e.g. 'example.com/MyName')"
                ),
                '"a/b/c": doesn\'t follow extended resource name standard',
            ],
        ),
        (
            "",
            1,
            [
                '"": name part must be non-empty',
                f'"": name part {NAME}',
                '"": must be a standard resource for containers',
            ],
        ),
    ],
)
def test_a_wrong_limit_is_told_of_the_limit_and_of_the_request_that_comes_with_it(
    resource: str, quantity: object, reasons: list[str]
) -> None:
    faults = [
        f"spec.containers[0].resources.{kind}[{resource}]: Invalid value: {reason}"
        for kind in ("limits", "requests")
        for reason in reasons
    ]
    assert refusal(with_resources(limits={resource: quantity})) == f'Pod "x" is invalid: [{", ".join(faults)}]'


def test_huge_pages_are_not_overcommitted_either() -> None:
    faults = refusal(with_resources(requests={"hugepages-2Mi": "2Mi"}, limits={"hugepages-2Mi": "4Mi"}))
    assert faults.endswith('requests: Invalid value: "2Mi": must be equal to hugepages-2Mi limit of 4Mi')


def test_containers_without_a_name_are_duplicates_and_so_are_init_containers_after_them() -> None:
    nameless = {"image": "i"}
    assert 'spec.containers[1].name: Duplicate value: ""' in refusal(manifest(nameless, nameless))
    assert 'spec.initContainers[0].name: Duplicate value: ""' in refusal(manifest(nameless, initContainers=[nameless]))
    assert "Duplicate" not in refusal(manifest(initContainers=[nameless, nameless]))


def test_the_api_server_tells_a_fault_once_the_kubelet_as_often_as_it_finds_it() -> None:
    document = with_resources(requests={R: 1, "example.com/more": 1})
    fault = "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"
    assert refusal(document) == f'Pod "x" is invalid: {fault}'
    assert refusal(document, node_name="node1", source="/m/x.yaml") == f"invalid pod: [{fault} {fault}]"


def test_several_faults_are_listed_in_order() -> None:
    assert refusal(manifest(containers=[], restartPolicy="Maybe", metadata={"name": "x", "namespace": "a.b"})) == (
        'Pod "x" is invalid: [metadata.namespace: Invalid value: "a.b": must not contain dots, '
        'spec.containers: Required value, spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", '
        '"OnFailure", "Never"]'
    )


def test_of_a_static_pod_faults_are_told_as_the_kubelet_does() -> None:
    place = {"node_name": "node1", "source": "/m/x.yaml"}
    assert refusal(manifest(containers=[]), **place) == "invalid pod: [spec.containers: Required value]"
    assert refusal(manifest(container(), {"name": "a"}), **place) == (
        'invalid pod: [spec.containers[1].image: Required value spec.containers[1].name: Duplicate value: "a"]'
    )
    assert refusal(manifest(metadata={}), **place) == "invalid pod: name is needed for the pod"
    assert refusal(manifest(metadata={"name": "X"}), **place) == (
        f'invalid pod: [metadata.name: Invalid value: "X-node1": {SUBDOMAIN}]'
    )
