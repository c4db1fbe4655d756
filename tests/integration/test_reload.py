"""A configuration that changes while it is served: who is not concerned notices nothing."""

import asyncio
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubelet_plugin.config.schema import Resource
from kubelet_plugin.discovery import Roots
from kubelet_plugin.errors import ConfigurationError, ConfigurationFileError
from kubelet_plugin.plugins.reload import Reload
from kubelet_plugin.runtime import Fleet, Settings
from kubelet_plugin.testing import Kubelet
from tests.integration.offering import Offering, things

ONE, TWO = "example.com/one", "example.com/two"
USABLE = "the configuration can be used again"
REFUSED = "the configuration cannot be used"


def resource(name: str, *lines: str, path: str = "") -> str:
    """A resource with one device, which is absent, and so listed as Unhealthy."""
    return "\n  ".join([f"- name: {name}", *lines, f"devices: [{{path: {path or f'/dev/{name}'}}}]"]) + "\n"


def configuration(*resources: str) -> str:
    return "version: v1\ndomain: example.com\nresources:" + ("\n" + "".join(resources) if resources else " []\n")


class Driver:
    """A fleet that is kept in line, on an event loop in a thread of its own."""

    def __init__(self, reload: Reload, settings: Settings) -> None:
        self.reload = reload
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._keep(settings),))
        self._thread.start()

    def soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(callback)

    def end(self) -> None:
        self.soon(self._cancel)
        self._thread.join(10)
        self._loop.close()

    def _cancel(self) -> None:
        if self._task:
            self._task.cancel()

    async def _keep(self, settings: Settings) -> None:
        fleet = Fleet(settings)
        self._task = asyncio.create_task(self.reload.keep(fleet))
        await asyncio.wait({self._task})
        self.error = None if self._task.cancelled() else self._task.exception()
        await fleet.close()


class Said:
    """What the log says, and waiting for it."""

    def __init__(self, kubelet: Kubelet, caplog: pytest.LogCaptureFixture) -> None:
        self._kubelet = kubelet
        self._caplog = caplog
        caplog.set_level("INFO", "kubelet_plugin.plugins")

    def all(self, words: str = "") -> list[str]:
        records = list(self._caplog.records)
        lines = [r.getMessage() for r in records if r.name == "kubelet_plugin.plugins"]
        return [line for line in lines if words in line]

    def wait(self, words: str, times: int = 1) -> str:
        self._kubelet.wait_until(lambda: len(self.all(words)) >= times, what=f"{words!r} in the log")
        return self.all(words)[-1]


@pytest.fixture
def said(kubelet: Kubelet, caplog: pytest.LogCaptureFixture) -> Said:
    return Said(kubelet, caplog)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "host/dev").mkdir(parents=True)
    (tmp_path / "host/sys/module").mkdir(parents=True)
    return tmp_path / "host"


Serve = Callable[..., Driver]


@pytest.fixture
def serve(kubelet: Kubelet, host: Path) -> Iterator[Serve]:
    """Serve what files say."""
    drivers = []

    def serve(*files: Path, meanwhile: Callable[[], object] = lambda: None, **options: Any) -> Driver:
        settings = Settings(plugin_dir=str(kubelet.plugin_dir), cdi_dir=str(kubelet.cdi_dir))
        roots = Roots(host=str(host), sysfs=str(host / "sys"))
        reload = Reload(map(str, files), domain="example.com", roots=roots, **options)
        reload.read()
        meanwhile()
        drivers.append(Driver(reload, settings))
        return drivers[-1]

    yield serve
    for driver in drivers:
        driver.end()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def registrations(kubelet: Kubelet, name: str) -> int:
    return sum(each.resource == name for each in kubelet.registrations())


def test_what_a_file_says_is_served(kubelet: Kubelet, serve: Serve, file: Path, said: Said) -> None:
    file.write_text(configuration(resource("one"), resource("two")))
    serve(file)
    kubelet.wait_for(ONE, capacity=1)
    kubelet.wait_for(TWO, capacity=1)
    assert (
        said.wait("is applied") == "the configuration is applied: added example.com/one, example.com/two; 0 unchanged"
    )


def test_a_file_that_changes_before_it_is_watched_is_applied_all_the_same(
    kubelet: Kubelet, serve: Serve, file: Path
) -> None:
    file.write_text(configuration(resource("one")))
    serve(file, meanwhile=lambda: file.write_text(configuration(resource("two"))))
    kubelet.wait_for(TWO, capacity=1)


def test_a_resource_that_says_what_it_said_keeps_its_stream(
    kubelet: Kubelet, serve: Serve, file: Path, said: Said
) -> None:
    file.write_text(configuration(resource("one")))
    serve(file)
    kubelet.wait_for(ONE, capacity=1)
    file.write_text(configuration(resource("two"), "# moved down\n", resource("one")))
    kubelet.wait_for(TWO, capacity=1)
    assert said.wait("added example.com/two").endswith("added example.com/two; 1 unchanged")
    assert registrations(kubelet, ONE) == 1
    assert kubelet.lists(ONE) == [{"one": "Unhealthy"}]


def test_a_resource_that_says_something_else_is_listed_anew_on_the_stream_it_has(
    kubelet: Kubelet, serve: Serve, file: Path, said: Said
) -> None:
    file.write_text(configuration(resource("one")))
    serve(file)
    kubelet.wait_for(ONE, capacity=1)
    file.write_text(configuration(resource("one", "count: 2", "grace: 0s")))
    kubelet.wait_until(lambda: kubelet.devices(ONE).keys() >= {"one::0", "one::1"})
    assert said.wait("changed").endswith("changed example.com/one; 0 unchanged")
    assert registrations(kubelet, ONE) == 1


def test_a_resource_whose_kubelet_was_told_something_else_registers_again(
    kubelet: Kubelet, serve: Serve, file: Path
) -> None:
    file.write_text(configuration(resource("one")))
    serve(file)
    kubelet.wait_for(ONE, capacity=1)
    file.write_text(configuration(resource("one", "preferred: packed")))
    kubelet.wait_until(lambda: registrations(kubelet, ONE) == 2)
    kubelet.wait_until(lambda: kubelet.options(ONE).get_preferred_allocation_available)


def test_a_resource_that_is_gone_is_withdrawn(kubelet: Kubelet, serve: Serve, file: Path, said: Said) -> None:
    file.write_text(configuration(resource("one"), resource("two")))
    serve(file)
    kubelet.wait_for(ONE, capacity=1)
    kubelet.wait_for(TWO, capacity=1)
    file.write_text(configuration(resource("two")))
    kubelet.wait_until(lambda: not (kubelet.plugin_dir / "example.com.one.sock").exists())
    kubelet.wait_for(ONE, capacity=0)
    assert kubelet.lists(ONE) == [{"one": "Unhealthy"}, {}]
    assert (kubelet.cdi_dir / "example.com-one.json").exists()
    assert said.wait("removed").endswith("removed example.com/one; 1 unchanged")
    assert kubelet.lists(TWO) == [{"two": "Unhealthy"}]


def test_a_file_that_cannot_be_used_changes_nothing_and_is_reported_by_line_and_field(
    kubelet: Kubelet, serve: Serve, file: Path, said: Said
) -> None:
    file.write_text(configuration(resource("one")))
    serve(file)
    kubelet.wait_for(ONE, capacity=1)
    file.write_text(configuration(resource("two", "count: none", "prefered: packed")))
    said.wait(REFUSED)
    count, prefered = said.all(str(file))
    assert count.startswith(f"{file}:5:")
    assert "resources[0].count" in count
    assert prefered.startswith(f"{file}:6:")
    assert kubelet.devices(ONE) == {"one": "Unhealthy"}
    assert registrations(kubelet, TWO) == 0


def test_a_file_that_cannot_be_used_is_reported_once_for_what_it_says(
    kubelet: Kubelet, serve: Serve, file: Path, said: Said
) -> None:
    file.write_text(configuration())
    serve(file)
    for _ in range(2):
        file.write_text("version: v2\n")
        said.wait(REFUSED)
        time.sleep(0.15)  # what does not happen has no event
    assert len(said.all(REFUSED)) == 1
    file.write_text("version: v3\n")
    said.wait(REFUSED, times=2)
    file.write_text(configuration(resource("one")))
    said.wait(USABLE)
    assert len(said.all(REFUSED)) == 2
    kubelet.wait_for(ONE, capacity=1)


def test_a_file_that_vanishes_changes_nothing(kubelet: Kubelet, serve: Serve, file: Path, said: Said) -> None:
    file.write_text(configuration(resource("one")))
    serve(file)
    kubelet.wait_for(ONE, capacity=1)
    file.unlink()
    said.wait(REFUSED)
    assert f"{file}: this file cannot be read" in "\n".join(said.all())
    assert kubelet.lists(ONE) == [{"one": "Unhealthy"}]
    file.write_text(configuration(resource("one"), resource("two")))
    kubelet.wait_for(TWO, capacity=1)
    assert registrations(kubelet, ONE) == 1


def test_files_come_to_a_directory_and_go(kubelet: Kubelet, serve: Serve, tmp_path: Path) -> None:
    directory = tmp_path / "config.d"
    directory.mkdir()
    (directory / "one.yaml").write_text(configuration(resource("one")))
    serve(directory)
    kubelet.wait_for(ONE, capacity=1)
    (directory / "two.yaml").write_text(configuration(resource("two")))
    kubelet.wait_for(TWO, capacity=1)
    (directory / "one.yaml").unlink()
    kubelet.wait_for(ONE, capacity=0)


def publish(volume: Path, version: str, text: str) -> None:
    """Put a ConfigMap's content into its volume, as a kubelet does."""
    (volume / version).mkdir(parents=True)
    (volume / version / "config.yaml").write_text(text)
    (volume / "..data_tmp").symlink_to(version)
    (volume / "..data_tmp").rename(volume / "..data")
    if not (volume / "config.yaml").is_symlink():
        (volume / "config.yaml").symlink_to("..data/config.yaml")


@pytest.mark.parametrize("what", ["", "config.yaml"])
def test_a_configmap_that_is_updated_is_applied(what: str, kubelet: Kubelet, serve: Serve, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    publish(volume, "..1", configuration(resource("one")))
    serve(volume / what)
    kubelet.wait_for(ONE, capacity=1)
    publish(volume, "..2", configuration(resource("two")))
    kubelet.wait_for(TWO, capacity=1)
    shutil.rmtree(volume / "..1")
    publish(volume, "..3", configuration(resource("one")))
    shutil.rmtree(volume / "..2")
    kubelet.wait_for(ONE, capacity=1)


def test_a_directory_above_that_is_replaced_is_noticed(kubelet: Kubelet, serve: Serve, tmp_path: Path) -> None:
    for version, name in (("a", "one"), ("b", "two")):
        (tmp_path / version / "etc").mkdir(parents=True)
        (tmp_path / version / "etc/config.yaml").write_text(configuration(resource(name)))
    (tmp_path / "a").rename(tmp_path / "now")
    serve(tmp_path / "now/etc/config.yaml")
    kubelet.wait_for(ONE, capacity=1)
    (tmp_path / "now").rename(tmp_path / "before")
    (tmp_path / "b").rename(tmp_path / "now")
    kubelet.wait_for(TWO, capacity=1)


def test_a_link_to_a_file_elsewhere_is_followed(kubelet: Kubelet, serve: Serve, tmp_path: Path, file: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere/real.yaml"
    real.write_text(configuration(resource("one")))
    file.symlink_to("elsewhere/real.yaml")
    serve(file)
    kubelet.wait_for(ONE, capacity=1)
    real.write_text(configuration(resource("two")))
    kubelet.wait_for(TWO, capacity=1)


def test_who_asks_is_told_though_nothing_differs(kubelet: Kubelet, serve: Serve, file: Path, said: Said) -> None:
    file.write_text(configuration(resource("one")))
    driver = serve(file)
    kubelet.wait_for(ONE, capacity=1)
    driver.soon(driver.reload.again)
    said.wait("the configuration is applied: 1 unchanged")


def test_who_asks_is_told_again_what_is_wrong(kubelet: Kubelet, serve: Serve, file: Path, said: Said) -> None:
    file.write_text(configuration())
    driver = serve(file)
    file.write_text("version: v2\n")
    said.wait(REFUSED)
    driver.soon(driver.reload.again)
    said.wait(REFUSED, times=2)


def test_a_resource_whose_condition_does_not_hold_is_never_registered_until_it_does(
    kubelet: Kubelet, serve: Serve, file: Path, host: Path, said: Said
) -> None:
    file.write_text(configuration(resource("one", "enabled_when: {path: /dev/there}"), resource("two")))
    serve(file)
    kubelet.wait_for(TWO, capacity=1)
    assert said.all("not served") == ["not served: there is no /dev/there"]
    assert registrations(kubelet, ONE) == 0
    (host / "dev/there").touch()
    kubelet.wait_for(ONE, capacity=1)
    (host / "dev/there").unlink()
    kubelet.wait_for(ONE, capacity=0)
    assert len(said.all("not served")) == 2
    assert registrations(kubelet, TWO) == 1


def test_a_module_that_was_loaded_is_found_by_who_asks(
    kubelet: Kubelet, serve: Serve, file: Path, host: Path, said: Said
) -> None:
    file.write_text(configuration(resource("one", "enabled_when: {module: cuse}")))
    driver = serve(file)
    assert said.wait("not served") == "not served: no kernel module cuse is loaded"
    (host / "sys/module/cuse").mkdir()
    driver.soon(driver.reload.again)
    kubelet.wait_for(ONE, capacity=1)


def test_where_nothing_is_to_be_served_that_is_said(serve: Serve, file: Path, said: Said) -> None:
    file.write_text(configuration())
    serve(file)
    assert said.wait("is applied") == "the configuration is applied: 0 unchanged"


def test_a_condition_that_comes_to_hold_is_noticed_though_the_file_cannot_be_used(
    kubelet: Kubelet, serve: Serve, file: Path, host: Path, said: Said
) -> None:
    file.write_text(configuration(resource("one", "enabled_when: {path: /dev/there}")))
    serve(file)
    said.wait("not served")
    file.write_text("version: v2\n")
    said.wait(REFUSED)
    (host / "dev/there").touch()
    kubelet.wait_for(ONE, capacity=1)
    assert len(said.all(REFUSED)) == 1


def test_resources_and_plugins_are_served_beside_those_of_files(kubelet: Kubelet, serve: Serve, file: Path) -> None:
    file.write_text(configuration(resource("one")))
    serve(file, resources=[Resource(name=TWO)], plugins=[Offering(*things(1))])
    kubelet.wait_for(ONE, capacity=1)
    kubelet.wait_for(TWO, capacity=0)
    kubelet.wait_for("example.com/thing", allocatable=1)


def test_a_file_that_names_what_is_served_beside_it_changes_nothing(
    kubelet: Kubelet, serve: Serve, file: Path, said: Said
) -> None:
    file.write_text(configuration(resource("one")))
    serve(file, resources=[Resource(name=TWO)])
    kubelet.wait_for(ONE, capacity=1)
    file.write_text(configuration(resource("two")))
    said.wait(REFUSED)
    assert said.all("example.com/two is there twice")
    assert kubelet.lists(ONE) == [{"one": "Unhealthy"}]
    file.write_text(configuration())
    kubelet.wait_for(ONE, capacity=0)


def test_at_the_start_what_cannot_be_served_together_is_an_error(serve: Serve, file: Path) -> None:
    file.write_text(configuration(resource("two")))
    driver = serve(file, resources=[Resource(name=TWO)])
    driver._thread.join(10)
    assert isinstance(driver.error, ConfigurationError)


def test_at_the_start_a_file_that_cannot_be_used_is_an_error(serve: Serve, file: Path) -> None:
    file.write_text("version: v2\n")
    with pytest.raises(ConfigurationFileError, match=r"config\.yaml:1:"):
        serve(file)


def run(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "kubelet_plugin", "run", *arguments]


def test_a_file_is_applied_at_sighup(kubelet: Kubelet, file: Path, host: Path) -> None:
    file.write_text(configuration(resource("one")))
    with kubelet.command(run("--config", str(file), "--host-root", str(host))) as program:
        kubelet.wait_for(ONE, capacity=1)
        os.kill(program.pid, signal.SIGHUP)
        kubelet.wait_until(lambda: "applied: 1 unchanged" in program.output)
        program.terminate()
        assert program.wait() == 0


def test_presets_and_files_are_served_together(kubelet: Kubelet, file: Path, host: Path) -> None:
    file.write_text(configuration(resource("one")))
    names = ["kvm", "tun", "--count", "2"]
    with kubelet.command(run(*names, "--config", str(file), "--domain", "x.io", "--host-root", str(host))):
        kubelet.wait_for(ONE, capacity=1)
        kubelet.wait_for("x.io/kvm", capacity=2)
        kubelet.wait_for("x.io/tun")


def test_names_and_files_may_be_variables(kubelet: Kubelet, tmp_path: Path, host: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(configuration(resource(name)))
    environment = {
        "KUBELET_PLUGIN_PLUGINS": "fuse,tun",
        "KUBELET_PLUGIN_CONFIG": f"{tmp_path}/one.yaml:{tmp_path}/two.yaml",
        "KUBELET_PLUGIN_DOMAIN": "x.io",
        "KUBELET_PLUGIN_HOST_ROOT": str(host),
    }
    with kubelet.command(run(), env=environment):
        for name in (ONE, TWO, "x.io/fuse", "x.io/tun"):
            kubelet.wait_for(name)


def test_a_device_is_taken_in_the_words_of_generic_device_plugin(kubelet: Kubelet, host: Path) -> None:
    text = "{name: modem, groups: [{paths: [{path: /dev/modem}], count: 3}]}"
    with kubelet.command(run("--device", text, "--domain", "x.io", "--host-root", str(host))):
        kubelet.wait_for("x.io/modem")
        assert [each.resource for each in kubelet.registrations()] == ["x.io/modem"]
