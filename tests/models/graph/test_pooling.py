"""A narrowing 1x1 convolution goes ahead of the average pooling before it, where that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from incv3d.engines.tensorflow_c import TensorFlowSession
from incv3d.models.graph.graphdef_reader import Node, read_nodes
from prepare_models import job_for, prepare_many, script

pytestmark = pytest.mark.slow

SWAPPED = ("block", "larger-window", "no-bias", "bias-used-twice", "two-in-a-row")
LEFT = (
    "pool-used-twice",
    "convolution-used-twice",
    "pool-without-edges",
    "pool-of-every-second-place",
    "strongest-instead-of-average",
    "convolution-of-neighbours",
    "convolution-of-every-second-place",
    "convolution-that-pads",
    "as-many-channels",
    "more-channels",
    "filters-not-constant",
    "convolution-fetched",
    "bias-fetched",
)
SIDE = 9


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graphs of ``make_pools.py``, each prepared, and with the scores of TensorFlow's plain Session."""
    folder = tmp_path_factory.mktemp("pools")
    script("make_pools.py", str(folder))
    names = sorted(path.stem for path in folder.glob("*.pb"))
    assert names == sorted([*SWAPPED, *LEFT])
    jobs = [
        job_for(folder / f"{name}.pb", folder / f"{name}-prepared", "pixels:0", "scores:0", SIDE)
        for name in names
    ]
    assert prepare_many(jobs, folder) == [""] * len(jobs)
    return folder


def pools_ahead_of_convolutions(graph: Path) -> dict[str, bool]:
    """Every pooling of a graph by its name, and whether a convolution takes what it gives."""
    nodes = {node.name: node for node in read_nodes(graph)}
    pools = [node.name for node in nodes.values() if node.op in ("AvgPool", "MaxPool")]
    assert pools, "the pooling is gone"
    return {
        pool: any("Conv2D" in node.op and reaches(nodes, node, pool) for node in nodes.values())
        for pool in pools
    }


def reaches(nodes: dict[str, Node], node: Node, pool: str) -> bool:
    """Whether `node` takes what `pool` gives, transposed perhaps."""
    source = nodes[node.inputs[0].split(":")[0]]
    while source.op == "Transpose":
        source = nodes[source.inputs[0].split(":")[0]]
    return source.name == pool


@pytest.mark.parametrize("name", SWAPPED)
def test_a_narrowing_convolution_goes_ahead_of_the_pooling(graphs: Path, name: str) -> None:
    found = pools_ahead_of_convolutions(graphs / f"{name}-prepared/graph.pb")
    assert len(found) == (2 if name == "two-in-a-row" else 1)
    # Of two in a row the second convolution follows the first pooling, but for a ReLU between them.
    assert not any(found.values()), found


@pytest.mark.parametrize("name", LEFT)
def test_the_pooling_stays_ahead_where_a_swap_would_change_something_or_gain_nothing(
    graphs: Path, name: str
) -> None:
    assert pools_ahead_of_convolutions(graphs / f"{name}-prepared/graph.pb") == {"pool": True}


def test_the_pooling_stays_ahead_where_the_channels_come_first(graphs: Path) -> None:
    assert json.loads((graphs / "swaps.json").read_text()) == {"NHWC": 1, "NCHW": 0}


@pytest.mark.parametrize("name", [*SWAPPED, *LEFT])
def test_swapped_or_not_the_scores_are_the_plain_sessions(graphs: Path, name: str) -> None:
    with np.load(graphs / f"{name}.npz") as plain:
        pixels, want = plain["pixels"], plain["scores"]
    session = TensorFlowSession(graphs / f"{name}-prepared", threads=2)
    np.testing.assert_allclose(session.run(pixels), want, atol=1e-5)
    session.close()
