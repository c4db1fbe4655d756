"""Specs that may be written, as hypothesis makes them up."""

import dataclasses

from hypothesis import strategies as st

from kubelet_plugin import cdi

names = st.from_regex(r"[a-z][a-z0-9_.-]{0,6}[a-z0-9]", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)
paths = texts.map("/{}".format)
env = st.lists(st.builds("{}={}".format, names, texts), max_size=3).map(tuple)
numbers = st.none() | st.integers(0, 2**32 - 1)
edits = st.builds(
    cdi.ContainerEdits,
    env=env,
    device_nodes=st.lists(
        st.builds(
            cdi.DeviceNode,
            paths,
            host_path=st.just("") | paths,
            type=st.sampled_from(["", "c", "b", "u", "p"]),
            major=numbers,
            minor=numbers,
            file_mode=st.none() | st.integers(0, 0o7777),
            permissions=st.sampled_from(["", "r", "rw", "rwm"]),
            uid=numbers,
            gid=numbers,
        ),
        max_size=2,
    ).map(tuple),
    mounts=st.lists(st.builds(cdi.Mount, paths, paths, options=st.lists(texts).map(tuple), type=texts), max_size=2).map(
        tuple
    ),
    hooks=st.lists(
        st.builds(
            cdi.Hook,
            st.sampled_from(["prestart", "createRuntime", "poststop"]),
            paths,
            args=st.lists(texts).map(tuple),
            env=env,
            timeout=st.none() | st.integers(1, 2**40),
        ),
        max_size=2,
    ).map(tuple),
    additional_gids=st.lists(st.integers(1, 2**32 - 1), max_size=2).map(tuple),
    intel_rdt=st.none()
    | st.builds(
        cdi.IntelRdt,
        clos_id=names,
        l3_cache_schema=texts,
        mem_bw_schema=texts,
        schemata=st.lists(texts, max_size=2).map(tuple),
        enable_monitoring=st.booleans(),
    ),
    net_devices=st.just(()) | st.builds(cdi.NetDevice, names, names).map(lambda device: (device,)),
)
annotations = st.dictionaries(names, texts, max_size=2).map(lambda pairs: tuple(pairs.items()))
specs = st.builds(
    cdi.Spec,
    st.builds("{}/{}".format, names, names),
    st.lists(
        st.builds(cdi.Device, names, edits.filter(bool), annotations=annotations),
        min_size=1,
        max_size=2,
        unique_by=lambda device: device.name,
    ).map(tuple),
    container_edits=edits,
    annotations=annotations,
).map(lambda spec: dataclasses.replace(spec, version=cdi.minimum_version(spec)))
