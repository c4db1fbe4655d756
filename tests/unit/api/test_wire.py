"""Our encoding against protobuf's own runtime, and against bytes that are wrong."""

import contextlib
import time
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from kubelet_plugin.api import podresources_v1 as v1
from kubelet_plugin.api.message import Message, Scalar
from kubelet_plugin.api.wire import WireError, decode, encode
from tests.unit.api.foreign import CLASSES, foreign_class, from_foreign, to_foreign

SETTINGS = settings(deadline=None, derandomize=True)
SCALARS: dict[Scalar, st.SearchStrategy[Any]] = {
    Scalar.STRING: st.text(max_size=200),
    Scalar.BOOL: st.booleans(),
    Scalar.INT32: st.integers(-(2**31), 2**31 - 1),
    Scalar.INT64: st.integers(-(2**63), 2**63 - 1),
    Scalar.UINT64: st.integers(0, 2**64 - 1),
    Scalar.STRING_MAP: st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4),
}


def messages_of(cls: type[Message]) -> st.SearchStrategy[Message]:
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in cls.FIELDS:
        one = SCALARS[field.type] if isinstance(field.type, Scalar) else messages_of(field.type)
        if field.repeated:
            one = st.lists(one, max_size=4)
        elif field.optional or not isinstance(field.type, Scalar):
            one = st.none() | one
        fields[field.name] = one
    return st.builds(cls, **fields)


MESSAGES = st.sampled_from(CLASSES).flatmap(messages_of)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@st.composite
def fields(draw: st.DrawFn, depth: int = 3) -> bytes:
    """Well-formed fields of any number and type, wrong ones for the message among them."""
    number, wire_type = draw(st.integers(1, 7)), draw(st.sampled_from([0, 1, 2, 2, 2, 5]))
    if wire_type == 0:
        payload = draw(st.integers(0, 2**64 - 1).map(varint) | st.binary(max_size=10).map(overlong))
    elif wire_type == 2:
        inner = draw(
            st.binary(max_size=9) | st.lists(fields(depth - 1), max_size=3).map(b"".join) if depth else st.binary()
        )
        payload = varint(len(inner)) + inner
    else:
        payload = draw(st.binary(min_size=8, max_size=8))[: 8 if wire_type == 1 else 4]
    return varint(number << 3 | wire_type) + payload


def overlong(data: bytes) -> bytes:
    return bytes(byte | 0x80 for byte in data[:-1]) + bytes(byte & 0x7F for byte in data[-1:] or b"\0")


@SETTINGS
@given(MESSAGES)
def test_protobuf_reads_what_we_write(message: Message) -> None:
    assert foreign_class(type(message)).FromString(encode(message)) == to_foreign(message)


@SETTINGS
@given(MESSAGES)
def test_we_read_what_protobuf_writes(message: Message) -> None:
    assert decode(type(message), to_foreign(message).SerializeToString()) == message


@SETTINGS
@given(MESSAGES)
def test_our_bytes_are_as_many_as_those_of_protobuf(message: Message) -> None:
    assert len(encode(message)) == to_foreign(message).ByteSize()


@SETTINGS
@given(MESSAGES)
def test_what_is_written_is_read_back(message: Message) -> None:
    assert decode(type(message), encode(message)) == message


@SETTINGS
@given(st.sampled_from(CLASSES), st.lists(fields(), max_size=6).map(b"".join) | st.binary(max_size=40))
@example(v1beta1.Device, b"\x0a\x01a\x0a\x01b")
def test_we_accept_and_refuse_what_protobuf_does(cls: type[Message], data: bytes) -> None:
    try:
        foreign = foreign_class(cls).FromString(data)
    except DecodeError:
        with pytest.raises(WireError):
            decode(cls, data)
        return
    try:
        message = decode(cls, data)
    except WireError as error:
        if "wire type 3 " not in str(error):  # a group: allowed by protobuf, unknown to these APIs
            raise
    else:
        assert without_maps(message) == without_maps(from_foreign(cls, foreign))


def without_maps(message: Message) -> Message:
    """Leave out what protobuf's Python runtime sees otherwise: it drops a map entry that has an unknown field."""
    for field in message.FIELDS:
        if field.type is Scalar.STRING_MAP:
            setattr(message, field.name, {})
    return message


def test_an_unknown_field_in_a_map_entry_is_skipped() -> None:
    data = b"\x0a\x08\x0a\x01a\x12\x01b\x18\x01"
    assert decode(v1beta1.ContainerAllocateResponse, data).envs == {"a": "b"}


def test_of_a_map_key_given_twice_the_last_counts() -> None:
    data = b"\x0a\x06\x0a\x01a\x12\x01b\x0a\x06\x0a\x01a\x12\x01c"
    assert decode(v1beta1.ContainerAllocateResponse, data).envs == {"a": "c"}


@SETTINGS
@given(MESSAGES, MESSAGES, st.data())
def test_a_damaged_message_is_refused_or_read_and_never_anything_else(
    message: Message, other: Message, data: st.DataObject
) -> None:
    damaged = bytearray(encode(message) + encode(other))
    for _ in range(data.draw(st.integers(0, 4)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    with contextlib.suppress(WireError):
        decode(type(message), bytes(damaged))


def test_a_message_field_given_twice_is_merged() -> None:
    first = encode(v1beta1.Device(ID="a", topology=v1beta1.TopologyInfo(nodes=[v1beta1.NUMANode(ID=1)])))
    second = encode(v1beta1.Device(health="Healthy", topology=v1beta1.TopologyInfo(nodes=[v1beta1.NUMANode(ID=2)])))
    nodes = [v1beta1.NUMANode(ID=1), v1beta1.NUMANode(ID=2)]
    merged = v1beta1.Device(ID="a", health="Healthy", topology=v1beta1.TopologyInfo(nodes=nodes))
    assert decode(v1beta1.Device, first + second) == merged


def test_of_a_scalar_given_twice_the_last_counts() -> None:
    assert decode(v1beta1.Device, b"\x0a\x01a\x0a\x01b").ID == "b"


def test_packed_and_unpacked_numbers_are_read_alike() -> None:
    packed, unpacked = b"\x12\x03\x01\x96\x01", b"\x10\x01\x10\x96\x01"
    assert decode(v1.AllocatableResourcesResponse, packed).cpu_ids == [1, 150]
    assert decode(v1.AllocatableResourcesResponse, unpacked).cpu_ids == [1, 150]


def test_numa_node_0_is_an_empty_message_that_stays() -> None:
    topology = v1beta1.TopologyInfo(nodes=[v1beta1.NUMANode(ID=0)])
    assert encode(topology) == b"\x0a\x00"
    assert decode(v1beta1.TopologyInfo, b"\x0a\x00") == topology


def test_an_optional_string_tells_empty_from_absent() -> None:
    assert encode(v1.ClaimResource(share_id="")) == b"\x2a\x00"
    assert encode(v1.ClaimResource()) == b""
    assert decode(v1.ClaimResource, b"\x2a\x00").share_id == ""
    assert decode(v1.ClaimResource, b"").share_id is None


def test_a_negative_int32_takes_ten_bytes() -> None:
    request = v1beta1.ContainerPreferredAllocationRequest(allocation_size=-1)
    assert encode(request) == b"\x18" + b"\xff" * 9 + b"\x01"


def test_two_messages_share_no_list() -> None:
    v1beta1.AllocateRequest().container_requests.append(v1beta1.ContainerAllocateRequest())
    assert v1beta1.AllocateRequest().container_requests == []


@pytest.mark.parametrize(
    ("cls", "data", "text"),
    [
        (v1beta1.Device, b"\x0a\x05abc", r"^Device\.ID: byte 1: 5 bytes are announced and 3 are left$"),
        (v1beta1.Device, b"\x0a", r"^Device\.ID: byte 1: the message ends within a varint$"),
        (v1beta1.Device, b"\x0a\x02\xc3\x28", r"^Device\.ID: byte 2: not UTF-8: invalid continuation byte$"),
        (
            v1beta1.ListAndWatchResponse,
            b"\x0a\x04\x0a\x02\xff\xff",
            r"^ListAndWatchResponse\.devices\.ID: byte 4: not UTF-8",
        ),
        (v1beta1.NUMANode, b"\x08" + b"\xff" * 10, r"^NUMANode\.ID: byte 1: a varint of more than 10 bytes$"),
        (v1beta1.NUMANode, b"\x00\x00", r"field 0: byte 1: no field has the number 0$"),
        (v1beta1.NUMANode, b"\x2b\x08\x01\x2c", r"field 5: byte 1: wire type 3 is not supported$"),
        (v1beta1.NUMANode, b"\x2d\x00\x00", r"field 5: byte 3: the message ends within a field of fixed size$"),
        (v1beta1.NUMANode, b"\xff\xff\xff\xff\xff\x01", r"^NUMANode: byte 0: a varint of more than 5 bytes$"),
        (v1beta1.NUMANode, b"\xf8\xff\xff\xff\x7f", r"^NUMANode: byte 0: a tag of more than 32 bits$"),
    ],
)
def test_malformed_bytes_are_refused_with_what_and_where(cls: type[Message], data: bytes, text: str) -> None:
    with pytest.raises(WireError, match=text):
        decode(cls, data)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (v1beta1.NUMANode(ID=2**63), r"^NUMANode\.ID: 9223372036854775808 is not from -9223372036854775808 to"),
        (v1.ContainerMemory(size=-1), r"^ContainerMemory\.size: -1 is not from 0 to 18446744073709551615$"),
        (v1beta1.Device(ID="\ud800"), r"^Device\.ID: .*surrogates not allowed"),
        (v1beta1.Device(ID=b"a"), r"^Device\.ID: "),  # type: ignore[arg-type]
        (v1beta1.NUMANode(ID="1"), r"^NUMANode\.ID: "),  # type: ignore[arg-type]
        (v1beta1.NUMANode(ID=1.5), r"^NUMANode\.ID: "),  # type: ignore[arg-type]
        (v1beta1.TopologyInfo(nodes=[None]), "NoneType.ID"),  # type: ignore[list-item]
        (v1beta1.ContainerAllocateResponse(envs=["A=b"]), r"^ContainerAllocateResponse\.envs: "),  # type: ignore[arg-type]
    ],
)
def test_a_value_its_field_cannot_hold_is_refused_by_name(message: Message, text: str) -> None:
    with pytest.raises(WireError, match=text):
        encode(message)


def test_a_list_of_10000_devices_is_encoded_in_far_less_than_a_second() -> None:
    devices = [v1beta1.Device(ID=f"kvm0::{number}", health="Healthy") for number in range(10_000)]
    begin = time.process_time()
    encode(v1beta1.ListAndWatchResponse(devices=devices))
    assert time.process_time() - begin < 0.5
