from dataclasses import replace

from kubelet_plugin.runtime import Device, Health
from kubelet_plugin.runtime.retention import GONE, Retention

ONE, TWO = Device("one"), Device("two")
LOST = Device("two", health=Health.UNHEALTHY, reason=GONE)


def lost_two(grace: float = 300) -> Retention:
    retention = Retention(grace)
    retention.apply([ONE, TWO], now=0)
    assert retention.apply([ONE], now=10) == (ONE, LOST)
    return retention


def test_a_lost_device_stays_listed_as_unhealthy() -> None:
    assert lost_two().apply([ONE], now=20) == (ONE, LOST)


def test_its_time_runs_from_when_it_was_lost() -> None:
    retention = lost_two(grace=300)
    assert retention.next_expiry() == 310
    assert retention.expired(309) == ()
    assert retention.expired(310) == ("two",)


def test_after_its_time_it_is_let_go() -> None:
    retention = lost_two()
    retention.settle(["two"], held=(), now=310)
    assert retention.apply([ONE], now=310) == (ONE,)
    assert retention.next_expiry() is None


def test_while_a_pod_holds_it_it_stays_for_another_grace_time() -> None:
    retention = lost_two()
    retention.settle(["two"], held={"two"}, now=310)
    assert retention.apply([ONE], now=310) == (ONE, LOST)
    assert retention.next_expiry() == 610


def test_a_device_that_is_found_again_is_as_it_was_found() -> None:
    retention = lost_two()
    assert retention.apply([ONE, TWO], now=20) == (ONE, TWO)
    assert retention.next_expiry() is None


def test_a_device_lost_again_gets_the_whole_grace_time_again() -> None:
    retention = lost_two()
    retention.apply([ONE, TWO], now=200)
    retention.apply([ONE], now=250)
    assert retention.next_expiry() == 550


def test_without_grace_nothing_is_kept() -> None:
    retention = Retention(0)
    retention.apply([ONE, TWO], now=0)
    assert retention.apply([ONE], now=10) == (ONE,)


def test_a_device_lost_anew_while_it_is_asked_who_holds_it_keeps_its_new_time() -> None:
    retention = lost_two()
    expired = retention.expired(310)
    retention.apply([ONE, TWO], now=311)
    retention.apply([ONE], now=312)
    retention.settle(expired, held=(), now=313)
    assert retention.next_expiry() == 612


def test_a_device_may_have_a_grace_time_of_its_own() -> None:
    retention = Retention(300)
    retention.apply([ONE, replace(TWO, grace=5.0)], now=0)
    retention.apply([ONE], now=10)
    assert retention.next_expiry() == 15
    retention.settle(["two"], held={"two"}, now=15)
    assert retention.next_expiry() == 20


def test_a_device_may_want_no_grace() -> None:
    retention = Retention(300)
    retention.apply([ONE, replace(TWO, grace=0.0)], now=0)
    assert retention.apply([ONE], now=10) == (ONE,)


def test_a_device_may_have_grace_where_its_plugin_gives_none() -> None:
    retention = Retention(0)
    retention.apply([ONE, replace(TWO, grace=5.0)], now=0)
    assert len(retention.apply([ONE], now=10)) == 2
