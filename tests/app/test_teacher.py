"""Teaching in the daemon: pictures of what it sees, a training, and what follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from doubles import jpeg
from incv3d.app.daemon_events import Taught
from incv3d.app.state import DaemonState
from incv3d.app.teacher import DaemonTeacher
from incv3d.config.schema import Config, ModelSection
from incv3d.errors import Incv3dError
from incv3d.frames import OWN, Frame, Prediction, Result
from incv3d.models.store import ModelStore
from incv3d.models.taught.head import UNKNOWN
from incv3d.models.taught.store import TaughtStore
from incv3d.teaching.errors import TeachingError
from incv3d.transports.teaching import TrainingProgress
from taught_models import add_base, teach
from waiting import until

STEP = TrainingProgress(step="features", done=3, total=9)
STRANGE = (Prediction(2, "", UNKNOWN, 0.9), Prediction(1, "", "full", 0.06))


def result(number: int = 0, source: str = "camera", predictions=STRANGE, model: str = "mine") -> Result:
    now = time.monotonic()
    frame = Frame(source, jpeg(seed=number), "jpeg", now, now)
    features = np.eye(64, dtype=np.float32)[number]
    return Result(source, predictions=predictions, model=model, frame=frame, features=features)


class Training:
    """A training that ends when the test lets it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.may_end = threading.Event()
        self.problem: str | Incv3dError = ""

    def __call__(self, name: str, force: bool, heard: Callable[[TrainingProgress], None]) -> str:
        self.asked.append((name, force))
        heard(STEP)
        assert self.may_end.wait(20)
        if isinstance(self.problem, Incv3dError):
            raise self.problem
        return self.problem

    def stop(self) -> None:
        self.may_end.set()


class Class:
    """A teacher, and what it asks of the daemon."""

    def __init__(self, root: Path, config: Config = Config()) -> None:  # noqa: B008
        self.root = root
        self.training = Training()
        self.events: list[Taught] = []
        self.deaths: list[str] = []
        self.teacher = DaemonTeacher(
            DaemonState(config),
            ModelStore(root),
            self.events.append,
            lambda thread, error: self.deaths.append(thread),
            self.training,
        )

    def counts(self) -> dict[str, int]:
        return {each.name: each.pictures for each in self.teacher.status().classes}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Class]:
    made = Class(tmp_path)
    made.teacher.begin("mine")
    yield made
    made.training.stop()
    assert not made.deaths


def test_the_latest_frame_of_a_source_becomes_a_picture(room: Class) -> None:
    room.teacher.offer(result(1), True)
    room.teacher.offer(result(2), True)
    picture = room.teacher.capture("camera", "empty")
    assert room.counts() == {"empty": 1}
    assert room.teacher.picture(picture) == jpeg(seed=2)
    [info] = room.teacher.pictures("empty")
    assert info.source == "camera" and abs(info.at - time.time()) < 60
    assert room.teacher.status().changes == 1


def test_a_source_without_a_frame_cannot_be_captured(room: Class) -> None:
    room.teacher.offer(Result(OWN, frame=Frame(OWN, b"", "jpeg", 0, 0)), True)
    for source in ("camera", OWN):
        with pytest.raises(TeachingError, match="no frame"):
            room.teacher.capture(source, "empty")


def test_only_one_region_of_a_frame_is_kept(room: Class) -> None:
    from dataclasses import replace

    from incv3d.frames import Region

    whole = result(1)
    assert whole.frame
    frame = replace(whole.frame, source="camera.left", region=Region(0, 0, 0.5, 1))
    room.teacher.offer(replace(whole, source="camera.left", frame=frame), True)
    picture = room.teacher.capture("camera.left", "empty")
    assert room.teacher.picture(picture) != jpeg(seed=1)


def test_pictures_are_moved_and_deleted_and_each_change_can_be_undone(room: Class) -> None:
    ids = [room.teacher.add(jpeg(seed=number), "empty") for number in range(3)]
    room.teacher.move(ids[:1], "full")
    assert room.counts() == {"empty": 2, "full": 1}
    room.teacher.delete(ids[1:])
    assert room.counts() == {"full": 1}
    assert room.teacher.status().undo
    room.teacher.undo()
    room.teacher.undo()
    assert room.counts() == {"empty": 3}


def test_what_is_no_picture_is_refused(room: Class) -> None:
    with pytest.raises(TeachingError, match="not an image"):
        room.teacher.add(b"GIF89a", "empty")
    assert room.counts() == {}


def test_changes_of_other_processes_are_noticed(room: Class) -> None:
    other = Class(room.root)
    other.teacher.look()
    assert other.teacher.status().name == "mine", "there is only one teaching set"
    other.teacher.add(jpeg(seed=5), "full")
    room.teacher.look()
    assert room.counts() == {"full": 1}


def test_unsure_frames_of_the_taught_model_wait_for_a_decision(room: Class) -> None:
    room.teacher.offer(result(1), True)
    room.teacher.offer(result(2, model="another", source="other"), True)
    [review] = room.teacher.reviews()
    assert (review.label, review.nearest, review.source) == (UNKNOWN, "full", "camera")
    assert room.teacher.review_image(review.id) == jpeg(seed=1)
    room.teacher.decide([review.id], "full")
    assert room.counts() == {"full": 1} and room.teacher.status().review == 0
    with pytest.raises(TeachingError, match="does not wait"):
        room.teacher.decide([review.id], "full")


def test_a_dismissed_frame_is_not_kept(room: Class) -> None:
    room.teacher.offer(result(1), True)
    room.teacher.decide([room.teacher.reviews()[0].id], None)
    assert room.counts() == {} and not room.teacher.reviews()


def test_a_training_tells_its_steps_and_only_one_runs_at_once(room: Class) -> None:
    room.teacher.train()
    until(lambda: room.teacher.status().training == STEP, "a step of the training")
    with pytest.raises(TeachingError, match="under way"):
        room.teacher.train()
    room.training.may_end.set()
    until(lambda: room.teacher.status().training is None, "the end of the training")
    assert room.training.asked == [("mine", False)] and not room.events, "it is not in use yet"


@pytest.mark.parametrize("problem", ["it is not better than guessing", Incv3dError("out of memory")])
def test_why_a_training_was_not_taken_over_is_told_until_the_next(room: Class, problem) -> None:
    room.training.problem = problem
    room.training.may_end.set()
    room.teacher.train()
    until(lambda: room.teacher.status().problem == str(problem), "why it was not taken over")
    room.training.problem = ""
    room.teacher.train(force=True)
    until(lambda: room.teacher.status().training is None, "the end of the training")
    assert not room.teacher.status().problem and room.training.asked[-1] == ("mine", True)


def test_auto_means_the_taught_model_from_now_on(tmp_path: Path) -> None:
    add_base(tmp_path)
    teach(tmp_path, "mine", ["empty", "full"])
    room = Class(tmp_path)
    room.teacher.look()
    room.teacher.use()
    assert room.events == [Taught()]
    assert TaughtStore(tmp_path).selected() == "mine"


def test_a_configured_model_is_not_overridden(tmp_path: Path) -> None:
    add_base(tmp_path)
    teach(tmp_path, "mine", ["empty", "full"])
    room = Class(tmp_path, Config(model=ModelSection(name="inception-v3")))
    room.teacher.look()
    with pytest.raises(TeachingError, match=r"model\.name: inception-v3.*incv3d teach --name mine --use"):
        room.teacher.use()
    assert not room.events and not TaughtStore(tmp_path).selected()


def test_a_name_of_a_model_cannot_be_begun(tmp_path: Path) -> None:
    room = Class(tmp_path)
    with pytest.raises(TeachingError, match="name of a model"):
        room.teacher.begin("inception-v3")
    with pytest.raises(TeachingError, match="no teaching set"):
        room.teacher.add(jpeg(seed=1), "empty")


def test_a_set_that_is_removed_is_forgotten(room: Class) -> None:
    room.teacher.add(jpeg(seed=1), "empty")
    TaughtStore(room.root).remove("mine")
    room.teacher.look()
    assert room.teacher.status().name == "" and not room.teacher.status().classes
