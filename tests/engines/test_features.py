"""Every engine returns features beside the scores: those that NumPy computes for the same graph."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feature_graphs import BIAS, SIDE, WEIGHTS, WIDTH, write_graph
from incv3d.engines import Session, SessionSpec, open_session
from incv3d.engines.litert import LiteRTSession
from incv3d.models.feature_search import with_features
from incv3d.models.flatbuffer.to_float32 import write_flatbuffer
from incv3d.models.graph.numpy_run import run_graph
from incv3d.models.graph.plain_graph import read_graph
from incv3d.models.onnx_features import mark_features
from incv3d.pipeline.classifier import softmax
from onnx_networks import Builder, colours, save
from prepare_models import job_for, prepare_many


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> SessionSpec:
    return write_graph(tmp_path_factory.mktemp("features") / "graph.pb")


@pytest.fixture(scope="module")
def flatbuffer(graph: SessionSpec) -> SessionSpec:
    """The flatbuffer that is made of the graph."""
    file = graph.file.with_suffix(".tflite")
    write_flatbuffer(read_graph(graph.file), graph, file)
    return replace(graph, file=file, format="tflite", input="", output="")


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(6).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)


def check(session: Session, graph: SessionSpec, pixels: np.ndarray) -> None:
    """Compare with NumPy, and apply the last layer by hand."""
    with contextlib.closing(session):
        assert session.facts.features == WIDTH
        scores, features = session.run_with_features(pixels)
        alone = session.run(pixels).copy()
    assert features.dtype == np.float32 and features.shape == (WIDTH,)
    want = run_graph(read_graph(graph.file), graph.input, "pool:0", pixels)
    np.testing.assert_allclose(features, want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(softmax(features @ WEIGHTS + BIAS), scores, atol=1e-5)
    np.testing.assert_array_equal(scores, alone)


def test_litert_returns_them_from_its_interpreter(
    graph: SessionSpec, flatbuffer: SessionSpec, pixels: np.ndarray
) -> None:
    check(LiteRTSession(flatbuffer), graph, pixels)


def test_litert_returns_them_with_mapped_weights(
    graph: SessionSpec, flatbuffer: SessionSpec, pixels: np.ndarray, tmp_path: Path
) -> None:
    check(LiteRTSession(flatbuffer, tmp_path / "weights", make_weights=True), graph, pixels)


@pytest.mark.slow
def test_tensorflow_returns_them_from_a_prepared_graph(
    graph: SessionSpec, pixels: np.ndarray, tmp_path: Path
) -> None:
    job = job_for(graph.file, tmp_path / "prepared", graph.input, graph.output, SIDE)
    assert prepare_many([job], tmp_path) == [""]
    spec = with_features(graph, tmp_path / "prepared")
    session = open_session(spec, tmp_path / "prepared")
    assert session.facts.binding == "C API"
    check(session, graph, pixels)


@pytest.mark.slow
def test_tensorflow_returns_them_from_a_graph_as_it_is(graph: SessionSpec, pixels: np.ndarray) -> None:
    check(open_session(with_features(graph, None), None, lambda: None), graph, pixels)


def test_onnx_runtime_returns_them(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    make = Builder()
    fed = make.pooled(make.add("Relu", make.conv("input", 3, WIDTH, 3)))
    make.dense(fed, WIDTH, 5, "output")
    file = save(make.model([1, 3, SIDE, SIDE], {"output": [1, 5]}), tmp_path / "net.onnx")
    spec = SessionSpec(file, "onnx", "", "", SIDE, SIDE, 1, "nchw")
    pixels = np.random.default_rng(1).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)
    plain = open_session(spec, None).run(pixels)
    assert mark_features(file, "input", "output")
    scores, features = open_session(spec, None).run_with_features(pixels)
    weights, bias = (np.frombuffer(each.raw_data, np.float32) for each in make.weights[-2:])
    np.testing.assert_allclose(weights.reshape(5, WIDTH) @ features + bias, scores, atol=1e-5)
    np.testing.assert_array_equal(scores, plain)


def test_a_network_without_features_runs_without_them(tmp_path: Path) -> None:
    """One whose last layer takes three numbers, for example."""
    pytest.importorskip("onnxruntime")
    file = save(colours(), tmp_path / "net.onnx")
    assert mark_features(file, "input", "scores")
    session = open_session(SessionSpec(file, "onnx", "", "", 32, 32, 1, "nchw"), None)
    scores, features = session.run_with_features(np.zeros((1, 3, 32, 32), np.float32))
    assert session.facts.features == 0 and features.shape == (0,) and scores.shape == (5,)
