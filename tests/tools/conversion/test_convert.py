"""Models for LiteRT: converted by TensorFlow's own converter, proven, kept, and run by the real daemon."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from PIL import Image

import graphs
from archives import changed
from doubles import ScriptedCamera, jpeg
from incv3d.client import Client
from incv3d.config.loading import ConfigError
from incv3d.config.schema import Config
from incv3d.frames import Frame, Region
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.models.conversions import (
    DESCRIPTION,
    Comparison,
    Conversion,
    EngineFigures,
    open_conversion,
)
from incv3d.models.entry import Golden, ModelEntry, ModelError
from incv3d.models.export import export_model
from incv3d.models.graph.pixel_file import PixelFile
from incv3d.models.graph.to_litert import explain
from incv3d.models.importing import import_model
from incv3d.models.store import FLATBUFFER, GRAPH, LABELS, ModelStore, StoredModel
from incv3d.pipeline.loader import choose_conversion
from incv3d.sources import SourceError
from incv3d.tools.conversion.calibration import FEWEST, MOST, captured_frames, divide, gather, picture_files
from incv3d.tools.conversion.convert import Wanted, check_disk, check_memory, convert_model
from processes import PATIENCE_S, DaemonProcess, environment, run_incv3d

NAME = "efficientnet-lite0"
SIDE = 32
ENTRY = ModelEntry(
    input="pixels:0", output="scores:0", height=SIDE, width=SIDE, mean=0, scale=32, fit="stretch",
    interpolation="bilinear", outputs=3,
)  # fmt: skip


def add(store: ModelStore, name: str, graph: bytes) -> StoredModel:
    with store.adding(name, ENTRY) as folder:
        (folder / GRAPH).write_bytes(graph)
        (folder / LABELS).write_text("0\t\tred\n1\t\tgreen\n2\t\tblue\n")
    return store.get(name)


def picture(path: Path, number: int) -> None:
    """A picture of one colour, no two alike."""
    colour = [40, 40, 40]
    colour[number % 3] = 100 + number * 5
    Image.new("RGB", (SIDE, SIDE), tuple(colour)).save(path, quality=95)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 pictures; one of them a second time, and one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(24):
        picture(folder / f"{number:02}.jpg", number)
    shutil.copyfile(folder / "03.jpg", folder / "once-more.jpg")
    (folder / "torn.jpg").write_bytes((folder / "04.jpg").read_bytes()[:200])
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A state directory with one tiny network, `rgb`."""
    add(ModelStore(tmp_path), "rgb", graphs.strongest_channel(SIDE))
    return tmp_path


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
    assert "calibrating with 60 pictures" in done.stderr and "(72 MB in " in done.stderr
    return own, json.loads(done.stdout)


def test_a_trained_network_in_int8_agrees_on_pictures_that_it_never_saw(converted: tuple[Path, dict]) -> None:
    told = converted[1]
    found = told["comparison"]
    assert told["kept"] and told["calibration_pictures"] == 60 and found["pictures"] == 60
    assert found["top1_agreement"] >= 0.94, found
    assert found["top5_agreement"] >= found["top1_agreement"]
    assert 0 < found["median_difference"] < found["largest_difference"] < 0.4
    # 60 pictures x 1000 classes; an output of 8 bits could give 256 scores.
    assert found["conversion"]["distinct_scores"] > 30_000
    assert found["conversion"]["size_bytes"] < 0.6 * found["session"]["size_bytes"]
    assert found["conversion"]["peak_memory_mb"] < found["session"]["peak_memory_mb"]


def test_auto_runs_the_conversion_and_says_so(converted: tuple[Path, dict], tmp_path: Path) -> None:
    state, _ = converted
    process = DaemonProcess(state, tmp_path, "--model", NAME)
    try:
        process.ready()
        assert f"{NAME} on litert" in process.said[-1] and ", int8, " in process.said[-1]
        assert any("a conversion to int8 is in the store" in line for line in process.said)
        with Client(process.door) as client:
            assert client.ask("info")["session"]["precision"] == "int8"
            golden = state / "models" / NAME / "coffee.jpg"
            best = (client.classify(golden).predictions or [])[0]
            assert best.label == "espresso" and best.score == pytest.approx(0.925, abs=0.06)
        assert process.stop() == 0
        assert "engine=litert" in process.log.read_text() and "precision=int8" in process.log.read_text()
    finally:
        process.kill()


def test_tensorflow_can_be_asked_for_all_the_same(converted: tuple[Path, dict], tmp_path: Path) -> None:
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


def test_frames_of_the_configured_source_prove_a_float_conversion(tiny: Path, pictures: Path) -> None:
    config = tiny / "c.yaml"
    config.write_text(f"source: {{type: images, path: {pictures}, fps: 200}}\n")
    words = ("model", "convert", "rgb", "--to", "float32", "--frames", "26", "--config", str(config))
    done = run_incv3d(tiny, *words)
    assert done.returncode == 0, done.stderr
    assert "preparing 26 pictures" in done.stderr and "comparing on 24 pictures" in done.stderr
    assert "top-1 agreement" in done.stdout and "100.0%" in done.stdout
    assert "1 were damaged, 1 repeated" in done.stdout
    model = ModelStore(tiny).get("rgb")
    found = choose_conversion("litert", model)
    assert found and found.facts.precision == "float32" and found.facts.calibration_pictures == 0

    files = picture_files([str(pictures)])
    frames = (Frame("test", path.read_bytes(), None, 0.0, 0.0) for path in files)
    wanted = Wanted("float32", frames, len(files), in_blocks=False, min_agreement=1.01)
    outcome = convert_model(Config(), ModelStore(tiny), model, wanted, Quiet())
    assert outcome.kept is None and "it must be 101.0%" in outcome.complaint
    assert outcome.comparison.pictures == 24 and outcome.comparison.conversion.distinct_scores > 3
    assert open_conversion(model, "float32").facts == found.facts
    assert not (tiny / ".converting").exists()


class Quiet:
    def step(self, what: str) -> None: ...

    def count(self, done: int, total: int) -> None: ...


def test_an_unknown_operation_is_named(tmp_path: Path, pictures: Path) -> None:
    odd = graphs.placeholder("pixels", 1, SIDE, SIDE, 3) + graphs.node(
        "scores", "Digamma", "pixels", attributes=graphs.dtype("T")
    )
    complaint = "operations that LiteRT does not have: Digamma"
    add(ModelStore(tmp_path), "rgb", odd)
    done = run_incv3d(tmp_path, "model", "convert", "rgb", "--to", "float32", "--pictures", str(pictures))
    assert done.returncode == 1 and complaint in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr
    assert is_as_before(tmp_path)


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (("--to", "int8", "--pictures", "/no/such"), 1, "/no/such: no such file or folder"),
        (("--to", "int8", "--pictures", "EMPTY"), 1, "no images found"),
        (("--to", "int8", "--pictures", "FEW"), 1, f"2 usable pictures: at least {FEWEST} different ones"),
        (("--to", "int8", "--frames", "20"), 1, "no source is configured"),
        (("--to", "int8", "--frames", "3"), 2, f"--frames: from {FEWEST} to {MOST}"),
        (("--to", "int8"), 2, "name pictures (--pictures PATH...), or capture some (--frames N)"),
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
            picture(tiny / folder / f"{each}.jpg", each)
    named = [str(tiny / word) if word in ("EMPTY", "FEW") else word for word in words]
    done = run_incv3d(tiny, "model", "convert", "rgb", *named)
    assert done.returncode == status and complaint in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and is_as_before(tiny)


def test_several_pictures_can_be_named_as_a_shell_spells_them_out(tiny: Path) -> None:
    for each in range(3):
        picture(tiny / f"{each}.jpg", each)
    files = [str(path) for path in sorted(tiny.glob("*.jpg"))]
    done = run_incv3d(tiny, "model", "convert", "rgb", "--to", "int8", "--pictures", *files)
    assert "3 usable pictures" in done.stderr


def test_a_model_that_is_not_there_or_cut_off_is_named(tiny: Path, pictures: Path) -> None:
    def convert(name: str) -> str:
        done = run_incv3d(tiny, "model", "convert", name, "--to", "int8", "--pictures", str(pictures))
        assert done.returncode == 1
        return done.stderr

    assert "no model `other`" in convert("other")
    graph = tiny / "models/rgb" / GRAPH
    graph.write_bytes(graph.read_bytes()[:-20])
    assert "when it was imported" in convert("rgb")


def test_a_full_disk_leaves_the_store_as_it_was(tiny: Path, pictures: Path) -> None:
    def at_most_50_kb() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    command = [sys.executable, "-m", "incv3d", "model", "convert", "rgb", "--to", "int8", "--pictures"]
    done = subprocess.run(
        [*command, str(pictures)],
        env=environment(tiny), preexec_fn=at_most_50_kb, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 1 and "cannot be written: File too large" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and is_as_before(tiny)


def test_a_disk_that_will_not_do_is_seen_before_the_work(tiny: Path) -> None:
    model = ModelStore(tiny).get("rgb")
    check_disk(tiny, model, 1000)
    with pytest.raises(ModelError, match=r"MB are needed for a while, .* MB are free"):
        check_disk(tiny, model, 1 << 60)


def test_too_little_memory_is_refused_with_the_way_round_it(tiny: Path) -> None:
    model = ModelStore(tiny).get("rgb")
    meminfo = "MemTotal: 935936 kB\nMemAvailable: {} kB\nSwapFree: 102400 kB\n"
    (tiny / "meminfo").write_text(meminfo.format(700 * 1024))
    check_memory(model, tiny)
    (tiny / "meminfo").write_text(meminfo.format(500 * 1024))
    with pytest.raises(ModelError, match=r"takes 700 MB .* 600 MB are free .*incv3d model export rgb"):
        check_memory(model, tiny)
    (tiny / "meminfo").unlink()
    check_memory(model, tiny)  # where it cannot be told, it is tried


def test_an_interruption_leaves_nothing(tiny: Path, pictures: Path) -> None:
    words = ["model", "convert", "rgb", "--to", "int8", "--pictures", str(pictures)]
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
        assert second.returncode == 1 and "another process is at it already" in second.stderr
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and "Traceback" not in said
    assert is_as_before(tiny)


FIGURES = EngineFigures(engine="x", run_ms=1, peak_memory_mb=1, size_bytes=1, distinct_scores=1)
COMPARISON = Comparison(
    pictures=10, top1_agreement=1, top5_agreement=1, largest_difference=0, median_difference=0, threads=1,
    session=FIGURES, conversion=FIGURES,
)  # fmt: skip


def pretend(model: StoredModel, precision: str, **changed: object) -> Path:
    """A conversion that was never made, for choosing alone."""
    folder = model.directory / f"litert-{precision}"
    folder.mkdir()
    (folder / FLATBUFFER).write_bytes(b"network")
    facts = Conversion(
        format=1, precision=precision, source_sha256=model.manifest.sha256, converter="x", converted_at="",
        calibration_pictures=0, size_bytes=7, sha256="", comparison=COMPARISON,
    )  # fmt: skip
    (folder / DESCRIPTION).write_bytes(msgspec.json.encode(msgspec.structs.replace(facts, **changed)))
    return folder


def chosen(engine: str, model: StoredModel) -> str | None:
    found = choose_conversion(engine, model)
    return found.facts.precision if found else None


def test_int8_is_preferred_and_tensorflow_takes_none(tiny: Path) -> None:
    model = ModelStore(tiny).get("rgb")
    assert chosen("auto", model) is None
    with pytest.raises(ConfigError, match=r"litert needs rgb converted.*incv3d model convert rgb --to int8"):
        choose_conversion("litert", model)
    pretend(model, "float32")
    assert chosen("auto", model) == chosen("litert", model) == "float32"
    pretend(model, "int8")
    assert chosen("auto", model) == "int8"
    assert chosen("tensorflow", model) is None


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"source_sha256": "0" * 64}, "made from another graph"),
        ({"size_bytes": 8}, "7 bytes, it had 8"),
        ({"format": 9}, "of format 9"),
        ({}, "damaged"),
    ],
)
def test_a_conversion_that_is_not_of_this_graph_or_damaged_is_passed_over(
    tiny: Path, changed: dict, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelStore(tiny).get("rgb")
    folder = pretend(model, "int8", **changed)
    if not changed:
        (folder / DESCRIPTION).write_text("{")
    assert chosen("auto", model) is None
    assert complaint in caplog.text and "convert it again" in caplog.text
    with pytest.raises(ModelError, match=complaint):
        open_conversion(model, "int8")


def test_a_model_that_is_imported_anew_has_no_old_conversion(tiny: Path) -> None:
    store = ModelStore(tiny)
    model = store.get("rgb")
    folder = tiny / "litert-int8"
    pretend(model, "int8").rename(folder)
    store.remove("rgb")
    again = add(store, "rgb", graphs.strongest_channel(SIDE) + graphs.relu("more", "pixels"))
    assert chosen("auto", again) is None
    with pytest.raises(ModelError, match="rgb was replaced or removed meanwhile"):
        store.attach(model, folder)
    assert not list(again.directory.glob("litert-*"))


def test_the_golden_answer_of_a_conversion_is_its_own_score_of_the_same_label(tiny: Path) -> None:
    model = ModelStore(tiny).get("rgb")
    pretend(model, "int8", golden_score=0.8)
    found = open_conversion(model, "int8")
    known = Golden(picture="p.jpg", label="red", score=0.9)
    assert found.golden(known) == Golden(picture="p.jpg", label="red", score=0.8, tolerance=0.05)
    assert found.golden(None) is None


def test_pictures_are_divided_so_that_none_is_on_both_sides() -> None:
    assert divide(5, calibrates=True, in_blocks=False) == ((1, 3), (0, 2, 4))
    assert divide(5, calibrates=True, in_blocks=True) == ((0, 1), (2, 3, 4))
    assert divide(3, calibrates=False, in_blocks=True) == ((), (0, 1, 2))


def test_a_large_folder_is_taken_evenly(tmp_path: Path) -> None:
    for number in range(MOST * 2):
        (tmp_path / f"{number:04}.jpg").touch()
    found = picture_files([str(tmp_path), str(tmp_path / "*.jpg")])
    assert len(found) == MOST and found[0].name == "0000.jpg" and found[-1].name == f"{MOST * 2 - 2:04}.jpg"


def test_a_camera_that_gives_nothing_is_not_waited_for_for_ever() -> None:
    camera = ScriptedCamera("hang")
    with pytest.raises(SourceError, match="no frame within 0 s"):
        next(captured_frames(camera, gap_s=0, patience_s=0.2))
    camera.let_go()


def test_a_camera_that_fails_or_ends_is_told_apart() -> None:
    with pytest.raises(SourceError, match="not plugged in"):
        next(captured_frames(ScriptedCamera("absent"), gap_s=0, patience_s=5))
    with pytest.raises(SourceError, match="has no more frames"):
        next(captured_frames(ScriptedCamera("none"), gap_s=0, patience_s=5))


def test_frames_come_at_the_pace_that_is_configured() -> None:
    camera = ScriptedCamera("frame frame")
    frames = captured_frames(camera, gap_s=3600, patience_s=5)
    next(frames), next(frames)
    assert camera.asked[0] == 0.0 and camera.asked[1] > time.monotonic() + 3000
    frames.close()


def test_regions_of_a_frame_are_different_pictures_and_each_is_used(tmp_path: Path) -> None:
    regions = {f"strip-{number}": Region(number / 16, 0, 1 / 16, 1) for number in range(FEWEST)}
    frame = Frame("camera", jpeg(320, 64), None, received=0.0, captured=0.0)

    class Source:
        lost_frames = 0

        def capture(self, after: float) -> Frame:
            return frame

        def interrupt(self) -> None: ...

        def close(self) -> None: ...

    captured = captured_frames(Source, gap_s=0, patience_s=5, regions=regions)
    frames = [next(captured) for _ in range(FEWEST + 1)]
    captured.close()
    assert [each.region for each in frames] == [*regions.values(), regions["strip-0"]]
    pixels = PixelFile(tmp_path / "pixels", (1, 8, 8, 3))
    preprocessor = Preprocessor(InputSpec(8, 8, 0, 1, "stretch", 1, "bilinear"), 10**6)
    pictures = gather(frames, preprocessor, pixels, True, False, lambda done: None)
    assert (len(pictures.calibrating), len(pictures.held_back), pictures.repeated) == (5, 5, 1)


def test_the_converters_complaint_becomes_one_line() -> None:
    said = (
        "x:0: error: 'tf.Foo' op is neither a custom op nor a flex op\n"
        "Op type not registered 'Bar' in binary running on pi."
    )
    assert explain(said) == "the graph uses operations that LiteRT does not have: Bar, Foo"
    assert "\n" not in explain("a\nb") and len(explain("x" * 1000)) == 300
