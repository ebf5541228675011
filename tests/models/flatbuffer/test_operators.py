"""Flatbuffers made without TensorFlow, and NumPy, give what TensorFlow's Session gives for the same graph."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from incv3d.engines.base import SessionSpec
from incv3d.models.flatbuffer.to_float32 import write_flatbuffer
from incv3d.models.graph.numpy_run import run_graph
from incv3d.models.graph.plain_graph import UnsupportedOperation, read_graph
from made_once import MadeOnce
from prepare_models import SCRIPTS, script

SHAPE = (1, 11, 14, 4)


def names(table: str) -> list[str]:
    """Return the keys of a dictionary in ``make_layers.py``, without importing TensorFlow."""
    for statement in ast.parse((SCRIPTS / "make_layers.py").read_text()).body:
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == table:
            assert isinstance(statement.value, ast.Dict)
            return [ast.literal_eval(key) for key in statement.value.keys if key]
    raise AssertionError(table)


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graphs of ``make_layers.py``, and their scores in TensorFlow."""
    folder = tmp_path_factory.mktemp("layers")
    script("make_layers.py", str(folder))
    return folder


@pytest.fixture(scope="module")
def networks(made_once: MadeOnce) -> Path:
    """The graphs of ``make_graphs.py``, and their scores in TensorFlow."""
    return made_once.by("make_graphs.py")


def spec(file: Path, fed: str = "pixels:0", fetched: str = "scores:0", shape=SHAPE) -> SessionSpec:
    return SessionSpec(
        file=file, format="graphdef", input=fed, output=fetched, height=shape[1], width=shape[2], threads=1,
        channels=shape[3],
    )  # fmt: skip


def run_flatbuffer(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Run the flatbuffer by its signature."""
    runner = Interpreter(str(path)).get_signature_runner("serving_default")
    assert list(runner.get_input_details()) == ["pixels"]
    return runner(pixels=pixels)["scores"].ravel()


@pytest.mark.parametrize("name", names("SUPPORTED"))
def test_a_layer_gives_the_same_in_numpy_and_in_litert(layers: Path, tmp_path: Path, name: str) -> None:
    expected = np.load(layers / f"{name}.npz")
    graph = read_graph(layers / f"{name}.pb")
    tolerance = {"rtol": 1e-5, "atol": 2e-5}
    got = run_graph(graph, "pixels:0", "scores:0", expected["pixels"])
    np.testing.assert_allclose(got, expected["scores"], **tolerance)

    write_flatbuffer(graph, spec(layers / f"{name}.pb"), tmp_path / "made.tflite")
    got = run_flatbuffer(tmp_path / "made.tflite", expected["pixels"])
    np.testing.assert_allclose(got, expected["scores"], **tolerance)


@pytest.mark.parametrize("name", names("UNSUPPORTED"))
def test_what_is_not_supported_is_named(layers: Path, tmp_path: Path, name: str) -> None:
    expected = {
        "digamma": "Digamma", "mirrored": "MirrorPad", "grouped": "Conv2D",
        "training-norm": "FusedBatchNormV3", "second-output": "the output 1 of `split`",
        "weights-computed": "Conv2D", "double": "Cast", "no-pixels": "do not depend on its pixels",
    }[name]  # fmt: skip
    path = layers / f"{name}.pb"
    with pytest.raises(UnsupportedOperation, match=f"not supported: .*{expected}"):
        write_flatbuffer(read_graph(path), spec(path), tmp_path / "made.tflite")
    assert not (tmp_path / "made.tflite").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "slim", "spelled-out", "chained", "depthwise", "not-to-be-folded", "global-norm",
        "global-norm-scaled", "keras-inception",
    ],
)  # fmt: skip
def test_a_network_gives_the_same_in_numpy_and_in_litert(networks: Path, tmp_path: Path, name: str) -> None:
    expected = np.load(networks / f"{name}.npz")
    fed, fetched, pixels = str(expected["fed"]), str(expected["fetched"]), expected["pixels"]
    graph = read_graph(networks / f"{name}.pb")
    got = run_graph(graph, fed, fetched, pixels)
    np.testing.assert_allclose(got, expected["scores"], atol=1e-5)

    network = spec(networks / f"{name}.pb", fed, fetched, pixels.shape)
    write_flatbuffer(graph, network, tmp_path / "made.tflite")
    np.testing.assert_allclose(
        run_flatbuffer(tmp_path / "made.tflite", pixels), expected["scores"], atol=1e-5
    )
