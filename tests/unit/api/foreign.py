"""Protobuf's own runtime, on our .proto files, in a descriptor pool of its own."""

import functools
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message as ForeignMessage

from kubelet_plugin.api import deviceplugin_v1beta1, pluginregistration_v1, podresources_v1
from kubelet_plugin.api.message import Message, Scalar
from tools import generate_api

PACKAGES = {
    deviceplugin_v1beta1.__name__: "v1beta1",
    pluginregistration_v1.__name__: "pluginregistration",
    podresources_v1.__name__: "v1",
}
CLASSES: list[type[Message]] = [
    value
    for module in (deviceplugin_v1beta1, pluginregistration_v1, podresources_v1)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Message) and value is not Message
]


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in generate_api.descriptor_set().file:
        pool.Add(file)
    return pool


@functools.cache
def _foreign_class(module: str, name: str) -> type[ForeignMessage]:
    descriptor = _pool().FindMessageTypeByName(f"{PACKAGES[module]}.{name}")
    return message_factory.GetMessageClass(descriptor)


def foreign_class(cls: type[Message]) -> type[ForeignMessage]:
    return _foreign_class(cls.__module__, cls.__name__)


def to_foreign(message: Message) -> Any:
    foreign: Any = foreign_class(type(message))()
    for field in message.FIELDS:
        value = getattr(message, field.name)
        if field.type is Scalar.STRING_MAP:
            getattr(foreign, field.name).update(value)
        elif isinstance(field.type, Scalar):
            if field.repeated:
                getattr(foreign, field.name).extend(value)
            elif value is not None:
                setattr(foreign, field.name, value)
        elif field.repeated:
            getattr(foreign, field.name).extend(to_foreign(part) for part in value)
        elif value is not None:
            getattr(foreign, field.name).CopyFrom(to_foreign(value))
    return foreign


def from_foreign(cls: type[Message], foreign: Any) -> Message:
    message = cls()
    for field in cls.FIELDS:
        value = getattr(foreign, field.name)
        if field.type is Scalar.STRING_MAP:
            value = dict(value)
        elif isinstance(field.type, Scalar):
            value = list(value) if field.repeated else value
            if field.optional and not foreign.HasField(field.name):
                value = None
        elif field.repeated:
            value = [from_foreign(field.type, part) for part in value]
        else:
            value = from_foreign(field.type, value) if foreign.HasField(field.name) else None
        setattr(message, field.name, value)
    return message
