"""A taught model is one file that runs elsewhere, with the answers of its head."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from feature_graphs import WIDTH, add, classifier
from incv3d.config.schema import CustomSection
from incv3d.engines import open_session
from incv3d.models.entry import ModelError
from incv3d.models.features import ensure_features
from incv3d.models.label_files import read_label_file
from incv3d.models.store import ModelStore, StoredModel
from incv3d.models.taught.export import export_taught
from incv3d.models.taught.head import Head, normalize
from incv3d.models.taught.model import HeadFacts, TaughtModel
from incv3d.models.taught.store import TaughtStore

CLASSES = ("empty", "full", "other")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def teach(store: ModelStore, base: StoredModel) -> TaughtModel:
    """Save a head of random weights on `base`."""
    random = np.random.default_rng(5)
    head = Head(
        CLASSES,
        *(random.normal(0, scale, shape).astype(np.float32) for scale, shape in (
            (0.1, WIDTH), (4, (WIDTH, 3)), (0.3, 3),
        )),
        gallery=normalize(random.normal(0, 1, (4, WIDTH)).astype(np.float32)), threshold=0.5, spread=0.1,
    )  # fmt: skip
    facts = HeadFacts(
        name="feeder", base=base.name, base_sha256=base.manifest.sha256, precision="float32", fit="crop",
        crop_fraction=0.9, classes=CLASSES, counts=(4, 4, 4), groups=(2, 2, 2), taught_at="2016-12-01",
    )  # fmt: skip
    return TaughtStore(store.root).save(head, facts, b"{}")


def test_litert_alone_gives_the_probabilities_of_the_head(store: ModelStore, tmp_path: Path) -> None:
    base = ensure_features(add(store, classifier(), "tflite", 4), store, lambda line: None).model
    taught = teach(store, base)
    written = export_taught(taught, store, tmp_path / "feeder.tflite")
    assert [each.name for each in written] == ["feeder.tflite", "feeder.labels.txt", "feeder.json"]
    session, head = open_session(base.session_spec(1), None), taught.head()
    alone = Interpreter(str(written[0])).get_signature_runner("serving_default")
    for seed in range(10):
        shape = base.session_spec(1).input_shape
        pixels = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
        want, _ = head.predict(session.run_with_features(pixels)[1])
        np.testing.assert_allclose(alone(pixels=pixels)["scores"][0], want, atol=1e-5)


def test_its_labels_and_its_section_of_a_configuration_lie_beside_it(
    store: ModelStore, tmp_path: Path
) -> None:
    base = ensure_features(add(store, classifier(), "tflite", 4), store, lambda line: None).model
    _, labels, description = export_taught(teach(store, base), store, tmp_path / "feeder.tflite")
    assert [each.names for each in read_label_file(labels, 3)] == list(CLASSES)
    custom = msgspec.json.decode(description.read_bytes())["custom"]
    section = msgspec.convert(custom, CustomSection)
    assert (section.fit, section.crop_fraction, section.pixel_range) == ("crop", 0.9, (-1, 127 / 128))


def test_what_cannot_be_exported_is_named(store: ModelStore, tmp_path: Path) -> None:
    base = ensure_features(add(store, classifier(), "tflite", 4), store, lambda line: None).model
    taught = teach(store, base)
    with pytest.raises(ModelError, match=r"exported as a \.tflite file"):
        export_taught(taught, store, tmp_path / "feeder.pb")
    with pytest.raises(ModelError, match=r"gone/feeder\.tflite: cannot be written"):
        export_taught(taught, store, tmp_path / "gone" / "feeder.tflite")
    shutil.rmtree(base.directory)
    with pytest.raises(ModelError, match="no model `mine`"):
        export_taught(taught, store, tmp_path / "feeder.tflite")
