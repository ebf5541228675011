"""Networks are quantized to 8 bits without TensorFlow, and what cannot be is named in one line."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from flatbuffers_by_hand import SIDE, Network, classifier, random_pixels
from incv3d.engines import SessionSpec
from incv3d.engines.litert import LiteRTSession
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.features import mark_features
from incv3d.models.flatbuffer.quantise import QuantiseJob, quantise

IMAGES = 40


@pytest.fixture
def job(tmp_path: Path) -> QuantiseJob:
    """A job for the network that the test writes to its ``network``; half of the images calibrate."""
    pixels = random_pixels(tmp_path / "pixels", IMAGES)
    return QuantiseJob(
        network=str(tmp_path / "float.tflite"), pixels=str(pixels.path), images=tuple(range(0, IMAGES, 2)),
        input_shape=pixels.shape, threads=1, out=str(tmp_path / "int8.tflite"),
    )  # fmt: skip


def opened(path: str) -> Interpreter:
    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    return interpreter


def scores(path: str, job: QuantiseJob) -> np.ndarray:
    """The scores of all images, ``(images, classes)``."""
    interpreter = opened(path)
    fed, fetched = (each[0] for each in (interpreter.get_input_details(), interpreter.get_output_details()))
    found = []
    for each in np.fromfile(job.pixels, np.float32).reshape(-1, *job.input_shape):
        interpreter.set_tensor(fed["index"], each)
        interpreter.invoke()
        found.append(interpreter.get_tensor(fetched["index"])[0])
    return np.array(found)


def agreement(job: QuantiseJob, network: Network) -> tuple[float, float]:
    """Quantize; return the top-1 agreement, and the largest difference of a score."""
    network.write(Path(job.network))
    quantise(job)
    want, got = scores(job.network, job), scores(job.out, job)
    assert np.ptp(want, axis=0).max() > 0.2, "the network tells its images apart"
    return float((want.argmax(1) == got.argmax(1)).mean()), float(np.abs(want - got).max())


def types(path: str) -> dict[str, str]:
    return {each["name"]: np.dtype(each["dtype"]).name for each in opened(path).get_tensor_details()}


def test_a_quantized_network_gives_the_scores_of_the_float_one(job: QuantiseJob) -> None:
    same, difference = agreement(job, classifier())
    assert same >= 0.95 and 0 < difference < 0.05


def test_features_stay_floats_close_to_those_of_the_float_network(job: QuantiseJob) -> None:
    network = Network().convolution("first", 24).depthwise("second").convolution("third", 24).mean()
    network.dense().softmax().write(Path(job.network))
    assert mark_features(Path(job.network))
    quantise(job)
    floats, integers = (
        LiteRTSession(SessionSpec(Path(each), "tflite", "", "", SIDE, SIDE, 1))
        for each in (job.network, job.out)
    )
    assert integers.facts.features == 24 and integers.facts.precision == "int8"
    for pixels in np.fromfile(job.pixels, np.float32).reshape(-1, *job.input_shape)[:5]:
        (_, want), (_, got) = floats.run_with_features(pixels), integers.run_with_features(pixels)
        assert got @ want / np.linalg.norm(got) / np.linalg.norm(want) > 0.98 and (got != want).any()


def test_weights_have_a_scale_per_filter_and_the_ends_stay_float(job: QuantiseJob) -> None:
    agreement(job, classifier())
    details = {each["name"]: each for each in opened(job.out).get_tensor_details()}
    for name, filters, axis in (("first/weights", 6, 0), ("second/weights", 6, 3), ("third/weights", 8, 0)):
        found = details[name]
        assert found["dtype"] == np.int8 and found["quantization_parameters"]["quantized_dimension"] == axis
        assert len(found["quantization_parameters"]["scales"]) == filters
    found = types(job.out)
    assert found["first"] == found["mean"] == "int8" and found["first/bias"] == "int32"
    assert found["pixels"] == found["dense/weights"] == found["scores"] == "float32"


def test_a_convolution_that_gives_the_scores_stays_float(job: QuantiseJob) -> None:
    agreement(job, Network().convolution("first", 6).convolution("last", 4).mean().softmax())
    found = types(job.out)
    assert found["first/weights"] == "int8"
    assert found["last/weights"] == found["last"] == found["scores"] == "float32"


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e-7])
def test_filters_that_are_almost_zero_keep_their_bias(job: QuantiseJob, size: float) -> None:
    weights = np.random.default_rng(7).normal(0, 0.3, (6, 3, 3, 3))
    weights[2] *= size
    network = Network().convolution("first", 6, weights, [0, 0, 1, 0, 0, 0])
    same, difference = agreement(job, network.convolution("second", 8).mean().dense().softmax())
    assert same >= 0.95 and difference < 0.05
    bias = opened(job.out).get_tensor(
        next(each["index"] for each in opened(job.out).get_tensor_details() if each["name"] == "first/bias")
    )
    assert 0 < bias[2] <= 2**29


def test_a_layer_that_is_zero_for_all_images_does_not_disturb_the_others(job: QuantiseJob) -> None:
    weights = np.random.default_rng(7).normal(0, 0.3, (6, 3, 3, 3))
    network = Network().convolution("first", 6, weights).convolution("dead", 6, bias=[-1000.0] * 6)
    network.convolution("third", 6, bias=[1.0] * 6).mean().dense().softmax().write(Path(job.network))
    quantise(job)
    assert np.abs(scores(job.network, job) - scores(job.out, job)).max() < 0.01


def test_tensors_of_the_same_name_are_told_apart(job: QuantiseJob) -> None:
    network = Network().convolution("same", 6).convolution("same", 6).convolution("", 6)
    assert agreement(job, network.mean().dense().softmax())[0] >= 0.95


def test_values_that_are_not_finite_are_named(job: QuantiseJob) -> None:
    Network().root().convolution("first", 6).mean().dense().softmax().write(Path(job.network))
    with pytest.raises(ModelError, match="for some images, `root` has values that are not finite"):
        quantise(job)


def test_an_operation_that_litert_does_not_know_is_named(job: QuantiseJob) -> None:
    Network().custom().mean().dense().softmax().write(Path(job.network))
    with pytest.raises(ModelError, match=r"LiteRT cannot run the float network: .*Unheard"):
        quantise(job)


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, 0.99])
def test_a_damaged_network_is_refused(job: QuantiseJob, kept: float) -> None:
    path = classifier().write(Path(job.network))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    with pytest.raises(ModelError) as raised:
        quantise(job)
    assert "\n" not in str(raised.value) and not Path(job.out).exists()


def test_a_quantized_network_is_not_quantized_again(job: QuantiseJob) -> None:
    agreement(job, classifier())
    with pytest.raises(ModelError, match="is quantized already"):
        quantise(msgspec.structs.replace(job, network=job.out))


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    job: QuantiseJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incv3d.models.flatbuffer.quantise.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="not installed; install it: ") as raised:
        quantise(job)
    assert str(raised.value).endswith("--no-deps 'ai-edge-quantizer<1' immutabledict absl-py")


def run_child(job: QuantiseJob, limits: dict[int, int]) -> subprocess.CompletedProcess[str]:
    def limited() -> None:
        for each, most in limits.items():
            resource.setrlimit(each, (most, most))

    words = [sys.executable, "-m", "incv3d.models.flatbuffer.quantise", msgspec.json.encode(job).decode()]
    return subprocess.run(words, preexec_fn=limited, capture_output=True, text=True)


def test_the_child_tells_its_progress(job: QuantiseJob) -> None:
    classifier().write(Path(job.network))
    done = run_child(job, {})
    assert done.returncode == 0, done.stderr
    half = IMAGES // 2
    assert done.stdout.splitlines() == [f"{number}/{half}" for number in range(1, half + 1)]


def test_a_full_disk_is_said_in_one_line(job: QuantiseJob) -> None:
    classifier().write(Path(job.network))
    done = run_child(job, {resource.RLIMIT_FSIZE: 1000})
    assert (
        done.returncode == 1 and done.stderr.splitlines()[-1] == "the store cannot be written: File too large"
    )
    assert "Traceback" not in done.stderr


def test_too_little_memory_is_said_in_one_line(job: QuantiseJob) -> None:
    classifier().write(Path(job.network))
    done = run_child(msgspec.structs.replace(job, network=job.network), {resource.RLIMIT_DATA: 25 << 20})
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
