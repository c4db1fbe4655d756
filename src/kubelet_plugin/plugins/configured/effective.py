"""What a resource says of all its devices, and an entry of one: joined."""

import msgspec

from kubelet_plugin.config import schema

_JOINED = frozenset({"env", "annotations", "mounts"})
_OPTIONS = tuple(name for name in schema.DeviceOptions.__struct_fields__ if name not in {*_JOINED, "enabled_when"})


def effective(resource: schema.Resource, device: schema.Device) -> schema.Device:
    """Return the entry with everything the resource says of all of them, where it does not say otherwise.

    When a resource is offered at all is not an entry's business: `enabled_when` is its own.
    """
    options = {name: getattr(resource, name) for name in _OPTIONS if getattr(device, name) is None}
    return msgspec.structs.replace(
        device,
        env={**resource.env, **device.env},
        annotations={**resource.annotations, **device.annotations},
        mounts=(*resource.mounts, *device.mounts),
        **options,
    )
