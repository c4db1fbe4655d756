import logging
import re

import pytest

from kubelet_plugin.kubelet import log


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(log.level(log.MOST_VERBOSE), log.logger.name)
    return caplog


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", '"a b"'),
        ('say "ä"', r'"say \"ä\""'),
        (3, "3"),
        (True, "true"),
        (None, "null"),
        (["b", "a"], '["b","a"]'),
        ({"b", "a"}, '["a","b"]'),
        ({0: ["a"]}, '{"0":["a"]}'),
        (b"\n\x01ab", r'"\n\x01ab"'),
    ],
)
def test_a_value_is_shown_as_the_kubelet_does(lines: pytest.LogCaptureFixture, value: object, text: str) -> None:
    log.info(0, "Message", key=value)
    assert lines.messages == [f'"Message" key={text}']


def test_keys_are_in_the_order_in_which_they_were_given(lines: pytest.LogCaptureFixture) -> None:
    log.info(2, "Message", b=1, a=2)
    assert lines.messages == ['"Message" b=1 a=2']


def test_an_error_says_why_first(lines: pytest.LogCaptureFixture) -> None:
    log.error(ValueError("no"), "Message", key="a")
    assert lines.messages == ['"Message" err="no" key="a"']


def test_an_error_need_not_have_a_cause(lines: pytest.LogCaptureFixture) -> None:
    log.error(None, "Message", key="a")
    assert lines.messages == ['"Message" key="a"']


@pytest.mark.parametrize(("shown", "logged", "count"), [(2, 2, 1), (2, 3, 0), (0, 0, 1), (4, 2, 1), (0, 1, 0)])
def test_a_line_is_shown_up_to_its_verbosity(
    caplog: pytest.LogCaptureFixture, shown: int, logged: int, count: int
) -> None:
    caplog.set_level(log.level(shown), log.logger.name)
    log.info(logged, "Message")
    assert len(caplog.records) == count


def test_the_most_verbose_is_less_than_debug() -> None:
    assert log.level(99) > logging.DEBUG


@pytest.mark.parametrize(("write", "severity"), [(lambda: log.info(0, "M"), "I"), (lambda: log.error(None, "M"), "E")])
def test_a_line_is_headed_as_the_kubelets(lines: pytest.LogCaptureFixture, write: object, severity: str) -> None:
    assert callable(write)
    write()
    (record,) = lines.records
    head = severity + r"\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ test_log\.py:\d+\] "
    assert re.fullmatch(head + '"M"', log.Klog().format(record))


def test_a_traceback_follows_its_line() -> None:
    record = logging.LogRecord("name", logging.ERROR, "a.py", 1, "broken", None, (ValueError, ValueError("no"), None))
    assert log.Klog().format(record).endswith("broken\nValueError: no")
