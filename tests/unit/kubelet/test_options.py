import logging
from typing import Any

import pytest

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.kubelet import log
from kubelet_plugin.kubelet.options import RunContainerOptions, annotated, merge

POD = "8a3c5c3e-7f58-4f3b-9c3e-0123456789ab"  # a uid has 36 characters


def response(**parts: Any) -> v1beta1.ContainerAllocateResponse:
    return v1beta1.ContainerAllocateResponse(**parts)


def device(inside: str, host: str, permissions: str = "rw") -> v1beta1.DeviceSpec:
    return v1beta1.DeviceSpec(container_path=inside, host_path=host, permissions=permissions)


def mount(inside: str, host: str, *, read_only: bool = False) -> v1beta1.Mount:
    return v1beta1.Mount(container_path=inside, host_path=host, read_only=read_only)


def names(*values: str) -> v1beta1.ContainerAllocateResponse:
    return response(cdi_devices=[v1beta1.CDIDevice(name=value) for value in values])


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


@pytest.fixture(autouse=True)
def _verbose(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(log.level(4), log.logger.name)


def test_of_no_answers_nothing_is_made() -> None:
    assert merge([]) == RunContainerOptions()


def test_answers_are_added_up() -> None:
    first = response(
        envs={"A": "1"}, annotations={"a": "1"}, devices=[device("/dev/a", "/1")], mounts=[mount("/a", "/1")]
    )
    second = response(
        envs={"B": "2"}, annotations={"b": "2"}, devices=[device("/dev/b", "/2")], mounts=[mount("/b", "/2")]
    )
    assert merge([first, second]) == RunContainerOptions(
        envs={"A": "1", "B": "2"},
        annotations={"a": "1", "b": "2"},
        devices=(device("/dev/a", "/1"), device("/dev/b", "/2")),
        mounts=(mount("/a", "/1"), mount("/b", "/2")),
    )


def test_of_equal_variables_the_first_wins() -> None:
    assert merge([response(envs={"A": "1"}), response(envs={"A": "2"})]).envs == {"A": "1"}


def test_of_equal_annotations_the_first_wins() -> None:
    assert merge([response(annotations={"a": "1"}), response(annotations={"a": "2"})]).annotations == {"a": "1"}


def test_of_devices_at_one_path_the_first_wins() -> None:
    first, second = device("/dev/a", "/1", "r"), device("/dev/a", "/1", "rw")
    assert merge([response(devices=[first]), response(devices=[second])]).devices == (first,)


def test_of_mounts_at_one_path_the_first_wins() -> None:
    first, second = mount("/a", "/1", read_only=True), mount("/a", "/2")
    assert merge([response(mounts=[first]), response(mounts=[second])]).mounts == (first,)


def test_within_one_answer_the_first_wins_too() -> None:
    assert merge([response(devices=[device("/dev/a", "/1"), device("/dev/a", "/2")])]).devices == (
        device("/dev/a", "/1"),
    )


def test_cdi_names_are_each_given_once() -> None:
    assert merge([names("v.com/c=a", "v.com/c=b"), names("v.com/c=a")]).cdi_devices == ("v.com/c=a", "v.com/c=b")


def test_cdi_names_are_left_out_where_the_kubelet_knows_none() -> None:
    assert merge([names("v.com/c=a")], cdi_devices=False).cdi_devices == ()


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        (
            response(envs={"A": "1"}),
            response(envs={"A": "2"}),
            '"Environment variable has conflicting setting" envKey="A" got="1" expected="2"',
        ),
        (
            response(devices=[device("/dev/a", "/1")]),
            response(devices=[device("/dev/a", "/2")]),
            '"Container device has conflicting mapping host devices" containerPath="/dev/a" got="/1" expected="/2"',
        ),
        (
            response(mounts=[mount("/a", "/1")]),
            response(mounts=[mount("/a", "/2")]),
            '"Container mount has conflicting mapping host mounts" containerPath="/a" conflictingPath="/1" hostPath="/2"',
        ),
        (
            response(annotations={"a": "1"}),
            response(annotations={"a": "2"}),
            '"Annotation has conflicting setting" annotationKey="a" expected="1" got="2"',
        ),
    ],
    ids=["env", "device", "mount", "annotation"],
)
def test_a_contradiction_is_only_logged(
    caplog: pytest.LogCaptureFixture,
    first: v1beta1.ContainerAllocateResponse,
    second: v1beta1.ContainerAllocateResponse,
    line: str,
) -> None:
    merge([first, second])
    assert errors(caplog) == [line]


@pytest.mark.parametrize(
    "answer",
    [
        response(envs={"A": "1"}),
        response(devices=[device("/dev/a", "/1", "r"), device("/dev/a", "/1", "w")]),
        response(mounts=[mount("/a", "/1", read_only=True), mount("/a", "/1")]),
        response(annotations={"a": "1"}),
        names("v.com/c=a"),
    ],
    ids=["env", "device", "mount", "annotation", "CDI"],
)
def test_what_is_said_twice_is_no_contradiction(
    caplog: pytest.LogCaptureFixture, answer: v1beta1.ContainerAllocateResponse
) -> None:
    merge([answer, answer])
    assert errors(caplog) == []


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        (
            response(envs={"A": "1"}),
            ['"Add env" envKey="A" envValue="1"', '"Skip existing env" envKey="A" envValue="1"'],
        ),
        (
            response(devices=[device("/dev/a", "/1")]),
            [
                '"Add device" containerPath="/dev/a" hostPath="/1"',
                '"Skip existing device" containerPath="/dev/a" hostPath="/1"',
            ],
        ),
        (
            response(mounts=[mount("/a", "/1")]),
            ['"Add mount" containerPath="/a" hostPath="/1"', '"Skip existing mount" containerPath="/a" hostPath="/1"'],
        ),
        (
            response(annotations={"a": "1"}),
            [
                '"Add annotation" annotationKey="a" annotationValue="1"',
                '"Skip existing annotation" annotationKey="a" annotationValue="1"',
            ],
        ),
        (names("v.com/c=a"), ['"Add CDI device" name="v.com/c=a"', '"Skip existing CDI Device" name="v.com/c=a"']),
    ],
    ids=["env", "device", "mount", "annotation", "CDI"],
)
def test_what_is_added_and_what_is_not_is_logged(
    caplog: pytest.LogCaptureFixture, answer: v1beta1.ContainerAllocateResponse, lines: list[str]
) -> None:
    merge([answer, answer])
    assert [record.getMessage() for record in caplog.records] == lines


def test_cdi_names_make_an_annotation_sorted() -> None:
    options = annotated(RunContainerOptions(cdi_devices=("v.com/c=b", "v.com/c=a")), POD, "c")
    assert options.annotations == {f"cdi.k8s.io/devicemanager_{POD}-c": "v.com/c=a,v.com/c=b"}


def test_an_annotation_is_added_to_the_plugins_own() -> None:
    options = annotated(RunContainerOptions(annotations={"a": "1"}, cdi_devices=("v.com/c=a",)), POD, "c")
    assert options.annotations == {"a": "1", f"cdi.k8s.io/devicemanager_{POD}-c": "v.com/c=a"}


def test_without_cdi_names_there_is_no_annotation() -> None:
    assert annotated(RunContainerOptions(envs={"A": "1"}), POD, "c") == RunContainerOptions(envs={"A": "1"})


def test_a_container_name_of_12_characters_has_an_annotation() -> None:
    assert annotated(RunContainerOptions(cdi_devices=("v.com/c=a",)), POD, "c" * 12).annotations


def test_a_container_name_of_13_characters_has_none(caplog: pytest.LogCaptureFixture) -> None:
    options = RunContainerOptions(cdi_devices=("v.com/c=a",))
    assert annotated(options, POD, "c" * 13) == options
    assert [line.startswith('"Failed to create CDI annotations" err=') for line in errors(caplog)] == [True]


def test_with_an_unqualified_name_there_is_no_annotation(caplog: pytest.LogCaptureFixture) -> None:
    options = RunContainerOptions(cdi_devices=("v.com/c=a", "nonsense"))
    assert annotated(options, POD, "c") == options
    assert [line.startswith('"Failed to create CDI annotations" err=') for line in errors(caplog)] == [True]
