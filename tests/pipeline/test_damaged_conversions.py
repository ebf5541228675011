"""A conversion whose file is damaged is removed, and what remains serves."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from flatbuffers_by_hand import Network, classifier
from incv3d.config.schema import Config, SessionSection
from incv3d.engines import SessionError
from incv3d.models.conversions import Precision, describe, folder_name, write_facts
from incv3d.models.store import FLATBUFFER, ModelStore, StoredModel
from incv3d.pipeline.loader import LoadedModel, load_model
from tunable_models import COMPARISON, SIDE, add_tunable


def add_int8(model: StoredModel, network: Network) -> Path:
    """Add a network as the conversion to int8; return its file."""
    folder = model.directory / folder_name("int8")
    folder.mkdir()
    path = network.write(folder / FLATBUFFER)
    write_facts(describe(model, "int8", path, "by hand", 0, COMPARISON, None), folder)
    return path


def load(model: StoredModel, store: ModelStore) -> LoadedModel:
    config = msgspec.structs.replace(Config(), session=SessionSection(engine="litert"))
    return load_model(config, model, store, 1, lambda line: None)


def converted(model: StoredModel) -> list[str]:
    precisions: tuple[Precision, ...] = ("float32", "int8")
    return [each for each in precisions if (model.directory / folder_name(each)).exists()]


def test_a_damaged_conversion_is_removed_and_the_other_one_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = add_tunable(tmp_path)
    model = store.get("tunable")
    path = add_int8(model, classifier(SIDE))
    path.write_bytes(os.urandom(path.stat().st_size))
    loaded = load(model, store)
    loaded.classifier.close()
    assert converted(model) == ["float32"]
    assert f"{path.parent} is removed, because it is damaged: " in caplog.text


def test_a_conversion_that_is_whole_stays_even_if_it_cannot_be_run(tmp_path: Path) -> None:
    store = add_tunable(tmp_path)
    model = store.get("tunable")
    add_int8(model, Network(SIDE).custom().mean().dense().softmax())
    with pytest.raises(SessionError, match="Unheard"):
        load(model, store)
    assert converted(model) == ["float32", "int8"]


def test_a_damaged_conversion_in_a_store_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = add_tunable(tmp_path)
    model = store.get("tunable")
    path = add_int8(model, classifier(SIDE))
    path.write_bytes(os.urandom(path.stat().st_size))
    monkeypatch.setattr("incv3d.pipeline.loader.os.access", lambda path, mode: False)  # root may write
    with pytest.raises(SessionError, match=str(path)):
        load(model, store)
