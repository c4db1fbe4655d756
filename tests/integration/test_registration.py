"""Registered with whatever kubelet is there, as often as it takes."""

import pytest

from kubelet_plugin import Device
from kubelet_plugin.testing import Kubelet
from tests.integration.ages import with_each_age
from tests.integration.offering import RESOURCE, Offering, things

SOCKET = "example.com.thing.sock"


class Preparing(Offering):
    def pre_start_container(self, devices: object) -> None:
        pass


@with_each_age
def test_what_a_plugin_lists_the_node_offers(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(3))):
        kubelet.wait_for(RESOURCE, capacity=3, allocatable=3)


@with_each_age
def test_the_end_of_a_plugin_takes_its_devices_away(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(3))):
        kubelet.wait_for(RESOURCE, allocatable=3)
    kubelet.wait_for(RESOURCE, capacity=3, allocatable=0)


def test_the_end_of_a_plugin_takes_its_socket_away(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering()):
        kubelet.wait_for(RESOURCE)
        assert (kubelet.plugin_dir / SOCKET).exists()
    assert not (kubelet.plugin_dir / SOCKET).exists()


@pytest.mark.kubelet(manual_clock=True)
def test_a_plugin_that_stays_away_leaves_nothing_after_the_grace_time(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(1))):
        kubelet.wait_for(RESOURCE, allocatable=1)
    kubelet.wait_for(RESOURCE, capacity=1, allocatable=0)
    kubelet.advance(300.1)
    kubelet.wait_for(RESOURCE, capacity=0)


def test_a_plugin_without_devices_offers_none_of_them(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering()):
        kubelet.wait_for(RESOURCE, capacity=0)
        assert kubelet.lists(RESOURCE) == [{}]


@with_each_age
def test_register_carries_the_options_that_the_kubelet_is_told_when_it_asks(kubelet: Kubelet) -> None:
    with kubelet.plugin(Preparing()):
        kubelet.wait_for(RESOURCE)
        (registered,) = kubelet.registrations()
        assert registered.options == kubelet.options(RESOURCE)
        assert kubelet.options(RESOURCE).pre_start_required


@with_each_age
def test_a_kubelet_that_restarts_ten_times_gets_the_devices_each_time(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(1))):
        kubelet.wait_for(RESOURCE, allocatable=1)
        for _ in range(10):
            kubelet.restart()
            kubelet.wait_for(RESOURCE, allocatable=1)


def test_a_kubelet_that_is_away_is_waited_for(kubelet: Kubelet) -> None:
    kubelet.stop()
    with kubelet.plugin(Offering(*things(1))):
        kubelet.wait_until((kubelet.plugin_dir / SOCKET).exists)
        kubelet.start()
        kubelet.wait_for(RESOURCE, allocatable=1)


@with_each_age
def test_a_stream_that_is_cut_leads_to_a_new_registration(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(1))):
        kubelet.wait_for(RESOURCE, allocatable=1)
        kubelet.cut(RESOURCE)
        kubelet.wait_for(RESOURCE, allocatable=1)
        assert len(kubelet.registrations()) == 2


def test_a_socket_that_is_deleted_is_made_again(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering()):
        kubelet.wait_for(RESOURCE)
        path = kubelet.plugin_dir / SOCKET
        inode = path.stat().st_ino
        kubelet.delete_sockets()
        kubelet.wait_until(lambda: path.exists() and path.stat().st_ino != inode)


def test_while_its_socket_is_away_a_plugin_keeps_its_devices(kubelet: Kubelet) -> None:
    plugin = Offering(*things(1))
    with kubelet.plugin(plugin):
        kubelet.wait_for(RESOURCE, allocatable=1)
        kubelet.delete_sockets()
        plugin.offer(*things(2))
        kubelet.wait_for(RESOURCE, allocatable=2)
        assert len(kubelet.registrations()) == 1


def test_a_registration_that_fails_is_tried_again(kubelet: Kubelet) -> None:
    kubelet.faults.fail(RESOURCE, "GetDevicePluginOptions", "not now", times=2)
    with kubelet.plugin(Offering(*things(1))):
        kubelet.wait_for(RESOURCE, allocatable=1)
    failure = "failed to get device plugin options: rpc error: code = Unknown desc = not now"
    assert [registered.failure for registered in kubelet.registrations()] == [failure, failure, ""]


def test_a_plugin_whose_stream_is_not_opened_registers_again(kubelet: Kubelet) -> None:
    kubelet.faults.fail(RESOURCE, "ListAndWatch", "no stream", times=2)
    with kubelet.plugin(Offering(*things(1)), stream_deadline=0.05):
        kubelet.wait_for(RESOURCE, allocatable=1)


def test_two_plugins_are_two_resources(kubelet: Kubelet) -> None:
    other = Offering(Device("o1"), resource_name="example.com/other")
    with kubelet.plugin(Offering(*things(2))), kubelet.plugin(other):
        kubelet.wait_for(RESOURCE, allocatable=2)
        kubelet.wait_for("example.com/other", allocatable=1)


def test_the_end_of_one_plugin_leaves_the_other_alone(kubelet: Kubelet) -> None:
    with kubelet.plugin(Offering(*things(2))):
        with kubelet.plugin(Offering(Device("o1"), resource_name="example.com/other")):
            kubelet.wait_for("example.com/other", allocatable=1)
        kubelet.wait_for("example.com/other", allocatable=0)
        kubelet.wait_for(RESOURCE, allocatable=2)


def test_a_second_instance_takes_over_when_the_first_ends(kubelet: Kubelet) -> None:
    first, second = kubelet.plugin(Offering(*things(1))), kubelet.plugin(Offering(*things(2)))
    with first:
        kubelet.wait_for(RESOURCE, allocatable=1)
        second.__enter__()
    kubelet.wait_for(RESOURCE, allocatable=2)
    second.__exit__(None, None, None)
