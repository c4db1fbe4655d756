"""Plugins appear in plugins_registry, and the kubelet comes to them."""

import zlib
from pathlib import Path

from tests.scenarios.calls import GetInfo, GetOptions, Notified, Watch, WatchEnded, allocate, prefer
from tests.scenarios.observed import Resource
from tests.scenarios.plugin import ScriptedPlugin, healthy
from tests.scenarios.stage import Stage
from tests.scenarios.versions import RETRIES_REGISTRATION
from tests.scenarios.wire import Device, Options, PluginError

TICK = 1.0  # seconds between two looks of the kubelet
VALIDATION = "RegisterPlugin error -- plugin validation failed with err:"
REGISTRATION = "RegisterPlugin error -- plugin registration failed with err:"


def a_plugin_is_found(stage: Stage) -> None:
    """It is asked for its options by all kubelets then, and its word counts."""
    plugin = _found(stage, *healthy("d0", "d1"), options=Options(prefer=True))

    assert plugin.notices == [GetInfo(), Notified(registered=True)]
    stage.until(plugin.resource, Resource(2, 2))
    stage.ask("asks", plugin.resource, 2).running()
    assert plugin.calls == [GetOptions(), Watch(), prefer("d0", "d1", size=2), allocate("d0", "d1")]


def a_socket_that_goes_deregisters_its_plugin(stage: Stage) -> None:
    plugin = _found(stage, *healthy("d0"))
    stage.until(plugin.resource, Resource(1, 1))

    _socket(stage).unlink()

    stage.asked(plugin, WatchEnded, takes=TICK)
    stage.until(plugin.resource, Resource(1, 0))


def a_plugin_of_an_unknown_version_is_told_so(stage: Stage) -> None:
    plugin = _plugin(stage)

    plugin.introduce(_socket(stage), versions=("v1", "v2"))

    _refused(stage, plugin, f"{VALIDATION} manager version, v1beta1, is not among plugin supported versions [v1 v2]")


def a_plugin_of_no_extended_resource_is_told_so(stage: Stage) -> None:
    plugin = _plugin(stage)

    plugin.introduce(_socket(stage), name="nodomain")

    text = 'invalid name of device plugin socket: the ResourceName "nodomain" is invalid'
    _refused(stage, plugin, f"{VALIDATION} {text}")


def a_plugin_of_an_unknown_kind_is_told_so(stage: Stage) -> None:
    plugin = _plugin(stage)

    plugin.introduce(_socket(stage), type_="Toaster")

    socket = f"<registry>/{_socket(stage).name}"
    _refused(
        stage, plugin, f"RegisterPlugin error -- no handler registered for plugin type: Toaster at socket {socket}"
    )


def a_plugin_that_fails_to_say_its_options_is_told_so(stage: Stage) -> None:
    """Once, by kubelets that think no more of it then."""
    plugin = _plugin(stage)

    def fail() -> Options:
        raise PluginError("there are none")

    plugin.on_options = fail
    plugin.introduce(_socket(stage))

    text = "failed to get device plugin options: rpc error: code = Unknown desc = there are none"
    if stage.by_version(RETRIES_REGISTRATION):
        stage.asked(plugin, Notified, 2, takes=TICK)
        assert plugin.notices[:4] == 2 * [GetInfo(), Notified(registered=False, error=f"{REGISTRATION} {text}")]
        _socket(stage).unlink()
        del plugin.notices[2:], plugin.calls[1:]
    else:
        _refused(stage, plugin, f"{REGISTRATION} {text}")


def _socket(stage: Stage) -> Path:
    # One of its own: a kubelet that has had failures at a path waits longer each time before it comes again.
    return stage.kubelet.registry_dir / f"{zlib.crc32(stage.domain.encode()):08x}.sock"


def _plugin(stage: Stage, *devices: Device, options: Options | None = None) -> ScriptedPlugin:
    """A plugin that does not register by itself; it serves where it is found."""
    plugin = ScriptedPlugin(f"{stage.domain}/thing", _socket(stage), devices, options)
    return stage.add(plugin, "thing")


def _found(stage: Stage, *devices: Device, options: Options | None = None) -> ScriptedPlugin:
    plugin = _plugin(stage, *devices, options=options)
    plugin.introduce(_socket(stage))
    stage.asked(plugin, Notified, takes=TICK)
    return plugin


def _refused(stage: Stage, plugin: ScriptedPlugin, text: str) -> None:
    """It is told that, and there is no such resource; how often it is told depends on how long one watches."""
    stage.asked(plugin, Notified, takes=TICK)
    stage.until(plugin.resource, None)
    plugin.die()
    del plugin.notices[2:]
    assert stage.observed().plugins["thing"].notices == (GetInfo(), Notified(registered=False, error=text))
