"""Preparing changes what a graph is made of, and nothing of what it computes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from graphs import node, placeholder, relu
from incv3d.engines import SessionError, SessionSpec, open_session
from incv3d.engines.base import Session
from incv3d.engines.capi.tensor import lent_arrays
from incv3d.engines.prepared_model import CPUINFO, NEURAL_FEATURES, open_prepared
from incv3d.engines.tensorflow_c import TensorFlowSession
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.models.entry import ModelEntry
from incv3d.models.graph.graphdef_reader import read_nodes
from incv3d.models.importing import import_model
from incv3d.models.prepare import PREPARER, ensure_prepared, is_prepared, prepared_folder, run_child
from incv3d.models.store import ModelStore
from made_once import MadeOnce
from prepare_models import job_for, prepare_many

pytestmark = pytest.mark.slow

STYLES = (
    "slim",
    "spelled-out",
    "chained",
    "depthwise",
    "not-to-be-folded",
    "global-norm",
    "global-norm-scaled",
    "keras-inception",
)
FOLDED_AWAY = {
    "BatchNormWithGlobalNormalization",
    "FusedBatchNorm",
    "FusedBatchNormV3",
    "CheckNumerics",
    "Identity",
}


@pytest.fixture(scope="module")
def graphs(made_once: MadeOnce) -> Path:
    """Frozen graphs of every style, each prepared, and with the scores of TensorFlow's plain Session."""
    folder = made_once.by("make_graphs.py")
    jobs = []
    for style in STYLES:
        with np.load(folder / f"{style}.npz") as plain:
            names, side = (str(plain["fed"]), str(plain["fetched"])), plain["pixels"].shape[1]
            jobs.append(job_for(folder / f"{style}.pb", folder / f"{style}-prepared", *names, side))
    assert prepare_many(jobs, folder) == [""] * len(jobs)
    return folder


@pytest.mark.parametrize("style", STYLES)
def test_a_prepared_graph_gives_the_plain_sessions_scores(graphs: Path, style: str) -> None:
    with np.load(graphs / f"{style}.npz") as plain:
        pixels, want, fetched = plain["pixels"], plain["scores"], str(plain["fetched"])
    folder = graphs / f"{style}-prepared"
    session = TensorFlowSession(folder, threads=2)
    np.testing.assert_allclose(session.run(pixels), want, atol=1e-5)
    session.close()
    # An output that only names another node keeps its name, and so its node.
    ops = {each.op for each in read_nodes(folder / "graph.pb") if each.name != fetched.split(":")[0]}
    assert not ops & FOLDED_AWAY, "batch normalisation was left in the graph"


def test_of_kerass_network_nothing_is_left_but_convolutions_and_what_lies_between_them(graphs: Path) -> None:
    ops = Counter(each.op for each in read_nodes(graphs / "keras-inception-prepared/graph.pb"))
    assert ops["_FusedConv2D"] == 94, ops
    # The ReLUs behind the nine pools are on their own, because the convolutions are ahead of those.
    assert ops["Relu"] == ops["AvgPool"] == 9, ops
    assert not {"Conv2D", "Mul", "AddV2", "Rsqrt", "Reshape"} & set(ops), ops


def side_by_side(session: Session, inputs: Sequence[np.ndarray], threads: int = 4) -> list[np.ndarray]:
    """The scores of each, of which so many run at once."""
    assert session.facts.reentrant
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(session.run, inputs))


def test_runs_side_by_side_give_each_its_own_scores(graphs: Path) -> None:
    session = TensorFlowSession(graphs / "slim-prepared", threads=2)
    with np.load(graphs / "slim.npz") as plain:
        shape = plain["pixels"].shape
    lent = lent_arrays()
    random = np.random.default_rng(1)
    inputs = [random.uniform(-1, 1, shape).astype(np.float32) for _ in range(40)]
    for alone, beside in zip(map(session.run, inputs), side_by_side(session, inputs), strict=True):
        np.testing.assert_allclose(beside, alone, atol=1e-6)
    session.close()
    assert lent_arrays() < lent, "a buffer of a closed Session is still lent to TensorFlow"


@pytest.mark.parametrize("archive", ["standin", "standin-gamma"])
def test_the_stand_ins_give_the_plain_sessions_scores(shared: Path, tmp_path: Path, archive: str) -> None:
    store = ModelStore(tmp_path)
    model = import_model(store, shared / f"models/inception-2015-12-05-{archive}.tgz", "standin")
    prepared = ensure_prepared(model, store, lambda line: None)
    assert prepared
    spec = SessionSpec(model.network, "graphdef", "Mul:0", "softmax:0", 299, 299, threads=2)
    plain, lean = open_session(spec, None), open_session(spec, prepared)
    assert (plain.facts.binding, lean.facts.binding) == ("Python", "C API")
    preprocess = Preprocessor(InputSpec(299, 299, 128.0, 128.0, "stretch", 1.0, "bilinear"), 10**8)
    inputs = [np.random.default_rng(1).uniform(-1, 1, (1, 299, 299, 3)).astype(np.float32)]
    for image in sorted((shared / "images").glob("n*.JPEG"))[:50]:
        inputs.append(preprocess(Frame("test", image.read_bytes(), None, received=0.0, captured=0.0)))
    wanted = [plain.run(pixels) for pixels in inputs]
    some = inputs[:12]
    for found in (list(map(lean.run, inputs)), side_by_side(lean, some), side_by_side(plain, some)):
        worst = max(float(np.abs(a - b).max()) for a, b in zip(found, wanted, strict=len(found) > len(some)))
        assert worst <= 1e-5, worst
    lean.close()
    plain.close()


def test_a_model_is_prepared_once_and_again_when_it_changed(state: Path, tmp_path: Path, monkeypatch) -> None:
    store, said = ModelStore(state), []
    model = store.get("efficientnet-lite0")
    assert (
        is_prepared(model)
        and ensure_prepared(model, store, said.append) == prepared_folder(model)
        and not said
    )
    monkeypatch.setattr("incv3d.models.prepare.version", lambda name: "2.999.0")
    assert not is_prepared(model)


def test_a_damaged_prepared_form_is_made_again(state: Path, tmp_path: Path) -> None:
    shutil.copytree(state, tmp_path / "state")
    store = ModelStore(tmp_path / "state")
    model = store.get("efficientnet-lite0")
    weights = prepared_folder(model) / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1])
    before = set(model.directory.iterdir())
    said: list[str] = []
    assert ensure_prepared(model, store, said.append)
    assert len(said) == 1 and said[0].startswith("preparing efficientnet-lite0") and is_prepared(model)
    assert set(model.directory.iterdir()) == before, "nothing is left behind"


GOOD = placeholder("x", 1, 2, 2, 3) + relu("y", "x")


X = placeholder("x", 1, 2, 2, 3)
BAD = {
    "text": (b"nothing of the kind", "not a GraphDef"),
    "cut-off": (GOOD + b"\x0a\xff", "not a GraphDef"),
    "no-input": (placeholder("z", 1, 2, 2, 3), "no node `x`"),
    "no-output": (X, "uses the missing node `y`"),
    "dangling": (X + relu("y", "gone"), "uses the missing node `gone`"),
    "unknown-operation": (X + node("y", "NoSuchOp", "x"), "NoSuchOp"),
    "own-tail": (X + node("y", "Identity", "y"), "cycle"),
    "circle": (
        X + node("y", "Relu", "a") + node("a", "Identity", "b") + node("b", "Identity", "a"),
        "cycle",
    ),
}


def test_what_cannot_be_prepared_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    jobs = []
    for name, (graph_def, _) in BAD.items():
        (tmp_path / name).write_bytes(graph_def)
        jobs.append(job_for(tmp_path / name, tmp_path / f"{name}-out", "x:0", "y:0", 2))
    for error, (_, complaint) in zip(prepare_many(jobs, tmp_path), BAD.values(), strict=True):
        assert complaint in error and "\n" not in error, error
    assert {path.name for path in tmp_path.iterdir()} == {*BAD, "jobs.json"}


def test_a_model_that_cannot_be_prepared_is_said_so_and_the_plain_session_has_to_do(tmp_path, caplog) -> None:
    store = ModelStore(tmp_path)
    entry = ModelEntry(
        input="x:0", output="y:0", height=2, width=2, mean=0, scale=1, fit="stretch",
        interpolation="bilinear", outputs=12,
    )  # fmt: skip
    with store.adding("odd", entry) as folder:
        (folder / "graph.pb").write_bytes(placeholder("x", 1, 2, 2, 3) + node("y", "NoSuchOp", "x"))
        (folder / "labels.tsv").write_text("0\t\tzero\n")
    assert ensure_prepared(store.get("odd"), store, lambda line: None) is None
    assert "odd could not be prepared" in caplog.text and "NoSuchOp" in caplog.text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    (folder / "graph").write_bytes(GOOD)
    run_child(
        PREPARER, [msgspec.json.encode(job_for(folder / "graph", folder / "out", "x:0", "y:0", 2)).decode()]
    )
    return folder / "out"


RUN_CACHED = """
import json, sys
from pathlib import Path
import numpy as np
from incv3d.machine import private_memory_mb
from incv3d.engines.tensorflow_c import TensorFlowSession
folders, caches = [Path(each) for each in sys.argv[2:]], sys.argv[1] == "cached"
sessions = [TensorFlowSession(folder, 2, caches) for folder in folders]
scores = []
for seed in (1, 2):
    for folder, session in zip(folders, sessions):
        with np.load(str(folder).removesuffix("-prepared") + ".npz") as plain:
            pixels = np.random.default_rng(seed).uniform(-1, 1, plain["pixels"].shape).astype(np.float32)
        scores.append(session.run(pixels).tolist())
print(json.dumps([scores, private_memory_mb()]))
"""


def test_cached_filters_take_memory_and_give_the_same_scores(graphs: Path) -> None:
    folders = [str(graphs / f"{style}-prepared") for style in ("keras-inception", "slim")]

    def run(how: str) -> tuple[list[list[float]], float]:
        command = [sys.executable, "-c", RUN_CACHED, how, *folders]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        scores, memory_mb = json.loads(done.stdout)
        return scores, memory_mb

    (scores, memory_mb), (want, without_mb) = run("cached"), run("plain")
    assert len(scores) == 4
    for got, expected in zip(scores, want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    if not NEURAL_FEATURES.isdisjoint(CPUINFO.read_text().split()):  # then TensorFlow computes with oneDNN
        assert memory_mb - without_mb > 50, "nothing was cached"


@pytest.fixture
def small(made: Path, tmp_path: Path) -> Path:
    """A prepared graph of one operation, to be spoiled."""
    return Path(shutil.copytree(made, tmp_path / "small"))


def test_a_graph_without_weights_is_prepared_too(small: Path) -> None:
    session = TensorFlowSession(small, threads=1)
    pixels = np.full((1, 2, 2, 3), -1, np.float32)
    pixels[0, 1, 1, 1] = 5
    np.testing.assert_array_equal(session.run(pixels), np.maximum(pixels, 0).ravel())
    for wrong in (np.zeros((1, 2, 2, 1), np.float32), np.zeros((1, 2, 2, 3), np.float64)):
        with pytest.raises(SessionError, match="the model takes float32 of shape"):
            session.run(wrong)
    session.close()


def spoil(folder: Path, name: str, content: bytes | None) -> None:
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("index.json", None, r"index\.json: cannot be read"),
        ("index.json", b"{}", r"index\.json: damaged"),
        ("index.json", b"\xff", r"index\.json: damaged"),
        ("graph.pb", None, r"graph\.pb: cannot be read"),
        ("graph.pb", b"short", r"graph\.pb: damaged: 5 bytes instead of \d+"),
        ("weights.bin", b"x" * 64, r"weights\.bin: damaged: 64 bytes instead of 0"),
    ],
)
def test_damaged_files_are_named(small: Path, name, content, complaint) -> None:
    spoil(small, name, content)
    with pytest.raises(SessionError, match=complaint):
        open_prepared(small)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 99}, "has format 99"),
        ({"input": "gone:0"}, "no operation `gone`"),
        ({"output": "gone:0"}, "no operation `gone`"),
        ({"input_shape": [1, 3, 2, 3]}, "takes shape"),
        (
            {"weights": [{"name": "w", "offset": 0, "shape": [4], "feed": "x", "assign": "y"}]},
            "is not within",
        ),
        (
            {"weights": [{"name": "w", "offset": -64, "shape": [0], "feed": "x", "assign": "y"}]},
            "is not within",
        ),
        ({"weights": [{"name": "w", "offset": 0, "shape": [0], "feed": "q", "assign": "y"}]}, "no operation"),
        ({"weights": [{"name": "w", "offset": 0, "shape": [0], "feed": "x", "assign": "y"}]}, "takes shape"),
    ],
)
def test_an_index_that_does_not_fit_its_graph_is_an_error_and_no_crash(
    small: Path, change, complaint
) -> None:
    index = msgspec.json.decode((small / "index.json").read_bytes())
    (small / "index.json").write_bytes(msgspec.json.encode(index | change))
    with pytest.raises(SessionError, match=complaint):
        TensorFlowSession(small, threads=1)
