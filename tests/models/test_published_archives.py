"""The forms in which Inception-v3 is published: each becomes a graph with labels and a golden picture."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from archives import GOOD, archive, graph
from incv3d.engines import open_session
from incv3d.models.bundled import golden_image, imagenet_labels
from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.importing import import_model
from incv3d.models.labels import read_labels
from incv3d.models.prepare import ensure_prepared
from incv3d.models.published_archives import PANDA_SHA256, SLIM_MEMBER
from incv3d.models.store import ModelStore

pytestmark = pytest.mark.slow

SLIM = graph("input", "InceptionV3/Predictions/Reshape_1")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch):
    """Puts an entry into the catalog as if `file` were the published one."""

    def know(name: str, file: Path, **facts: object) -> ModelEntry:
        content = file.read_bytes()
        published: dict[str, object] = {"graph_bytes": None}
        published |= {"archive_bytes": len(content), "archive_sha256": hashlib.sha256(content).hexdigest()}
        entry = msgspec.structs.replace(load_catalog()[name], **(published | facts))
        catalog = load_catalog() | {name: entry}
        monkeypatch.setattr("incv3d.models.importing.load_catalog", lambda: catalog)
        return entry

    return know


def names(store: ModelStore, name: str) -> list[str]:
    return sorted(path.name for path in store.get(name).directory.iterdir())


def test_every_golden_picture_of_the_catalog_can_be_had() -> None:
    for name, entry in load_catalog().items():
        if not entry.golden:
            assert name == "plants", name  # whose file, and so its answer, was not at hand
            continue
        bundled = golden_image(entry.golden.image)
        assert bundled is None if name == "inception-v3" else bundled and bundled.startswith(b"\xff\xd8")


def test_googles_archive_brings_its_picture(store, tmp_path, shared, known) -> None:
    panda = (shared / "images/cropped_panda.jpg").read_bytes()
    path = archive(tmp_path / "a.tgz", GOOD | {"cropped_panda.jpg": panda})
    entry = known("inception-v3", path, archive_sha256="")
    model = import_model(store, path)
    assert (model.name, model.entry) == ("inception-v3", entry)
    image = model.directory / "cropped_panda.jpg"
    assert hashlib.sha256(image.read_bytes()).hexdigest() == PANDA_SHA256


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        ({"cropped_panda.jpg": b"another"}, "its cropped_panda.jpg differs from Google's"),
        ({}, "cropped_panda.jpg is missing from it"),
    ],
)
def test_googles_archive_without_its_picture_is_none(store, tmp_path, known, image, complaint) -> None:
    path = archive(tmp_path / "a.tgz", GOOD | image)
    known("inception-v3", path, archive_sha256="")
    with pytest.raises(ModelError, match=complaint):
        import_model(store, path)
    known("inception-v3", path, archive_sha256="", golden=None, graph_bytes=1)
    with pytest.raises(ModelError, match="does not have 1 bytes, the size of inception-v3's"):
        import_model(store, path)
    assert store.models() == []


def test_the_archive_of_2016_is_told_by_its_size_and_checksum(store, tmp_path, known) -> None:
    path = archive(tmp_path / "a", {SLIM_MEMBER: SLIM, "imagenet_slim_labels.txt": b"dummy\n"})
    entry = known("inception-v3-2016", path)
    model = import_model(store, path)
    assert (model.name, model.entry) == ("inception-v3-2016", entry)
    assert names(store, model.name) == ["grace_hopper.jpg", "graph.pb", "labels.tsv", "manifest.json"]
    labels = read_labels(model.labels, 1001)
    assert (labels[0].name, labels[0].synset) == ("background", "")
    assert (labels[1].name, labels[1].synset) == ("tench", "n01440764")
    assert labels[1000].names == read_labels_1k()[999].names
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match=r"to import a network of your own, .*--like"):
        import_model(store, path, "inception-v3-2016", replace=True)


def read_labels_1k():
    lines = [line.split("\t") for line in imagenet_labels().splitlines() if not line.startswith("#")]
    assert len(lines) == 1000
    return [type("Row", (), {"names": names}) for _, _, names in lines]


def test_a_graph_like_that_of_2016_needs_no_archive(store, tmp_path) -> None:
    (tmp_path / "own").write_bytes(SLIM)
    model = import_model(store, tmp_path / "own", "mine", "inception-v3-2016")
    facts = model.entry
    assert (facts.golden, facts.url, facts.archive_bytes, facts.archive_sha256) == (None, "", None, "")
    assert (facts.outputs, facts.source, facts.licence) == (1001, "own", "")
    with pytest.raises(ModelError, match="the graph has no input `input:0`"):
        bad = archive(tmp_path / "bad.tgz", {SLIM_MEMBER: graph("Mul", "softmax")})
        import_model(store, bad, "other", "inception-v3-2016")
    with pytest.raises(ModelError, match=f"{SLIM_MEMBER} is missing from it"):
        import_model(store, archive(tmp_path / "bad.tgz", GOOD), "other", "inception-v3-2016")


def test_a_known_name_is_not_given_to_what_is_like_another(store, tmp_path) -> None:
    (tmp_path / "own").write_bytes(SLIM)
    with pytest.raises(ModelError, match="a known model that is not like inception-v3-2016"):
        import_model(store, tmp_path / "own", "inception-v3", "inception-v3-2016")


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    command = [sys.executable, str(Path(__file__).parents[1] / "support" / "make_inception.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    return folder


def test_keras_weights_become_a_graph_that_gives_keras_scores(store, tmp_path, keras) -> None:
    shutil.copy(keras / "inception.weights.h5", tmp_path / "any-name")  # its content says what it is
    model = import_model(store, tmp_path / "any-name", "mine")
    assert (model.entry.input, model.entry.outputs, model.entry.golden) == ("pixels:0", 1000, None)
    assert read_labels(model.labels, 1000)[0].name == "tench"
    expected = np.load(keras / "expected.npz")
    session = open_session(model.session_spec(2), ensure_prepared(model, store, lambda line: None))
    assert np.abs(session.run(expected["pixels"]) - expected["scores"][0]).max() < 1e-5


def test_keras_weights_in_the_older_layout_and_of_the_published_checksum_get_the_known_name(
    store, tmp_path, keras, known
) -> None:
    entry = known("inception-v3-keras", keras / "whole.h5")
    model = import_model(store, keras / "whole.h5")
    assert (model.name, model.entry) == ("inception-v3-keras", entry)
    assert names(store, model.name) == ["grace_hopper.jpg", "graph.pb", "labels.tsv", "manifest.json"]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            lambda folder: (folder / "other.weights.h5").read_bytes(),
            "not the weights of Keras' Inception-v3: ",
        ),
        (lambda folder: (folder / "whole.h5").read_bytes()[:1_000_000], "h5: damaged: "),
        (lambda folder: b"\x89HDF\r\n\x1a\n", "h5: damaged: "),
        (lambda folder: GOOD["classify_image_graph_def.pb"], "not a graph that TensorFlow can import"),
    ],
)
def test_other_files_are_no_keras_weights(store, tmp_path, keras, spoil, complaint) -> None:
    (tmp_path / "x.h5").write_bytes(spoil(keras))
    with pytest.raises(ModelError, match=complaint):
        import_model(store, tmp_path / "x.h5", "mine", "inception-v3-keras")
    assert store.models() == []


def test_an_archive_is_no_keras_weights(store, tmp_path) -> None:
    with pytest.raises(ModelError, match="not an HDF5 file"):
        import_model(store, archive(tmp_path / "x.tgz", GOOD), "mine", "inception-v3-keras")
    assert store.models() == []
