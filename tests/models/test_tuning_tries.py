"""The record of conversions that the daemon tried by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.models import tuning_tries
from incv3d.models.store import ModelStore, StoredModel
from incv3d.models.tuning_tries import FILE, UNFINISHED, begin_try, end_try, read_tries
from tunable_models import add_tunable


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return add_tunable(tmp_path / "state")


@pytest.fixture
def model(store: ModelStore) -> StoredModel:
    return store.get("tunable")


def test_there_are_none_at_first(model: StoredModel) -> None:
    assert read_tries(model) == ()


def test_a_try_counts_from_its_beginning(store: ModelStore, model: StoredModel) -> None:
    begin_try(store, model, 60)
    (begun,) = read_tries(model)
    assert begun.frames == 60 and begun.problem == UNFINISHED
    end_try(store, model, "it does not agree")
    begin_try(store, model, 75)
    assert [(each.frames, each.problem) for each in read_tries(model)] == [
        (60, "it does not agree"), (75, UNFINISHED)
    ]  # fmt: skip


def test_they_do_not_count_for_another_version(
    store: ModelStore, model: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_try(store, model, 60)
    monkeypatch.setattr(tuning_tries, "quantiser_name", lambda: "another")
    assert read_tries(model) == ()
    begin_try(store, model, 60)
    assert len(read_tries(model)) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"tries": 3}'])
def test_a_damaged_record_counts_as_none(store: ModelStore, model: StoredModel, content: bytes) -> None:
    (model.directory / FILE).write_bytes(content)
    assert read_tries(model) == ()
    begin_try(store, model, 60)
    assert len(read_tries(model)) == 1
