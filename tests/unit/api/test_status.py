"""Status messages as headers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet_plugin.api import status
from kubelet_plugin.errors import RpcError


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=300))
def test_any_message_comes_back_as_it_was(message: str) -> None:
    headers = {key.encode(): value.encode("ascii") for key, value in status.headers("NOT_FOUND", message)}
    with pytest.raises(RpcError) as raised:
        status.check(headers)
    assert (raised.value.code, raised.value.message) == ("NOT_FOUND", message)


@pytest.mark.parametrize("character", ["a", "%", "ä", "→", "🙂"])
def test_a_long_message_is_cut_between_two_characters(character: str) -> None:
    quoted = dict(status.headers("INTERNAL", character * 10_000))["grpc-message"]
    one = dict(status.headers("INTERNAL", character))["grpc-message"]
    assert quoted == one * (4096 // len(one))


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    assert dict(status.headers("INTERNAL", "\udc80"))["grpc-message"] == "?"


@pytest.mark.parametrize("code", ["NO_SUCH_CODE", "OK", ""])
def test_a_code_of_no_failure_becomes_unknown(code: str) -> None:
    assert dict(status.headers(code, ""))["grpc-status"] == "2"
