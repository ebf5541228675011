"""``incv3d teach --from-saved``: the pictures that the daemon saved of events teach."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from incv3d.events.labelled_image import ImageToSave, rendered, stem
from incv3d.frames import Frame, Prediction, Region
from incv3d.models.taught.store import TaughtStore
from incv3d.teaching.picture_set import Picture, PictureSet
from processes import run_incv3d
from taught_models import add_base
from teaching_folders import SIDE, colored

NOON = 1769860800.0
LEFT = Region(0, 0, 0.5, 1)
LABELS = {"empty": "an empty feeder", "full": "full"}


def saved(folder: Path, class_name: str, number: int, suffix: str = "JPEG", **frame: object) -> Path:
    """Save a picture as the daemon does."""
    file = io.BytesIO()
    Image.open(io.BytesIO(colored(class_name, number))).save(file, suffix)
    captured = Frame("porch", file.getvalue(), None, received=0.0, captured=0.0)
    label = Prediction(0, "", LABELS.get(class_name, class_name), 0.9)
    at_unix_s = NOON + 60 * number
    shot = ImageToSave(replace(captured, **frame), at_unix_s, "entered", (label,), (label,), "tiny")  # type: ignore[arg-type]
    found = rendered(shot)
    path = folder / f"{stem(shot)}{found.suffix}"
    path.write_bytes(found.data)
    if found.metadata:
        path.with_suffix(".json").write_bytes(found.metadata)
    return path


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """The folder of the saved pictures, beside a configuration and a state directory."""
    add_base(tmp_path / "state")
    folder = tmp_path / "seen"
    folder.mkdir()
    settings = {
        "model": {"name": "tiny"},
        "session": {"engine": "litert"},
        "intake": {"bind": f"ipc://{tmp_path}/door"},
        "events": {"allow": ["*"]},
        "saving": {"folder": str(folder)},
    }
    (tmp_path / "incv3d.yaml").write_text(json.dumps(settings))
    return folder


def teach(seen: Path, *words: str) -> str:
    config = str(seen.parent / "incv3d.yaml")
    done = run_incv3d(seen.parent / "state", "teach", *words, "--config", config)
    assert done.returncode == 0, done.stderr
    return done.stderr


def own(seen: Path) -> list[Picture]:
    return PictureSet(seen.parent / "state/taught/mine/pictures").pictures()


def test_labels_become_classes_and_of_a_region_only_that_teaches(seen: Path) -> None:
    for number in range(6):
        saved(seen, "empty", number, region=LEFT)
        saved(seen, "full", number, "PNG", region=LEFT, transform="rotate90")
    assert f"12 pictures added from {seen}\n" in teach(seen, "--from-saved", "--name", "mine")
    assert TaughtStore(seen.parent / "state").get("mine").facts.classes == ("an empty feeder", "full")
    for each in own(seen):
        assert each.source == "porch" and each.at_unix_s >= NOON
        with Image.open(each.path) as image:
            assert image.size == (SIDE // 2, SIDE)


def test_corrections_stay_and_only_new_pictures_are_added(seen: Path) -> None:
    for number in range(3):
        wrong = saved(seen, "empty", number)
        saved(seen, "full", number)
    teach(seen, "--from-saved", "--name", "mine")
    teach(seen, "add", "full", str(wrong), "--name", "mine")
    saved(seen, "full", 7)
    assert f"1 pictures added from {seen}\n" in teach(seen, "--from-saved", "--name", "mine")
    assert sorted(each.class_name for each in own(seen)) == ["an empty feeder"] * 2 + ["full"] * 5


def test_a_renamed_file_is_of_the_class_in_its_name_and_unknown_is_none(seen: Path) -> None:
    renamed = saved(seen, "empty", 1)
    renamed.rename(renamed.with_name(renamed.name.replace("an-empty-feeder", "full")))
    saved(seen, "empty", 2)
    (seen / renamed.name.replace("an-empty-feeder", "unknown")).write_bytes(colored("other", 3))
    (seen / "holiday.jpg").write_bytes(colored("other", 4))
    teach(seen, "--from-saved", "--name", "mine")
    assert sorted(each.class_name for each in own(seen)) == ["an empty feeder", "full"]
