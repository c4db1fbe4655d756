"""The kubelet restarts."""

from kubelet_plugin.kubelet.checkpoint import Checkpoint
from tests.scenarios.calls import Allocate, PreStart, Watch, WatchEnded, allocate, prefer
from tests.scenarios.observed import Resource
from tests.scenarios.plugin import ScriptedPlugin, healthy
from tests.scenarios.stage import Container, Stage
from tests.scenarios.versions import NONE_HEALTHY, REMOVES_FILES
from tests.scenarios.wire import Answer, Options


def a_pod_runs_on_through_a_restart(stage: Stage) -> None:
    """No plugin is asked; the device stays its own when the plugin is back."""
    plugin = stage.registered(*healthy("d0", "d1"))
    pod = stage.ask("holder", plugin.resource, 1).running()
    (held,) = plugin.allocated()[0]

    stage.kubelet.restart()
    stage.asked(plugin, WatchEnded)
    pod.running()
    stage.until(plugin.resource, Resource(0, 0))
    _back(plugin)
    stage.until(plugin.resource, Resource(2, 2))
    stage.ask("late", plugin.resource, 1).running()

    assert plugin.calls[-1] == allocate(*({"d0", "d1"} - {held}))
    assert (plugin.count(Allocate), plugin.count(Watch)) == (2, 2)


def a_restart_removes_sockets(stage: Stage) -> None:
    """The kubelet's own is a new one; directories stay, and other files with newer kubelets."""
    plugin = stage.registered(*healthy("d0"))
    file, directory, nested = (stage.kubelet.plugin_dir / name for name in ("file", "directory", "directory/file"))
    file.write_text("")
    directory.mkdir()
    nested.write_text("")
    kubelet = plugin.socket.with_name("kubelet.sock")
    before = kubelet.stat().st_ctime_ns  # inode numbers are used again

    stage.kubelet.restart()

    gone = stage.by_version(REMOVES_FILES)
    assert [path.exists() for path in (plugin.socket, file, nested)] == [False, not gone, True]
    assert kubelet.stat().st_ctime_ns != before
    file.unlink(missing_ok=True)
    nested.unlink()
    directory.rmdir()


def a_pod_is_refused_until_the_plugin_is_back(stage: Stage) -> None:
    plugin = stage.registered(*healthy("d0"))

    stage.kubelet.restart()
    refused = stage.ask("early", plugin.resource, 1).refused()
    _back(plugin)
    stage.until(plugin.resource, Resource(1, 1))
    stage.ask("late", plugin.resource, 1).running()

    text = stage.by_version(NONE_HEALTHY).format(resource=plugin.resource, asked=1)
    assert refused == stage.refusal(text)


def until_the_plugin_is_back_it_is_not_told_of_a_start(stage: Stage) -> None:
    """Its options are forgotten: containers start without PreStartContainer."""
    plugin = stage.registered(*healthy("d0"), options=Options(pre_start=True))
    pod = stage.admit("again", Container("c", {plugin.resource: 1}), restart="OnFailure").running()

    stage.kubelet.restart()
    pod.running()
    pod.restart()
    pod.running(restarts=1)

    assert plugin.count(PreStart) == 1


def a_refused_pod_is_looked_at_again(stage: Stage) -> None:
    """A static pod is, whenever a kubelet starts; by then there is another reason against it."""
    plugin = stage.registered(*healthy("d0"))
    pod = stage.ask("greedy", plugin.resource, 2)
    pod.refused()

    stage.kubelet.restart()

    again = stage.refusal(stage.by_version(NONE_HEALTHY).format(resource=plugin.resource, asked=2))
    pod.until(f"to be {again}", lambda seen: seen == again)


def a_checkpoint_that_cannot_be_read_is_forgotten(stage: Stage) -> None:
    """The pod runs on, and its device is given to another one, too."""
    plugin = stage.registered(*healthy("d0", "d1"), options=Options(prefer=True))
    plugin.on_prefer = lambda asked: ["d0"]
    pod = stage.ask("holder", plugin.resource, 1).running()

    checkpoint = stage.kubelet.plugin_dir / "kubelet_internal_checkpoint"
    stage.kubelet.restart(lambda: checkpoint.write_text(checkpoint.read_text().replace('["d0"]', '["d1"]')))
    pod.running()
    plugin.offer(
        *healthy("d0", "d1", "d2")
    )  # another number: until the plugin is back, a Node object may keep the old one
    _back(plugin)
    stage.until(plugin.resource, Resource(3, 3))
    stage.ask("late", plugin.resource, 1).running()

    assert plugin.calls[-2:] == [prefer("d0", "d1", "d2", size=1), allocate("d0")]


def a_checkpoint_is_read_and_written_in_one_format(stage: Stage) -> None:
    """What our code reads of it, and writes again, is as good as the kubelet's own."""
    plugin = stage.registered(*healthy("d0", "d1"), options=Options(prefer=True))
    plugin.on_prefer = lambda asked: ["d0"]
    plugin.on_allocate = lambda asked: [Answer(env={"THING": "d0"}, devices={"/dev/thing": "/dev/null"})]
    stage.ask("holder", plugin.resource, 1).running()
    file = stage.kubelet.plugin_dir / "kubelet_internal_checkpoint"

    def write_anew() -> None:
        found = Checkpoint(str(file)).read()
        assert found is not None
        file.unlink()
        Checkpoint(str(file)).write(*found)

    stage.kubelet.restart(write_anew)
    _back(plugin)
    stage.until(plugin.resource, Resource(2, 2))
    stage.ask("late", plugin.resource, 1).running()

    assert plugin.calls[-2:] == [prefer("d1", size=1), allocate("d1")]


def _back(plugin: ScriptedPlugin) -> None:
    """Serve and register again, as a plugin does when its socket is gone."""
    plugin.die()
    plugin.serve()
    assert plugin.register() == ""
