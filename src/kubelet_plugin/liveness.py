"""Whether a unix socket's file still has somebody behind it: the question before any is removed."""

import socket


def is_answered(path: str) -> bool:
    """Tell whether somebody listens at a socket's file; one whose backlog is full does.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It cannot be connected to for another reason, such as its mode.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True
    return True
