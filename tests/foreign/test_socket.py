"""Our socket file: always in place, and never somebody else's."""

import contextlib
import fcntl
import os
import socket
import threading
from pathlib import Path

import pytest

from kubelet_plugin.errors import ConfigurationError, DirectoryLockedError, PluginDirError, SocketInUseError
from kubelet_plugin.runtime import Device, Settings
from kubelet_plugin.runtime.endpoint import Endpoint, socket_name
from tests.foreign import ForeignKubelet, PluginClient
from tests.foreign.serving import SOCKET, GivenPlugin, served, told

THING = Device("thing0")


def listening(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


def test_a_deleted_socket_file_is_made_again(kubelet: ForeignKubelet, settings: Settings) -> None:
    path = os.path.join(settings.plugin_dir, SOCKET)
    with served(GivenPlugin(THING), settings=settings):
        registered = kubelet.registered()
        inode = os.stat(path).st_ino
        os.unlink(path)
        client = PluginClient(path)
        assert client.watch().next() == {"thing0": "Healthy"}  # grpcio goes on dialling until the file is there
        assert os.stat(path).st_ino != inode
        client.close()
        assert not registered.stream.ended.is_set()  # what was open goes on


def test_a_stale_socket_is_replaced(kubelet: ForeignKubelet, settings: Settings) -> None:
    listening(os.path.join(settings.plugin_dir, SOCKET)).close()  # as SIGKILL leaves it
    with served(GivenPlugin(THING), settings=settings):
        assert kubelet.registered().stream.next() == {"thing0": "Healthy"}


def test_a_socket_that_somebody_answers_is_left_alone(
    kubelet: ForeignKubelet, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    path = os.path.join(settings.plugin_dir, SOCKET)
    with listening(path) as other:
        inode = os.stat(path).st_ino
        left_alone = told(caplog, "answers at")
        with served(GivenPlugin(THING), settings=settings):
            assert left_alone.wait(10)
            assert os.stat(path).st_ino == inode
            other.close()
            os.unlink(path)
            assert kubelet.registered().stream.next() == {"thing0": "Healthy"}


def test_while_somebody_took_our_name_our_open_stream_goes_on(kubelet: ForeignKubelet, settings: Settings) -> None:
    path = os.path.join(settings.plugin_dir, SOCKET)
    plugin = GivenPlugin(THING)
    with served(plugin, settings=settings):
        stream = kubelet.registered().stream
        stream.next()
        theirs = listening(f"{settings.plugin_dir}/theirs.sock")
        os.rename(f"{settings.plugin_dir}/theirs.sock", path)
        plugin.offer()
        assert stream.next() == {}
        inode = os.stat(path).st_ino
    assert os.stat(path).st_ino == inode  # not removed at our exit either
    theirs.close()


def test_two_instances_do_not_fight(kubelet: ForeignKubelet, settings: Settings) -> None:
    with served(GivenPlugin(THING), settings=settings):
        first = kubelet.registered()
        first.stream.next()
        with served(GivenPlugin(THING), settings=settings):
            assert not first.stream.ended.wait(0.3)
            assert kubelet.registrations.empty()


def test_the_second_instance_takes_over_when_the_first_ends(kubelet: ForeignKubelet, settings: Settings) -> None:
    second = GivenPlugin(Device("second"))
    with contextlib.ExitStack() as serving:
        with served(GivenPlugin(Device("first")), settings=settings):
            assert kubelet.registered().stream.next() == {"first": "Healthy"}
            serving.enter_context(served(second, settings=settings))
        assert kubelet.registered().stream.next() == {"second": "Healthy"}


def test_a_claim_in_a_missing_directory_names_it(tmp_path: Path) -> None:
    with pytest.raises(PluginDirError, match=r"nowhere does not exist.*mounted"):
        Endpoint.claim(str(tmp_path / "nowhere/x.sock"))


def test_a_claim_in_something_that_is_no_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PluginDirError, match="file is not a directory"):
        Endpoint.claim(str(tmp_path / "file/x.sock"))


def test_a_claim_where_nothing_can_be_written_says_what_to_do() -> None:
    with pytest.raises(
        PluginDirError, match=r"cannot make a socket in the plugin directory /sys: .*; run as a user who may"
    ):
        Endpoint.claim("/sys/x.sock")


def test_a_file_in_the_way_that_is_no_socket_is_left_there(tmp_path: Path) -> None:
    (tmp_path / "x.sock").write_text("precious")
    with pytest.raises(PluginDirError, match="no socket: remove it"):
        Endpoint.claim(str(tmp_path / "x.sock"))
    assert (tmp_path / "x.sock").read_text() == "precious"


def test_a_claim_leaves_no_other_file_behind(tmp_path: Path) -> None:
    endpoint = Endpoint.claim(str(tmp_path / "x.sock"))
    assert os.listdir(tmp_path) == ["x.sock"]
    endpoint.listener.close()


def test_of_many_claims_at_once_one_wins(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    listening(path).close()
    won: list[Endpoint] = []
    barrier = threading.Barrier(8)

    def claim() -> None:
        barrier.wait()
        with contextlib.suppress(SocketInUseError, DirectoryLockedError):
            won.append(Endpoint.claim(path))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert won[0].is_in_place()
    won[0].listener.close()


def test_a_busy_listener_counts_as_one_that_answers(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = []
        for _ in range(2):  # fill the backlog
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            with contextlib.suppress(BlockingIOError):
                client.connect(path)
            waiting.append(client)
        with pytest.raises(SocketInUseError, match="second instance"):
            Endpoint.claim(path)
        for client in waiting:
            client.close()


def test_only_its_owner_may_connect(tmp_path: Path) -> None:
    endpoint = Endpoint.claim(str(tmp_path / "x.sock"))
    assert os.stat(endpoint.path).st_mode & 0o777 == 0o600
    endpoint.listener.close()


def test_release_removes_only_our_own_file(tmp_path: Path) -> None:
    endpoint = Endpoint.claim(str(tmp_path / "x.sock"))
    os.unlink(endpoint.path)
    with listening(endpoint.path):
        endpoint.release()
        assert os.path.exists(endpoint.path)
    endpoint.listener.close()


def test_release_waits_for_no_lock_on_the_directory(tmp_path: Path) -> None:
    endpoint = Endpoint.claim(str(tmp_path / "x.sock"))
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    endpoint.release()
    assert not os.path.exists(endpoint.path)
    os.close(directory)
    endpoint.listener.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_claim_behind_a_closed_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "closed/plugins").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(PluginDirError, match=r"run as a user who may write there .*; this is user 65534"):
            Endpoint.claim(str(tmp_path / "closed/plugins/x.sock"))
    finally:
        os.seteuid(0)


def test_the_sockets_name_is_the_resource_with_a_dot_for_the_slash() -> None:
    assert socket_name("github.com.ihcsim/kvm", "/var/lib/kubelet/device-plugins") == "github.com.ihcsim.kvm.sock"


def test_a_long_resource_name_gives_a_socket_that_fits() -> None:
    directory = "/var/lib/kubelet/device-plugins"
    names = {socket_name(f"{'a' * 60}.{'b' * 60}.example/{'c' * 60}{n}", directory) for n in range(2)}
    assert len(names) == 2
    assert all(len(f"{directory}/{name}") <= 107 for name in names)


def test_a_directory_too_deep_for_any_socket_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="too long for a unix socket"):
        socket_name("a.example/b", "/" + "d" * 104)
