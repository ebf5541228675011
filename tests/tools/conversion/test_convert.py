"""Models for LiteRT: converted, proven, kept, and run by the real daemon."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import graphs
from archives import changed
from incv3d.client import Client
from incv3d.config.schema import Config
from incv3d.frames import Frame
from incv3d.models.conversions import (
    open_conversion,
)
from incv3d.models.entry import ModelError
from incv3d.models.export import export_model
from incv3d.models.graph.to_litert import explain
from incv3d.models.importing import import_model
from incv3d.models.store import GRAPH, ModelStore
from incv3d.pipeline.loader import choose_conversion
from incv3d.tools.conversion.calibration import FEWEST, MOST, image_files
from incv3d.tools.conversion.convert import (
    ConversionRequest,
    check_disk,
    check_memory,
    check_quantiser_memory,
    convert_model,
)
from processes import PATIENCE_S, DaemonProcess, environment, run_incv3d
from tiny_models import SIDE, add_rgb

pytestmark = pytest.mark.slow

NAME = "efficientnet-lite0"


def make_image(path: Path, number: int) -> None:
    """Write an image of one color, no two alike."""
    color = [40, 40, 40]
    color[number % 3] = 100 + number * 5
    Image.new("RGB", (SIDE, SIDE), tuple(color)).save(path, quality=95)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 24 images, one of them twice, and a damaged one."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(24):
        make_image(folder / f"{number:02}.jpg", number)
    shutil.copyfile(folder / "03.jpg", folder / "once-more.jpg")
    (folder / "torn.jpg").write_bytes((folder / "04.jpg").read_bytes()[:200])
    return folder


def is_as_before(state: Path, name: str = "rgb") -> bool:
    """Whether the model has no conversion, and nothing was left behind."""
    leftovers = [path.name for path in state.iterdir() if path.name.startswith(".")]
    return not leftovers and not list((state / "models" / name).glob("litert-*"))


@pytest.fixture(scope="module")
def converted(state: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A state directory with the embedded network converted to int8, and what the command told."""
    own = tmp_path_factory.mktemp("converted")
    shutil.copytree(state / "models" / NAME, own / "models" / NAME)
    named = str(shared / "images/*.JPEG")
    done = run_incv3d(own, "model", "convert", NAME, "--to", "int8", "--pictures", named, "--json")
    assert done.returncode == 0, done.stderr
    assert "calibrating with 60 images" in done.stderr and "(72 MB in " in done.stderr
    return own, json.loads(done.stdout)


def test_a_trained_network_in_int8_agrees_on_images_that_it_never_saw(converted: tuple[Path, dict]) -> None:
    told = converted[1]
    found = told["comparison"]
    assert told["kept"] and told["calibration_pictures"] == 60 and found["pictures"] == 60
    assert found["top1_agreement"] >= 0.95, found
    assert found["top5_agreement"] >= found["top1_agreement"]
    assert 0 < found["median_difference"] < found["largest_difference"] < 0.4
    # 60 images x 1000 classes; an output of 8 bits could give 256 scores.
    assert found["conversion"]["distinct_scores"] > 30_000
    assert found["conversion"]["size_bytes"] < 0.6 * found["session"]["size_bytes"]
    assert found["conversion"]["peak_memory_mb"] < found["session"]["peak_memory_mb"]


def test_auto_runs_the_conversion_and_says_so(converted: tuple[Path, dict], tmp_path: Path) -> None:
    state, _ = converted
    process = DaemonProcess(state, tmp_path, "--model", NAME)
    try:
        process.ready()
        assert f"{NAME} on litert" in process.said[-1] and ", int8, " in process.said[-1]
        assert any("engine litert int8, " in line and "; tensorflow " in line for line in process.said)
        with Client(process.door) as client:
            assert client.ask("info")["session"]["precision"] == "int8"
            golden = state / "models" / NAME / "coffee.jpg"
            best = (client.classify(golden).predictions or [])[0]
            assert best.label == "espresso" and best.score == pytest.approx(0.925, abs=0.06)
        assert process.stop() == 0
        assert "engine=litert" in process.log.read_text() and "precision=int8" in process.log.read_text()
    finally:
        process.kill()


def test_tensorflow_can_be_configured_nevertheless(converted: tuple[Path, dict], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"model: {{name: {NAME}}}\nsession: {{engine: tensorflow}}\n")
    process = DaemonProcess(converted[0], tmp_path, "--config", str(tmp_path / "c.yaml"))
    try:
        assert f"{NAME} on tensorflow" in process.wait_for("READY") and ", float32, " in process.said[-1]
        assert process.stop() == 0
    finally:
        process.kill()


def test_it_travels_with_its_model(converted: tuple[Path, dict], tmp_path: Path) -> None:
    here = ModelStore(converted[0]).get(NAME)
    export_model(here, tmp_path / "model.tar", lambda line: None)
    there = import_model(ModelStore(tmp_path / "there"), tmp_path / "model.tar")
    assert open_conversion(there, "int8").facts == open_conversion(here, "int8").facts
    listed = run_incv3d(tmp_path / "there", "model", "list")
    assert "litert int8" in listed.stdout

    for member in ("litert-int8-model.tflite", "litert-int8-conversion.json"):
        damaged = changed(tmp_path / "model.tar", tmp_path / "damaged.tar", member, b"")
        with pytest.raises(ModelError, match="damaged: "):
            import_model(ModelStore(tmp_path / "there"), damaged, "damaged")

    removed = run_incv3d(tmp_path / "there", "model", "remove", NAME, "--conversion", "int8")
    assert removed.returncode == 0, removed.stderr
    assert choose_conversion("auto", there) is None
    again = run_incv3d(tmp_path / "there", "model", "remove", NAME, "--conversion", "int8")
    assert again.returncode == 1 and again.stderr == f"incv3d: {NAME} has no litert-int8\n"


def test_frames_of_the_configured_source_prove_a_float_conversion(tiny: Path, images: Path) -> None:
    config = tiny / "c.yaml"
    config.write_text(f"source: {{type: images, path: {images}, fps: 200}}\n")
    words = ("model", "convert", "rgb", "--to", "float32", "--frames", "26", "--config", str(config))
    done = run_incv3d(tiny, *words)
    assert done.returncode == 0, done.stderr
    assert "preparing 26 images" in done.stderr and "comparing on 24 images" in done.stderr
    assert "top-1 agreement" in done.stdout and "100.0%" in done.stdout
    assert "1 were damaged, 1 were duplicates" in done.stdout
    model = ModelStore(tiny).get("rgb")
    found = choose_conversion("litert", model)
    assert found and found.facts.precision == "float32" and found.facts.calibration_images == 0

    files = image_files([str(images)])
    frames = (Frame("test", path.read_bytes(), None, 0.0, 0.0) for path in files)
    request = ConversionRequest("float32", frames, len(files), in_blocks=False, min_agreement=1.01)
    result = convert_model(Config(), ModelStore(tiny), model, request, Quiet())
    assert result.kept is None and "at least 101.0% is required" in result.complaint
    assert result.comparison.images == 24 and result.comparison.conversion.distinct_scores > 3
    assert open_conversion(model, "float32").facts == found.facts
    assert not (tiny / ".converting").exists()


class Quiet:
    def step(self, what: str) -> None: ...

    def count(self, done: int, total: int) -> None: ...


def test_an_unknown_operation_is_named(tmp_path: Path, images: Path) -> None:
    odd = graphs.placeholder("pixels", 1, SIDE, SIDE, 3) + graphs.node(
        "scores", "Digamma", "pixels", attributes=graphs.dtype("T")
    )
    complaint = "operations that LiteRT does not support: Digamma"
    add_rgb(tmp_path, odd)
    done = run_incv3d(tmp_path, "model", "convert", "rgb", "--to", "float32", "--pictures", str(images))
    assert done.returncode == 1 and complaint in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr
    assert is_as_before(tmp_path)


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (("--to", "int8", "--pictures", "/no/such"), 1, "/no/such: no such file or folder"),
        (("--to", "int8", "--pictures", "EMPTY"), 1, "no images found"),
        (("--to", "int8", "--pictures", "FEW"), 1, f"2 usable images: at least {FEWEST} different ones"),
        (("--to", "int8", "--frames", "20"), 1, "no source is configured"),
        (("--to", "int8", "--frames", "3"), 2, f"--frames must be from {FEWEST} to {MOST}"),
        (("--to", "int8"), 2, "use either --pictures PATH... or --frames N"),
        (("--pictures", "FEW"), 2, "Missing option '--to'"),
        (("--to", "int4", "--pictures", "FEW"), 2, "'int4' is not one of"),
    ],
)
def test_what_cannot_be_begun_says_why(
    tiny: Path, words: tuple[str, ...], status: int, complaint: str
) -> None:
    for folder, number in (("EMPTY", 0), ("FEW", 2)):
        (tiny / folder).mkdir()
        for each in range(number):
            make_image(tiny / folder / f"{each}.jpg", each)
    named = [str(tiny / word) if word in ("EMPTY", "FEW") else word for word in words]
    done = run_incv3d(tiny, "model", "convert", "rgb", *named)
    assert done.returncode == status and complaint in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and is_as_before(tiny)


def test_several_images_can_be_named_as_a_shell_expands_them(tiny: Path) -> None:
    for each in range(3):
        make_image(tiny / f"{each}.jpg", each)
    files = [str(path) for path in sorted(tiny.glob("*.jpg"))]
    done = run_incv3d(tiny, "model", "convert", "rgb", "--to", "int8", "--pictures", *files)
    assert "3 usable images" in done.stderr


def test_a_missing_or_truncated_model_is_named(tiny: Path, images: Path) -> None:
    def convert(name: str) -> str:
        done = run_incv3d(tiny, "model", "convert", name, "--to", "int8", "--pictures", str(images))
        assert done.returncode == 2
        return done.stderr

    assert "no model `other`" in convert("other")
    graph = tiny / "models/rgb" / GRAPH
    graph.write_bytes(graph.read_bytes()[:-20])
    assert "bytes instead of" in convert("rgb")


def test_a_full_disk_leaves_the_store_as_it_was(tiny: Path, images: Path) -> None:
    def at_most_50_kb() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    command = [sys.executable, "-m", "incv3d", "model", "convert", "rgb", "--to", "int8", "--pictures"]
    done = subprocess.run(
        [*command, str(images)],
        env=environment(tiny), preexec_fn=at_most_50_kb, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 1 and "cannot be written: File too large" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and is_as_before(tiny)


def test_too_little_disk_space_is_noticed_before_the_work(tiny: Path) -> None:
    model = ModelStore(tiny).get("rgb")
    check_disk(tiny, model, 1000)
    with pytest.raises(ModelError, match=r"MB are needed temporarily, .* MB are free"):
        check_disk(tiny, model, 1 << 60)


def test_too_little_memory_is_reported_with_a_workaround(tiny: Path) -> None:
    model = ModelStore(tiny).get("rgb")
    meminfo = "MemTotal: 935936 kB\nMemAvailable: {} kB\nSwapFree: 102400 kB\n"
    (tiny / "meminfo").write_text(meminfo.format(700 * 1024))
    check_memory(model, tiny)
    (tiny / "meminfo").write_text(meminfo.format(500 * 1024))
    with pytest.raises(ModelError, match=r"takes 700 MB .* 600 MB are free .*incv3d model export rgb"):
        check_memory(model, tiny)
    check_quantiser_memory(model, tiny)  # which takes less
    (tiny / "meminfo").write_text("MemTotal: 935936 kB\nMemAvailable: 51200 kB\nSwapFree: 0 kB\n")
    with pytest.raises(ModelError, match=r"takes 90 MB .* 50 MB are free .*incv3d model export rgb"):
        check_quantiser_memory(model, tiny)
    (tiny / "meminfo").unlink()
    check_memory(model, tiny)  # where it cannot be told, it is tried


def test_an_interruption_leaves_no_files(tiny: Path, images: Path) -> None:
    words = ["model", "convert", "rgb", "--to", "int8", "--pictures", str(images)]
    process = subprocess.Popen(
        [sys.executable, "-m", "incv3d", *words],
        env=environment(tiny),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr
        assert "preparing" in process.stderr.readline()  # said when it is over: the converter runs now
        second = run_incv3d(tiny, *words)
        assert second.returncode == 1 and "another process is already doing this" in second.stderr
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and "Traceback" not in said
    assert is_as_before(tiny)


def test_the_converters_error_becomes_one_line() -> None:
    said = (
        "x:0: error: 'tf.Foo' op is neither a custom op nor a flex op\n"
        "Op type not registered 'Bar' in binary running on pi."
    )
    assert explain(said) == "the graph uses operations that LiteRT does not support: Bar, Foo"
    assert "\n" not in explain("a\nb") and len(explain("x" * 1000)) == 300
