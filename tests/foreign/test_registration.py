"""Registered with whatever kubelet is there, as often as it takes."""

import os
import queue
import shutil
from pathlib import Path

import pytest

from kubelet_plugin.runtime import Device, Settings
from tests.foreign import ForeignKubelet, PluginClient, Stream, foreign_kubelet
from tests.foreign.serving import RESOURCE, SOCKET, GivenPlugin, served, settings_for

THING = Device("thing0")


def test_the_plugin_serves_before_it_registers(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        registered = (
            kubelet.registered()
        )  # which the foreign kubelet reports only after it dialled back inside Register
        assert (registered.request.version, registered.request.resource_name) == ("v1beta1", RESOURCE)
        assert registered.request.endpoint == SOCKET


def test_the_first_list_comes_at_once(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        assert kubelet.registered().stream.next() == {"thing0": "Healthy"}


def test_an_empty_first_list_comes_at_once_too(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(), settings=settings):
        assert kubelet.registered().stream.next() == {}


def test_a_plugin_slow_with_its_first_list_is_registered_with_an_empty_one(
    kubelet: ForeignKubelet, tmp_path: Path
) -> None:
    plugin = GivenPlugin()
    plugin._given.clear()
    with served(plugin, settings=settings_for(tmp_path, first_list_deadline=0.05)):
        stream = kubelet.registered().stream
        assert stream.next() == {}
        plugin.offer(THING)
        assert stream.next() == {"thing0": "Healthy"}


def test_register_carries_the_options_that_the_call_returns(kubelet: ForeignKubelet, settings: Settings) -> None:
    class Preparing(GivenPlugin):
        def pre_start_container(self, devices: object) -> None:
            pass

    with served(Preparing(THING), settings=settings):
        registered = kubelet.registered()
        assert registered.request.options == registered.options
        assert (registered.options.pre_start_required, registered.options.get_preferred_allocation_available) == (
            True,
            False,
        )


def test_options_follow_from_the_hooks_a_class_overrides(kubelet: ForeignKubelet, settings: Settings) -> None:
    class Preferring(GivenPlugin):
        def preferred_allocation(self, available: object, must_include: object, size: int) -> list[Device]:
            return []

    with served(Preferring(THING), settings=settings):
        options = kubelet.registered().options
        assert (options.pre_start_required, options.get_preferred_allocation_available) == (False, True)


def test_two_kubelet_restarts_in_a_row_are_survived(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        kubelet.registered()
        for _ in range(2):
            kubelet.restart()
            assert kubelet.registered().stream.next() == {"thing0": "Healthy"}


def test_a_hundred_quick_kubelet_restarts_are_survived(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        kubelet.registered()
        for _ in range(100):
            kubelet.restart()
            assert kubelet.registered().stream.next() == {"thing0": "Healthy"}


def test_a_kubelet_that_restarts_without_cleaning_up_is_noticed(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        kubelet.registered()
        kubelet.stop()  # which takes kubelet.sock with it
        kubelet.start(clean=False)
        assert kubelet.registered().stream.next() == {"thing0": "Healthy"}


def test_a_kubelet_that_comes_up_after_the_plugin_is_found(settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings), foreign_kubelet(settings.plugin_dir) as kubelet:
        assert kubelet.registered().stream.next() == {"thing0": "Healthy"}


def test_a_kubelet_that_refuses_is_asked_again_until_it_accepts(kubelet: ForeignKubelet, settings: Settings) -> None:
    kubelet.refusals = ["not now", "nor now", "still not"]
    with served(GivenPlugin(THING), settings=settings):
        assert kubelet.registered().stream.next() == {"thing0": "Healthy"}
        assert kubelet.refused.qsize() == 3


def test_a_refusal_is_logged_with_the_kubelets_words(
    kubelet: ForeignKubelet, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    kubelet.refusals = ['the ResourceName "example.com/thing" is invalid'] * 3
    with served(GivenPlugin(THING), settings=settings):
        kubelet.registered()
    said = [record for record in caplog.records if "is invalid" in record.getMessage()]
    assert len(said) == 1  # the same state is never logged twice in a row
    assert said[0].resource == RESOURCE  # type: ignore[attr-defined]


def test_a_stream_that_is_cut_while_the_socket_stays_leads_to_a_new_registration(
    kubelet: ForeignKubelet, settings: Settings
) -> None:
    with served(GivenPlugin(THING), settings=settings):
        for _ in range(5):
            registered = kubelet.registered()
            assert registered.stream.next() == {"thing0": "Healthy"}
            registered.stream.cancel()
        kubelet.registered()


def test_of_two_streams_opened_while_it_registers_the_end_of_either_leads_to_a_new_registration(
    settings: Settings,
) -> None:
    class Twice(ForeignKubelet):
        others: list[Stream]

        def _register(self, request: object, context: object) -> object:
            plugin = PluginClient(os.path.join(self.plugin_dir, "example.com.thing.sock"))
            other = plugin.watch()
            other.next()  # so that it is the first
            self.others.append(other)
            return super()._register(request, context)  # type: ignore[arg-type]

    kubelet = Twice(settings.plugin_dir)
    kubelet.others = []
    kubelet.start()
    with served(GivenPlugin(THING), settings=settings):
        registered = kubelet.registered()
        registered.stream.next()
        registered.stream.cancel()
        kubelet.registered()
    kubelet.stop()


def test_a_register_without_a_stream_is_repeated(settings: Settings, tmp_path: Path) -> None:
    class Forgetful(ForeignKubelet):
        def _register(self, request: object, context: object) -> object:
            self.refused.put("")
            from tests.foreign import v1beta1

            return v1beta1.Empty()

    kubelet = Forgetful(settings.plugin_dir)
    kubelet.start()
    with served(GivenPlugin(THING), settings=settings_for(tmp_path, stream_deadline=0.05)):
        kubelet.refused.get(timeout=10)
        kubelet.refused.get(timeout=10)
    kubelet.stop()


def test_a_registered_plugin_does_not_register_again(kubelet: ForeignKubelet, settings: Settings) -> None:
    plugin = GivenPlugin(THING)
    with served(plugin, settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        plugin.offer()
        assert stream.next() == {}
        with pytest.raises(queue.Empty):
            kubelet.registrations.get(timeout=0.2)


def test_a_plugin_directory_that_does_not_exist_yet_is_waited_for(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, plugin_dir=str(tmp_path / "not/yet"))
    with served(GivenPlugin(THING), settings=settings):
        os.makedirs(settings.plugin_dir)
        with foreign_kubelet(settings.plugin_dir) as kubelet:
            assert kubelet.registered().stream.next() == {"thing0": "Healthy"}


def test_a_plugin_directory_that_is_recreated_is_served_again(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        kubelet.registered()
        kubelet.stop()
        os.rename(settings.plugin_dir, aside := f"{settings.plugin_dir}-gone")  # at once: it is claimed again
        shutil.rmtree(aside)
        os.mkdir(settings.plugin_dir)
        kubelet.start()
        assert kubelet.registered().stream.next() == {"thing0": "Healthy"}


def test_two_resources_are_registered_each_with_its_own_socket(kubelet: ForeignKubelet, settings: Settings) -> None:
    other = GivenPlugin(Device("o1"), resource_name="example.com/other")
    with served(GivenPlugin(THING), other, settings=settings):
        both = {registered.request.endpoint: registered for registered in (kubelet.registered(), kubelet.registered())}
        assert both[SOCKET].stream.next() == {"thing0": "Healthy"}
        assert both["example.com.other.sock"].stream.next() == {"o1": "Healthy"}


def test_when_serving_ends_the_stream_ends_and_the_socket_goes(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        stream = kubelet.registered().stream
        stream.next()
    assert stream.ended.wait(10)
    assert os.listdir(settings.plugin_dir) == ["kubelet.sock"]


def test_there_is_no_goodbye_list(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        stream = kubelet.registered().stream
        stream.next()
    stream.ended.wait(10)
    assert stream.lists.empty()
