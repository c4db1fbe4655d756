#!/usr/bin/env python3
"""Pack a directory as a container image (a docker archive of one layer), with neither registry nor daemon.

pack-image.py ROOTFS NAME:TAG OUT.tar COMMAND

Import it with `ctr images import`. With a tag other than `latest` the kubelet's pull policy is IfNotPresent. The same
directory gives the same bytes.
"""

import hashlib
import io
import json
import os
import platform
import sys
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member without what differs from machine to machine."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def pack(rootfs: str, command: str, tag: str) -> dict[str, bytes]:
    """The files of the archive by their names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(os.listdir(rootfs)):
            archive.add(os.path.join(rootfs, name), arcname=name, filter=anonymous)
    layer = buffer.getvalue()
    digest = hashlib.sha256(layer).hexdigest()
    machine = platform.machine()
    config = json.dumps(
        {
            "architecture": ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": {"Entrypoint": [command], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    config_name, layer_name = f"{hashlib.sha256(config).hexdigest()}.json", f"{digest}/layer.tar"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [tag], "Layers": [layer_name]}]).encode()
    return {config_name: config, layer_name: layer, "manifest.json": manifest}


def main(rootfs: str, tag: str, out: str, command: str) -> None:
    """Write the archive."""
    with tarfile.open(out, "w") as image:
        for name, data in pack(rootfs, command, tag).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            image.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    main(*sys.argv[1:])
