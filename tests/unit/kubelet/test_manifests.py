import json
import os
from pathlib import Path

from kubelet_plugin.kubelet.manifests import MAX_BYTES, difference, read
from kubelet_plugin.kubelet.pods import Pod
from tests.unit.kubelet.pod_documents import manifest, manifest_text


def outcomes(directory: Path) -> dict[str, object]:
    found = read(str(directory), node_name="node1", seen=0)
    return {
        os.path.basename(path): one.outcome.name if isinstance(one.outcome, Pod) else str(one.outcome)
        for path, one in found.items()
    }


def test_every_file_but_those_with_a_dot_in_front_is_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(manifest_text("b"))
    (tmp_path / "a").write_text(
        "# YAML\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}]}\n"
    )
    (tmp_path / ".c.json").write_text(manifest_text("c"))
    assert outcomes(tmp_path) == {"a": "a-node1", "b.json": "b-node1"}


def test_a_pod_knows_the_file_it_is_from(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(manifest_text("x"))
    (tmp_path / "b").write_text(manifest_text("x"))
    first, second = (one.outcome for one in read(str(tmp_path), node_name="node1", seen=0).values())
    assert isinstance(first, Pod)
    assert isinstance(second, Pod)
    assert first.uid != second.uid


def test_a_broken_file_does_not_harm_the_others(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a: b: c")
    (tmp_path / "b").write_text(manifest_text("b"))
    (tmp_path / "c").write_text(json.dumps(manifest(containers=[])))
    assert outcomes(tmp_path) == {
        "a": (
            f"{tmp_path}/a: couldn't parse as pod(yaml: mapping values are not allowed in this context), please check "
            "config file"
        ),
        "b": "b-node1",
        "c": "invalid pod: [spec.containers: Required value]",
    }


def test_what_is_no_ordinary_file_makes_no_pod(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "dangling").symlink_to("/nowhere")
    assert outcomes(tmp_path) == {
        "dangling": f"stat {tmp_path}/dangling: no such file or directory",
        "directory": "provided manifest path is a directory, not recursing into manifest path",
        "fifo": "manifest path is not a directory or file: prw-------",
    }


def test_a_link_to_a_file_is_a_manifest(tmp_path: Path) -> None:
    (tmp_path / ".data").write_text(manifest_text("x"))
    (tmp_path / "x").symlink_to(".data")
    assert outcomes(tmp_path) == {"x": "x-node1"}


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert outcomes(tmp_path) == {"x": f"the read limit is reached: {MAX_BYTES} bytes"}


def test_a_file_with_the_same_content_is_what_it_was(tmp_path: Path) -> None:
    for name, content in (("good", manifest_text("x")), ("bad", "?"), ("changing", manifest_text("y"))):
        (tmp_path / name).write_text(content)
    (tmp_path / "directory").mkdir()
    before = read(str(tmp_path), node_name="node1", seen=0)
    (tmp_path / "changing").write_text(manifest_text("y", "b"))
    after = read(str(tmp_path), node_name="node1", seen=1, known=before)
    assert [os.path.basename(path) for path in after if after[path] is not before[path]] == ["changing"]


def test_pods_differ_by_uid_and_by_what_they_are() -> None:
    kept, gone, new = (Pod(name=name, uid=name, containers=()) for name in ("kept", "gone", "new"))
    before, after = (
        Pod(name="same", uid="same", containers=(), restart_policy=policy) for policy in ("Never", "Always")
    )
    removed, added = difference({"kept": kept, "gone": gone, "same": before}, {"kept": kept, "same": after, "new": new})
    assert (removed, added) == ([gone, before], [after, new])
