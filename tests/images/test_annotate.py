"""What is drawn on a snapshot: boxes around regions, and labels that stay on the picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from incv3d.frames import Prediction, Region
from incv3d.images.annotate import Annotation, draw_labels
from incv3d.images.demo import demo_folder
from processes import run_incv3d

GREY = (90, 90, 90)


def changed(seen: list[Annotation], size: tuple[int, int] = (640, 480)) -> npt.NDArray[np.bool_]:
    """Which pixels of a grey picture were drawn on."""
    return (np.asarray(draw_labels(Image.new("RGB", size, GREY), seen)) != GREY).any(axis=2)


def test_a_region_has_a_box_around_it_and_its_name_in_it() -> None:
    drawn_on = changed([Annotation(name="feeder", region=Region(0.25, 0.25, 0.5, 0.5))])
    rows, columns = np.nonzero(drawn_on)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (120, 359, 160, 479)
    assert drawn_on[120:360, 160].all() and drawn_on[120, 160:480].all()
    assert drawn_on[130:140, 170:200].all(), "no name"
    assert not drawn_on[200:350, 200:470].any(), "the inside is to be seen"


@pytest.mark.parametrize("size", [(640, 480), (4000, 3000)])
def test_labels_stay_on_the_picture_wherever_the_region_is(size) -> None:
    predictions = tuple(Prediction(n, "", "a label of some length", 0.5) for n in range(5))

    def white(x: float, y: float) -> int:
        seen = Annotation(predictions, "feeder", Region(x, y, 0.05, 0.05))
        return int((np.asarray(draw_labels(Image.new("RGB", size, GREY), [seen])) == 255).all(axis=2).sum())

    in_the_middle = white(0.4, 0.4)
    assert in_the_middle > 500
    for corner in ((0.95, 0.95), (0.0, 0.95), (0.95, 0.0), (0.0, 0.0)):
        assert white(*corner) == in_the_middle, corner


def test_labels_larger_than_the_picture_are_cut_and_no_error() -> None:
    seen = Annotation(
        (Prediction(0, "", "a label of some length", 0.5),), "feeder", Region(0.5, 0.5, 0.5, 0.5)
    )
    assert changed([seen], (16, 12)).any()


def test_a_picture_without_regions_or_labels_is_left_as_it_is() -> None:
    assert not changed([]).any()
    assert not changed([Annotation()]).any()


def test_the_command_draws_upright_regions_and_classifies_each(state: Path, tmp_path: Path) -> None:
    scene = Image.new("RGB", (1280, 640))
    for left, name in ((0, "cat.jpg"), (640, "coffee.jpg")):
        with Image.open(demo_folder() / name) as thing:
            scene.paste(thing.convert("RGB").resize((640, 640)), (left, 0))
    # Saved as a camera sees it that hangs on its side.
    scene.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "sideways.png")
    config = tmp_path / "incv3d.yaml"
    regions = {"sofa": [0.05, 0.1, 0.4, 0.85], "table": [0.5, 0, 0.5, 1]}
    source = {"type": "images", "path": str(tmp_path / "sideways.png")}
    config.write_text(json.dumps({"source": {**source, "transform": "rotate270", "regions": regions}}))
    out = tmp_path / "seen.jpg"
    words = ("snapshot", "--config", str(config), "--settle", "0", str(out))
    done = run_incv3d(state, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{out}: 1280x640",
        "sofa: 512x544 at 64,64",
        "table: 640x640 at 640,0",
    ]
    with Image.open(out) as seen:
        difference = np.abs(np.asarray(seen, int) - np.asarray(scene, int)).max(axis=2)
    assert np.median(difference) < 10, "it is not upright"
    assert np.median(difference[64:608, 64]) > 60, "no left edge of the box"

    done = run_incv3d(state, *words[:1], "--classify", *words[1:])
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1)[-1] for line in done.stdout.splitlines()]
    sofa, table = lines.index("512x544 at 64,64"), lines.index("640x640 at 640,0")
    assert lines[sofa + 1] in {"tabby", "tiger cat", "Egyptian cat"}, lines
    assert lines[table + 1] in {"espresso", "cup", "coffee mug"}, lines
