"""The checkpoint against vectors that Go's own libraries made, and against the plain definition of its checksum."""

import errno
import json
import os
import resource
import stat
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet_plugin.errors import CheckpointError, Error
from kubelet_plugin.kubelet import checkpoint
from kubelet_plugin.kubelet.checkpoint import Checkpoint, Entry, checksum, dump

SETTINGS = settings(deadline=None, derandomize=True)

NAME = "kubelet_internal_checkpoint"
ENTRY = Entry("uid-1", "c", "vendor.example/dev", {0: ("d0",), -1: ("d1",)}, b"\n\x06")
REGISTERED = {"z.example/b": list[str](), "vendor.example/dev": ["d0", "d1"]}

EMPTY = '{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":3467439661}'

VECTORS = [
    pytest.param(
        [],
        {},
        "(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)<nil>"
        " RegisteredDevices:(map[string][]string)map[]}",
        EMPTY,
        id="nothing",
    ),
    pytest.param(
        [],
        {"vendor.example/dev": ["d0", "d1"]},
        "(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)<nil>"
        " RegisteredDevices:(map[string][]string)map[vendor.example/dev:[d0 d1]]}",
        '{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{"vendor.example/dev":["d0","d1"]}},"Checksum":833906318}',
        id="devices",
    ),
    pytest.param(
        [ENTRY],
        REGISTERED,
        "(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)[{PodUID:(string)uid-1"
        " ContainerName:(string)c ResourceName:(string)vendor.example/dev"
        " DeviceIDs:(checkpoint.DevicesPerNUMA)map[-1:[d1] 0:[d0]] AllocResp:([]uint8)[10 6]}]"
        " RegisteredDevices:(map[string][]string)map[vendor.example/dev:[d0 d1] z.example/b:[]]}",
        '{"Data":{"PodDeviceEntries":[{"PodUID":"uid-1","ContainerName":"c","ResourceName":"vendor.example/dev",'
        '"DeviceIDs":{"-1":["d1"],"0":["d0"]},"AllocResp":"CgY="}],'
        '"RegisteredDevices":{"vendor.example/dev":["d0","d1"],"z.example/b":[]}},"Checksum":3424445331}',
        id="entry",
    ),
    pytest.param(
        [
            Entry(
                "9f6f2b0e-54a6-4c5c-9a55-6f1f2c3d4e5f",
                "main",
                "vendor.example/gpu",
                {10: ("gpu2",), 2: (), 0: ("gpu3", "gpu1"), 1: ("gpu1",)},
                b"\n\x06\n\x01A\x12\x01B",
            ),
            Entry(
                "1b0e4cb5-1f5d-4a43-8c6b-0123456789ab",
                "init",
                "z.example/<&>",
                {-1: ('naïve "id"\u2028',)},
                b"",
            ),
        ],
        {"z.example/<&>": [], "vendor.example/gpu": ["gpu2", "gpu0", "gpu3", "gpu1"]},
        "(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)["
        "{PodUID:(string)9f6f2b0e-54a6-4c5c-9a55-6f1f2c3d4e5f ContainerName:(string)main"
        " ResourceName:(string)vendor.example/gpu"
        " DeviceIDs:(checkpoint.DevicesPerNUMA)map[0:[gpu3 gpu1] 1:[gpu1] 2:[] 10:[gpu2]]"
        " AllocResp:([]uint8)[10 6 10 1 65 18 1 66]}"
        " {PodUID:(string)1b0e4cb5-1f5d-4a43-8c6b-0123456789ab ContainerName:(string)init"
        " ResourceName:(string)z.example/<&>"
        ' DeviceIDs:(checkpoint.DevicesPerNUMA)map[-1:[naïve "id"\u2028]]'
        " AllocResp:([]uint8)[]}]"
        " RegisteredDevices:(map[string][]string)map[vendor.example/gpu:[gpu2 gpu0 gpu3 gpu1] z.example/<&>:[]]}",
        '{"Data":{"PodDeviceEntries":[{"PodUID":"9f6f2b0e-54a6-4c5c-9a55-6f1f2c3d4e5f","ContainerName":"main",'
        '"ResourceName":"vendor.example/gpu","DeviceIDs":{"0":["gpu3","gpu1"],"1":["gpu1"],"10":["gpu2"],"2":[]},'
        '"AllocResp":"CgYKAUESAUI="},{"PodUID":"1b0e4cb5-1f5d-4a43-8c6b-0123456789ab","ContainerName":"init",'
        '"ResourceName":"z.example/\\u003c\\u0026\\u003e","DeviceIDs":{"-1":["naïve \\"id\\"\\u2028"]},"AllocResp":""}],'
        '"RegisteredDevices":{"vendor.example/gpu":["gpu2","gpu0","gpu3","gpu1"],"z.example/\\u003c\\u0026\\u003e":[]}},'
        '"Checksum":2430409822}',
        id="numa-and-escapes",
    ),
]

NAMES = st.text(max_size=9)
ENTRIES = st.builds(
    Entry,
    pod_uid=NAMES,
    container=NAMES,
    resource=NAMES,
    devices=st.dictionaries(st.integers(-1, 12), st.lists(NAMES, max_size=3).map(tuple), max_size=3),
    response=st.binary(max_size=20),
)
REGISTRATIONS = st.dictionaries(NAMES, st.lists(NAMES, max_size=4), max_size=3)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def held_by(pod_uid: str) -> Entry:
    return Entry(pod_uid, "c", "vendor.example/dev", {0: ("d0",)}, b"\n\x06")


def written_checksum(path: Path) -> int:
    number = json.loads(path.read_bytes())["Checksum"]
    assert isinstance(number, int)
    return number


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


@pytest.mark.parametrize(("text", "number"), [("", 0x811C9DC5), ("a", 0xE40C292C), (b"foobar", 0xBF9CF968)])
def test_the_checksum_is_fnv_1a_of_32_bits(text: bytes | str, number: int) -> None:
    assert checksum(text) == number


@pytest.mark.parametrize(("entries", "registered", "text", "content"), VECTORS)
def test_the_dump_is_what_go_prints(
    entries: list[Entry], registered: dict[str, list[str]], text: str, content: str
) -> None:
    assert dump(entries, registered) == text


@pytest.mark.parametrize(("entries", "registered", "text", "content"), VECTORS)
def test_the_file_is_what_a_kubelet_writes(
    path: Path, entries: list[Entry], registered: dict[str, list[str]], text: str, content: str
) -> None:
    Checkpoint(str(path)).write(entries, registered)
    assert path.read_text() == content


@pytest.mark.parametrize(("entries", "registered", "text", "content"), VECTORS)
def test_what_a_kubelet_wrote_is_read(
    path: Path, entries: list[Entry], registered: dict[str, list[str]], text: str, content: str
) -> None:
    path.write_text(content)
    assert Checkpoint(str(path)).read() == (entries, registered)


def test_no_file_is_no_checkpoint(path: Path) -> None:
    assert Checkpoint(str(path)).read() is None


@SETTINGS
@given(entries=st.lists(ENTRIES, max_size=4), registered=REGISTRATIONS)
def test_what_is_written_is_read_again(entries: list[Entry], registered: dict[str, list[str]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, NAME)
        Checkpoint(path).write(entries, registered)
        assert Checkpoint(path).read() == (entries, registered)


@SETTINGS
@given(data=st.data())
def test_every_checksum_is_that_of_the_dump_whatever_was_written_before(data: st.DataObject) -> None:
    entries = data.draw(st.lists(ENTRIES, min_size=1, max_size=4))
    registered = data.draw(st.lists(REGISTRATIONS, min_size=1, max_size=3))
    writes = st.tuples(st.lists(st.sampled_from(entries), max_size=6), st.sampled_from(registered))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, NAME)
        one = Checkpoint(str(path))
        for held, healthy in data.draw(st.lists(writes, min_size=1, max_size=6)):
            one.write(held, healthy)
            assert written_checksum(path) == checksum(dump(held, healthy))


def test_what_was_read_can_be_written_with_more(path: Path) -> None:
    Checkpoint(str(path)).write([ENTRY], REGISTERED)
    after_restart = Checkpoint(str(path))
    found = after_restart.read()
    assert found
    after_restart.write([*found[0], held_by("uid-2")], found[1])
    assert Checkpoint(str(path)).read() == ([ENTRY, held_by("uid-2")], REGISTERED)


def test_a_list_of_devices_that_changed_in_place_is_noticed(path: Path) -> None:
    one, healthy = Checkpoint(str(path)), ["d0", "d1"]
    one.write([], {"vendor.example/dev": healthy})
    healthy.reverse()
    one.write([], {"vendor.example/dev": healthy})
    assert Checkpoint(str(path)).read() == ([], {"vendor.example/dev": ["d1", "d0"]})


def test_an_entry_more_does_not_hash_the_earlier_ones_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, earlier = Checkpoint(str(path)), [held_by(f"early-{number}") for number in range(3)]
    one.write(earlier, REGISTERED)
    hashed, plain = list[bytes](), checkpoint._fnv1a

    def noted(text: bytes, state: int) -> int:
        hashed.append(text)
        return plain(text, state)

    monkeypatch.setattr(checkpoint, "_fnv1a", noted)
    one.write([*earlier, held_by("late")], REGISTERED)
    assert [b"late" in text for text in hashed if b"PodUID" in text] == [True]


def test_an_entry_that_left_is_not_kept_in_memory(path: Path) -> None:
    class Devices(dict[int, tuple[str, ...]]):
        """A dictionary that a weak reference can point at."""

    entry = Entry("uid-1", "c", "vendor.example/dev", Devices({0: ("d0",)}), b"")
    gone = weakref.ref(entry.devices)
    one = Checkpoint(str(path))
    one.write([entry], REGISTERED)
    del entry
    one.write([], REGISTERED)
    assert gone() is None


def test_any_byte_that_is_not_as_it_was_written_is_noticed(path: Path) -> None:
    one = Checkpoint(str(path))
    one.write([Entry("uid-1", "c", "vendor.example/dev", {0: ("d0",), -1: ("d1",)}, b"\n\x06\x01")], REGISTERED)
    content = path.read_bytes()
    for position, byte in enumerate(content):
        for flipped in (0x01, 0x04, 0x20, 0x80):
            path.write_bytes(content[:position] + bytes([byte ^ flipped]) + content[position + 1 :])
            with pytest.raises(CheckpointError):
                one.read()


def test_a_file_that_was_cut_short_is_refused(path: Path) -> None:
    one = Checkpoint(str(path))
    one.write([ENTRY], REGISTERED)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            one.read()


ENTRY_FIELDS = {
    "PodUID": "uid-1",
    "ContainerName": "c",
    "ResourceName": "vendor.example/dev",
    "DeviceIDs": {"0": ["d0"]},
    "AllocResp": "CgY=",
}
ENTRY_CHECKSUM = checksum(dump([held_by("uid-1")], {}))


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"Data": {"PodDeviceEntries": None, "RegisteredDevices": {}}},
        {"Data": {"PodDeviceEntries": None, "RegisteredDevices": {}}, "Checksum": "3467439661"},
        {"Data": {"PodDeviceEntries": None, "RegisteredDevices": {}}, "Checksum": 3467439661.0},
        {"Data": {"PodDeviceEntries": [], "RegisteredDevices": {}}, "Checksum": 3467439661},
        {"Data": {"PodDeviceEntries": None, "RegisteredDevices": None}, "Checksum": 3467439661},
        {"Data": {"PodDeviceEntries": None, "RegisteredDevices": {"vendor.example/dev": None}}, "Checksum": 1},
        {"Data": {"PodDeviceEntries": None, "RegisteredDevices": {"vendor.example/dev": [1]}}, "Checksum": 1},
        {"Data": {"PodDeviceEntries": None, "RegisteredDevices": {"\ud800": []}}, "Checksum": 1},
        *(
            {"Data": {"PodDeviceEntries": [entry], "RegisteredDevices": {}}, "Checksum": ENTRY_CHECKSUM}
            for entry in (
                None,
                {field: ENTRY_FIELDS[field] for field in ENTRY_FIELDS if field != "PodUID"},
                {**ENTRY_FIELDS, "DeviceIDs": ["d0"]},
                {**ENTRY_FIELDS, "DeviceIDs": {"none": ["d0"]}},
                {**ENTRY_FIELDS, "DeviceIDs": {"0": "d0"}},
                {**ENTRY_FIELDS, "AllocResp": "CgY"},
                {**ENTRY_FIELDS, "AllocResp": "Cg*Y="},
                {**ENTRY_FIELDS, "AllocResp": None},
            )
        ),
    ],
)
def test_json_that_no_kubelet_writes_is_refused(path: Path, document: object) -> None:
    path.write_text(json.dumps(document))
    with pytest.raises(CheckpointError):
        Checkpoint(str(path)).read()


@pytest.mark.parametrize(
    "content", [b"", b"\xff", EMPTY.encode("utf-8-sig"), EMPTY.encode("utf-16"), b"[" * 200_000, b"9" * 5_000]
)
def test_what_is_no_json_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        Checkpoint(str(path)).read()


def test_the_error_names_the_file_and_both_checksums(path: Path) -> None:
    path.write_text(EMPTY.replace("3467439661", "7"))
    with pytest.raises(Error, match=f"^checkpoint is corrupted: {path}: its checksum is 7, .* 3467439661;"):
        Checkpoint(str(path)).read()


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_the_file_is_for_its_owner_alone_whatever_the_umask(path: Path, mask: int) -> None:
    with umask(mask):
        Checkpoint(str(path)).write([ENTRY], REGISTERED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_who_reads_the_file_while_it_is_written_sees_the_old_one_whole(path: Path) -> None:
    one = Checkpoint(str(path))
    one.write([ENTRY], REGISTERED)
    before = path.read_bytes()
    with path.open("rb") as reader:
        one.write([ENTRY, held_by("uid-2")], REGISTERED)
        assert reader.read() == before


def test_the_file_has_its_name_only_when_it_is_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = list[tuple[str, bytes]]()
    monkeypatch.setattr(os, "rename", lambda old, new: renamed.append((os.path.dirname(old), Path(old).read_bytes())))
    Checkpoint(str(path)).write([], {})
    assert renamed == [(str(path.parent), EMPTY.encode())]


def test_nothing_else_is_in_the_directory(path: Path) -> None:
    one = Checkpoint(str(path))
    one.write([ENTRY], REGISTERED)
    one.write([], REGISTERED)
    assert os.listdir(path.parent) == [NAME]


def test_a_path_without_a_directory_will_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    Checkpoint(NAME).write([ENTRY], REGISTERED)
    assert Checkpoint(str(path)).read() == ([ENTRY], REGISTERED)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(path: Path) -> None:
    one = Checkpoint(str(path))
    one.write([ENTRY], REGISTERED)
    with file_size_limit(100), pytest.raises(OSError) as caught:
        one.write([ENTRY, held_by("uid-2")], REGISTERED)
    assert caught.value.errno == errno.EFBIG
    assert os.listdir(path.parent) == [NAME]
    assert Checkpoint(str(path)).read() == ([ENTRY], REGISTERED)


def test_a_rename_that_fails_leaves_no_temporary_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        Checkpoint(str(path)).write([ENTRY], REGISTERED)
    assert os.listdir(path.parent) == [NAME]
