"""A model goes from one machine to another, prepared, and arrives as it was or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from archives import changed, field
from incv3d.engines.prepared_model import Job
from incv3d.engines.tensorflow_c import TensorFlowSession
from incv3d.models.entry import ModelError
from incv3d.models.export import MARK, export_model
from incv3d.models.graph.equivalence import _feeds
from incv3d.models.importing import import_model
from incv3d.models.prepare import compare_prepared, is_prepared, prepared_folder
from incv3d.models.store import ModelStore
from incv3d.models.verify import verify_model

pytestmark = pytest.mark.slow

NAME = "efficientnet-lite0"


@pytest.fixture(scope="module")
def exported(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_model(ModelStore(state).get(NAME), folder / "model.tar", lambda line: None)
    assert [path.name for path in folder.iterdir()] == ["model.tar"]
    return folder / "model.tar"


def test_it_arrives_prepared_and_gives_the_same_scores(state: Path, exported: Path, tmp_path: Path) -> None:
    here, there = ModelStore(state).get(NAME), import_model(ModelStore(tmp_path), exported, "moved")
    assert is_prepared(there) and there.entry == here.entry and there.name == "moved"
    pixels = np.random.default_rng(3).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    got = [TensorFlowSession(prepared_folder(model), threads=2).run(pixels) for model in (here, there)]
    np.testing.assert_allclose(got[0], got[1], atol=1e-5)


def test_its_golden_picture_comes_along(state: Path, exported: Path, tmp_path: Path) -> None:
    there = import_model(ModelStore(tmp_path), exported)
    image = (ModelStore(state).get(NAME).directory / "coffee.jpg").read_bytes()
    assert (there.directory / "coffee.jpg").read_bytes() == image


@pytest.mark.parametrize("name", ["../climbed.jpg", "/tmp/climbed.jpg", "graph.pb", "manifest.json", ".."])
def test_a_golden_picture_is_not_written_anywhere_else(exported: Path, tmp_path: Path, name: str) -> None:
    with tarfile.open(exported) as archive:
        mark = archive.extractfile(MARK)
        assert mark
        content = mark.read().replace(b"coffee.jpg", name.encode())
    path = changed(exported, tmp_path / "changed.tar", MARK, content)
    with pytest.raises(ModelError, match="is not a valid image name"):
        import_model(ModelStore(tmp_path / "store"), path)
    assert not list(tmp_path.rglob("climbed.jpg")) and not Path("/tmp/climbed.jpg").exists()


def test_it_keeps_its_name_unless_it_is_given_another(exported: Path, tmp_path: Path) -> None:
    assert import_model(ModelStore(tmp_path), exported).name == NAME


def test_a_known_name_is_not_given_to_another_network(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="that of inception-v3 has 95673916; give it another name"):
        import_model(ModelStore(tmp_path), exported, "inception-v3")
    with pytest.raises(ModelError, match="omit --like"):
        import_model(ModelStore(tmp_path), exported, "x", like="inception-v3")


@pytest.mark.parametrize(
    ("member", "content", "complaint"),
    [
        (MARK, b"{}", "damaged"),
        ("graph.pb", b"", "its graph differs from the exported one"),
        ("graph.pb", None, r"graph\.pb is missing from it"),
        ("labels.tsv", None, r"labels\.tsv is missing from it"),
        ("prepared-weights.bin", b"", "its weights differ from the exported ones"),
        ("prepared-weights.bin", b"short", "5 bytes instead of"),
        ("prepared-graph.pb", b"short", "5 bytes instead of"),
        ("prepared-index.json", b"{}", "damaged"),
        ("prepared-index.json", None, r"prepared-index\.json is missing from it"),
    ],
)
def test_a_damaged_archive_is_refused_and_the_store_is_as_before(
    exported: Path, tmp_path: Path, member: str, content: bytes | None, complaint: str
) -> None:
    store = ModelStore(tmp_path / "store")
    with pytest.raises(ModelError, match=complaint):
        import_model(store, changed(exported, tmp_path / "bad.tar", member, content), "moved")
    assert store.models() == []


def test_a_member_that_was_changed_is_named(exported: Path, tmp_path: Path) -> None:
    for member in ("golden-picture", "labels.tsv", "prepared-graph.pb"):
        with pytest.raises(ModelError, match=f"its {member.split('.')[0]}"):
            import_model(
                ModelStore(tmp_path / "store"), changed(exported, tmp_path / "bad.tar", member, b""), "x"
            )


def test_an_archive_of_an_older_program_is_taken(exported: Path, tmp_path: Path) -> None:
    with tarfile.open(exported) as archive:
        mark = msgspec.json.decode(archive.extractfile(MARK).read())
    assert "golden_sha256" not in mark["manifest"], "older programs know no such field"
    del mark["sha256"]
    path = changed(exported, tmp_path / "old.tar", MARK, msgspec.json.encode(mark))
    assert is_prepared(import_model(ModelStore(tmp_path / "store"), path))


@pytest.mark.parametrize(("mode", "prefix"), [("w:gz", "./"), ("w", "moved/to/"), ("w:gz", "")])
def test_one_that_was_unpacked_and_packed_again_is_taken(exported, tmp_path, mode, prefix) -> None:
    with tarfile.open(exported) as source, tarfile.open(tmp_path / "again.tgz", mode) as target:
        members = [(info, source.extractfile(info).read()) for info in source]
        if prefix:
            folder = tarfile.TarInfo(prefix.rstrip("/"))
            folder.type = tarfile.DIRTYPE
            target.addfile(folder)
        for info, content in reversed(members):
            info.name = prefix + info.name
            target.addfile(info, io.BytesIO(content))
    model = import_model(ModelStore(tmp_path / "store"), tmp_path / "again.tgz")
    assert model.name == NAME and is_prepared(model)


FILES = {
    "graph.pb": "graph.pb",
    "labels.tsv": "labels.tsv",
    "coffee.jpg": "coffee.jpg",
    "prepared/graph.pb": "prepared",
    "prepared/weights.bin": "prepared",
}


@pytest.mark.parametrize("kind", ["built here", "imported"])
def test_every_file_that_runs_is_verified(state, exported, tmp_path, kind) -> None:
    store = ModelStore(tmp_path / "store")
    if kind == "imported":
        import_model(store, exported)
    else:
        shutil.copytree(state, tmp_path / "store")
    assert verify_model(store, NAME) == []
    for file, part in FILES.items():
        path = store.get(NAME).directory / file
        whole = path.read_bytes()
        content = bytearray(whole)
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        (finding,) = verify_model(store, NAME)
        assert finding.startswith(f"{path}: damaged") and part in finding
        path.write_bytes(whole)


def test_what_a_killed_export_left_is_swept_and_a_living_one_is_not(state: Path, tmp_path: Path) -> None:
    dead, alive = tmp_path / ".incv3d-export-dead", tmp_path / ".incv3d-export-alive"
    for folder in (dead, alive):
        folder.mkdir()
    descriptor = os.open(alive, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        export_model(ModelStore(state).get(NAME), tmp_path / "model.tar", lambda line: None)
    finally:
        os.close(descriptor)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".incv3d-export-alive", "model.tar"]


def members(exported: Path) -> dict[str, bytes]:
    with tarfile.open(exported) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


def repacked(exported: Path, out: Path, index: dict[str, object], **contents: bytes) -> Path:
    """A copy of the archive with other prepared members, and with every checksum as it has to be for them."""
    found = members(exported)
    found |= {f"prepared-{name}": content for name, content in contents.items()}
    described = json.loads(found["prepared-index.json"]) | index
    described["weights_sha256"] = hashlib.sha256(found["prepared-weights.bin"]).hexdigest()
    described["graph_bytes"] = len(found["prepared-graph.pb"])
    found["prepared-index.json"] = json.dumps(described).encode()
    mark = json.loads(found[MARK])
    mark["sha256"] = {name: hashlib.sha256(found[name]).hexdigest() for name in mark["sha256"]}
    found[MARK] = json.dumps(mark).encode()
    with tarfile.open(out, "w") as target:
        for name, content in found.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            target.addfile(info, io.BytesIO(content))
    return out


def test_another_network_in_place_of_the_prepared_one_is_refused(exported: Path, tmp_path: Path) -> None:
    weights = np.frombuffer(members(exported)["prepared-weights.bin"], np.float32)
    store = ModelStore(tmp_path / "store")
    path = repacked(exported, tmp_path / "other.tar", {}, **{"weights.bin": (weights * 0.5).tobytes()})
    with pytest.raises(
        ModelError, match=r"other\.tar: rejected: its prepared form differs from its graph: .* diff"
    ):
        import_model(store, path, "moved")
    inner = json.loads(members(exported)["prepared-index.json"])["weights"][-1]["name"]
    path = repacked(exported, tmp_path / "cut.tar", {"output": f"{inner}:0"})
    with pytest.raises(ModelError, match=r"cut\.tar: rejected: its prepared form differs from its graph"):
        import_model(store, path, "moved")
    assert store.models() == []
    assert import_model(store, repacked(exported, tmp_path / "same.tar", {}), "moved")


def test_a_stranger_cannot_foresee_the_pictures(monkeypatch, state: Path) -> None:
    """What gives the right scores for known pictures alone must not pass."""
    jobs = []
    monkeypatch.setattr(
        "incv3d.models.prepare.run_child",
        lambda module, words: jobs.append(msgspec.json.decode(words[0], type=Job)),
    )
    for _ in range(2):
        compare_prepared(ModelStore(state).get(NAME))
    assert len({seed for job in jobs for seed in job.seeds}) >= 4
    names = [[name for name, _ in _feeds(job)] for job in jobs]
    assert all(f"noise {seed}" in found for job, found in zip(jobs, names, strict=True) for seed in job.seeds)


WRITES = field(1, field(1, b"log") + field(2, b"WriteFile"))
"""A node more: protobuf's messages can be put one after another."""


@pytest.mark.parametrize("graph", ["graph.pb", "prepared-graph.pb"])
def test_an_archive_whose_graph_writes_files_is_refused_by_name(exported, tmp_path, graph) -> None:
    found = members(exported)
    mark, index = json.loads(found[MARK]), json.loads(found["prepared-index.json"])
    content = found[graph] + WRITES
    digest = hashlib.sha256(content).hexdigest()
    if graph == "graph.pb":
        mark["manifest"] |= {"sha256": digest, "size_bytes": len(content)}
        index["source_sha256"] = digest
    else:
        index["graph_bytes"] = len(content)
    path = changed(exported, tmp_path / "a.tar", graph, content)
    # With everything else as it has to be for such a graph.
    index_bytes = json.dumps(index).encode()
    if "sha256" in mark:
        mark["sha256"] |= {graph: digest, "prepared-index.json": hashlib.sha256(index_bytes).hexdigest()}
    path = changed(path, tmp_path / "b.tar", "prepared-index.json", index_bytes)
    path = changed(path, tmp_path / "c.tar", MARK, json.dumps(mark).encode())
    store = ModelStore(tmp_path / "store")
    with pytest.raises(ModelError, match=r"c\.tar: rejected: it has the operation WriteFile \(`log`\)"):
        import_model(store, path, "moved")
    assert store.models() == []


@pytest.mark.parametrize("part", [0.2, 0.6, 0.99])
def test_an_archive_that_is_cut_off_is_refused(exported: Path, tmp_path: Path, part: float) -> None:
    whole = exported.read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ModelError, match=r"cut\.tar: "):
        import_model(ModelStore(tmp_path / "store"), tmp_path / "cut.tar", "moved")
    assert ModelStore(tmp_path / "store").models() == []


def test_a_missing_folder_is_found_before_the_model_is_prepared(state: Path, tmp_path: Path) -> None:
    said: list[str] = []
    file = tmp_path / "missing/model.tar"
    with pytest.raises(ModelError) as raised:
        export_model(ModelStore(state).get(NAME), file, said.append)
    assert str(raised.value) == f"{file}: cannot be written: the folder does not exist" and not said


def test_a_place_that_cannot_be_written_is_said_so(state: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be written"):
        export_model(ModelStore(state).get(NAME), tmp_path / "no/such/folder.tar", lambda line: None)
