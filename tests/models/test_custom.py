"""A network of one's own runs by configuration alone; a bad file is one clear line and leaves nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml
from PIL import Image

from incv3d.config.loading import load_config
from incv3d.config.preprocessing import Normalisation
from incv3d.models.custom import INTERPOLATION_REASONS, default_interpolation
from incv3d.models.entry import ModelError
from incv3d.models.file_kinds import kind_of
from incv3d.models.store import ModelStore
from incv3d.pipeline.loader import find_model
from made_once import MadeOnce
from processes import DaemonProcess, run_incv3d

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
SUPPORT = Path(__file__).resolve().parents[1] / "support"
QUICK = "float.tflite"
"""The form that is taken in without importing TensorFlow: for what has nothing to do with the form."""
NAMES = ["red", "green", "blue", "white", "black"]


@pytest.fixture(scope="module")
def made(made_once: MadeOnce) -> Path:
    """The colour network in every form, its labels, and a picture of each colour."""
    folder = made_once.by("make_colours.py")
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


def classify(state: Path, path: Path, *images: Path) -> dict[str, str]:
    """The best label of each picture."""
    done = run_incv3d(state, "classify", "--json", "--config", str(path), *map(str, images))
    assert done.returncode == 0, done.stderr
    answers = map(json.loads, done.stdout.splitlines())
    return {Path(each["picture"]).stem: each["predictions"][0]["label"] for each in answers}


@pytest.mark.parametrize(
    ("file", "custom"),
    [
        ("odd.pb", {"channel_order": "bgr"}),
        ("any_size.pb", {"pixel_range": [0, 1], "width": 40, "height": 24}),
        ("saved", {}),
        ("colours.keras", {"pixel_range": [0, 1], "fit": "crop", "interpolation": "bicubic"}),
        ("quantised.tflite", {}),
    ],
)
def test_a_network_of_ones_own_classifies_by_configuration_alone(made, tmp_path, file, custom) -> None:
    path = config(tmp_path, made, file, **custom)
    images = [made / f"{name}.png" for name in NAMES]
    assert classify(tmp_path / "state", path, *images) == {name: name for name in NAMES}


@pytest.mark.parametrize(
    ("kind", "layout", "interpolation"),
    [
        ("graphdef", "nhwc", "bilinear"),
        ("savedmodel", "nhwc", "tf-bilinear"),
        ("keras", "nhwc", "tf-bilinear"),
        ("tflite", "nhwc", "tf-bilinear"),
        ("tflite", "nchw", "pillow-bilinear"),
        ("graphdef", "nchw", "pillow-bilinear"),
    ],
)
def test_pictures_are_resized_as_is_usual_for_the_kind_of_file(kind, layout, interpolation) -> None:
    assert default_interpolation(kind, layout) == interpolation
    assert INTERPOLATION_REASONS[interpolation]


def test_the_log_says_which_interpolation_is_taken_unless_one_is_named(made: Path, tmp_path: Path) -> None:
    def said(**custom: object) -> list[str]:
        path = config(tmp_path, made, QUICK, pixel_range=[0, 1], **custom)
        lines: list[str] = []
        find_model(load_config(str(path)).config, ModelStore(tmp_path), lines.append)
        return [line for line in lines if "interpolation:" in line]

    for _ in range(2):  # at the first start, and at every other one
        (line,) = said()
        assert (
            "because TensorFlow 2 and Keras resize that way; to change it, set custom.interpolation" in line
        )
    assert said(interpolation="pillow-box", fit="crop", resize_to=40) == []
    shown = run_incv3d(tmp_path, "model", "show", "colours").stdout
    assert "resized to 40 on the shorter side, then center-cropped, pillow-box" in shown


def test_a_shorter_side_that_is_less_than_the_networks_input_is_refused(made: Path, tmp_path: Path) -> None:
    path = config(tmp_path, made, QUICK, pixel_range=[0, 1], fit="crop", resize_to=31)
    done = run_incv3d(tmp_path / "state", "classify", "--config", str(path), str(made / "red.png"))
    assert done.returncode == 2
    assert "custom.resize_to: 31 is less than 32x32, the input size" in done.stderr.splitlines()[-1]


def test_the_daemon_serves_it_and_takes_it_in_only_once(made: Path, tmp_path: Path) -> None:
    path = config(tmp_path, made, QUICK, pixel_range=[0, 1])
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
    path = config(tmp_path, made, QUICK, labels=str(labels), pixel_range=[0, 1])
    assert classify(tmp_path / "state", path, made / "red.png") == {"red": "red"}
    labels.write_text("\n".join(["rouge", *NAMES[1:]]))
    assert classify(tmp_path / "state", path, made / "red.png") == {"red": "rouge"}


def test_auto_calls_it_custom_and_a_known_name_still_means_the_known_model(made, tmp_path, state) -> None:
    path = config(tmp_path, made, QUICK, "auto", pixel_range=[0, 1])
    assert classify(tmp_path / "state", path, made / "white.png") == {"white": "white"}
    assert (tmp_path / "state/models/custom/manifest.json").exists()
    coffee = HERE.parents[1] / "daemon/incv3d/images/demo/coffee.jpg"
    path = config(tmp_path, made, QUICK, "efficientnet-lite0")
    assert classify(state, path, coffee) == {"coffee": "espresso"}


def test_labels_can_be_left_out(made: Path, tmp_path: Path) -> None:
    path = config(tmp_path, made, QUICK, labels="", pixel_range=[0, 1])
    assert classify(tmp_path / "state", path, made / "blue.png") == {"blue": "class 2"}


def test_a_golden_picture_that_comes_out_wrong_keeps_the_network_out(made: Path, tmp_path: Path) -> None:
    golden = {"golden_picture": str(made / "red.png"), "golden_label": "red"}
    right = config(tmp_path, made, QUICK, pixel_range=[0, 1], **golden).rename(tmp_path / "right.yaml")
    assert classify(tmp_path / "state", right, made / "green.png") == {"green": "green"}
    swapped = config(tmp_path, made, QUICK, pixel_range=[0, 1], channel_order="bgr", **golden)
    door = f"ipc://{tmp_path}/door"
    done = run_incv3d(tmp_path / "state", "run", "--config", str(swapped), "--bind", door, "--publish", "")
    assert done.returncode == 2  # no start makes it better
    last = done.stderr.splitlines()[-1]
    assert "golden.png should be `red`, but the model answers `blue`" in last, last
    # What was there before is still there, untouched.
    assert classify(tmp_path / "state", right, made / "green.png") == {"green": "green"}


def test_a_network_that_cannot_be_prepared_runs_as_it_is_and_is_not_tried_again(made, tmp_path) -> None:
    golden = {"golden_picture": str(made / "red.png"), "golden_label": "red"}
    path = config(tmp_path, made, "branching.pb", pixel_range=[0, 1], **golden)
    state = tmp_path / "state"
    assert classify(state, path, *(made / f"{name}.png" for name in NAMES)) == {name: name for name in NAMES}
    done = run_incv3d(state, "classify", "--config", str(path), str(made / "black.png"))
    assert done.returncode == 0 and "black" in done.stdout
    assert "colours could not be prepared: the graph has control flow" in done.stderr
    assert "importing" not in done.stderr and "preparing" not in done.stderr
    shown = run_incv3d(state, "model", "show", "colours", "--config", str(path)).stdout
    assert "not possible: the graph has control flow" in " ".join(shown.split())


@pytest.fixture(scope="module")
def facts(made: Path) -> dict[str, dict[str, object] | str]:
    """What freezing finds in each file of `made`, or its error; all in one process."""
    shutil.copy(made / "colours.h5", made / "hdf5.keras")
    shutil.copy(made / "colours.keras", made / "zipped.tflite")
    cases = {file: {} for file in FOUND} | SCORES | {file: said for file, (said, _) in BAD_NETWORKS.items()}
    nothing = {"input": "", "output": "", "width": 0, "height": 0, "layout": "auto"}
    jobs = []
    for number, (file, settings) in enumerate(cases.items()):
        path = made / file.split("?")[0]
        out = {"network": str(made / f"{number}.frozen"), "facts": str(made / f"{number}.json")}
        jobs.append({"file": str(path), "kind": kind_of(path), **nothing, **settings, **out})
    (made / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, str(SUPPORT / "freeze_many.py"), str(made / "jobs.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(cases, json.loads(done.stdout), strict=True))


FOUND = {
    "ordinary.pb": {"scores": "probabilities", "width": 32, "height": 32, "layout": "nhwc"},
    "odd.pb": {"scores": "logits", "layout": "nchw", "range": (-1, 1)},
    "colours.h5": {"scores": "probabilities", "range": None},
    "hdf5.keras": {"scores": "probabilities", "outputs": 5},
    "zipped.tflite": {"scores": "probabilities", "outputs": 5},
    "saved": {"scores": "logits", "range": (0, 255), "interpolation": None},
    "saved_by_1": {"scores": "logits", "interpolation": "bilinear"},
    "resizes.pb": {"scores": "probabilities", "interpolation": "tf-bilinear-antialias"},
    "float.tflite": {"scores": "probabilities", "range": None},
}


def test_what_a_file_says_of_itself_need_not_be_configured(facts) -> None:
    for file, wanted in FOUND.items():
        found = facts[file]
        assert isinstance(found, dict), found
        normalisation = msgspec.convert(found["normalisation"], Normalisation)
        found["range"] = None if "assumed" in normalisation.why else normalisation.pixel_range
        assert found["outputs"] == 5 and wanted.items() <= found.items(), (file, found)


SCORES = {f"slow_logits.pb?{high}": {"pixel_range": [0, high]} for high in (1, 255)}


def test_the_kind_of_its_scores_is_told_in_the_range_that_the_network_takes(facts) -> None:
    assert [facts[case]["scores"] for case in SCORES] == ["probabilities", "logits"]


BAD_NETWORKS: dict[str, tuple[dict[str, object], str]] = {
    "cut-colours.h5": ({}, "Keras cannot load it"),
    "cut-quantised.tflite": ({}, "cut-quantised.tflite: LiteRT cannot load it"),
    "lambda.keras": ({}, "Keras cannot load it"),
    "two_answers.pb": ({}, "set custom.output to one of: first:0, second:0"),
    "ordinary.pb?output": ({"output": "softmax"}, "no output `softmax`"),
    "ordinary.pb?input": ({"input": "Mul:0"}, "no input `Mul:0`"),
    "ordinary.pb?size": ({"width": 64, "height": 64}, "custom.width is 64, but"),
    "any_size.pb": ({}, "set custom.width and custom.height"),
    "needs_more.pb": ({}, "also needs `keep_prob`"),
    "not_frozen.pb": ({}, "not frozen: `weights` is a variable"),
    "no_classifier.pb": ({}, "its output has shape 1x32x32x3, not a score per class"),
    "four_channels.pb": ({}, "but must take three channels"),
}


def test_a_network_that_will_not_do_says_why_in_one_line(facts) -> None:
    for file, (_, complaint) in BAD_NETWORKS.items():
        error = facts[file]
        assert isinstance(error, str) and complaint in error and "\n" not in error, (file, error)


BAD_FILES = {
    "gone.pb": "gone.pb: no such file",
    "empty.pb": "empty.pb: the file is empty",
    "names.txt": "not a frozen GraphDef",
    "page.tflite": "not a network, but a web page",
    "pointer.keras": "not a network, but a Git LFS pointer",
    "red.png": "not a frozen GraphDef",
    ".": "not a SavedModel",
    "cut-ordinary.pb": "it is truncated or damaged at byte",
    "saved/saved_model.pb": "part of a SavedModel; name its folder",
    "cut-colours.keras": "a damaged zip archive",
    "bomb.keras": "unpacks to more than a model's limit",
    "other.zip": "not a Keras model",
}


@pytest.mark.parametrize("file", BAD_FILES)
def test_a_file_that_is_no_network_says_why(made: Path, file: str) -> None:
    (made / "empty.pb").write_bytes(b"")
    (made / "page.tflite").write_text("\n<!DOCTYPE html>\n<title>Not found</title>\n")
    (made / "pointer.keras").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    with pytest.raises(ModelError, match=BAD_FILES[file]):
        kind_of(made / file)


@pytest.mark.parametrize(
    ("file", "custom", "complaint"),
    [
        ("two_answers.pb", {}, "the output is ambiguous; set custom.output"),
        ("ordinary.pb", {"labels": "few.txt"}, "few.txt: 2 labels for a network with 5 outputs"),
        ("ordinary.pb", {"labels": "/nowhere/names.txt"}, "/nowhere/names.txt: no such file"),
        ("gone.pb", {}, "gone.pb: no such file"),
        ("bomb.keras", {}, "unpacks to more than a model's limit"),
        (
            "ordinary.pb",
            {"golden_picture": "/nowhere/x.jpg", "golden_label": "red"},
            "/nowhere/x.jpg: no such file",
        ),
    ],
)
def test_the_command_says_it_in_one_line_and_the_store_is_untouched(
    made, tmp_path, file, custom, complaint
) -> None:
    (made / "few.txt").write_text("red\ngreen\n")
    if "labels" in custom:
        custom = {**custom, "labels": str(made / custom["labels"])}
    path = config(tmp_path, made, file, **custom)
    done = run_incv3d(tmp_path / "state", "classify", "--config", str(path), "-", stdin=b"")
    assert done.returncode == 2
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
        str(config(tmp_path, made, QUICK)),
        str(made / "red.png"),
    )
    assert done.returncode == 0, done.stderr
    manifest = state / "models/colours/manifest.json"
    manifest.write_text(manifest.read_text().replace('"custom 1', '"somebody'))
    done = run_incv3d(state, "classify", "--config", str(tmp_path / "incv3d.yaml"), str(made / "red.png"))
    assert done.returncode == 2 and "imported by hand" in done.stderr
    assert run_incv3d(state, "model", "remove", "colours").returncode == 0
