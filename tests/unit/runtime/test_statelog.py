import logging

import pytest

from kubelet_plugin.runtime.statelog import INFO, WARNING, StateLog

logger = logging.getLogger("kubelet_plugin.tests")


def test_the_same_state_is_not_logged_twice_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    log = StateLog(logger, "example.com/thing")
    for text in ("absent", "absent", "there", "absent"):
        log.say("kubelet", WARNING, text)
    assert caplog.messages == ["absent", "there", "absent"]


def test_subjects_do_not_hide_each_other(caplog: pytest.LogCaptureFixture) -> None:
    log = StateLog(logger, "example.com/thing")
    log.say("kubelet", WARNING, "absent")
    log.say("socket", WARNING, "absent")
    assert len(caplog.messages) == 2


def test_a_record_carries_its_resource_and_device(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(INFO)
    StateLog(logger, "example.com/thing").event(INFO, "Healthy", "thing0")
    (record,) = caplog.records
    assert (record.resource, record.device) == ("example.com/thing", "thing0")  # type: ignore[attr-defined]
