"""The CDI spec file: there before a name is handed out, and there to stay."""

import json
import os
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from kubelet_plugin.cdi import ContainerEdits, DeviceNode
from kubelet_plugin.runtime import Device, Health, Inject, Settings
from kubelet_plugin.runtime.specs import SpecFile
from tests.foreign import ForeignKubelet, PluginClient, Registered
from tests.foreign.serving import SOCKET, GivenPlugin, served, settings_for, told

FILE = "example.com-thing.json"


def thing(mode: int = 0o600, name: str = "thing0") -> Device:
    return Device(name, ContainerEdits(device_nodes=(DeviceNode(f"/dev/{name}", permissions="rw", file_mode=mode),)))


def written_mode(settings: Settings) -> int:
    """The mode of the first device's node in the spec file."""
    devices = json.loads(Path(settings.cdi_dir, FILE).read_text())["devices"]
    mode: int = devices[0]["containerEdits"]["deviceNodes"][0]["fileMode"]
    return mode


def listed(kubelet: ForeignKubelet) -> Registered:
    registered = kubelet.registered()
    registered.stream.next()
    return registered


def test_the_spec_is_on_disk_before_the_first_list(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(thing()), settings=settings):
        listed(kubelet)
        spec = json.loads(Path(settings.cdi_dir, FILE).read_text())
        assert spec == {
            "cdiVersion": "0.3.0",
            "kind": "example.com/thing",
            "devices": [
                {
                    "name": "thing0",
                    "containerEdits": {
                        "deviceNodes": [{"path": "/dev/thing0", "fileMode": 0o600, "permissions": "rw"}]
                    },
                }
            ],
            **({"containerEdits": {}} if "containerEdits" in spec else {}),
        }


def test_the_spec_has_mode_0644(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(thing()), settings=settings):
        listed(kubelet)
        assert os.stat(os.path.join(settings.cdi_dir, FILE)).st_mode & 0o777 == 0o644


def test_the_spec_stays_at_exit(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(thing()), settings=settings):
        listed(kubelet)
    assert os.listdir(settings.cdi_dir) == [FILE]


def test_a_spec_of_before_is_rewritten_at_start(kubelet: ForeignKubelet, settings: Settings) -> None:
    path = Path(settings.cdi_dir, FILE)
    path.parent.mkdir()
    path.write_text('{"cdiVersion":"0.3.0","kind":"example.com/thing","devices":[]}')
    with served(GivenPlugin(thing()), settings=settings):
        listed(kubelet)
        assert "thing0" in path.read_text()


def test_a_change_of_mode_rewrites_the_spec(kubelet: ForeignKubelet, settings: Settings) -> None:
    plugin = GivenPlugin(thing(0o600))
    with served(plugin, settings=settings):
        registered = listed(kubelet)
        plugin.offer(thing(0o666))
        plugin.offer(thing(0o666), thing(name="marker"))
        registered.stream.until(lambda devices: "marker" in devices)
        assert written_mode(settings) == 0o666


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.unlink(), id="deleted"),
        pytest.param(lambda path: shutil.rmtree(path.parent), id="deleted with its directory"),
        pytest.param(lambda path: path.write_text("{"), id="overwritten"),
        pytest.param(lambda path: path.chmod(0o600), id="made unreadable"),
    ],
)
def test_a_spec_that_was_spoilt_is_mended_before_its_names_are_handed_out(
    spoil: Callable[[Path], Any], kubelet: ForeignKubelet, settings: Settings
) -> None:
    path = Path(settings.cdi_dir, FILE)
    with served(GivenPlugin(thing()), settings=settings):
        registered = listed(kubelet)
        good = path.read_text()
        spoil(path)
        (container,) = registered.plugin.allocate(["thing0"]).container_responses
        assert [device.name for device in container.cdi_devices] == ["example.com/thing=thing0"]
        assert path.read_text() == good
        assert path.stat().st_mode & 0o777 == 0o644


def test_where_the_spec_cannot_be_written_no_name_is_handed_out(kubelet: ForeignKubelet, tmp_path: Path) -> None:
    (tmp_path / "cdi").write_text("a file where the directory should be")
    with served(GivenPlugin(thing()), settings=settings_for(tmp_path)):
        (container,) = listed(kubelet).plugin.allocate(["thing0"]).container_responses
        assert not container.cdi_devices
        assert [spec.host_path for spec in container.devices] == ["/dev/thing0"]


@pytest.mark.parametrize("inject", [Inject.CDI, Inject.CDI_ANNOTATION])
def test_where_cdi_is_the_only_way_a_device_without_its_spec_is_unhealthy(
    inject: Inject, kubelet: ForeignKubelet, tmp_path: Path
) -> None:
    (tmp_path / "cdi").write_text("a file where the directory should be")
    with served(GivenPlugin(thing()), settings=settings_for(tmp_path, inject=inject)):
        registered = kubelet.registered()
        assert registered.stream.next() == {"thing0": "Unhealthy"}
        with pytest.raises(grpc.RpcError, match="cannot write CDI spec"):
            registered.plugin.allocate(["thing0"])


def test_a_spec_that_can_be_written_at_last_makes_the_device_healthy(kubelet: ForeignKubelet, tmp_path: Path) -> None:
    (tmp_path / "cdi").write_text("a file where the directory should be")
    with served(GivenPlugin(thing()), settings=settings_for(tmp_path, inject=Inject.CDI)):
        registered = kubelet.registered()
        assert registered.stream.next() == {"thing0": "Unhealthy"}
        (tmp_path / "cdi").unlink()
        assert registered.stream.next() == {"thing0": "Healthy"}


def test_a_lost_device_stays_in_the_spec_while_it_is_listed(kubelet: ForeignKubelet, settings: Settings) -> None:
    plugin = GivenPlugin(thing(), thing(name="thing1"), grace=60)
    with served(plugin, settings=settings):
        registered = listed(kubelet)
        plugin.offer(thing())
        registered.stream.next()
        names = [device["name"] for device in json.loads(Path(settings.cdi_dir, FILE).read_text())["devices"]]
        assert names == ["thing0", "thing1"]


HOOKED = Device("hooked", ContainerEdits(device_nodes=thing().edits.device_nodes, additional_gids=(7,)))


def test_a_device_that_only_cdi_can_deliver_whole_is_refused_without_its_spec(
    kubelet: ForeignKubelet, tmp_path: Path
) -> None:
    (tmp_path / "cdi").write_text("a file where the directory should be")
    with served(GivenPlugin(HOOKED, thing()), settings=settings_for(tmp_path)):
        registered = kubelet.registered()
        assert registered.stream.next() == {"hooked": "Unhealthy", "thing0": "Healthy"}
        with pytest.raises(grpc.RpcError, match="cannot write CDI spec"):
            registered.plugin.allocate(["hooked"])


def test_a_lost_device_stays_listed_while_the_spec_cannot_be_written(kubelet: ForeignKubelet, tmp_path: Path) -> None:
    (tmp_path / "cdi").write_text("a file where the directory should be")
    plugin = GivenPlugin(thing(), thing(name="thing1"), grace=60)
    with served(plugin, settings=settings_for(tmp_path, inject=Inject.CDI)):
        stream = kubelet.registered().stream
        assert stream.next() == {"thing0": "Unhealthy", "thing1": "Unhealthy"}
        plugin.offer(thing(), thing(name="thing2"))
        assert stream.next() == dict.fromkeys(("thing0", "thing1", "thing2"), "Unhealthy")


def test_the_log_says_of_a_device_what_the_kubelet_is_told(
    kubelet: ForeignKubelet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "cdi").write_text("a file where the directory should be")
    with served(GivenPlugin(thing()), settings=settings_for(tmp_path, inject=Inject.CDI)):
        assert kubelet.registered().stream.next() == {"thing0": "Unhealthy"}
    assert not [message for message in caplog.messages if message.startswith("Healthy")]


def test_a_spec_that_cannot_be_written_is_said_once_however_often_it_is_asked_for(
    kubelet: ForeignKubelet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cdi").write_text("a file where the directory should be")
    with served(GivenPlugin(thing()), settings=settings_for(tmp_path, retry_most=0.01)):
        registered = listed(kubelet)
        for _ in range(5):
            registered.plugin.allocate(["thing0"])
    assert len([message for message in caplog.messages if "cannot write CDI spec" in message]) == 2  # one a subject


def test_a_change_of_health_alone_does_not_touch_the_spec(kubelet: ForeignKubelet, settings: Settings) -> None:
    plugin = GivenPlugin(thing(0o600))
    path = Path(settings.cdi_dir, FILE)
    with served(plugin, settings=settings):
        registered = listed(kubelet)
        before = path.stat()
        absent = Device("thing0", thing(0o660).edits, Health.UNHEALTHY, "absent")
        plugin.offer(absent)
        assert registered.stream.next() == {"thing0": "Unhealthy"}
        after = path.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_lost_share_does_not_keep_the_others_from_new_edits(kubelet: ForeignKubelet, settings: Settings) -> None:
    plugin = GivenPlugin(*thing(0o600).shared(3), grace=60)
    with served(plugin, settings=settings):
        registered = listed(kubelet)
        plugin.offer(*thing(0o666).shared(2))
        assert registered.stream.next()["thing0::2"] == "Unhealthy"
        assert written_mode(settings) == 0o666


def test_a_spec_that_vanishes_as_it_is_written_is_not_vouched_for(tmp_path: Path) -> None:
    spec = SpecFile("example.com/thing", str(tmp_path), may_write=lambda: True)
    spec.write([thing()])
    spec._written = None  # as after a write whose file was gone when it was looked at
    os.unlink(spec.path)
    assert spec.names([thing()]) == ("example.com/thing=thing0",)
    assert os.path.exists(spec.path)


def test_an_instance_that_waits_for_the_socket_leaves_the_spec_alone(
    kubelet: ForeignKubelet, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    left_alone = told(caplog, "answers at")
    with served(GivenPlugin(thing(0o600)), settings=settings):
        listed(kubelet)
        before = Path(settings.cdi_dir, FILE).read_text()
        with served(GivenPlugin(thing(0o666)), settings=replace(settings, tick=0.01)):
            assert left_alone.wait(10)
            assert not threading.Event().wait(0.1)  # several of its ticks
            assert Path(settings.cdi_dir, FILE).read_text() == before


class RobbedPlugin(GivenPlugin):
    """Has its socket file removed before its first list, as a kubelet does that starts just then."""

    def __init__(self, *devices: Device, plugin_dir: str) -> None:
        super().__init__(*devices)
        self._plugin_dir = plugin_dir

    async def devices(self) -> AsyncIterator[Sequence[Device]]:
        os.unlink(os.path.join(self._plugin_dir, SOCKET))
        async for devices in super().devices():
            yield devices


@pytest.mark.parametrize("inject", [Inject.BOTH, Inject.CDI])
def test_a_kubelet_that_removes_the_socket_before_the_first_list_finds_the_spec_with_that_list(
    inject: Inject, kubelet: ForeignKubelet, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, inject=inject)
    with served(RobbedPlugin(thing(), plugin_dir=settings.plugin_dir), settings=settings):
        assert kubelet.registered().stream.next() == {"thing0": "Healthy"}
        assert "thing0" in Path(settings.cdi_dir, FILE).read_text()


def test_a_kubelet_that_removes_the_socket_before_the_first_list_finds_no_spec_of_before(
    kubelet: ForeignKubelet, settings: Settings
) -> None:
    with served(GivenPlugin(thing(0o600)), settings=settings):
        listed(kubelet)
    with served(RobbedPlugin(thing(0o666), plugin_dir=settings.plugin_dir), settings=settings):
        listed(kubelet)
        assert written_mode(settings) == 0o666


def test_a_spec_that_was_written_over_is_written_anew_as_soon_as_the_lost_socket_is_back(
    kubelet: ForeignKubelet, settings: Settings
) -> None:
    path, socket_path = Path(settings.cdi_dir, FILE), os.path.join(settings.plugin_dir, SOCKET)
    with served(GivenPlugin(thing()), settings=settings):
        listed(kubelet)
        good = path.read_text()
        path.write_text("theirs")
        os.unlink(socket_path)
        client = PluginClient(socket_path)
        client.watch().next()  # grpcio goes on dialling until the file is there
        assert path.read_text() == good
        client.close()


@pytest.mark.parametrize("theirs", [True, False])
def test_while_somebody_took_our_name_a_cdi_name_is_handed_out_only_of_the_spec_that_we_wrote(
    kubelet: ForeignKubelet, settings: Settings, *, theirs: bool
) -> None:
    path = Path(settings.cdi_dir, FILE)
    with socket.socket(socket.AF_UNIX) as other, served(GivenPlugin(thing()), settings=settings):
        registered = listed(kubelet)
        other.bind(f"{settings.plugin_dir}/theirs.sock")
        other.listen()
        os.rename(f"{settings.plugin_dir}/theirs.sock", os.path.join(settings.plugin_dir, SOCKET))
        if theirs:
            path.write_text("theirs")
        (container,) = registered.plugin.allocate(["thing0"]).container_responses
        assert [device.host_path for device in container.devices] == ["/dev/thing0"]
        assert bool(container.cdi_devices) is not theirs
        assert (path.read_text() == "theirs") is theirs
