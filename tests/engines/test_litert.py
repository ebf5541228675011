"""The LiteRT Session against TensorFlow's own networks, converted by TensorFlow's own converter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from incv3d.engines import BadFeed, SessionError, SessionSpec, open_session
from incv3d.engines.litert import LiteRTSession
from made_once import MadeOnce

pytestmark = pytest.mark.slow

SIDE = 8


@pytest.fixture(scope="module")
def small(made_once: MadeOnce) -> Path:
    """A small network in every kind, 20 pictures, and the float network's scores of them."""
    return made_once.by("make_tflite.py", "small")


def spec(file: Path, fed: str = "", fetched: str = "", **more: object) -> SessionSpec:
    return SessionSpec(
        **{
            "file": file, "format": "tflite", "input": fed, "output": fetched,
            "height": SIDE, "width": SIDE, "threads": 2, **more,
        }
    )  # fmt: skip


def scores_of(session: LiteRTSession, pixels: np.ndarray) -> np.ndarray:
    return np.stack([session.run(each[np.newaxis]) for each in pixels])


@pytest.fixture(scope="module")
def pixels(small: Path) -> np.ndarray:
    return np.load(small / "pixels.npy")


@pytest.mark.parametrize("kind", ["float", "any-batch"])
def test_a_float_network_gives_tensorflows_scores(small: Path, pixels: np.ndarray, kind: str) -> None:
    session = LiteRTSession(spec(small / f"{kind}.tflite"))
    got = scores_of(session, pixels)
    assert got.dtype == np.float32 and got.shape == (20, 5)
    np.testing.assert_allclose(got, np.load(small / "scores.npy"), atol=1e-6)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16"])
def test_a_quantised_network_gives_dequantised_scores_near_them(
    small: Path, pixels: np.ndarray, kind: str
) -> None:
    got = scores_of(LiteRTSession(spec(small / f"{kind}.tflite")), pixels)
    want = np.load(small / "scores.npy")
    assert np.abs(got - want).max() < 0.02 and np.abs(got.sum(axis=1) - 1).max() < 0.02


def test_pixels_are_quantised_as_the_networks_own_quantise_operation_does_it(small: Path) -> None:
    ours = LiteRTSession(spec(small / "int8.tflite"))
    networks_own = LiteRTSession(spec(small / "int8-inside.tflite"))
    random = np.random.default_rng(0)
    # The scale is 1/128: every pixel lies halfway between two integers, some beyond the ends.
    halves = (random.integers(-140, 140, (50, SIDE, SIDE, 3)).astype(np.float32) + 0.5) / 128
    np.testing.assert_array_equal(scores_of(ours, halves), scores_of(networks_own, halves))


def test_a_network_of_bytes_takes_pixels_from_0_to_255(small: Path, pixels: np.ndarray) -> None:
    bytes_ = np.round(pixels * 128 + 128).clip(0, 255)
    got = scores_of(LiteRTSession(spec(small / "bytes.tflite")), bytes_)
    want = scores_of(LiteRTSession(spec(small / "float.tflite")), (bytes_ - 128) / 128)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_a_network_with_its_channels_first_takes_them_first(small: Path, pixels: np.ndarray) -> None:
    session = LiteRTSession(spec(small / "nchw.tflite", layout="nchw"))
    got = np.stack([session.run(each.transpose(2, 0, 1)[np.newaxis]) for each in pixels])
    np.testing.assert_allclose(got, np.load(small / "scores.npy"), atol=1e-6)


def test_scores_stay_as_they_are_when_the_session_runs_again(small: Path, pixels: np.ndarray) -> None:
    session = LiteRTSession(spec(small / "float.tflite"))
    first = session.run(pixels[:1])
    kept = first.copy()
    session.run(pixels[1:2])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("fed", "fetched"),
    [
        ("pixels", "scores"),
        ("serving_default_pixels:0", "PartitionedCall:0"),
        ("serving_default_pixels", "PartitionedCall"),
        ("pixels:0", "scores:0"),
    ],
)
def test_tensors_are_found_by_the_names_of_the_signature_and_of_the_file(
    small: Path, pixels: np.ndarray, fed: str, fetched: str
) -> None:
    session = LiteRTSession(spec(small / "float.tflite", fed, fetched))
    np.testing.assert_allclose(session.run(pixels[:1]), np.load(small / "scores.npy")[0], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "names", "complaint"),
    [
        ("float", ("image", ""), "no input `image`, but `serving_default_pixels:0`, `pixels`"),
        ("float", ("", "labels"), "no output `labels`, but `PartitionedCall:0`, `scores`"),
        ("two-inputs", ("left", "logits"), r"the model has 2 inputs \(.*left.*right.*\), but must have one"),
        ("flat", ("", ""), r"has the shape \(1, 192\), not \(1, 8, 8, 3\)"),
        ("nchw", ("", ""), r"has the shape \(1, 3, 8, 8\), not \(1, 8, 8, 3\)"),
        ("double", ("", ""), "is float64, but must be one of float32, int8, uint8, int16"),
        ("map", ("", ""), r"is not a vector: its shape is \(1, 4, 4, 8\)"),
        ("flex", ("", ""), "LiteRT does not support TensorFlow's Roll"),
        ("custom", ("", ""), "LiteRT cannot run it: .*unresolved custom op: AdjustSaturation"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_in_one_line(
    small: Path, kind: str, names: tuple[str, str], complaint: str
) -> None:
    with pytest.raises(SessionError, match=complaint) as caught:
        open_session(spec(small / f"{kind}.tflite", *names), None)
    assert f"{kind}.tflite: " in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_model_is_refused_in_one_line(small: Path, tmp_path: Path) -> None:
    whole = (small / "float.tflite").read_bytes()
    cases = [(b"", "not a LiteRT model"), (b"\x0a\x12graph", "not a LiteRT model")]
    cases += [(whole[:length], "damaged or truncated") for length in (8, 9, 100, 1000, len(whole) - 200)]
    cases += [(whole[:8] + b"\xff" * 500, "damaged or truncated")]
    file = tmp_path / "model.tflite"
    for content, complaint in cases:
        file.write_bytes(content)
        with pytest.raises(SessionError, match=complaint) as caught:
            LiteRTSession(spec(file))
        assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)
    for missing, why in ((tmp_path / "no.tflite", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(SessionError, match=f"cannot be read: {why}"):
            LiteRTSession(spec(missing))


DAMAGED = """
import random, sys
from pathlib import Path
from incv3d.engines import SessionError, SessionSpec
from incv3d.engines.litert import LiteRTSession
whole, file = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
refused = 0
for seed in range(300):
    random.seed(seed)
    damaged = bytearray(whole)
    for _ in range(3):
        damaged[random.randrange(len(damaged))] = random.choice((0, 1, 127, 255))
    file.write_bytes(damaged)
    try:
        LiteRTSession(SessionSpec(file, "tflite", "", "", 8, 8, 1)).close()
    except SessionError as error:
        assert "\\n" not in str(error)
        refused += 1
print(refused)
"""


def test_a_damaged_model_is_an_error_and_never_the_end_of_the_process(small: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DAMAGED, str(small / "int8.tflite"), str(tmp_path / "damaged.tflite")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-1000:]
    assert int(done.stdout) > 50


def test_what_does_not_fit_is_a_bad_feed_and_the_next_one_runs(small: Path, pixels: np.ndarray) -> None:
    session = LiteRTSession(spec(small / "float.tflite"))
    for feed in (b"\xff\xd8\xff", np.zeros((8, 8, 3), np.uint8), pixels[:2], pixels[:1].astype(np.float64)):
        with pytest.raises(BadFeed, match=r"takes float32 of shape \(1, 8, 8, 3\), but got"):
            session.run(feed)
    assert session.run(pixels[:1]).shape == (5,)


def test_a_closed_session_is_not_run(small: Path, pixels: np.ndarray) -> None:
    session = LiteRTSession(spec(small / "float.tflite"))
    session.close()
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.run(pixels[:1])


def test_it_says_what_it_is(small: Path) -> None:
    facts = open_session(spec(small / "float.tflite"), None).facts
    assert (facts.engine, facts.binding, facts.threads) == ("litert", "Python", 2)
    assert facts.version[0].isdecimal() and facts.build_ms > 0


def in_a_process(code: str, file: Path) -> subprocess.CompletedProcess[str]:
    lines = (
        "import sys\nfrom pathlib import Path\n"
        "from incv3d.engines import SessionError, SessionSpec, open_session\n"
        "spec = SessionSpec(Path(sys.argv[1]), 'tflite', '', '', 8, 8, 1)\n"
    )
    command = [sys.executable, "-c", lines + code, str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_it_loads_without_a_word_and_without_tensorflow(small: Path) -> None:
    code = (
        "open_session(spec, None)\nprint([name for name in sys.modules if name.startswith('tensorflow')])\n"
    )
    done = in_a_process(code, small / "float.tflite")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[]\n"


def test_without_its_package_the_error_names_the_command_that_installs_it(small: Path) -> None:
    code = (
        "sys.modules['ai_edge_litert'] = None\n"
        "try:\n    open_session(spec, None)\nexcept SessionError as error:\n    print(error)\n"
    )
    assert "pip install ai-edge-litert" in in_a_process(code, small / "float.tflite").stdout


def test_sessions_opened_and_closed_leave_nothing_behind(small: Path) -> None:
    # In a process of its own: what other tests have freed would be counted, too.
    code = """
import numpy as np
def open_run_close():
    session = open_session(spec, None)
    session.run(np.zeros((1, 8, 8, 3), np.float32))
    session.close()
def rss_kb():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])
def threads():
    return len(list(Path("/proc/self/task").iterdir()))
for _ in range(10):
    open_run_close()
before_kb, before_threads = rss_kb(), threads()
for _ in range(60):
    open_run_close()
print(rss_kb() - before_kb, threads() - before_threads)
"""
    done = in_a_process(code, small / "float.tflite")
    assert done.returncode == 0, done.stderr
    grown_kb, more_threads = map(int, done.stdout.split())
    assert grown_kb < 3000
    assert more_threads <= 0
