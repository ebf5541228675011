"""A prepared graph is kept only if it gives its original's scores; what cannot be cut is not cut silently."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from incv3d.engines.prepared_model import Job
from incv3d.engines.tensorflow_c import TensorFlowSession
from incv3d.models.entry import ModelError
from incv3d.models.graph.equivalence import check_equivalence, run_original
from incv3d.models.graph.graphdef_reader import read_nodes
from prepare_models import job_for, prepare_many, script

pytestmark = pytest.mark.slow

RUN = ("unused_function", "asserted", "half_weights", "bfloat16_weights")
REFUSED = {
    "cond": "the graph has control flow, which cannot be cut: `cond/Merge` (Merge)",
    "map_fn": "the graph has control flow, which cannot be cut: `map/while/Exit",
    "function": "the graph has control flow, which cannot be cut: `PartitionedCall`",
    "by_chance": "the graph returns different scores",
    "ordered": "the scores wait for `Timestamp` (Timestamp), whose effect would be lost",
    "half_input": "`pixels:0` takes shape (1, 12, 12, 3) and type float16",
    "damaged_weights": "scores that are not numbers",
    "few_scores": "`scores:0` returns 5 scores instead of 1008",
}


def job(folder: Path, name: str, fetched: str = "scores:0") -> Job:
    made = job_for(folder / f"{name}.pb", folder / f"{name}-prepared", "pixels:0", fetched, 12)
    return msgspec.structs.replace(made, outputs=1008 if name == "few_scores" else 0)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The odd graphs; those that can be prepared are."""
    folder = tmp_path_factory.mktemp("odd")
    script("make_odd_graphs.py", str(folder))
    return folder


@pytest.fixture(scope="module")
def errors(odd: Path) -> dict[str, str]:
    """What preparing said of each."""
    jobs = [*(job(odd, name) for name in (*RUN, *REFUSED)), job(odd, "half_network", "halved:0")]
    return dict(zip((*RUN, *REFUSED, "half_network"), prepare_many(jobs, odd), strict=True))


@pytest.mark.parametrize("name", RUN)
def test_what_can_be_prepared_gives_the_plain_sessions_scores(odd: Path, errors, name: str) -> None:
    assert errors[name] == ""
    session = TensorFlowSession(odd / f"{name}-prepared", threads=1)
    with np.load(odd / f"{name}.npz") as plain:
        got = session.run(plain["pixels"])
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, plain["scores"], atol=1e-5)
    session.close()


@pytest.mark.parametrize("name", ["half_weights", "bfloat16_weights"])
def test_weights_of_half_precision_are_folded_like_others(odd: Path, errors, name: str) -> None:
    ops = {node.op for node in read_nodes(odd / f"{name}-prepared/graph.pb")}
    assert "Cast" not in ops and not any("BatchNorm" in op for op in ops), ops
    assert (odd / f"{name}-prepared/weights.bin").stat().st_size >= 3 * 3 * 3 * 40 * 4


def test_a_network_that_computes_in_half_precision_keeps_its_scores_or_is_not_prepared(odd, errors) -> None:
    if errors["half_network"]:  # the optimiser may round where the graph does not
        assert "the prepared graph returns different scores" in errors["half_network"]
        return
    session = TensorFlowSession(odd / "half_network-prepared", threads=1)
    with np.load(odd / "half_network.npz") as plain:
        got = session.run(plain["pixels"])
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, plain["scores"], rtol=1e-3, atol=1e-5)
    session.close()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_prepared_says_why_in_one_line(odd: Path, errors, name: str) -> None:
    assert REFUSED[name] in errors[name] and "\n" not in errors[name], errors[name]
    assert not (odd / f"{name}-prepared").exists()


@pytest.fixture(scope="module")
def original(odd: Path) -> list:
    return run_original(job(odd, "unused_function"))


def test_a_prepared_graph_that_gives_its_originals_scores_is_kept(odd: Path, errors, original) -> None:
    check_equivalence(odd / "unused_function-prepared", original)
    assert {each.image for each in original} == {"noise 1", "noise 2", "coffee.jpg", "grace_hopper.jpg"}


def spoiled(scores: np.ndarray, change: object) -> np.ndarray:
    changed = scores.copy()
    changed[2] = change(changed[2])
    return changed


@pytest.mark.parametrize(
    "change",
    [lambda x: x + 2e-4, lambda x: x - 2e-4, lambda x: np.nan, lambda x: np.inf],
    ids=["more", "less", "nan", "infinite"],
)
@pytest.mark.parametrize("position", [0, -1])
def test_one_score_of_one_picture_that_differs_is_enough(odd, errors, original, change, position) -> None:
    other = list(original)
    other[position] = replace(other[position], scores=spoiled(other[position].scores, change))
    with pytest.raises(ModelError, match="the prepared graph returns different scores: for"):
        check_equivalence(odd / "unused_function-prepared", other)


def test_a_prepared_graph_of_other_weights_is_not_kept(odd: Path, errors, original, tmp_path: Path) -> None:
    spoilt = Path(shutil.copytree(odd / "unused_function-prepared", tmp_path / "spoilt"))
    weights = np.fromfile(spoilt / "weights.bin", np.float32)
    weights[:200] *= 1.01
    weights.tofile(spoilt / "weights.bin")
    with pytest.raises(ModelError, match="for noise 1 they differ by"):
        check_equivalence(spoilt, original)
