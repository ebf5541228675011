"""Networks that an older version stored get their features as an output, and all about them stays true."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import numpy as np
import pytest

from feature_graphs import CLASSES, SIDE, WIDTH, add, classifier, write_graph
from incv3d.engines import open_session
from incv3d.engines.weight_cache import WEIGHTS, find_weights, read_index
from incv3d.models import features
from incv3d.models.conversions import describe, folder_name, open_conversion, own_converter, write_facts
from incv3d.models.feature_marks import NONE
from incv3d.models.features import SCRATCH, ensure_features
from incv3d.models.files import sha256_of
from incv3d.models.flatbuffer import to_float32
from incv3d.models.flatbuffer.to_float32 import write_flatbuffer
from incv3d.models.graph.plain_graph import read_graph
from incv3d.models.leftovers import remove_leftovers
from incv3d.models.pack_weights import PackJob, pack
from incv3d.models.store import FLATBUFFER, ModelStore, StoredModel
from incv3d.models.verify import verify_model
from onnx_networks import Builder, save


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def scores_and_features(model: StoredModel, weights: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    spec = model.session_spec(1)
    pixels = np.random.default_rng(1).uniform(-1, 1, spec.input_shape).astype(np.float32)
    return open_session(spec, weights).run_with_features(pixels)


def ensure(model: StoredModel, store: ModelStore) -> tuple[StoredModel, list[str]]:
    """Return the model, and what was said of the progress."""
    said: list[str] = []
    return ensure_features(model, store, said.append).model, said


def test_a_flatbuffer_gets_them_once_and_its_packed_weights_stay(store: ModelStore) -> None:
    old = add(store, classifier(), "tflite", 4)
    pack(PackJob(spec=old.session_spec(1), sha256=old.manifest.sha256))
    want, none = scores_and_features(old)
    assert none.size == 0
    new, said = ensure(old, store)
    assert said == ["adding the features to the outputs of mine's networks (once)"]
    index = read_index(new.network, new.manifest.sha256)
    assert index and find_weights(new.network, index) == new.network.with_name(WEIGHTS)
    scores, found = scores_and_features(new, new.network.with_name(WEIGHTS))
    np.testing.assert_array_equal(scores, want)
    assert found.size == WIDTH
    assert new.manifest.made_by == "somebody" and new.manifest.sha256 != old.manifest.sha256
    assert verify_model(store, "mine") == []
    assert ensure(new, store) == (new, [])


def test_an_onnx_network_gets_them(store: ModelStore, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    make = Builder()
    make.dense(make.pooled(make.conv("input", 3, WIDTH, 3)), WIDTH, 5, "output")
    file = save(make.model([1, 3, SIDE, SIDE], {"output": [1, 5]}), tmp_path / "net.onnx")
    old = add(store, file, "onnx", 5, side=SIDE, layout="nchw", input="input", output="output")
    want, _ = scores_and_features(old)
    scores, found = scores_and_features(ensure(old, store)[0])
    np.testing.assert_array_equal(scores, want)
    assert found.size == WIDTH and verify_model(store, "mine") == []


def test_a_conversion_gets_them(store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = write_graph(tmp_path / "graph.pb")
    model = add(store, graph.file, "graphdef", CLASSES, side=SIDE, input=graph.input, output=graph.output)
    folder = model.directory / folder_name("float32")
    folder.mkdir()
    with monkeypatch.context() as older:
        older.setattr(to_float32, "mark_features", lambda network: False)
        write_flatbuffer(read_graph(model.network), model.session_spec(1), folder / FLATBUFFER)
    before = describe(model, "float32", folder / FLATBUFFER, own_converter(), 0, None, None)
    write_facts(msgspec.structs.replace(before, format=1), folder)
    (folder / NONE).unlink()  # older versions did not look for features
    marked = ensure_features(model, store, lambda line: None)
    after = open_conversion(model, "float32")
    assert marked.model == model and marked.renamed == {before.sha256: after.facts.sha256}
    assert after.facts.format == 2, "an older version, which cannot run it, does not try to"
    assert sha256_of(after.network) == after.facts.sha256 and verify_model(store, "mine") == []
    assert open_session(after.session_spec(model, 1), None).facts.features == WIDTH


def test_a_conversion_that_is_made_without_features_is_not_tried_again(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = write_graph(tmp_path / "graph.pb")
    model = add(store, graph.file, "graphdef", CLASSES, side=SIDE, input=graph.input, output=graph.output)
    folder = model.directory / folder_name("float32")
    folder.mkdir()
    monkeypatch.setattr(to_float32, "mark_features", lambda network: False)
    write_flatbuffer(read_graph(model.network), model.session_spec(1), folder / FLATBUFFER)
    write_facts(describe(model, "float32", folder / FLATBUFFER, own_converter(), 0, None, None), folder)
    assert ensure(model, store) == (model, [])


def test_a_network_without_features_is_tried_once(store: ModelStore) -> None:
    old = add(store, classifier(8), "tflite", 4)
    new, said = ensure(old, store)
    assert new == old and len(said) == 1 and scores_and_features(new)[1].size == 0
    assert ensure(old, store) == (old, []) and verify_model(store, "mine") == []
    old.network.with_name(NONE).write_text("of another network")
    assert len(ensure(old, store)[1]) == 1


def test_a_store_that_cannot_be_changed_is_left_as_it_is(
    store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    old = add(store, classifier(), "tflite", 4)
    with store.scratch_folder(SCRATCH), caplog.at_level(logging.WARNING):
        assert ensure(old, store)[0] == old
    assert "mine: runs without features: another process is already doing this" in caplog.text
    assert verify_model(store, "mine") == []


def test_a_process_that_was_killed_leaves_the_old_network_and_nothing_else(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = add(store, classifier(), "tflite", 4)

    def die(*_: object) -> None:
        left = store.root / f".{SCRATCH}"
        left.rename(store.root / "kept")
        raise KeyboardInterrupt

    monkeypatch.setattr(features, "sha256_of", die)
    with pytest.raises(KeyboardInterrupt):
        ensure(old, store)
    (store.root / "kept").rename(store.root / f".{SCRATCH}")
    assert store.get("mine") == old and verify_model(store, "mine") == []
    remove_leftovers(store)
    assert not (store.root / f".{SCRATCH}").exists()
