"""The plain Session is what is left when nothing leaner runs a graph, and it takes the most memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from graphs import strongest_channel
from incv3d.config.schema import Config
from incv3d.engines import SessionError, SessionSpec, open_session
from incv3d.engines.capi import LibraryMissing
from incv3d.machine import FRACTION, spare_memory_mb
from incv3d.models.entry import ModelEntry
from incv3d.models.labels import Label, format_labels
from incv3d.models.store import LABELS, NETWORKS, ModelStore, StoredModel
from incv3d.pipeline.loader import open_classifier


class Opened(Exception):
    """The plain Session would have been opened."""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch) -> SessionSpec:
    def plain(spec: SessionSpec) -> None:
        raise Opened

    monkeypatch.setattr("incv3d.engines.tensorflow_python.PythonSession", plain)
    (tmp_path / "graph.pb").write_bytes(strongest_channel(32))
    return SessionSpec(
        file=tmp_path / "graph.pb", format="graphdef", input="x", output="y", height=32, width=32, threads=1
    )


def test_it_is_opened_only_where_there_is_memory_for_it(spec: SessionSpec) -> None:
    with pytest.raises(
        SessionError, match=r"graph\.pb: not prepared, it needs 650 MB of memory, but only 600 MB are"
    ):
        open_session(spec, None, lambda: 600.0)
    for enough in (700.0, None):
        with pytest.raises(Opened):
            open_session(spec, None, lambda enough=enough: enough)


def test_so_it_is_where_tensorflows_library_is_missing(
    spec: SessionSpec, tmp_path: Path, monkeypatch
) -> None:
    def missing(*_: object) -> None:
        raise LibraryMissing("no libtensorflow_cc")

    monkeypatch.setattr("incv3d.engines.tensorflow_c.TensorFlowSession", missing)
    with pytest.raises(SessionError, match="600 MB are free;"):
        open_session(spec, tmp_path / "prepared", lambda: 600.0)
    with pytest.raises(Opened):
        open_session(spec, tmp_path / "prepared", lambda: 700.0)


@pytest.fixture
def model(tmp_path: Path) -> StoredModel:
    store = ModelStore(tmp_path)
    entry = ModelEntry(
        input="x:0", output="y:0", height=32, width=32, mean=0, scale=1, fit="stretch",
        interpolation="bilinear", outputs=3,
    )  # fmt: skip
    with store.adding("small", entry) as folder:
        (folder / NETWORKS["graphdef"]).write_bytes(strongest_channel(32))
        (folder / LABELS).write_text(format_labels([Label(i, "", f"label {i}") for i in range(3)]), "utf-8")
    return store.get("small")


@pytest.mark.parametrize(("configured_mb", "limit_mb"), [(0, 1000 * FRACTION), (850, 850.0), (5000, 5000.0)])
def test_a_process_can_take_what_is_free_below_the_limit_at_which_it_is_ended(
    monkeypatch, configured_mb: int, limit_mb: float
) -> None:
    monkeypatch.setattr("incv3d.machine.memory_limit_mb", lambda: 1000.0)
    monkeypatch.setattr("incv3d.machine.private_memory_mb", lambda: 100.0)
    for free_mb, spare_mb in ((300.0, 300.0), (9000.0, limit_mb - 100), (None, limit_mb - 100)):
        monkeypatch.setattr("incv3d.machine.available_memory_mb", lambda free_mb=free_mb: free_mb)
        assert spare_memory_mb(configured_mb) == spare_mb
    monkeypatch.setattr("incv3d.machine.private_memory_mb", lambda: 9999.0)
    assert spare_memory_mb(configured_mb) == 0
    monkeypatch.setattr("incv3d.machine.private_memory_mb", lambda: None)
    assert spare_memory_mb(configured_mb) is None


def test_a_daemon_that_its_guard_would_end_at_once_does_not_open_it(monkeypatch, spec, model) -> None:
    monkeypatch.setattr("incv3d.machine.available_memory_mb", lambda: 2000.0)
    monkeypatch.setattr("incv3d.machine.memory_limit_mb", lambda: 644.0)
    monkeypatch.setattr("incv3d.machine.private_memory_mb", lambda: 50.0)
    plain = replace(model.session_spec(1), file=spec.file)
    with pytest.raises(SessionError, match=r"needs 650 MB of memory, but only 530 MB are free"):
        open_classifier(Config(), model, plain, None)
