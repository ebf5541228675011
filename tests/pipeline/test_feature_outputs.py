"""A network that gets its features as an output is not timed again."""

from __future__ import annotations

from pathlib import Path

import msgspec

from feature_graphs import add, classifier
from incv3d.models.store import ModelStore
from incv3d.pipeline.engine_table import FORMAT, TABLE, Circumstances, Table, current_table
from incv3d.pipeline.feature_outputs import make_features_outputs


def circumstances(sha256: str) -> Circumstances:
    networks = (f"litert ai-edge-litert 2.3.0 {sha256}",)
    return Circumstances(format=FORMAT, networks=networks, threads=(2, 1), processor="x")


def test_its_times_stay_known(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    old = add(store, classifier(), "tflite", 4)
    table = Table(circumstances=circumstances(old.manifest.sha256), measured_at="", timings=())
    (old.directory / TABLE).write_bytes(msgspec.json.encode(table))
    new = make_features_outputs(old, store, lambda line: None)
    assert new.manifest.sha256 != old.manifest.sha256
    assert current_table(new, circumstances(new.manifest.sha256))
