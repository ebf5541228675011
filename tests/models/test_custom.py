"""A network of one's own runs by configuration alone; a bad file is one clear line and leaves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from processes import DaemonProcess, run_incv3d

HERE = Path(__file__).resolve().parent
NAMES = ["red", "green", "blue", "white", "black"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The colour network in every form, its labels, and a picture of each colour."""
    folder = tmp_path_factory.mktemp("made")
    command = [sys.executable, str(HERE / "make_colours.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n")
    for name in NAMES:
        Image.new("RGB", (90, 60), name if name != "green" else "lime").save(folder / f"{name}.png")
    return folder


def config(folder: Path, made: Path, file: str, name: str = "colours", **custom: object) -> Path:
    """A configuration that describes the network `file` of `made`."""
    section = {"file": str(made / file), "labels": str(made / "names.txt"), **custom}
    path = folder / "incv3d.yaml"
    path.write_text(yaml.safe_dump({"model": {"name": name}, "custom": section}))
    return path


def classify(state: Path, path: Path, *pictures: Path) -> dict[str, str]:
    """The best label of each picture."""
    done = run_incv3d(state, "classify", "--json", "--config", str(path), *map(str, pictures))
    assert done.returncode == 0, done.stderr
    answers = map(json.loads, done.stdout.splitlines())
    return {Path(each["picture"]).stem: each["predictions"][0]["label"] for each in answers}


@pytest.mark.parametrize(
    ("file", "custom"),
    [
        ("ordinary.pb", {"pixel_range": [0, 1]}),
        ("odd.pb", {"channel_order": "bgr"}),
        ("any_size.pb", {"pixel_range": [0, 1], "width": 40, "height": 24}),
        ("two_answers.pb", {"pixel_range": [0, 1], "output": "first"}),
        ("saved", {}),
        ("colours.keras", {"pixel_range": [0, 1]}),
        ("colours.h5", {"pixel_range": [0, 1], "fit": "crop", "interpolation": "bicubic"}),
        ("float.tflite", {"pixel_range": [0, 1]}),
        ("quantised.tflite", {}),
    ],
)
def test_a_network_of_ones_own_classifies_by_configuration_alone(made, tmp_path, file, custom) -> None:
    path = config(tmp_path, made, file, **custom)
    pictures = [made / f"{name}.png" for name in NAMES]
    assert classify(tmp_path / "state", path, *pictures) == {name: name for name in NAMES}


def test_the_daemon_serves_it_and_takes_it_in_only_once(made: Path, tmp_path: Path) -> None:
    path = config(tmp_path, made, "ordinary.pb", pixel_range=[0, 1])
    daemon = DaemonProcess(tmp_path / "state", tmp_path, "--config", str(path)).ready()
    done = run_incv3d(tmp_path, "classify", "--connect", daemon.door, str(made / "blue.png"))
    assert "blue" in done.stdout.splitlines()[1], done.stdout
    assert daemon.stop() == 0
    assert any("importing" in line and "as colours" in line for line in daemon.said)
    again = DaemonProcess(tmp_path / "state", tmp_path, "--config", str(path)).ready()
    assert again.stop() == 0
    assert not any("importing" in line for line in again.said)


def test_a_changed_file_is_taken_in_again(made: Path, tmp_path: Path) -> None:
    labels = tmp_path / "mine.txt"
    labels.write_text("\n".join(NAMES))
    path = config(tmp_path, made, "ordinary.pb", labels=str(labels), pixel_range=[0, 1])
    assert classify(tmp_path / "state", path, made / "red.png") == {"red": "red"}
    labels.write_text("\n".join(["rouge", *NAMES[1:]]))
    assert classify(tmp_path / "state", path, made / "red.png") == {"red": "rouge"}


def test_auto_calls_it_custom_and_a_known_name_still_means_the_known_model(made, tmp_path, state) -> None:
    path = config(tmp_path, made, "ordinary.pb", "auto", pixel_range=[0, 1])
    assert classify(tmp_path / "state", path, made / "white.png") == {"white": "white"}
    assert (tmp_path / "state/models/custom/manifest.json").exists()
    coffee = HERE.parents[1] / "daemon/incv3d/sources/demo/coffee.jpg"
    path = config(tmp_path, made, "ordinary.pb", "efficientnet-lite0")
    assert classify(state, path, coffee) == {"coffee": "espresso"}


def test_labels_can_be_left_out(made: Path, tmp_path: Path) -> None:
    path = config(tmp_path, made, "ordinary.pb", labels="", pixel_range=[0, 1])
    assert classify(tmp_path / "state", path, made / "blue.png") == {"blue": "class 2"}


def test_a_golden_picture_that_comes_out_wrong_keeps_the_network_out(made: Path, tmp_path: Path) -> None:
    golden = {"golden_picture": str(made / "red.png"), "golden_label": "red"}
    right = config(tmp_path, made, "ordinary.pb", pixel_range=[0, 1], **golden).rename(
        tmp_path / "right.yaml"
    )
    assert classify(tmp_path / "state", right, made / "green.png") == {"green": "green"}
    swapped = config(tmp_path, made, "ordinary.pb", pixel_range=[0, 1], channel_order="bgr", **golden)
    done = run_incv3d(tmp_path / "state", "run", "--config", str(swapped))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "golden.png must be `red`, it is `blue`" in last, last
    # What was there before is still there, untouched.
    assert classify(tmp_path / "state", right, made / "green.png") == {"green": "green"}


BAD = {
    "not there": ("gone.pb", {}, "gone.pb: no such file"),
    "empty": ("empty.pb", {}, "empty.pb: is empty"),
    "text": ("names.txt", {}, "not a frozen GraphDef"),
    "picture": ("red.png", {}, "not a frozen GraphDef"),
    "folder": (".", {}, "no SavedModel"),
    "cut off graph": ("cut-ordinary.pb", {}, "cut-ordinary.pb: not a"),
    "cut off keras": ("cut-colours.keras", {}, "a damaged zip archive"),
    "cut off h5": ("cut-colours.h5", {}, "Keras cannot load it"),
    "cut off flatbuffer": ("cut-quantised.tflite", {}, "cut-quantised.tflite: "),
    "bomb": ("bomb.keras", {}, "unpacks to more than a model can be"),
    "other zip": ("other.zip", {}, "no Keras model"),
    "code": ("lambda.keras", {}, "Keras cannot load it"),
    "two outputs": ("two_answers.pb", {}, "Say custom.output; there are: first:0, second:0"),
    "wrong output": ("ordinary.pb", {"output": "softmax"}, "no output `softmax`"),
    "wrong input": ("ordinary.pb", {"input": "Mul:0"}, "no input `Mul:0`"),
    "any size": ("any_size.pb", {}, "say custom.width and custom.height"),
    "another size": ("ordinary.pb", {"width": 64, "height": 64}, "custom.width is 64, but"),
    "needs more": ("needs_more.pb", {}, "needs `keep_prob` too"),
    "not frozen": ("not_frozen.pb", {}, "not frozen, `weights` is a variable"),
    "no classifier": ("no_classifier.pb", {}, "its output has shape 1x32x32x3, not one score a class"),
    "four channels": ("four_channels.pb", {}, "it must take three channels"),
    "labels gone": ("ordinary.pb", {"labels": "/nowhere/labels.txt"}, "labels.txt: no such file"),
    "few labels": ("ordinary.pb", {"labels": "few.txt"}, "few.txt: 2 labels, the network has 5 outputs"),
    "golden gone": (
        "ordinary.pb",
        {"golden_picture": "/nowhere/x.jpg", "golden_label": "red"},
        "x.jpg: no such file",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_one_clear_line_and_the_store_is_untouched(made, tmp_path, case) -> None:
    (made / "empty.pb").write_bytes(b"")
    (made / "few.txt").write_text("red\ngreen\n")
    file, custom, complaint = BAD[case]
    if "labels" in custom:
        custom = {**custom, "labels": str(made / custom["labels"])}
    done = run_incv3d(
        tmp_path / "state",
        "classify",
        "--config",
        str(config(tmp_path, made, file, **custom)),
        "-",
        stdin=b"",
    )
    assert done.returncode == 1
    assert complaint in done.stderr and done.stderr.startswith("incv3d: "), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    models = tmp_path / "state/models"
    assert not models.exists() or not [each for each in models.iterdir() if not each.name.startswith(".")]
    assert not list((tmp_path / "state").glob(".custom-*"))


def test_a_name_that_an_imported_model_has_is_not_taken_over(made: Path, tmp_path: Path, state: Path) -> None:
    done = run_incv3d(
        state,
        "classify",
        "--config",
        str(config(tmp_path, made, "ordinary.pb", "colours")),
        str(made / "red.png"),
    )
    assert done.returncode == 0, done.stderr
    manifest = state / "models/colours/manifest.json"
    manifest.write_text(manifest.read_text().replace('"custom 1', '"somebody'))
    done = run_incv3d(state, "classify", "--config", str(tmp_path / "incv3d.yaml"), str(made / "red.png"))
    assert done.returncode == 1 and "imported by hand" in done.stderr
    assert run_incv3d(state, "model", "remove", "colours").returncode == 0
