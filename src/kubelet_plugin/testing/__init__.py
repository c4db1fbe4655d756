"""Tests of device plugins against a kubelet, without a cluster. Installed, it is a pytest plugin.

    from kubelet_plugin.testing import pod

    def test_a_pod_gets_the_device(kubelet):
        with kubelet.plugin(MyPlugin()):
            kubelet.wait_for("example.com/thing", allocatable=1)
            assert kubelet.admit(pod({"example.com/thing": 1})).phase == "Running"

The fixture `kubelet` is a `Kubelet`; in a coroutine test function it is an `AsyncKubelet`, which runs on the event loop
of the test. `@pytest.mark.kubelet(profile="1.31")` chooses how it behaves: each option of `Options` can be given. Both
are also context managers, for use without pytest.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubelet_plugin.errors import WaitError
    from kubelet_plugin.testing.asynchronous import AsyncKubelet
    from kubelet_plugin.testing.manifest import pod
    from kubelet_plugin.testing.options import Options
    from kubelet_plugin.testing.program import AsyncProgram, Program
    from kubelet_plugin.testing.synchronous import Kubelet

__all__ = ["AsyncKubelet", "AsyncProgram", "Kubelet", "Options", "Program", "WaitError", "pod"]

_MODULES = {
    "AsyncKubelet": "testing.asynchronous",
    "AsyncProgram": "testing.program",
    "Kubelet": "testing.synchronous",
    "Options": "testing.options",
    "Program": "testing.program",
    "WaitError": "errors",
    "pod": "testing.manifest",
}

pytest_plugins = ("kubelet_plugin.testing.fixtures",)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: pytest loads this module in projects that never ask for a kubelet."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"kubelet_plugin.{_MODULES[name]}"), name)
