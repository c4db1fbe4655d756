import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
from kubelet_plugin.runtime import logs

_, style, message, *keys = sys.argv
logs.configure(style, "info")
extra = dict(key.split("=", 1) for key in keys)
error = ValueError("no") if extra.pop("error", None) else None
logging.getLogger("kubelet_plugin.tests").info(message.replace("|", chr(10)), extra=extra, exc_info=error)
"""


def logged(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    return done.stderr


def test_a_text_line_has_time_level_message_and_keys() -> None:
    line = logged("text", "Healthy", "resource=example.com/thing", "device=thing0")
    assert line.split(" ", 1)[1] == "info    Healthy resource=example.com/thing device=thing0\n"


def test_a_key_that_is_no_plain_word_is_quoted() -> None:
    assert logged("text", "Healthy", "device=a, b").endswith('device="a, b"\n')


@pytest.mark.parametrize("style", ["text", "json"])
def test_an_event_is_one_line_whatever_is_in_it(style: str) -> None:
    assert logged(style, "first|second", "device=x\ny").count("\n") == 1


def test_json_is_ascii() -> None:
    line = logged("json", "grün")
    assert line.isascii()
    assert json.loads(line)["message"] == "grün"


def test_a_traceback_is_a_key_of_a_json_line() -> None:
    assert "ValueError: no" in json.loads(logged("json", "failed", "error=yes"))["traceback"]
