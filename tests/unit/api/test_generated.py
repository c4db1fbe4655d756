"""The generated modules: up to date, and at home beside anybody else's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1
from tools import generate_api

USER_PROTO = """
syntax = "proto3";
package v1beta1;
service DevicePlugin { rpc ListAndWatch(Empty) returns (stream ListAndWatchResponse) {} }
message Empty {}
message Device { string ID = 1; string health = 2; }
message ListAndWatchResponse { repeated Device devices = 1; }
"""

BOTH = """
from {first}
from {second}
theirs = api_pb2.ListAndWatchResponse(devices=[api_pb2.Device(ID="kvm0", health="Healthy")])
ours = v1beta1.ListAndWatchResponse(devices=[v1beta1.Device(ID="kvm0", health="Healthy")])
assert wire.encode(ours) == theirs.SerializeToString()
assert wire.decode(v1beta1.ListAndWatchResponse, theirs.SerializeToString()) == ours
"""
THEIRS = "api_pb2 import DESCRIPTOR; import api_pb2, api_pb2_grpc"
OURS = "kubelet_plugin.api import deviceplugin_v1beta1 as v1beta1, pluginregistration_v1, podresources_v1, wire"


def python(code: str, *path: Path) -> None:
    """Run code in an interpreter of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_committed_modules_are_those_of_the_proto_files() -> None:
    assert generate_api.stale() == []


def test_check_fails_and_names_a_module_that_is_out_of_date(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "module.py"
    path.write_text("old = True\n")
    monkeypatch.setattr(generate_api, "generate", lambda: {str(path): "new = True\n"})
    assert generate_api.main(["--check"]) == 1
    assert "module.py is out of date: run `make proto`" in capsys.readouterr().err
    assert path.read_text() == "old = True\n"


def test_generating_brings_a_module_up_to_date(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    monkeypatch.setattr(generate_api, "generate", lambda: {str(path): "new = True\n"})
    assert generate_api.main([]) == 0
    assert generate_api.main(["--check"]) == 0


@pytest.mark.parametrize(("first", "second"), [(OURS, THEIRS), (THEIRS, OURS)], ids=["ours-first", "theirs-first"])
def test_a_users_own_v1beta1_stubs_live_beside_ours(first: str, second: str, tmp_path: Path) -> None:
    (tmp_path / "api.proto").write_text(USER_PROTO)
    arguments = [f"-I{tmp_path}", f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}", "api.proto"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)
    python(BOTH.format(first=first, second=second), tmp_path)


def test_the_api_needs_no_protobuf_runtime() -> None:
    python(
        "import sys, kubelet_plugin.api.transport\n"
        f"from {OURS}\n"
        "assert not [name for name in sys.modules if name.startswith('google')]"
    )


def test_method_paths_are_those_the_kubelet_calls() -> None:
    assert v1beta1.DevicePlugin.LIST_AND_WATCH.path == "/v1beta1.DevicePlugin/ListAndWatch"
    assert v1beta1.DevicePlugin.LIST_AND_WATCH.streaming
    assert not v1beta1.Registration.REGISTER.streaming
