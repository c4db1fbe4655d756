"""Pods, made from ordinary Pod manifests."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from kubelet_plugin.errors import ManifestError
from kubelet_plugin.kubelet import identity, validation
from kubelet_plugin.kubelet.fields import Fields, noun_of

__all__ = ["Container", "ManifestError", "Pod", "unparsable"]

_DEFAULT_NAMESPACE = "default"
_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
_MAX_COUNT = 2**63 - 1  # what the kubelet holds a quantity in


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as it is specified.

    Attributes:
        name: Its name, unique in the pod.
        image: Its image.
        command: The entry point, unexpanded; empty for the image's own.
        args: The entry point's arguments, unexpanded.
        env: The variables that are given as plain values, in order.
        working_dir: The working directory; empty for the image's own.
        user: The user it runs as, its own setting over the pod's; None for the image's own.
        group: The same for the group.
        supplemental_groups: The pod's further groups, its `fsGroup` first.
        privileged: Whether it is privileged.
        limits: How many devices of each extended resource it gets.
        restarts_always: Whether it is an init container that goes on beside the others: a sidecar.
    """

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    user: int | None = None
    group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    limits: Mapping[str, int] = field(default_factory=dict, hash=False)
    restarts_always: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod as it is specified.

    Attributes:
        name: Its name.
        namespace: Its namespace.
        uid: What tells it from others of its name before and after it.
        init_containers: The containers that run first, one after the other, sidecars among them.
        containers: The others.
        restart_policy: `Always`, `OnFailure` or `Never`.
        document: Metadata and spec as a kubelet serves them: the manifest's own fields, and what was filled in.
    """

    name: str
    namespace: str = _DEFAULT_NAMESPACE
    uid: str
    init_containers: tuple[Container, ...] = ()
    containers: tuple[Container, ...]
    restart_policy: str = "Always"
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_document(
        cls, document: object, *, node_name: str = "", source: str = "", seen: float | None = None
    ) -> Self:
        """Make a pod from a manifest, as the API server does, or as the kubelet's file source does.

        Args:
            document: The manifest as JSON: dicts, lists, strings, numbers, truth values and None.
            node_name: The node, for a static pod: the name ends in it, and the uid is made from the node, the file and
                the content unless the manifest gives one. Without it, a uid that is not given is made from the names.
            source: The file that a static pod is from.
            seen: When a static pod was first seen, in seconds since 1970.

        Raises:
            ManifestError: It is no pod, or not a valid one; with all that is wrong, in Kubernetes's words.
        """
        try:
            fields = _pod_fields(document)
            metadata, spec = fields.nested("metadata", "ObjectMeta"), fields.nested("spec", "PodSpec")
            name, namespace = metadata.text("name"), metadata.text("namespace") or _DEFAULT_NAMESPACE
            uid, annotations = metadata.text("uid", "types.UID"), metadata.texts_by_key("annotations")
            if node_name:
                uid = uid or _file_uid(document, node_name, source)
                annotations |= _file_annotations(uid, seen)
            init_containers, containers = (_containers(spec, kind) for kind in ("initContainers", "containers"))
            full_name = f"{name}-{node_name.lower()}" if node_name else name
            faults = list(validation.pod(full_name, namespace, spec))
            tolerations = [toleration.values for toleration in spec.each("tolerations", "Toleration")]
        except ManifestError as error:
            if node_name:
                raise unparsable(source, error) from None
            raise ManifestError(f'Pod in version "v1" cannot be handled as a Pod: {error}') from None
        if node_name and not name:
            raise ManifestError("invalid pod: name is needed for the pod")
        if faults:
            raise ManifestError(
                f"invalid pod: [{' '.join(faults)}]" if node_name else f'Pod "{name}" is invalid: {_aggregate(faults)}'
            )
        uid = uid or identity.uid(f"/api/v1/namespaces/{namespace}/pods/{name}")
        filled_in: dict[str, object] = {"name": full_name, "namespace": namespace, "uid": uid}
        if annotations:
            filled_in["annotations"] = annotations
        return cls(
            name=full_name,
            namespace=namespace,
            uid=uid,
            init_containers=init_containers,
            containers=containers,
            restart_policy=spec.text("restartPolicy") or "Always",
            document={
                "metadata": copy.deepcopy({**metadata.values, **filled_in}),
                "spec": _with_defaults(spec, node_name, tolerations),
            },
        )

    @property
    def full_name(self) -> str:
        """Its namespace and name, as log lines have it: unique among the pods of a node."""
        return f"{self.namespace}/{self.name}"

    @property
    def all_containers(self) -> tuple[Container, ...]:
        """Its containers in the order in which they are admitted: init containers first."""
        return (*self.init_containers, *self.containers)

    @property
    def is_static(self) -> bool:
        """Whether the pod is from a file of the node. Such a pod is critical: others may have to make room for it."""
        annotations = self.document.get("metadata", {}).get("annotations", {})
        return bool(annotations.get("kubernetes.io/config.source") == "file")


def unparsable(source: str, reason: object) -> ManifestError:
    """Say of a file what its content is not a pod for."""
    return ManifestError(f"{source}: couldn't parse as pod({reason}), please check config file")


def _pod_fields(document: object) -> Fields:
    if document is not None and not isinstance(document, dict):
        raise ManifestError(
            f"couldn't get version/kind; json parse error: json: cannot unmarshal {noun_of(document)} into Go value of "
            r'type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
        )
    fields = Fields(document or {}, "Pod")
    kind, version = fields.text("kind"), fields.text("apiVersion")
    for name, value in (("Kind", kind), ("apiVersion", version)):
        if not value:
            raise ManifestError(f"Object '{name}' is missing in '{_json(document)}'")
    if version != "v1":
        raise ManifestError(f'no kind "{kind}" is registered for version "{version}" in scheme "{_SCHEME}"')
    if kind != "Pod":
        raise ManifestError(f"invalid pod: it is a {kind}")
    return fields


def _containers(spec: Fields, kind: str) -> tuple[Container, ...]:
    pod_context = spec.nested("securityContext", "PodSecurityContext")
    fs_group = pod_context.number("fsGroup")
    groups = (*(() if fs_group is None else (fs_group,)), *pod_context.numbers("supplementalGroups"))
    return tuple(
        _container(fields, pod_context, groups, is_init=kind == "initContainers")
        for fields in spec.each(kind, "Container")
    )


def _container(fields: Fields, pod_context: Fields, groups: tuple[int, ...], *, is_init: bool) -> Container:
    context = fields.nested("securityContext", "SecurityContext")
    user, group = context.number("runAsUser"), context.number("runAsGroup")
    limits = validation.quantities(fields.nested("resources", "ResourceRequirements"), "limits")
    return Container(
        name=fields.text("name"),
        image=fields.text("image"),
        command=fields.texts("command"),
        args=fields.texts("args"),
        env=tuple(
            (variable.text("name"), variable.text("value"))
            for variable in fields.each("env", "EnvVar")
            if not variable.values.get("valueFrom")
        ),
        working_dir=fields.text("workingDir"),
        user=pod_context.number("runAsUser") if user is None else user,
        group=pod_context.number("runAsGroup") if group is None else group,
        supplemental_groups=groups,
        privileged=bool(context.flag("privileged")),
        limits={
            name: min(int(quantity.value), _MAX_COUNT)
            for name, quantity in limits.items()
            if validation.is_extended(name)
        },
        restarts_always=is_init and fields.text("restartPolicy", "v1.ContainerRestartPolicy") == "Always",
    )


def _file_uid(document: object, node_name: str, source: str) -> str:
    return identity.digest(f"{_json(document)}host:{node_name}file:{source}", 32)


def _file_annotations(uid: str, seen: float | None) -> dict[str, str]:
    annotations = {"kubernetes.io/config.hash": uid, "kubernetes.io/config.source": "file"}
    if seen is not None:
        moment = datetime.fromtimestamp(seen, UTC).replace(tzinfo=None)
        annotations["kubernetes.io/config.seen"] = f"{moment.isoformat()}Z"
    return annotations


def _with_defaults(spec: Fields, node_name: str, tolerations: list[Mapping[str, object]]) -> dict[str, Any]:
    """Copy a valid spec, and fill in what bears on devices, and on a static pod."""
    filled: dict[str, Any] = copy.deepcopy(dict(spec.values))
    for kind in ("initContainers", "containers"):
        for container in filled.get(kind) or ():
            resources = container.get("resources") or {}
            if limits := resources.get("limits"):
                resources["requests"] = {**limits, **(resources.get("requests") or {})}
    filled["restartPolicy"] = filled.get("restartPolicy") or "Always"
    if node_name:
        filled["nodeName"] = node_name
        everything = {"operator": "Exists", "effect": "NoExecute"}
        if everything not in tolerations:
            filled["tolerations"] = [*(filled.get("tolerations") or ()), everything]
    return filled


def _aggregate(faults: list[str]) -> str:
    distinct = dict.fromkeys(faults)
    return ", ".join(distinct) if len(distinct) == 1 else f"[{', '.join(distinct)}]"


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=str)
