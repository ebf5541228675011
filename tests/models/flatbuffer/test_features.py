"""A flatbuffer gets its features as a second output; nothing else in it changes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from flatbuffers_by_hand import SIDE, Network
from incv3d.engines import SessionSpec
from incv3d.engines.base import FEATURES
from incv3d.engines.litert import LiteRTSession
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.features import mark_features
from incv3d.pipeline.classifier import softmax

WIDTH = 24
PIXELS = np.random.default_rng(2).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)


def spec(file: Path, output: str = "") -> SessionSpec:
    return SessionSpec(file, "tflite", "", output, SIDE, SIDE, 1)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    made = Network().convolution("first", WIDTH).mean().dense().softmax()
    return made.write(tmp_path / "network.tflite")


def sign(network: Path) -> None:
    """Give the network a signature, whose output is called `probabilities`."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(network.read_bytes(), 0))
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    (fed,), (fetched,) = model.subgraphs[0].inputs, model.subgraphs[0].outputs
    signature.inputs, signature.outputs = [named("image", fed)], [named("probabilities", fetched)]
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    network.write_bytes(builder.Output())


def named(name: str, tensor: int) -> schema.TensorMapT:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name, tensor
    return made


def test_scores_stay_the_same_and_features_are_the_input_of_the_last_layer(network: Path) -> None:
    before = LiteRTSession(spec(network))
    want = before.run(PIXELS)
    assert before.facts.features == 0 and before.run_with_features(PIXELS)[1].size == 0
    assert mark_features(network)
    after = LiteRTSession(spec(network))
    scores, features = after.run_with_features(PIXELS)
    np.testing.assert_array_equal(scores, want)
    assert after.facts.features == WIDTH and features.shape == (WIDTH,)
    layer = Interpreter(str(network))
    number = {each["name"]: each["index"] for each in layer.get_tensor_details()}["dense/weights"]
    np.testing.assert_allclose(softmax(layer.get_tensor(number) @ features), scores, atol=1e-6)


def test_bytes_are_only_appended_but_for_two_offsets(network: Path) -> None:
    before = network.read_bytes()
    mark_features(network)
    after = network.read_bytes()
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    assert len({at // 4 for at in changed}) == 2 and len(after) - len(before) < 100


def test_a_network_is_marked_once(network: Path) -> None:
    assert mark_features(network)
    once = network.read_bytes()
    assert mark_features(network) and network.read_bytes() == once


def test_the_signature_names_them_beside_the_scores(network: Path) -> None:
    sign(network)
    assert mark_features(network)
    runner = Interpreter(str(network)).get_signature_runner("serving_default")
    assert set(runner(image=PIXELS)) == {"probabilities", FEATURES}
    found = LiteRTSession(spec(network, "probabilities"))
    assert found.run_with_features(PIXELS)[1].shape == (WIDTH,)


def test_packed_weights_stay_valid(network: Path, tmp_path: Path) -> None:
    packed = tmp_path / "weights"
    want = LiteRTSession(spec(network), packed, make_weights=True).run(PIXELS)
    mark_features(network)
    session = LiteRTSession(spec(network), packed)
    scores, features = session.run_with_features(PIXELS)
    np.testing.assert_array_equal(scores, want)
    assert features.shape == (WIDTH,)


def test_labels_in_an_archive_at_the_end_are_still_read(network: Path) -> None:
    with zipfile.ZipFile(network, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    assert mark_features(network)
    with zipfile.ZipFile(network) as archive:
        assert archive.read("labels.txt") == b"cat\ndog\n"
    assert LiteRTSession(spec(network)).facts.features == WIDTH


@pytest.mark.parametrize(
    "made",
    [
        Network().convolution("first", WIDTH).mean().softmax(),
        Network().convolution("first", 8).mean().dense().softmax(),
    ],
    ids=["no last layer", "too few numbers"],
)
def test_a_network_without_features_is_left_alone(tmp_path: Path, made: Network) -> None:
    network = made.write(tmp_path / "network.tflite")
    before = network.read_bytes()
    assert not mark_features(network) and network.read_bytes() == before


def test_a_damaged_file_is_named_in_one_line(network: Path) -> None:
    network.write_bytes(network.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"network\.tflite: damaged"):
        mark_features(network)
