"""A device plugin as a program, made of nothing of ours: grpcio for the transport, messages written by hand.

Like most plugins it knows the kubelet's directory and no other, unless an environment variable says otherwise.
"""

import os
import signal
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc

RESOURCE = "foreign.example.com/thing"
DEVICES = ("foreign0", "foreign1")
DIRECTORY = os.environ.get("KUBELET_PLUGIN_PLUGIN_DIR") or "/var/lib/kubelet/device-plugins"
SOCKET = "foreign.sock"


def text(number: int, value: str | bytes) -> bytes:
    """A field of text, or of a message."""
    data = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(data)]) + data


class Plugin(grpc.GenericRpcHandler):
    """Answers the calls of a kubelet."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        match handler_call_details.method.rpartition("/")[2]:
            case "GetDevicePluginOptions":
                return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
            case "ListAndWatch":
                return grpc.unary_stream_rpc_method_handler(self._list)
            case "Allocate":
                return grpc.unary_unary_rpc_method_handler(lambda request, context: text(1, text(1, b"")))
        return None

    def _list(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"".join(text(1, text(1, device) + text(2, "Healthy")) for device in DEVICES)
        signal.sigwait({signal.SIGUSR1})


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Plugin(),))
    server.add_insecure_port(f"unix:{DIRECTORY}/{SOCKET}")
    server.start()
    channel = grpc.insecure_channel(f"unix:{DIRECTORY}/kubelet.sock", (("grpc.default_authority", "localhost"),))
    register: Any = channel.unary_unary("/v1beta1.Registration/Register")
    register(text(1, "v1beta1") + text(2, SOCKET) + text(3, RESOURCE), timeout=20)
    signal.sigwait({signal.SIGTERM})
    os._exit(0)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
