"""The tree of this package's errors.

    Error                        the root
    ├── ConfigurationError       the user's input is wrong; nothing heals it but the user
    │   └── ConfigurationFileError  files say what cannot be; it holds every problem with its place
    ├── TransientError           the world is not ready; reported once, then tried again
    │   ├── PluginDirError       the kubelet's plugin directory is absent or not writable
    │   ├── SocketInUseError     somebody else answers under our socket's name
    │   ├── DirectoryLockedError another process claims a socket in the directory just now
    │   └── RegistrationError    the kubelet could not be reached or refused the registration
    ├── PluginError              a plugin's own code broke its contract: that list or call is refused
    │   ├── DeviceListError      `devices()` yielded something that is no list of devices
    │   ├── ListTooLargeError    the list is over what a kubelet accepts in one message
    │   └── HookError            a hook raised, took too long or answered nonsense
    ├── DeviceUnavailableError   a device was asked for that is unknown or unhealthy
    ├── ManifestError            a manifest makes no pod
    ├── CheckpointError          a file is no checkpoint of a kubelet, or is damaged
    ├── EndpointError            a call of the embedded kubelet to a plugin failed
    ├── AllocationError          the embedded kubelet has no devices for a container
    ├── NotFoundError            there is no such pod or container; a LookupError
    ├── WaitError                what a test waited for did not come; an AssertionError
    ├── AdmissionError           the embedded kubelet does not admit a pod
    ├── ContainerStartError      the embedded kubelet cannot start a container just now
    ├── StuckError               a blocking call did not end within its deadline, or an earlier one still has not
    ├── WireError                bytes that are not the protobuf message they should be
    └── RpcError                 a gRPC call ended with a status other than OK

`kubelet_plugin.cdi` is a library of its own: its errors have their own root, `cdi.Error`.
"""

from collections.abc import Iterable
from dataclasses import dataclass


class Error(Exception):
    """The root of everything this package raises on purpose."""


class ConfigurationError(Error):
    """What the user asked for cannot be done; the message says why and what to change."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration file.

    Attributes:
        file: The file.
        message: What is wrong, and what to do.
        line: Where, from 1 on; None where it is the whole file.
        column: Where in the line, from 1 on.
        field: The field, as `resources[0].devices[1].usb.vendor`; empty where there is none.
    """

    file: str
    message: str
    line: int | None = None
    column: int | None = None
    field: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return ": ".join(part for part in (place, self.field, self.message) if part)


class ConfigurationFileError(ConfigurationError):
    """Configuration files say what cannot be; the message has one line for each problem.

    Attributes:
        problems: All of them, in the order of the files and their lines.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class TransientError(Error):
    """Something outside is not as it must be; trying again later may succeed."""


class PluginDirError(TransientError):
    """The kubelet's device-plugin directory is absent, not a directory or not writable."""


class SocketInUseError(TransientError):
    """Another process answers under the name of our socket."""


class DirectoryLockedError(TransientError):
    """Another process claims a socket in the plugin directory just now; it takes a millisecond."""


class RegistrationError(TransientError):
    """The kubelet was not reached, or refused to register the resource."""


class PluginError(Error):
    """The code of a plugin broke its contract."""


class DeviceListError(PluginError):
    """A plugin yielded something that is not a valid list of devices."""


class ListTooLargeError(PluginError):
    """A list of devices is larger than the one message a kubelet accepts."""


class HookError(PluginError):
    """A hook raised, exceeded its deadline or returned something it must not."""


class DeviceUnavailableError(Error):
    """A device was requested that is not on the list, or is on it as Unhealthy."""


class ManifestError(Error):
    """A manifest makes no pod; the text is what the kubelet or the API server says of it."""


class CheckpointError(Error):
    """The file is no checkpoint, or not the one that was written."""


class EndpointError(Error):
    """A call to a plugin failed; the text is what the kubelet makes of it."""


class AllocationError(Error):
    """A container does not get its devices; the text is the kubelet's."""


class NotFoundError(Error, LookupError):
    """There is no such pod or container; the message says which there are."""


class WaitError(Error, AssertionError):
    """What a test waited for did not come; the message says what there is instead."""


class AdmissionError(Error):
    """A pod is not admitted to the embedded kubelet.

    Attributes:
        reason: What pod status gives as the reason, in one word.
        message: What it gives as the message, without the kubelet's own beginning of it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class ContainerStartError(Error):
    """A container of an admitted pod cannot be started just now; it is tried again.

    Attributes:
        reason: Why the container waits, in one word, as container status gives it.
        message: The same for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class StuckError(Error):
    """A blocking call is past its deadline, or an earlier one for the same key has not ended yet."""


class WireError(Error):
    """Bytes that do not decode to the expected protobuf message."""


class RpcError(Error):
    """A gRPC call ended with a status other than OK.

    Attributes:
        code: The name of the gRPC status code, such as `NOT_FOUND`.
        message: The status message, for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
