"""A debugger on the command line, for the image that waits for one: `python -m deploy.image.attach [HOST:PORT]`.

It speaks the Debug Adapter Protocol to debugpy, and has pdb's commands as far as they go here.
"""

import cmd
import contextlib
import itertools
import json
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.image.selection import PACKAGE
from deploy.image.wheels import DIRECTORY

SOURCES = Path(__file__).parents[2] / "src" / PACKAGE
INSIDE = f"/{DIRECTORY}/{PACKAGE}"
_HERE = "127.0.0.1:40000"
_TIMEOUT = 20.0  # seconds for an answer

Json = dict[str, Any]


class EndedError(Exception):
    """The debugged process, or the connection to it, has ended."""


class Session:
    """A conversation with a debug adapter.

    Args:
        connection: To the adapter.
        tell: Is told what the process writes.
    """

    def __init__(self, connection: socket.socket, tell: Callable[[str], object]) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._tell = tell
        self._numbers = itertools.count(1)
        self._events: deque[Json] = deque()
        self._answers: dict[int, Json] = {}

    def send(self, request: str, arguments: Json | None = None) -> int:
        """Send a request; return its number."""
        number = next(self._numbers)
        body = json.dumps({"seq": number, "type": "request", "command": request, "arguments": arguments or {}}).encode()
        self._connection.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return number

    def ask(self, request: str, arguments: Json | None = None) -> Json:
        """Send a request and return the body of its answer.

        Raises:
            EndedError: No answer can come any more.
            RuntimeError: It is refused; the adapter's words.
        """
        number = self.send(request, arguments)
        while number not in self._answers:
            self._receive(_TIMEOUT)
        answer = self._answers.pop(number)
        if not answer["success"]:
            raise RuntimeError(answer.get("message", request))
        body: Json = answer.get("body") or {}
        return body

    def event(self, *names: str) -> Json:
        """The next event of one of these names, whenever it comes; others before it are dropped."""
        while True:
            while self._events:
                event = self._events.popleft()
                if event["event"] in names:
                    return event
            self._receive(None)

    def _receive(self, timeout: float | None) -> None:
        self._connection.settimeout(timeout)
        length = 0
        while line := self._stream.readline().strip():
            length = int(line.rpartition(b":")[2])
        if not length:
            raise EndedError("the other end has closed the connection")
        message: Json = json.loads(self._stream.read(length))
        if message["type"] == "response":
            self._answers[message["request_seq"]] = message
        elif message.get("event") == "output":
            if message["body"].get("category") != "telemetry":
                self._tell(message["body"].get("output", ""))
        elif message["type"] == "event":
            self._events.append(message)


class Debugger(cmd.Cmd):
    """Reads commands and does them, until one of them says that this is all.

    Args:
        session: With an adapter that nobody has spoken to yet.
        sources: The sources here that are those of the package in the image.
    """

    prompt = "(attach) "

    def __init__(self, session: Session, sources: Path = SOURCES) -> None:
        super().__init__()
        self._session = session
        self._sources = sources
        self._breakpoints: dict[str, list[int]] = {}
        self._goes = False  # it waits until it is told to go on, at first
        self._thread = 0
        session.ask("initialize", {"adapterID": "debugpy", "pathFormat": "path"})
        mapping = {"localRoot": str(sources), "remoteRoot": INSIDE}
        session.send("attach", {"justMyCode": False, "subProcess": False, "pathMappings": [mapping]})
        session.event("initialized")

    def do_b(self, argument: str) -> None:
        """Stop there: `b FILE:LINE`; FILE is below src/kubelet_plugin, or an absolute path in the image."""
        name, _, line = argument.rpartition(":")
        if not name or not line.isdigit():
            self._say("b FILE:LINE, such as b plugins/kvm.py:60")
            return
        path = str(self._sources / name)
        lines = self._breakpoints.setdefault(path, [])
        lines.append(int(line))
        wanted = {"source": {"path": path}, "breakpoints": [{"line": each} for each in lines]}
        for found in self._session.ask("setBreakpoints", wanted)["breakpoints"][-1:]:
            self._say(f"{name}:{found.get('line', line)}" + ("" if found["verified"] else f": {found.get('message')}"))

    def do_c(self, _: str) -> None:
        """Go on until a breakpoint, or until Ctrl-C."""
        self._go("continue")

    def do_n(self, _: str) -> None:
        """Go on to the next line."""
        self._go("next")

    def do_s(self, _: str) -> None:
        """Go on to the next line, into what is called."""
        self._go("stepIn")

    def do_r(self, _: str) -> None:
        """Go on until this function returns."""
        self._go("stepOut")

    def do_w(self, _: str) -> None:
        """Show the stack, the innermost function last."""
        for frame in reversed(self._frames()):
            self._say(f"{frame['source'].get('path', '?')}:{frame['line']} {frame['name']}")

    def do_p(self, argument: str) -> None:
        """Print a value where it has stopped: `p EXPRESSION`."""
        frame = self._frames()[0]["id"]
        self._say(
            self._session.ask("evaluate", {"expression": argument, "frameId": frame, "context": "repl"})["result"]
        )

    def do_q(self, _: str) -> bool:
        """Leave; the process goes on."""
        if not self._goes:
            self._session.ask("configurationDone")
        self._session.ask("disconnect", {"terminateDebuggee": False})
        return True

    do_EOF = do_q  # noqa: N815 -- cmd's name for the end of the input

    def onecmd(self, line: str) -> bool:
        """Do one command; what is refused is said."""
        try:
            return bool(super().onecmd(line))
        except RuntimeError as error:
            self._say(str(error))
            return False

    def emptyline(self) -> bool:
        """Nothing: a command that is done again by mistake is worse."""
        return False

    def _go(self, request: str) -> None:
        if not self._goes:
            self._session.ask("configurationDone")
            self._goes = True
        elif not self._thread:
            raise RuntimeError("it runs: Ctrl-C stops it")
        else:
            self._session.ask(request, {"threadId": self._thread})
        self._thread = 0
        try:
            event = self._session.event("stopped", "terminated")
        except KeyboardInterrupt:
            self._session.ask("pause", {"threadId": self._session.ask("threads")["threads"][0]["id"]})
            event = self._session.event("stopped", "terminated")
        if event["event"] == "terminated":
            raise EndedError("the process has ended")
        self._thread = event["body"]["threadId"]
        frame = self._frames()[0]
        self._say(f"{event['body']['reason']}: {frame['source'].get('path', '?')}:{frame['line']} {frame['name']}")

    def _frames(self) -> list[Json]:
        if not self._thread:
            raise RuntimeError("it has not stopped anywhere yet: b FILE:LINE, then c")
        frames: list[Json] = self._session.ask("stackTrace", {"threadId": self._thread})["stackFrames"]
        return frames

    def _say(self, text: str) -> None:
        self.stdout.write(f"{text}\n")


def main(arguments: list[str]) -> int:
    """Debug what waits at the address given; return the exit code."""
    host, _, port = (arguments[0] if arguments else _HERE).rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _TIMEOUT) as connection:
            debugger = Debugger(Session(connection, sys.stderr.write))
            sys.stdout.write("it waits: b FILE:LINE sets a breakpoint, c lets it go, ? lists the commands\n")
            with contextlib.suppress(KeyboardInterrupt):
                debugger.cmdloop()
    except EndedError as error:
        sys.stderr.write(f"attach: {error}\n")
        return 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"attach: nobody waits for a debugger at {host}, port {port}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
