"""What goes into a network, and what one score means: the right label, or one clear line."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from incv3d.config.events import EventsSection
from incv3d.config.loading import load_config
from incv3d.events.watchlist import read_watchlist
from incv3d.frames import Frame
from incv3d.models.entry import ModelError
from incv3d.models.store import ModelStore
from incv3d.pipeline.loader import LoadedModel, find_model, load_classifier, open_store
from processes import run_incv3d

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
SUPPORT = Path(__file__).resolve().parents[1] / "support"
CASES = HERE.parents[2] / "shared/cases"
COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}
TORCH = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CAFFE = {"mean": [103.939, 116.779, 123.68], "channel_order": "bgr"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    command = [sys.executable, str(SUPPORT / "make_inputs.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "colours.txt").write_text("\n".join(COLOURS))
    (folder / "greys.txt").write_text("dark\nmiddle\nbright\n")
    (folder / "two.txt").write_text("cold\nwarm\n")
    (folder / "one.txt").write_text("warm\n")
    return folder


def load(
    folder: Path, file: Path, labels: Path | None, said: list[str] | None = None, **custom
) -> LoadedModel:
    section = {"file": str(file), "labels": str(labels or ""), **custom}
    path = folder / "incv3d.yaml"
    path.write_text(yaml.safe_dump({"model": {"name": "own"}, "custom": section}))
    config = load_config(str(path)).config
    progress = said.append if said is not None else lambda line: None
    return load_classifier(config, open_store(config, folder / "state"), 0, progress)


def answer(loaded: LoadedModel, colour: tuple[int, int, int]) -> dict[str, float]:
    """The score of each label for an even picture, the best first."""
    frame = Frame("test", bytes(colour) * 100, "rgb24", received=0.0, captured=0.0, width=10, height=10)
    predictions = loaded.classifier.classify(loaded.classifier.prepare(frame)).predictions
    return {each.label: each.score for each in predictions}


def named(loaded: LoadedModel) -> list[str]:
    return [next(iter(answer(loaded, colour))) for colour in COLOURS.values()]


@pytest.mark.parametrize(
    ("file", "custom"),
    [
        ("uint8_plain.tflite", {}),
        ("int8_plain.tflite", {}),
        ("int32_plain.tflite", {}),
        ("int64_plain.tflite", {}),
        ("uint8_signed.tflite", {}),
        ("uint8_narrow.tflite", {}),
        ("int8_dim.tflite", {}),
        ("int16_signed.tflite", {}),
        ("metadata.tflite", {}),
        ("metadata_bytes.tflite", {}),
        ("metadata_channels.tflite", {"channel_order": "bgr"}),
        ("metadata_lost.tflite", {}),
        ("unit.tflite", {"pixel_range": [0, 1]}),
        ("unit.tflite", {"mean": 0, "std": 255}),
        ("uint8_signed.tflite", {"mean": 127.5, "std": 127.5}),
        ("caffe.tflite", CAFFE),
        ("torch.tflite", TORCH),
        ("int32.pb", {}),
    ],
)
def test_the_right_label_comes_out_with_no_more_said_than_the_file_leaves_open(
    made: Path, tmp_path: Path, file: str, custom: dict[str, object]
) -> None:
    assert named(load(tmp_path, made / file, made / "colours.txt", **custom)) == list(COLOURS)


def test_the_same_scores_come_out_whichever_way_the_pixels_are_described(made: Path, tmp_path: Path) -> None:
    want = answer(
        load(tmp_path, made / "unit.tflite", made / "colours.txt", pixel_range=[0, 1]), (200, 60, 120)
    )
    for file, custom in (("caffe.tflite", CAFFE), ("torch.tflite", TORCH), ("uint8_plain.tflite", {})):
        got = answer(load(tmp_path, made / file, made / "colours.txt", **custom), (200, 60, 120))
        assert got == pytest.approx(want, abs=1e-4), file


def test_labels_in_the_file_itself_are_taken_where_no_others_are_named(made: Path, tmp_path: Path) -> None:
    assert named(load(tmp_path, made / "metadata.tflite", None)) == list(COLOURS)
    others = tmp_path / "others.txt"
    others.write_text("\n".join(name.upper() for name in COLOURS))
    assert named(load(tmp_path, made / "metadata.tflite", others)) == [name.upper() for name in COLOURS]


@pytest.mark.parametrize("file", ["grey.tflite", "grey_first.tflite", "grey_int8.tflite", "grey_first.pb"])
def test_a_network_of_one_channel_gets_luma(made: Path, tmp_path: Path, file: str) -> None:
    custom = {} if "int8" in file else {"pixel_range": [0, 1]}
    loaded = load(tmp_path, made / file, made / "greys.txt", **custom)
    # The luma of red is 0.3, of green 0.59, of blue 0.11.
    assert named(loaded) == ["middle", "middle", "dark", "bright", "dark"]


@pytest.mark.parametrize("file", ["warm.tflite", "warm_logit.tflite", "half.keras"])
def test_one_score_chooses_between_two_labels(made: Path, tmp_path: Path, file: str) -> None:
    said: list[str] = []
    loaded = load(tmp_path, made / file, made / "two.txt", said, pixel_range=[0, 1])
    for colour, label in ((COLOURS["red"], "warm"), (COLOURS["blue"], "cold")):
        scores = answer(loaded, colour)
        assert set(scores) == {"warm", "cold"} and sum(scores.values()) == pytest.approx(1)
        assert file.startswith("warm_logit") or next(iter(scores)) == label
    assert any("one score, used for the second label" in line for line in said)
    if file == "warm_logit.tflite":
        assert answer(loaded, COLOURS["blue"])["warm"] == pytest.approx(1 / (1 + 2.718281828**-0.3), abs=1e-4)


def test_one_score_and_one_label_or_none(made: Path, tmp_path: Path) -> None:
    one = load(tmp_path, made / "warm.tflite", made / "one.txt", pixel_range=[0, 1])
    assert list(answer(one, COLOURS["red"])) == ["warm", "not warm"]
    none = load(tmp_path, made / "warm.tflite", None, pixel_range=[0, 1])
    assert list(answer(none, COLOURS["red"])) == ["class 1", "class 0"]
    with pytest.raises(ModelError, match=r"5 labels for a network with one output; it needs two"):
        load(tmp_path, made / "warm.tflite", made / "colours.txt")


def test_a_golden_picture_that_one_score_gets_wrong_says_so(made: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    golden = {"golden_picture": str(tmp_path / "red.png"), "golden_label": "cold", "pixel_range": [0, 1]}
    with pytest.raises(ModelError, match=r"should be `cold`, but .* `warm` 0.99966 .* give \[-1, 1\] `warm`"):
        load(tmp_path, made / "warm.tflite", made / "two.txt", **golden)


def test_a_label_with_commas_can_be_the_golden_one_and_watched(made: Path, tmp_path: Path) -> None:
    names = ["Pepper,_bell___spot", "Pepper,_bell___healthy", 'a "b": c/d', "night [cloudy]", "7 up"]
    (tmp_path / "names.txt").write_text("\n".join(names))
    Image.new("RGB", (40, 40), "lime").save(tmp_path / "lime.png")
    golden = {"golden_picture": str(tmp_path / "lime.png"), "golden_label": names[1]}
    loaded = load(tmp_path, made / "metadata.tflite", tmp_path / "names.txt", **golden)
    assert named(loaded) == names
    for index, name in enumerate(names):
        watched = read_watchlist(EventsSection(labels={name: 0.5}), loaded.classifier.labels, "own")
        assert list(watched.thresholds) == [index]


@pytest.mark.parametrize(
    ("file", "custom", "complaint"),
    [
        ("no_weights.tflite", {}, "its weights are not in the file: it reads variables that are never set"),
        ("eight.tflite", {}, "one image at a time, not 8; export the network with a batch size of 1"),
        ("float64_plain.tflite", {}, "is float64, but must be one of float32, int8"),
        ("uint8_signed.tflite", {"pixel_range": [0, 255]}, "uint8 input holds -0.9961 to 1.004"),
        ("uint8_plain.tflite", {"pixel_range": [0, 1]}, "uint8 input holds 0 to 255 in steps of 1"),
        ("int32_plain.tflite", {"pixel_range": [-1, 1]}, "int32 input holds"),
        ("grey.tflite", TORCH, "custom.mean has 3 numbers, but the network has one channel"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(made, tmp_path, file, custom, complaint) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        load(tmp_path, made / file, made / "colours.txt", **custom)
    assert str(made / file) in str(caught.value) and "\n" not in str(caught.value)


DAMAGE = """
import random, sys
from pathlib import Path
from incv3d.models.entry import ModelError
from incv3d.models.tflite_metadata import read_metadata
path = Path(sys.argv[1])
whole = path.read_bytes()
start = whole.index(b"M001") - 4
assert read_metadata(path, whole, 0, 0, True).normalisation.scale == 255
refused = 0
for seed in range(500):
    random.seed(seed)
    damaged = bytearray(whole)
    for _ in range(3):
        damaged[start + random.randrange(300)] = random.choice((0, 1, 127, 255))
    try:
        read_metadata(path, bytes(damaged), 0, 0, True)
    except ModelError as error:
        assert "\\n" not in str(error)
        refused += 1
print(refused)
"""


def test_damaged_metadata_are_an_error_of_one_line(made: Path) -> None:
    command = [sys.executable, "-c", DAMAGE, str(made / "metadata.tflite")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-1000:]
    assert int(done.stdout) > 100


def test_metadata_that_name_labels_which_are_not_there_say_so(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"`classes.txt` in it cannot be read .*; set custom.labels"):
        load(tmp_path, made / "metadata_lost.tflite", None)


CAUTIONS = {
    "int8_dim.tflite": ({}, "holds only 0 to 0.52, 52% of the assumed 0 to 1"),
    "int8_odd.tflite": ({}, "holds 0 to 7, which is not a usual pixel range"),
    "int8_dim.tflite?": (
        {"pixel_range": [0, 1]},
        "the int8 input holds only 0 to 0.52: values outside are clipped",
    ),
    "uint8_signed.tflite": (
        {"pixel_range": [0, 1]},
        "expects -0.9961 to 1.004: the network will see pale",
    ),
    "int32.pb": ({"pixel_range": [0, 1]}, "the network declares 0 to 255"),
}


@pytest.mark.parametrize("file", CAUTIONS)
def test_what_is_probably_wrong_is_warned_of_at_every_start(made, tmp_path, caplog, file: str) -> None:
    custom, warning = CAUTIONS[file]
    for _ in range(2):
        caplog.clear()
        load(tmp_path, made / file.rstrip("?"), made / "colours.txt", **custom)
        assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        assert warning in caplog.text


WHY = {
    "unit.tflite": (
        {},
        "-1 to 1 (assumed, not declared by the network; to change it, set",
    ),
    "unit.tflite?": ({"pixel_range": [0, 1]}, "0 to 1 (custom.pixel_range)"),
    "uint8_plain.tflite": ({}, "0 to 255 (its input is integers (uint8) without a scale)"),
    "uint8_signed.tflite": ({}, "(its quantized input (uint8) holds -0.9961 to 1.004)"),
    "metadata.tflite": ({}, "0 to 1 (the file's metadata: mean 0, std 255)"),
    "torch.tflite": (TORCH, "(custom.mean and custom.std: mean 0.485, 0.456, 0.406, std 0.229"),
}


@pytest.mark.parametrize("file", WHY)
def test_the_log_and_the_commands_say_what_pixels_become_and_why(made, tmp_path, file: str) -> None:
    custom, why = WHY[file]
    said: list[str] = []
    loaded = load(tmp_path, made / file.rstrip("?"), made / "colours.txt", said, **custom)
    line = next(line for line in said if line.startswith("pixels: 0 to 255 become "))
    assert why in line and why in loaded.pixels
    command = ("model", "show", "own", "--json", "--config", str(tmp_path / "incv3d.yaml"))
    shown = run_incv3d(tmp_path / "state", *command)
    assert json.loads(shown.stdout)["entry"]["pixels_from"] in loaded.pixels


@pytest.mark.parametrize(
    ("custom", "complaint"),
    [
        ({"mean": [0.5, 0.5]}, "mean: must have one number, or one per channel, not 2"),
        ({"mean": 127.5, "pixel_range": [0, 1]}, "mean: excludes pixel_range"),
        ({"pixel_range": [float("nan"), 1]}, "pixel_range: must be two finite numbers"),
        ({"pixel_range": [0, float("inf")]}, "pixel_range: must be two finite numbers"),
        ({"std": 0}, "std: must be more than 0"),
        ({"mean": float("nan")}, "mean and std must be numbers"),
        ({"mean": 0, "std": 1}, r"is ambiguous; write pixel_range: \[0, 1\] or \[0, 255\]"),
        ({"mean": [103.9, 116.8, 123.7], "std": 0.017}, "a factor of 0.017 is a std of 58.8"),
        (
            {"mean": 0.5, "std": 127.5},
            "mean: 0.5 is for pixels from 0 to 1, std 127.5 for pixels from 0 to 255",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_one_clear_line(tmp_path, custom, complaint) -> None:
    path = tmp_path / "incv3d.yaml"
    path.write_text(yaml.safe_dump({"custom": {"file": "/x.tflite", **custom}}))
    done = run_incv3d(tmp_path, "check-config", "--config", str(path))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert re.search(complaint, done.stderr), done.stderr


@pytest.mark.parametrize(
    ("model", "custom", "warning"),
    [
        ("own", {"labels": "names.txt", "std": 127.5}, "not used: custom.labels, custom.std; they have"),
        (
            "inception-v3",
            {"file": "own.tflite"},
            "not used: custom.file; model.name is `inception-v3`, a known",
        ),
        ("own", {"file": "own.tflite", "labels": "names.txt"}, ""),
        ("inception-v3", {}, ""),
    ],
)
def test_settings_that_nothing_uses_are_warned_of(tmp_path, model, custom, warning, caplog) -> None:
    for name in ("own.tflite", "names.txt"):
        (tmp_path / name).write_text("a")
    path = tmp_path / "incv3d.yaml"
    path.write_text(yaml.safe_dump({"model": {"name": model, "fetch_wait_s": 0}, "custom": custom}))
    done = run_incv3d(tmp_path, "check-config", "--config", str(path))
    assert done.returncode == 2, "there is no such model, which is said besides"
    assert warning in done.stderr and ("not used" in done.stderr) == bool(warning)
    with contextlib.suppress(ModelError):  # no model is in this store
        find_model(load_config(str(path)).config, ModelStore(tmp_path / "store"), lambda line: None)
    assert [warning in record.message for record in caplog.records] == ([True] if warning else [])


SHARED: dict[str, tuple[str, dict[str, object]]] = {
    "uint8_in_keras.tflite": ("labels.txt", {}),
    "int8_dim.tflite": ("labels.txt", {}),
    "tm_quant_uint8.tflite": ("labels.txt", {}),
    "float01.tflite": ("comma.txt", {"pixel_range": [0, 1]}),
    "metadata.tflite": ("", {}),
    "gray.tflite": ("labels.txt", {}),
    "caffe.tflite": ("labels.txt", CAFFE),
}


@pytest.mark.skipif(not CASES.exists(), reason="needs the inputs in ../shared/cases")
@pytest.mark.parametrize("file", SHARED)
def test_twenty_of_twenty_pictures_are_right(tmp_path: Path, file: str) -> None:
    labels, custom = SHARED[file]
    models = CASES / "models"
    loaded = load(tmp_path, models / file, models / labels if labels else None, **custom)
    right = 0
    for image in sorted((CASES / "pics").iterdir()):
        frame = Frame("test", image.read_bytes(), "png", received=0.0, captured=0.0)
        best = loaded.classifier.classify(loaded.classifier.prepare(frame)).predictions[0]
        right += best.index == int(image.name[0])
    assert right == 20
    labels_file = models / (labels or "labels.txt")
    names = [loaded.classifier.labels[index].name for index in range(5)]
    assert names == labels_file.read_text().split("\n")[:5]
