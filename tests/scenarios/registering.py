"""Plugins register, or are refused."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.scenarios.calls import GetOptions, Watch, allocate, prefer
from tests.scenarios.observed import Resource
from tests.scenarios.plugin import ScriptedPlugin, healthy
from tests.scenarios.stage import Stage
from tests.scenarios.versions import BOUNDS_DIAL, DIALS_INSIDE_REGISTER
from tests.scenarios.wire import Options, PluginError

DIAL = 10.0  # seconds that a kubelet tries for
DIAL_AGAIN = 1.0  # seconds until its second try
HASTE = 0.2  # seconds
NO_NAMES = (
    "",
    "nodomain",
    "kubernetes.io/x",
    "sub.kubernetes.io/x",
    "requests.example.com/x",
    "Example.com/x",
    "ex_ample.com/x",
    "example.com/",
    "example.com/-x",
    "example.com/x-",
    "example.com/a/b",
    "example.com/" + 64 * "x",
    ".".join([63 * "a"] * 3) + "." + 53 * "a" + "/x",
    'quo"te.com/x',
)
LONG_NAMES = ("X_y.z-0", 63 * "n")


def a_plugin_registers(stage: Stage) -> None:
    """It is dialled back, watched, and asked for its options by those kubelets that do not take Register's."""
    plugin = stage.plugin(*healthy("d0", "d1"))

    assert plugin.register() == ""

    stage.until(plugin.resource, Resource(capacity=2, allocatable=2))
    assert plugin.calls == [*_dialled(stage), Watch()]


def an_unknown_version_is_refused(stage: Stage) -> None:
    plugin = stage.plugin(*healthy("d0"))

    for version in ("v1alpha1", "v1", ""):
        assert plugin.register(version=version) == (
            f'UNKNOWN: requested API version "{version}" is not supported by kubelet. Supported version is ["v1beta1"]'
        )

    stage.until(plugin.resource, None)
    assert plugin.calls == []


def what_is_no_name_of_an_extended_resource_is_refused(stage: Stage) -> None:
    plugin = stage.plugin(*healthy("d0"))

    for name in NO_NAMES:
        quoted = name.replace('"', '\\"')
        assert plugin.register(name) == f'UNKNOWN: the ResourceName "{quoted}" is invalid'

    assert plugin.calls == []


def capitals_and_long_names_are_accepted_after_the_slash(stage: Stage) -> None:
    plugin = stage.plugin(*healthy("d0"))

    for name in LONG_NAMES:
        assert plugin.register(f"{stage.domain}/{name}") == ""
        stage.until(f"{stage.domain}/{name}", Resource(1, 1))


def an_endpoint_is_a_path_below_the_plugin_directory(stage: Stage) -> None:
    """A leading slash does not make it another one."""
    plugin = stage.plugin(*healthy("d0"))

    assert plugin.register(endpoint=f"/not/../{plugin.socket.name}") == ""

    stage.until(plugin.resource, Resource(1, 1))


def a_plugin_that_is_not_there_cannot_be_dialled(stage: Stage) -> None:
    absent = ScriptedPlugin(f"{stage.domain}/absent", stage.kubelet.plugin_dir / "absent.sock")
    stage.add(absent, "absent")

    assert _answer(stage, absent) == _undialled(stage)

    stage.until(absent.resource, None)


def a_plugin_that_listens_and_never_answers_cannot_be_dialled(stage: Stage) -> None:
    mute = ScriptedPlugin(f"{stage.domain}/mute", stage.kubelet.plugin_dir / "mute.sock")
    stage.add(mute, "mute")

    with _listening(mute.socket):
        assert _answer(stage, mute) == _undialled(stage)
        stage.until(mute.resource, None)


def a_plugin_that_gives_up_registering(stage: Stage) -> None:
    """It serves too late; whether it is dialled still, depends on whose patience counts."""
    plugin = ScriptedPlugin(f"{stage.domain}/thing", stage.kubelet.plugin_dir / "thing.sock", healthy("d0"))
    stage.add(plugin, "thing")

    answer = plugin.register(patience=HASTE)
    plugin.serve()

    assert answer.startswith("DEADLINE_EXCEEDED" if stage.by_version(DIALS_INSIDE_REGISTER) else "")
    if stage.by_version(BOUNDS_DIAL):
        stage.kubelet.settle()
        assert plugin.calls == []
    else:
        stage.asked(plugin, Watch, takes=DIAL_AGAIN)
        stage.until(plugin.resource, Resource(1, 1))


def a_plugin_that_fails_to_say_its_options(stage: Stage) -> None:
    """It is refused by those that ask; others never know."""
    plugin = stage.plugin(*healthy("d0"))

    def fail() -> Options:
        raise PluginError("there are none")

    plugin.on_options = fail
    answer = plugin.register()

    if stage.by_version(DIALS_INSIDE_REGISTER):
        assert answer == (
            "UNKNOWN: failed to get device plugin options: rpc error: code = Unknown desc = there are none"
        )
        stage.until(plugin.resource, None)
        assert plugin.calls == [GetOptions()]
    else:
        assert answer == ""
        stage.until(plugin.resource, Resource(1, 1))
        assert plugin.calls == [Watch()]


def options_count_from_one_place_only(stage: Stage) -> None:
    """What Register says, or what the plugin says when it is asked: never both."""
    plugin = stage.plugin(*healthy("d0"), options=Options(prefer=True))
    plugin.on_options = Options
    assert plugin.register() == ""
    stage.until(plugin.resource, Resource(1, 1))

    stage.ask("asks", plugin.resource, 1).running()

    if stage.by_version(DIALS_INSIDE_REGISTER):
        assert plugin.calls == [GetOptions(), Watch(), allocate("d0")]
    else:
        assert plugin.calls == [Watch(), prefer("d0", size=1), allocate("d0")]


def a_second_registration_opens_a_second_stream(stage: Stage) -> None:
    """The first one stays open; the options are those of the second."""
    plugin = stage.registered(*healthy("d0"))
    plugin.options = Options(prefer=True)

    assert plugin.register() == ""
    stage.asked(plugin, Watch, 2)
    stage.ask("asks", plugin.resource, 1).running()

    dialled = [*_dialled(stage), Watch()]
    assert plugin.calls == [*dialled, *dialled, prefer("d0", size=1), allocate("d0")]


def one_plugin_registers_several_resources(stage: Stage) -> None:
    plugin = stage.plugin(*healthy("d0", "d1"))

    for name in ("a", "b"):
        assert plugin.register(f"{stage.domain}/{name}") == ""

    for name in ("a", "b"):
        stage.until(f"{stage.domain}/{name}", Resource(2, 2))


def each_registration_is_counted(stage: Stage) -> None:
    """A refused one, too."""
    plugin = stage.registered(*healthy("d0"))

    plugin.register()
    stage.asked(plugin, Watch, 2)
    plugin.register(version="v2")

    assert stage.metric("kubelet_device_plugin_registration_total", plugin.resource) == "3"


def _dialled(stage: Stage) -> list[GetOptions]:
    return [GetOptions()] if stage.by_version(DIALS_INSIDE_REGISTER) else []


def _undialled(stage: Stage) -> str:
    """What Register answers where the plugin cannot be dialled; those that dial later say nothing."""
    inside = stage.by_version(DIALS_INSIDE_REGISTER)
    return "UNKNOWN: failed to dial device plugin: context deadline exceeded" if inside else ""


def _answer(stage: Stage, plugin: ScriptedPlugin) -> str:
    """The answer to Register, which may come only when the kubelet has given up."""
    thread = threading.Thread(target=plugin.register)
    thread.start()
    stage.eventually(lambda: "Register to be answered", lambda: None if thread.is_alive() else True, takes=DIAL)
    thread.join()
    return plugin.answers[-1]


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        try:
            yield
        finally:
            path.unlink()
