"""The ONNX Session against ONNX Runtime called by hand, on networks made here."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from incv3d.engines import BadFeed, SessionError, SessionSpec, open_session
from incv3d.engines.onnx import ONNX, OnnxSession
from incv3d.errors import pip_install
from onnx_networks import Builder, colours, mobilenet_v3, resnet18, save

ort = pytest.importorskip("onnxruntime")
SIDE = 64


def spec(file: Path, side: int = SIDE, **more: Any) -> SessionSpec:
    given = {"input": "", "output": "", "height": side, "width": side, "threads": 2, "layout": "nchw"}
    return SessionSpec(**{"file": file, "format": "onnx", **given, **more})


def by_hand(file: Path, pixels: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})[0].ravel()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, 3, SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize("make", [resnet18, mobilenet_v3])
def test_scores_are_those_of_the_library_called_by_hand(
    tmp_path: Path, pixels: np.ndarray, make: Any
) -> None:
    file = save(make(), tmp_path / "net.onnx")
    session = open_session(spec(file), None)
    for each in pixels:
        got = session.run(each[np.newaxis])
        assert got.dtype == np.float32 and got.shape == (1000,)
        np.testing.assert_allclose(got, by_hand(file, each[np.newaxis]), rtol=0, atol=1e-5)
    facts = session.facts
    assert (facts.engine, facts.version, facts.precision) == ("onnx", ort.__version__, "float32")
    assert facts.threads == 2 and facts.import_ms >= 0 and facts.build_ms > 0
    session.close()
    with pytest.raises(SessionError, match="the Session is closed"):
        session.run(pixels[:1])


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (TensorProto.UINT8, np.uint8),
        (TensorProto.INT8, np.int8),
        (TensorProto.INT32, np.int32),
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.DOUBLE, np.float64),
    ],
)
def test_pixels_become_the_type_of_the_input(tmp_path: Path, dtype: int, kind: Any) -> None:
    file = save(colours(dtype=dtype, normalised=False), tmp_path / "net.onnx")
    pixels = np.random.default_rng(2).uniform(-300, 300, (1, 3, 32, 32)).astype(np.float32)
    given = pixels
    if np.issubdtype(kind, np.integer):
        limits = np.iinfo(kind)
        given = np.rint(pixels).clip(limits.min, limits.max)
    got = OnnxSession(spec(file, 32)).run(pixels)
    np.testing.assert_allclose(got, by_hand(file, given.astype(kind)), rtol=0, atol=1e-6)


def test_any_batch_and_size_take_the_size_of_the_spec(tmp_path: Path) -> None:
    file = save(colours(shape=["n", 3, "h", "w"]), tmp_path / "net.onnx")
    assert OnnxSession(spec(file, 20)).run(np.zeros((1, 3, 20, 20), np.float32)).shape == (5,)


def test_several_threads_may_run_it_at_once(tmp_path: Path, pixels: np.ndarray) -> None:
    session = OnnxSession(spec(save(resnet18(), tmp_path / "net.onnx")))
    assert session.facts.reentrant
    want = [session.run(each[np.newaxis]) for each in pixels]
    wrong: list[int] = []

    def run(number: int) -> None:
        for _ in range(5):
            if not np.array_equal(session.run(pixels[number : number + 1]), want[number]):
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_sleep_while_there_is_nothing_to_run(tmp_path: Path) -> None:
    code = (
        "import sys, time, numpy as np\nfrom pathlib import Path\n"
        "from incv3d.engines import SessionSpec, open_session\n"
        "spec = SessionSpec(Path(sys.argv[1]), 'onnx', '', '', 64, 64, 2, 'nchw')\n"
        "session = open_session(spec, None)\n"
        "pixels = np.zeros((1, 3, 64, 64), np.float32)\nsession.run(pixels)\n"
        "took = 0.0\n"
        "for _ in range(20):\n"
        "    session.run(pixels)\n"
        "    began = time.process_time()\n"
        "    time.sleep(0.02)\n"
        "    took += time.process_time() - began\n"
        "print(took)"
    )
    file = save(resnet18(), tmp_path / "net.onnx")
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.02, "its threads spin: 20 pauses of 20 ms took processor time"
    assert done.stderr == ""


NAMED = Builder()
NAMED.dense(NAMED.add("Flatten", "input"), 12, 5, "first")
NAMED.dense("Flatten0", 12, 5, "second")
INTEGERS = Builder()
INTEGERS.add("ArgMax", INTEGERS.dense(INTEGERS.add("Flatten", "input"), 12, 5), output="best", axis=1)
MAP = Builder()
MAP.conv("input", 3, 8, 3)
FOREIGN = Builder()
FOREIGN.nodes.append(helper.make_node("Strange", ["input"], ["scores"], domain="com.example"))
UNKNOWN = Builder()
UNKNOWN.add("Bogus", "input", output="scores")
SMALL = [1, 3, 2, 2]


@pytest.mark.parametrize(
    ("model", "given", "complaint"),
    [
        (
            NAMED.model(SMALL, {"first": [1, 5], "second": [1, 5]}),
            {},
            r"2 outputs \(`first`, `second`\); name",
        ),
        (NAMED.model(SMALL, {"first": [1, 5]}), {"output": "third"}, "no output `third`, but `first`"),
        (NAMED.model(SMALL, {"first": [1, 5]}), {"input": "image"}, "no input `image`, but `input`"),
        (
            NAMED.model([1, 3, 4, 1], {"first": [1, 5]}),
            {},
            r"has the shape \(1, 3, 4, 1\), not \(1, 3, 2, 2\)",
        ),
        (NAMED.model([1, 12], {"first": [1, 5]}), {}, r"has the shape \(1, 12\), not \(1, 3, 2, 2\)"),
        (
            INTEGERS.model(SMALL, {"best": [1, 1]}, out_dtype=TensorProto.INT64),
            {},
            r"the output `best` is a tensor\(int64\), but must be floats: a score per class",
        ),
        (MAP.model(SMALL, {"Conv0": [1, 8, 2, 2]}), {}, r"not a vector: its shape is \(1, 8, 2, 2\)"),
        (
            FOREIGN.model(SMALL, {"scores": [1, 5]}, domains=["com.example"]),
            {},
            "com.example:Strange is not one of",
        ),
        (UNKNOWN.model(SMALL, {"scores": [1, 5]}), {}, "does not know its operation Bogus"),
        (
            NAMED.model(SMALL, {"first": [1, 5]}, opset=99),
            {},
            r"it has opset 99, but .* supports opsets up to \d+",
        ),
        (NAMED.model(SMALL, {"first": [1, 5]}, ir_version=99), {}, "it has IR version 99, but the installed"),
    ],
)
def test_a_network_that_cannot_run_is_one_clear_line(
    tmp_path: Path, model: Any, given: dict[str, str], complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(SessionError, match=complaint) as caught:
        open_session(spec(file, 2, **given), None)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)
    assert caught.value.is_lasting and capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (lambda whole: whole[: len(whole) // 2], "damaged or truncated"),
        (lambda whole: os.urandom(500), "damaged or truncated"),
        (lambda whole: b"", "ONNX Runtime cannot load it"),
    ],
)
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, content: Any, complaint: str) -> None:
    file = save(colours(), tmp_path / "net.onnx")
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(SessionError, match=complaint) as caught:
        OnnxSession(spec(file, 32))
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{file}: ")


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"net\.onnx: cannot be read: No such file"):
        OnnxSession(spec(tmp_path / "net.onnx"))


@pytest.mark.parametrize("feed", [b"JPEG", np.zeros((1, 3, 64, 64)), np.zeros((1, 64, 64, 3), np.float32)])
def test_other_input_is_refused(tmp_path: Path, feed: Any) -> None:
    session = OnnxSession(spec(save(resnet18(), tmp_path / "net.onnx")))
    with pytest.raises(BadFeed, match=r"the model takes float32 of shape \(1, 3, 64, 64\), but got"):
        session.run(feed)


def test_without_the_library_the_error_has_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SessionError) as caught:
        OnnxSession(spec(tmp_path / "net.onnx"))
    assert str(caught.value).endswith(f"install it: {pip_install('onnxruntime')}")


def test_an_open_session_takes_little_more_than_its_weights(tmp_path: Path) -> None:
    """What loading frees is returned to the system, and `needed_mb` covers the peak."""
    file = save(resnet18(width=64), tmp_path / "net.onnx")
    code = (
        "import sys\nfrom pathlib import Path\nfrom incv3d.engines import SessionSpec, open_session\n"
        "spec = SessionSpec(Path(sys.argv[1]), 'onnx', '', '', 64, 64, 2, 'nchw')\n"
        "session = open_session(spec, None)\n"
        "told = dict(line.split(':') for line in open('/proc/self/status'))\n"
        "print(told['VmHWM'].split()[0], told['RssAnon'].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    peak_mb, anonymous_mb = (int(each) / 1024 for each in done.stdout.split())
    file_mb = file.stat().st_size / (1 << 20)
    assert anonymous_mb < 50 + 1.5 * file_mb
    assert ONNX.needed_mb(file_mb) / 1.6 < peak_mb < ONNX.needed_mb(file_mb)
