import logging
import os
from pathlib import Path

from kubelet_plugin.api.transport import Server
from kubelet_plugin.runtime import Settings
from kubelet_plugin.runtime.reconcile import OurSocket
from kubelet_plugin.runtime.statelog import StateLog
from tests.asynchronous import asynchronous


@asynchronous
async def test_a_socket_that_was_given_up_is_not_ours_though_its_inode_comes_back(tmp_path: Path) -> None:
    path = str(tmp_path / "thing.sock")
    socket = OurSocket(path, Settings(), StateLog(logging.getLogger("test"), "example.com/thing"))
    server = Server({}, name="example.com/thing")
    assert await socket.hold(server) == 0
    assert socket.is_ours()
    os.link(path, tmp_path / "kept")
    socket.release()
    os.rename(tmp_path / "kept", path)
    assert not socket.is_ours()
    await server.close()
