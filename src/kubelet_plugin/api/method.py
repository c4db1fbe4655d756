"""What identifies one call of a gRPC service."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from kubelet_plugin.api.message import Message

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Reply]):
    """One call of a service; every one takes one request.

    Attributes:
        path: The HTTP/2 path, `/package.Service/Method`.
        request: The class of the request.
        reply: The class of the reply.
        streaming: Whether any number of replies follow each other.
    """

    path: str
    request: type[Request]
    reply: type[Reply]
    streaming: bool = False
