"""No privilege is needed: no capability, a read-only root, the host's /dev read-only under another root."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kubelet_plugin.runtime import Settings
from tests.foreign import ForeignKubelet

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"),
    reason="it takes root, unshare and setpriv to take privileges away",
)

SANDBOX = """
set -e
mount --make-rprivate /
for directory in "$PLUGINS" "$CDI"; do mount --bind "$directory" "$directory"; done
mount --bind "$HOST_DEV" "$HOST_DEV"; mount -o remount,bind,ro "$HOST_DEV"
mount -o remount,bind,ro /
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


def test_it_serves_without_any_capability_on_a_read_only_root(
    kubelet: ForeignKubelet, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "host/dev").mkdir(parents=True)
    os.mkdir(settings.cdi_dir)
    os.mknod(tmp_path / "host/dev/crand0", 0o600 | stat.S_IFCHR, os.makedev(1, 8))
    process = subprocess.Popen(
        [
            *("unshare", "--mount", "sh", "-c", SANDBOX, "sandbox", sys.executable, "-m", "kubelet_plugin"),
            *("run", "crand", "kvm", "--plugin-dir", settings.plugin_dir, "--cdi-dir", settings.cdi_dir),
            *("--host-root", str(tmp_path / "host")),
        ],
        env={
            **os.environ,
            "PLUGINS": settings.plugin_dir,
            "CDI": settings.cdi_dir,
            "HOST_DEV": str(tmp_path / "host/dev"),
        },
    )
    try:
        registered = {r.request.resource_name: r for r in (kubelet.registered(), kubelet.registered())}
        crand = registered["github.com.ihcsim/crand"]
        assert crand.stream.next() == {"crand0": "Healthy"}
        (container,) = crand.plugin.allocate(["crand0"]).container_responses
        assert [device.name for device in container.cdi_devices] == ["github.com.ihcsim/crand=crand0"]
        assert set(Path(f"/proc/{process.pid}/status").read_text().split("CapEff:\t")[1].split("\n")[0]) == {"0"}
    finally:
        process.terminate()
        assert process.wait(10) == 0
