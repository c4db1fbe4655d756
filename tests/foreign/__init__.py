"""Our runtime against a kubelet's side of the socket that is made of nothing of ours."""

from tests.foreign.kubelet import (
    ForeignKubelet,
    PluginClient,
    Registered,
    Stream,
    foreign_kubelet,
    messages,
    v1beta1,
)

__all__ = [
    "ForeignKubelet",
    "PluginClient",
    "Registered",
    "Stream",
    "foreign_kubelet",
    "messages",
    "v1beta1",
]
