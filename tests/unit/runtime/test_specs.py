import json
from pathlib import Path

import pytest

from kubelet_plugin.cdi import ContainerEdits, DeviceNode
from kubelet_plugin.errors import TransientError
from kubelet_plugin.runtime import Device, Health
from kubelet_plugin.runtime.specs import SpecFile

FILE = "example.com-thing.json"
NAMES = ("example.com/thing=thing0",)


def thing(mode: int = 0o600, health: Health = Health.HEALTHY) -> Device:
    edits = ContainerEdits(device_nodes=(DeviceNode("/dev/thing0", file_mode=mode),))
    return Device("thing0", edits, health, "absent" if health == Health.UNHEALTHY else "")


class Ownership:
    """Whether the spec file is ours to write, as a test has it."""

    def __init__(self, *, ours: bool = True) -> None:
        self.ours = ours

    def __call__(self) -> bool:
        return self.ours


@pytest.fixture
def ownership() -> Ownership:
    return Ownership()


@pytest.fixture
def spec(tmp_path: Path, ownership: Ownership) -> SpecFile:
    return SpecFile("example.com/thing", str(tmp_path), ownership)


def test_what_may_not_be_written_is_not_taken_for_written(spec: SpecFile, ownership: Ownership, tmp_path: Path) -> None:
    ownership.ours = False
    with pytest.raises(TransientError, match="is left alone until our socket is in place"):
        spec.write([thing()])
    assert not list(tmp_path.iterdir())


def test_no_name_is_handed_out_of_a_spec_that_may_not_be_written(spec: SpecFile, ownership: Ownership) -> None:
    ownership.ours = False
    with pytest.raises(TransientError):
        spec.write([thing()])
    with pytest.raises(TransientError):
        spec.names([thing()])


def test_what_might_not_be_written_is_written_when_it_may(spec: SpecFile, ownership: Ownership) -> None:
    ownership.ours = False
    with pytest.raises(TransientError):
        spec.write([thing()])
    ownership.ours = True
    assert spec.names([thing()]) == NAMES
    assert Path(spec.path).exists()


def test_a_spec_that_another_instance_wrote_over_is_left_to_it(spec: SpecFile, ownership: Ownership) -> None:
    spec.write([thing()])
    Path(spec.path).unlink()
    Path(spec.path).write_text("theirs")
    ownership.ours = False
    with pytest.raises(TransientError):
        spec.names([thing()])
    assert Path(spec.path).read_text() == "theirs"


def test_names_of_a_spec_that_is_still_as_written_need_no_right_to_write_it(
    spec: SpecFile, ownership: Ownership
) -> None:
    spec.write([thing()])
    ownership.ours = False
    assert spec.names([thing()]) == NAMES


def test_no_name_is_handed_out_before_anything_was_written(spec: SpecFile) -> None:
    with pytest.raises(TransientError, match="device thing0"):
        spec.names([thing()])


def test_no_name_is_handed_out_for_edits_that_the_spec_does_not_say(spec: SpecFile) -> None:
    spec.write([thing(0o600)])
    with pytest.raises(TransientError, match="has other edits"):
        spec.names([thing(0o666)])


def test_a_device_without_edits_has_no_name_and_needs_no_spec(spec: SpecFile, ownership: Ownership) -> None:
    ownership.ours = False
    spec.write([Device("thing0")])
    assert spec.names([Device("thing0")]) == ()


@pytest.mark.parametrize("healthy_first", [True, False])
def test_a_healthy_share_decides_over_an_unhealthy_one(spec: SpecFile, *, healthy_first: bool) -> None:
    spec.write([thing(0o600)])
    (healthy, _), (_, lost) = thing(0o666).shared(2), thing(0o660, Health.UNHEALTHY).shared(2)
    spec.write([healthy, lost] if healthy_first else [lost, healthy])
    (device,) = json.loads(Path(spec.path).read_text())["devices"]
    assert device["containerEdits"]["deviceNodes"][0]["fileMode"] == 0o666
