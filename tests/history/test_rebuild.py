"""A history that was lost is made again from the saved images."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.events.labelled_image import ImageToSave, rendered, stem
from incv3d.frames import Frame, Prediction
from incv3d.history.database import HistoryError
from incv3d.history.reader import HistoryReader, Question
from incv3d.history.rebuild import rebuild
from incv3d.history.visit import Visit
from incv3d.images.demo import demo_folder

AT_S = 1_796_126_400.125
PANDA = Prediction(7, "n02510455", "giant panda", 0.89)


def save(folder: Path, at_s: float) -> str:
    jpeg = next(demo_folder().glob("*.jpg")).read_bytes()
    frame = Frame("camera.left", jpeg, None, 0.0, 0.0)
    image = ImageToSave(frame, at_s, "entered", (PANDA,), (PANDA,), "m")
    path = folder / f"{stem(image)}.jpg"
    path.write_bytes(rendered(image).data)
    return path.name


def test_each_saved_image_is_a_visit_once_and_other_files_are_none(tmp_path: Path) -> None:
    images, path = tmp_path / "seen", tmp_path / "history.sqlite"
    images.mkdir()
    name = save(images, AT_S)
    (images / "20260101T000000.000Z_camera_tench_0.50.jpg").write_bytes(b"damaged")
    (images / "holiday.jpg").write_bytes(next(demo_folder().glob("*.jpg")).read_bytes())
    assert rebuild(images, path) == 1
    later = save(images, AT_S + 60)
    assert rebuild(images, path) == 1
    assert rebuild(images, path) == 0
    with HistoryReader(path) as reader:
        visits = reader.visits(Question())
        assert reader.labels(Question())[0].visits == 2
    assert [each.image for each in visits] == [later, name]
    assert visits[1] == Visit(
        "camera.left", "giant panda", "n02510455", round(AT_S * 1000), 0.89, 0.0, "rebuilt", name
    )


def test_a_folder_that_is_away_is_said(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="away: cannot be read: No such file"):
        rebuild(tmp_path / "away", tmp_path / "history.sqlite")
    assert not (tmp_path / "history.sqlite").exists()
