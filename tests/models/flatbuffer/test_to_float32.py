"""Whole networks become float32 flatbuffers in a child process that never loads TensorFlow."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

import graphs
from incv3d.child_process import encode
from incv3d.engines.weight_cache import WEIGHTS, read_index
from incv3d.models import packed_weights
from incv3d.models.conversions import OriginalCheck
from incv3d.models.entry import ModelError
from incv3d.models.files import sha256_of
from incv3d.models.flatbuffer import to_float32
from incv3d.models.flatbuffer.float32 import Float32Job, UnsupportedGraph, check_memory, make_float32
from incv3d.models.flatbuffer.to_float32 import convert
from incv3d.models.graph.plain_graph import UnsupportedOperation, read_graph
from incv3d.models.prepare import UnrunnableError
from incv3d.models.store import GRAPH, ModelStore, StoredModel
from tiny_models import SIDE, add_rgb

CHILD = """
import sys
import incv3d.models.flatbuffer.to_float32 as made
from incv3d.child_process import decode
from incv3d.models.flatbuffer.float32 import Float32Job
made.main(decode(sys.argv[1], Float32Job))
assert "tensorflow" not in sys.modules, "imported"
with open("/proc/self/maps") as maps:
    loaded = {line.split()[-1] for line in maps if "tensorflow" in line}
assert not loaded, loaded
"""


def job_of(model: StoredModel, folder: Path) -> Float32Job:
    entry = model.entry
    return Float32Job(
        spec=model.session_spec(1), outputs=entry.scores_given, mean=entry.mean, scale=entry.scale,
        out=str(folder / "made.tflite"), check=str(folder / "made.check"),
    )  # fmt: skip


def convert_in_child(model: StoredModel, folder: Path) -> OriginalCheck:
    """Convert in a child that fails if it has imported TensorFlow or loaded any of it."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, encode(job_of(model, folder))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode((folder / "made.check").read_bytes(), type=OriginalCheck)


def test_the_standin_agrees_and_tensorflow_is_not_loaded(standin: Path, tmp_path: Path) -> None:
    check = convert_in_child(ModelStore(standin).get("standin"), tmp_path)
    assert check.images == 2 and check.largest_difference <= 1e-5 < check.largest_score


def test_efficientnet_agrees_and_tensorflow_is_not_loaded(state: Path, tmp_path: Path) -> None:
    check = convert_in_child(ModelStore(state).get("efficientnet-lite0"), tmp_path)
    assert check.largest_difference <= 1e-5 and check.largest_score > 0.5


def test_the_conversion_of_a_stored_model_leaves_one_file(tmp_path: Path) -> None:
    model = add_rgb(tmp_path / "state")
    check = make_float32(model, tmp_path / "made.tflite")
    assert check.images == 2 and check.largest_difference < 1e-6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.tflite", "state"]


def test_a_processor_on_which_the_packer_dies_gets_its_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packer = tmp_path / "packer_of_another_processor.py"
    packer.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(packed_weights, "PACKER", packer.stem)
    monkeypatch.setattr(packed_weights, "WORTH_BYTES", 0)
    job = job_of(add_rgb(tmp_path / "state"), tmp_path)
    assert convert(job).largest_difference < 1e-6
    index = read_index(Path(job.out), sha256_of(Path(job.out)))
    assert index and "crashes" in index.refusal and not (tmp_path / WEIGHTS).exists()


@pytest.mark.parametrize(
    ("scores", "kind", "complaint"),
    [
        (
            graphs.node("scores", "Digamma", "pixels", attributes=graphs.dtype("T")),
            UnsupportedGraph,
            r"rgb: not supported: the operation Digamma \(`scores`\)",
        ),
        (graphs.relu("scores", "pixels"), UnrunnableError, "returns 3072 scores instead of 3"),
        (graphs.relu("scores", "missing"), ModelError, "missing node `missing`"),
        (graphs.relu("scores", "scores"), ModelError, "cycle at `scores`"),
        (graphs.relu("other", "pixels"), ModelError, "missing node `scores`"),
    ],
)
def test_a_graph_that_cannot_be_converted_says_why(
    tmp_path: Path, scores: bytes, kind: type[ModelError], complaint: str
) -> None:
    model = add_rgb(tmp_path / "state", graphs.placeholder("pixels", 1, SIDE, SIDE, 3) + scores)
    with pytest.raises(kind, match=complaint):
        make_float32(model, tmp_path / "made.tflite")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_an_operation_that_is_not_supported_is_found_before_numpy_runs_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: object) -> None:
        raise AssertionError("it ran, which takes long for a large graph")

    monkeypatch.setattr(to_float32, "run_graph", run)
    pixels = graphs.placeholder("pixels", 1, SIDE, SIDE, 3)
    unknown = graphs.node("scores", "Digamma", "pixels", attributes=graphs.dtype("T"))
    model = add_rgb(tmp_path / "state", pixels + unknown)
    with pytest.raises(UnsupportedOperation, match="not supported: the operation Digamma"):
        convert(job_of(model, tmp_path))


@pytest.mark.parametrize("length", [1, 40, 200, -1])
def test_a_truncated_graph_is_named_in_one_line(tmp_path: Path, length: int) -> None:
    model = add_rgb(tmp_path / "state")
    graph = model.directory / GRAPH
    graph.write_bytes(graph.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"truncated|damaged|no nodes|missing node|no node `") as caught:
        make_float32(model, tmp_path / "made.tflite")
    assert "\n" not in str(caught.value) and "Error" not in str(caught.value)


def test_a_constant_with_too_few_bytes_is_named(tmp_path: Path) -> None:
    tensor = graphs.field(1, graphs.FLOAT) + graphs.field(2, graphs.field(2, graphs.field(1, 8)))
    value = graphs.attribute("value", graphs.field(8, tensor + graphs.field(4, b"1234" * 9)))
    (tmp_path / "graph.pb").write_bytes(graphs.node("c", "Const", attributes=graphs.dtype("dtype") + value))
    with pytest.raises(ModelError, match=r"graph.pb: not a frozen GraphDef: .* of shape \[8\] has 9 values"):
        read_graph(tmp_path / "graph.pb")


def test_a_full_disk_leaves_nothing(state: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(ModelError, match="cannot be written: File too large"):
            make_float32(ModelStore(state).get("efficientnet-lite0"), tmp_path / "made.tflite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_killed_child_leaves_nothing(tmp_path: Path) -> None:
    model = add_rgb(tmp_path / "state")
    killer = threading.Thread(target=kill_converter)
    killer.start()
    try:
        with pytest.raises(ModelError, match="was killed by signal 9; perhaps the machine ran out of memory"):
            make_float32(model, tmp_path / "made.tflite")
    finally:
        killer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def kill_converter() -> None:
    """Kill this process's converting child as soon as it is there."""
    while True:
        for task in Path("/proc/self/task").iterdir():
            for child in (task / "children").read_text().split():
                if "to_float32" in Path(f"/proc/{child}/cmdline").read_text():
                    os.kill(int(child), signal.SIGKILL)
                    return


def test_too_little_memory_is_reported_before_the_work(tmp_path: Path) -> None:
    model = add_rgb(tmp_path / "state")
    meminfo = "MemTotal: 935936 kB\nMemAvailable: {} kB\nSwapFree: 0 kB\n"
    (tmp_path / "meminfo").write_text(meminfo.format(80 * 1024))
    check_memory(model, tmp_path)
    (tmp_path / "meminfo").write_text(meminfo.format(50 * 1024))
    with pytest.raises(
        ModelError, match=r"converting rgb to float32 takes 60 MB of memory, but 50 MB are free"
    ):
        check_memory(model, tmp_path)


def test_litert_missing_is_named_with_the_command_that_installs_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ModelError, match=r"LiteRT is not installed; .*pip install ai-edge-litert"):
        make_float32(add_rgb(tmp_path / "state"), tmp_path / "made.tflite")
