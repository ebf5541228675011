"""When a model is prepared: once, for this processor, and not again and again where it cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from graphs import dtype, node, placeholder, relu
from incv3d.engines import SessionError
from incv3d.engines.prepared_model import processor_id
from incv3d.engines.tensorflow import check_plain_memory, plain_session_mb
from incv3d.models.entry import ModelEntry
from incv3d.models.prepare import (
    UnrunnableError,
    ensure_prepared,
    find_preparation_failure,
    is_prepared,
    prepare_if_needed,
    prepared_folder,
)
from incv3d.models.store import ModelStore, StoredModel

X = placeholder("x", 1, 2, 2, 3)
HALF = node("y", "Relu", "x", attributes=dtype("T", 19))
UNKNOWN = X + node("y", "NoSuchOp", "x")
NAME = "efficientnet-lite0"


def add(store: ModelStore, graph: bytes, outputs: int = 12) -> StoredModel:
    entry = ModelEntry(
        input="x:0", output="y:0", height=2, width=2, mean=0, scale=1, fit="stretch",
        interpolation="bilinear", outputs=outputs,
    )  # fmt: skip
    with store.adding("odd", entry, replace=True) as folder:
        (folder / "graph.pb").write_bytes(graph)
        (folder / "labels.tsv").write_text("0\t\tzero\n")
    return store.get("odd")


def test_what_cannot_be_prepared_is_remembered_with_its_reason(tmp_path: Path, caplog, monkeypatch) -> None:
    store, said = ModelStore(tmp_path), []
    model = add(store, UNKNOWN)
    assert ensure_prepared(model, store, said.append) is None and len(said) == 1
    caplog.clear()
    assert ensure_prepared(model, store, said.append) is None and len(said) == 1
    assert "odd could not be prepared" in caplog.text and "NoSuchOp" in caplog.text
    refusal = find_preparation_failure(model)
    assert refusal and "NoSuchOp" in refusal.reason
    with monkeypatch.context() as changed:
        changed.setattr("incv3d.models.prepare.version", lambda name: "2.999.0")
        assert find_preparation_failure(model) is None, "another TensorFlow may know the operation"
    with monkeypatch.context() as changed:
        changed.setattr("incv3d.models.prepare.processor_id", lambda: "vax")
        assert find_preparation_failure(model) is None
    assert find_preparation_failure(add(store, UNKNOWN + relu("z", "x"))) is None, (
        "another graph may be prepared"
    )


def test_what_failed_for_want_of_memory_is_tried_again(tmp_path: Path, caplog, monkeypatch) -> None:
    store, said = ModelStore(tmp_path), []
    model = add(store, UNKNOWN)
    monkeypatch.setattr("incv3d.models.prepare.PREPARER", "incv3d.no_such_module")
    for number in (1, 2):
        assert ensure_prepared(model, store, said.append) is None and len(said) == number
    assert "no_such_module" in caplog.text and find_preparation_failure(model) is None


@pytest.mark.parametrize(
    ("graph", "outputs", "complaint"),
    [
        (X + relu("y", "x"), 1008, "`y:0` returns 12 scores instead of 1008"),
        (placeholder("x", 1, 2, 2, 3, code=19) + HALF, 12, "`x:0` takes shape .* type float16"),
        (placeholder("x", 1, 4, 4, 3) + relu("y", "x"), 12, r"`x:0` takes shape \(1, 4, 4, 3\)"),
    ],
    ids=["other number of scores", "half precision", "other size"],
)
def test_a_graph_that_can_classify_no_picture_is_an_error_at_once(
    tmp_path: Path, graph: bytes, outputs: int, complaint: str
) -> None:
    model = add(ModelStore(tmp_path), graph, outputs)
    with pytest.raises(UnrunnableError, match=complaint):
        prepare_if_needed(model)


def test_a_network_of_one_score_for_two_labels_is_prepared(tmp_path: Path) -> None:
    entry = ModelEntry(
        input="x:0", output="y:0", height=1, width=1, channels=1, mean=0, scale=1, fit="stretch",
        interpolation="bilinear", outputs=2, binary=True,
    )  # fmt: skip
    store = ModelStore(tmp_path)
    with store.adding("odd", entry) as folder:
        (folder / "graph.pb").write_bytes(placeholder("x", 1, 1, 1, 1) + relu("y", "x"))
        (folder / "labels.tsv").write_text("0\t\tcold\n1\t\twarm\n")
    model = store.get("odd")
    assert prepare_if_needed(model) == prepared_folder(model) and is_prepared(model)


def test_a_prepared_form_is_bound_to_the_processor_unless_it_is_portable(
    state: Path, tmp_path: Path, monkeypatch
) -> None:
    shutil.copytree(state, tmp_path / "state")
    model = ModelStore(tmp_path / "state").get(NAME)
    index = prepared_folder(model) / "index.json"
    facts = msgspec.json.decode(index.read_bytes())
    assert is_prepared(model) and facts["processor"] == processor_id()
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert not is_prepared(model), "it may have operations that only oneDNN has"
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    del facts["processor"]
    index.write_bytes(msgspec.json.encode(facts))
    monkeypatch.setattr("incv3d.models.prepare.processor_id", lambda: "vax")
    assert is_prepared(model)


@pytest.mark.parametrize(
    ("cpuinfo", "features"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni amx_tile\n", ["amx_tile", "avx512_vnni"]),
        ("processor\t: 0\nflags\t\t: fpu avx avx2\n", []),
        ("processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n", []),
        ("", []),
    ],
    ids=["with oneDNN", "without", "Raspberry Pi 3", "nothing known"],
)
def test_of_a_processor_counts_what_decides_about_onednn(tmp_path, monkeypatch, cpuinfo, features) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr("incv3d.engines.prepared_model.CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    architecture, *found = processor_id().split()
    assert architecture and found == features
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    assert processor_id().split()[-1] == "TF_ENABLE_ONEDNN_OPTS=1"


def test_the_plain_session_is_opened_only_where_there_is_memory_for_it(tmp_path: Path) -> None:
    network = tmp_path / "graph.pb"
    network.write_bytes(bytes(10 << 20))
    for enough in (None, plain_session_mb(10 << 20), 4000.0):
        check_plain_memory(network, enough)
    with pytest.raises(SessionError, match=r"graph\.pb: not prepared, it needs 760 MB .* 600 MB are free"):
        check_plain_memory(network, 600.0)
