"""Importing: what is right gets in, what is wrong leaves the store as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from archives import GOOD, archive, field, graph
from incv3d.models.entry import ModelError
from incv3d.models.importing import import_model
from incv3d.models.labels import read_labels
from incv3d.models.published_archives import CLASSES_MEMBER, GRAPH_MEMBER, MEMBERS, NAMES_MEMBER
from incv3d.models.store import ModelStore


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.mark.parametrize("prefix", ["", "./", "inception/", "../../../", "/etc/"])
def test_an_archive_is_imported_by_its_members_base_names_alone(store, tmp_path, prefix) -> None:
    model = import_model(store, archive(tmp_path / "a.tgz", GOOD, prefix), "mine", "inception-v3")
    assert sorted(path.name for path in model.directory.iterdir()) == [
        "graph.pb",
        "labels.tsv",
        "manifest.json",
    ]
    assert read_labels(model.labels, 1008)[449].name == "tench"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "store"]


def test_a_frozen_graph_with_its_label_files_beside_it_is_imported(store, tmp_path) -> None:
    for name, content in GOOD.items():
        (tmp_path / name).write_bytes(content)
    model = import_model(store, tmp_path / GRAPH_MEMBER, "mine")
    assert model.network.read_bytes() == GOOD[GRAPH_MEMBER]


def test_what_is_called_inception_v3_must_have_googles_size(store, tmp_path) -> None:
    path = archive(tmp_path / "a.tgz", GOOD)
    for name in (None, "inception-v3"):
        with pytest.raises(ModelError, match=r"has 88931400; .*--name NAME --like inception-v3"):
            import_model(store, path, name)
    with pytest.raises(ModelError, match="is built by incv3d"):
        import_model(store, path, "efficientnet-lite0")
    assert store.models() == []


def test_an_unknown_like_names_the_known(store, tmp_path) -> None:
    with pytest.raises(ModelError, match="known models: birds, efficientnet-lite0, inception-v3"):
        import_model(store, archive(tmp_path / "a.tgz", GOOD), "mine", "alexnet")


def without(member: str) -> dict[str, bytes]:
    return {name: content for name, content in GOOD.items() if name != member}


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        (without(GRAPH_MEMBER), f"{GRAPH_MEMBER} is missing from it"),
        (without(CLASSES_MEMBER), f"{CLASSES_MEMBER} is missing from it"),
        (without(NAMES_MEMBER), f"{NAMES_MEMBER} is missing from it"),
        (GOOD | {GRAPH_MEMBER: graph("Mul", "scores")}, "no output `softmax:0`; .* probably: Mul, scores"),
        (GOOD | {GRAPH_MEMBER: graph("input", "softmax")}, "no input `Mul:0`"),
        (GOOD | {GRAPH_MEMBER: b"text"}, "not a frozen GraphDef"),
        (GOOD | {GRAPH_MEMBER: b""}, "is empty"),
        (GOOD | {CLASSES_MEMBER: b"nothing"}, "no `target_class` entries"),
        (GOOD | {CLASSES_MEMBER: GOOD[CLASSES_MEMBER].replace(b"449", b"1008")}, "a label for output 1008"),
        (GOOD | {NAMES_MEMBER: b"n1\tx\n"}, "no name for n01440764"),
        (GOOD | {NAMES_MEMBER: b"\xff\xfe"}, "not UTF-8"),
        (GOOD | {NAMES_MEMBER: bytes(MEMBERS[NAMES_MEMBER] + 1)}, "more than the limit"),
    ],
)
def test_an_archive_with_a_fault_leaves_the_store_as_it_was(store, tmp_path, members, complaint) -> None:
    with pytest.raises(ModelError, match=complaint):
        import_model(store, archive(tmp_path / "a.tgz", members), "mine")
    assert store.models() == []
    assert not [path for path in (store.root / "models").iterdir() if path.name.startswith(".unfinished")]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_an_archive_that_is_cut_off_is_refused(store, tmp_path, part) -> None:
    big = GOOD | {GRAPH_MEMBER: GOOD[GRAPH_MEMBER] + field(15, os.urandom(100)) * 5000}
    whole = archive(tmp_path / "a.tgz", big).read_bytes()
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ModelError, match=r"cut\.tgz: "):
        import_model(store, cut, "mine")
    assert store.models() == []


def test_files_that_are_no_models_are_named(store, tmp_path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    empty = tmp_path / "empty.tgz"
    empty.touch()
    for path, complaint in (
        (tmp_path / "gone", "no such file"),
        (tmp_path, "the folder has no saved_model.pb"),
        (text, "not a frozen GraphDef"),
        (empty, "is empty"),
        # which opens, and cannot be read, not even by root
        (Path("/proc/self/mem"), "cannot be read: Input/output error"),
    ):
        with pytest.raises(ModelError, match=complaint):
            import_model(store, path, "mine")
    (tmp_path / "graph.pb").write_bytes(GOOD[GRAPH_MEMBER])
    with pytest.raises(ModelError, match=f"its labels are missing: put {CLASSES_MEMBER} in the same"):
        import_model(store, tmp_path / "graph.pb", "mine")


def test_the_stand_in_is_refused_as_inception_v3_and_imported_under_another_name(shared, standin) -> None:
    path = shared / "models/inception-2015-12-05-standin.tgz"
    with pytest.raises(ModelError, match="20708603 bytes"):
        import_model(ModelStore(standin), path, "inception-v3")
    labels = read_labels(ModelStore(standin).get("standin").labels, 1008)
    assert (labels[169].name, labels[0].name, labels[1007].name) == ("giant panda", "class 0", "class 1007")
