"""The device manager's checkpoint, `kubelet_internal_checkpoint`, in the kubelet's own format.

It is one JSON object, written as Go's encoding/json writes it. Its checksum is FNV-1a (32 bits) over another text of
the same data, the one that Go's spew library prints with types (`dump`): hence the Go names in this module.
"""

import base64
import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kubelet_plugin.errors import CheckpointError

_OFFSET_BASIS = 0x811C9DC5
_PRIME = 0x01000193
_MASK = 0xFFFFFFFF
_LOW = 0xFF

_FILE_MODE = 0o600

# Kubelets take a name that begins so for no checkpoint.
_TEMPORARY_PREFIX = "."


@dataclass(frozen=True, slots=True)
class Entry:
    """What one container holds of one resource. Nothing in it changes once it was handed over.

    Attributes:
        pod_uid: The pod's uid.
        container: The name of the container.
        resource: The name of the resource.
        devices: Device ids by NUMA node, -1 for none; a device of two nodes stands under both.
        response: The plugin's ContainerAllocateResponse, serialised.
    """

    pod_uid: str
    container: str
    resource: str
    devices: Mapping[int, tuple[str, ...]]
    response: bytes


def checksum(text: bytes | str) -> int:
    """Return the FNV-1a hash, 32 bits, of a text."""
    return _fnv1a(text.encode() if isinstance(text, str) else text, _OFFSET_BASIS)


def _fnv1a(text: bytes, state: int) -> int:
    for byte in text:
        state = (state ^ byte) * _PRIME & _MASK
    return state


class _Chunk:
    """A piece of the hashed text which knows what it does to a state of the hash, so that it is seldom read.

    A step of FNV-1a is `state = (state ^ byte) * PRIME`. The exclusive or meets the low eight bits of the state alone:
    it adds a number that depends on these and on the byte. And the low eight bits of the product depend on nothing but
    the low eight bits before it. So a text of n bytes takes a state to `state * PRIME**n + offset` modulo 2**32, where
    the offset depends on the text and on the low eight bits of the state. There are but 256 offsets; each is worked out
    when it is first needed, from a state that is nothing but these eight bits.
    """

    __slots__ = ("_factor", "_offsets", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._factor = pow(_PRIME, len(text), _MASK + 1)
        self._offsets: dict[int, int] = {}

    def hashed(self, state: int) -> int:
        """Return the state of the hash after this text."""
        low = state & _LOW
        offset = self._offsets.get(low)
        if offset is None:
            offset = self._offsets[low] = (_fnv1a(self.text, low) - low * self._factor) & _MASK
        return (state * self._factor + offset) & _MASK


_ENTRIES = _Chunk(b"(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)")
_NIL = _Chunk(b"<nil>")
_OPEN = _Chunk(b"[")
_SPACE = _Chunk(b" ")
_CLOSE = _Chunk(b"]")
_REGISTERED = _Chunk(b" RegisteredDevices:(map[string][]string)map[")
_END = _Chunk(b"]}")


class _Part(NamedTuple):
    """An entry, or the ids of one resource, in both of its texts."""

    json: bytes
    dump: _Chunk


def dump(entries: Iterable[Entry], registered: Mapping[str, Sequence[str]]) -> str:
    """Return the text whose FNV-1a hash is the checksum.

    Names and ids stand in it as they are. Maps are sorted by key, NUMA nodes as numbers; lists keep their order.

    Args:
        entries: What containers hold.
        registered: The ids of the healthy devices, by resource.
    """
    held = [_entry_part(entry) for entry in entries]
    listed = [_resource_part(resource, registered[resource]) for resource in sorted(registered)]
    return b"".join(chunk.text for chunk in _chunks(held, listed)).decode()


def _chunks(entries: Sequence[_Part], resources: Sequence[_Part]) -> Iterator[_Chunk]:
    yield _ENTRIES
    if entries:
        yield _OPEN
        yield from _spaced(entries)
        yield _CLOSE
    else:
        yield _NIL
    yield _REGISTERED
    yield from _spaced(resources)
    yield _END


def _spaced(parts: Sequence[_Part]) -> Iterator[_Chunk]:
    for number, part in enumerate(parts):
        if number:
            yield _SPACE
        yield part.dump


def _entry_part(entry: Entry) -> _Part:
    devices = " ".join(f"{node}:{_listed(ids)}" for node, ids in sorted(entry.devices.items()))
    text = (
        f"{{PodUID:(string){entry.pod_uid} ContainerName:(string){entry.container}"
        f" ResourceName:(string){entry.resource} DeviceIDs:(checkpoint.DevicesPerNUMA)map[{devices}]"
        f" AllocResp:([]uint8){_listed(map(str, entry.response))}}}"
    )
    fields = {
        "PodUID": entry.pod_uid,
        "ContainerName": entry.container,
        "ResourceName": entry.resource,
        # Go sorts the keys of a JSON object as the strings that they are there: 10 comes before 2.
        "DeviceIDs": {key: entry.devices[int(key)] for key in sorted(map(str, entry.devices))},
        "AllocResp": base64.b64encode(entry.response).decode(),
    }
    return _Part(_json(fields), _Chunk(text.encode()))


def _resource_part(resource: str, ids: Sequence[str]) -> _Part:
    return _Part(_json(resource) + b":" + _json(ids), _Chunk(f"{resource}:{_listed(ids)}".encode()))


def _listed(values: Iterable[str]) -> str:
    return f"[{' '.join(values)}]"


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

# Go escapes these as well, lest its JSON be taken for HTML or JavaScript. They stand in no JSON but within strings.
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def _json(value: object) -> bytes:
    return _encode(value).translate(_ESCAPES).encode()


class Checkpoint:
    """The checkpoint in one file.

    It remembers the texts of what it read or wrote last. To write that again with an entry added at the end costs
    little more than the bytes; with one taken out, those behind it are hashed anew. Entries are known again by
    identity, the ids of a resource by comparison: give them in the same order as long as they are the same.

    Args:
        path: The file, in a directory that exists.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._entries: dict[int, tuple[Entry, _Part]] = {}
        self._resources: dict[str, tuple[tuple[str, ...], _Part]] = {}

    def read(self) -> tuple[list[Entry], dict[str, list[str]]] | None:
        """Return the entries and the ids of the healthy devices by resource; None if there is no file.

        Raises:
            CheckpointError: The file is not what a kubelet writes, or its checksum is wrong.
            OSError: The file cannot be read.
        """
        try:
            with open(self._path, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return None
        try:
            entries, registered, expected = _parsed(content)
            actual = _checksum(*self._parts(entries, registered))
        except (ValueError, RecursionError) as error:
            raise self._corrupt(str(error)) from error
        if actual != expected:
            raise self._corrupt(f"its checksum is {expected}, that of its data {actual}")
        return entries, registered

    def write(self, entries: Sequence[Entry], registered: Mapping[str, Sequence[str]]) -> None:
        """Put these in the place of what is in the file, atomically: a reader sees the old file or the new one.

        The file has mode 0600 whatever the umask. Unlike a kubelet's it is not forced to the disk: the rename suffices
        where the process dies, and after a power cut nothing is left of the containers that the file tells of. So a
        write need not cost as much as the disk's slowest operation.

        Args:
            entries: What containers hold, in the order it shall have in the file.
            registered: The ids of the healthy devices, by resource.

        Raises:
            OSError: The file cannot be written; what was there before is there still, and no temporary file is.
        """
        held, listed = self._parts(entries, registered)
        content = b'{"Data":{"PodDeviceEntries":%b,"RegisteredDevices":{%b}},"Checksum":%d}' % (
            b"[%b]" % b",".join([part.json for part in held]) if held else b"null",
            b",".join([part.json for part in listed]),
            _checksum(held, listed),
        )
        _replace(self._path, content)

    def _parts(
        self, entries: Sequence[Entry], registered: Mapping[str, Sequence[str]]
    ) -> tuple[list[_Part], list[_Part]]:
        """The texts of all, made for what is new alone; those of what is gone are forgotten."""
        self._entries = {id(entry): self._entries.get(id(entry)) or (entry, _entry_part(entry)) for entry in entries}
        self._resources = {
            resource: self._resource(resource, tuple(registered[resource])) for resource in sorted(registered)
        }
        held = [self._entries[id(entry)][1] for entry in entries]
        return held, [part for _, part in self._resources.values()]

    def _resource(self, resource: str, ids: tuple[str, ...]) -> tuple[tuple[str, ...], _Part]:
        known = self._resources.get(resource)
        return known if known and known[0] == ids else (ids, _resource_part(resource, ids))

    def _corrupt(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"checkpoint is corrupted: {self._path}: {reason}; go on without it, what containers held is forgotten then"
        )


def _checksum(entries: Sequence[_Part], resources: Sequence[_Part]) -> int:
    state = _OFFSET_BASIS
    for chunk in _chunks(entries, resources):
        state = chunk.hashed(state)
    return state


def _parsed(content: bytes) -> tuple[list[Entry], dict[str, list[str]], int]:
    """The entries, the registered devices and the checksum of a file.

    Raises:
        ValueError: It is not what a kubelet writes.
        RecursionError: Neither is this.
    """
    match json.loads(content.decode()):
        case {
            # A kubelet writes null, not an empty list; their dumps differ.
            "Data": {"PodDeviceEntries": None | [_, *_] as entries, "RegisteredDevices": dict() as registered},
            "Checksum": int() as expected,
        }:
            listed = {resource: list(_ids(ids)) for resource, ids in registered.items()}
            return [_entry(entry) for entry in entries or ()], listed, expected
    raise ValueError("it is no JSON object with Data (PodDeviceEntries, RegisteredDevices) and Checksum")


def _entry(value: Any) -> Entry:
    match value:
        case {
            "PodUID": str() as pod_uid,
            "ContainerName": str() as container,
            "ResourceName": str() as resource,
            "DeviceIDs": dict() as devices,
            "AllocResp": str() as response,
        }:
            by_node = {int(node): _ids(ids) for node, ids in devices.items()}
            return Entry(pod_uid, container, resource, by_node, base64.b64decode(response, validate=True))
    raise ValueError(f"an entry of it is {value!r:.200}")


def _ids(value: Any) -> tuple[str, ...]:
    match value:
        case [*ids] if all(isinstance(each, str) for each in ids):
            return tuple(ids)
    raise ValueError(f"no list of device ids: {value!r:.200}")


def _replace(path: str, content: bytes) -> None:
    temporary = os.path.join(os.path.dirname(path), _TEMPORARY_PREFIX + os.urandom(8).hex())
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    try:
        with open(file, "wb") as stream:
            os.fchmod(file, _FILE_MODE)
            stream.write(content)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
