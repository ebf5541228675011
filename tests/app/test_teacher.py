"""Teaching in the daemon: pictures of what it sees, a training, and what follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from doubles import jpeg
from incv3d.app import teacher
from incv3d.app.daemon_events import Taught
from incv3d.app.state import DaemonState
from incv3d.app.teacher import DaemonTeacher
from incv3d.config.schema import Config, ModelSection
from incv3d.errors import Incv3dError
from incv3d.frames import OWN, Frame, Prediction, Region, Result, image_format
from incv3d.models.store import ModelStore
from incv3d.models.taught.head import UNKNOWN
from incv3d.models.taught.store import TaughtStore
from incv3d.pipeline.latest_frames import LatestFrames
from incv3d.pipeline.loader import LoadedModel
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


def loaded(name: str) -> LoadedModel:
    """A model that classifies with the head `name`."""
    taught = SimpleNamespace(each=[SimpleNamespace(name=name)])
    return cast(LoadedModel, SimpleNamespace(model=name, taught=taught))


class Training:
    """A training that ends when the test lets it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.may_end = threading.Event()
        self.problem: str | Exception = ""

    def __call__(
        self, config: Path | None, name: str, force: bool, heard: Callable[[TrainingProgress], None]
    ) -> str:
        self.asked.append((name, force))
        heard(STEP)
        assert self.may_end.wait(20)
        if isinstance(self.problem, Exception):
            raise self.problem
        return self.problem


class Class:
    """A teacher, and what it asks of the daemon."""

    def __init__(self, root: Path, config: Config = Config()) -> None:  # noqa: B008
        self.root = root
        self.training = Training()
        self.events: list[Taught] = []
        self.deaths: list[str] = []
        self.state = DaemonState(config)
        self.frames = LatestFrames()
        self.teacher = DaemonTeacher(
            self.state,
            ModelStore(root),
            self.frames,
            self.events.append,
            lambda thread, error: self.deaths.append(thread),
            train=self.training,
        )

    def capture(self, *results: Result) -> str:
        """Capture while these results come in, the last of them first."""
        self.frames.after(results[-1].source, 0)  # somebody asks
        for each in results:
            self.frames.offer(each)
        return self.teacher.capture(results[-1].source, "empty")

    def counts(self) -> dict[str, int]:
        return {each.name: each.pictures for each in self.teacher.status().classes}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Class]:
    made = Class(tmp_path)
    made.teacher.begin("mine")
    yield made
    made.training.may_end.set()
    assert not made.deaths


def test_the_latest_frame_of_a_source_becomes_a_picture(room: Class) -> None:
    picture = room.capture(result(1), result(2))
    assert room.counts() == {"empty": 1}
    [stored] = room.root.glob("taught/mine/pictures/empty/*")
    assert stored.name == picture and stored.read_bytes() == jpeg(seed=2)
    [info] = room.teacher.pictures("empty")
    assert info.source == "camera" and abs(info.at - time.time()) < 60
    assert room.teacher.status().changes == 1


def test_one_frame_is_captured_once_and_a_source_without_a_new_one_says_so(
    room: Class, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "CAPTURE_S", 0.2)
    room.capture(result(1))
    for source in ("camera", "nothing", OWN):
        with pytest.raises(TeachingError, match="no new frame"):
            room.teacher.capture(source, "empty")
    assert room.counts() == {"empty": 1}


def test_only_one_region_of_a_frame_is_kept(room: Class) -> None:
    whole = result(1)
    assert whole.frame
    frame = replace(whole.frame, source="camera.left", region=Region(0, 0, 0.5, 1))
    room.capture(replace(whole, source="camera.left", frame=frame))
    [stored] = room.root.glob("taught/mine/pictures/empty/*")
    assert stored.read_bytes() != jpeg(seed=1)


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
    assert other.teacher.status().name == "mine", "there is only one teaching set"
    other.teacher.add(jpeg(seed=5), "full")
    assert room.counts() == {"full": 1}


def test_unsure_frames_of_the_taught_model_wait_for_a_decision(room: Class) -> None:
    room.state.loaded = loaded("mine")
    room.teacher.offer(result(1), True)
    room.teacher.offer(result(2, model="another", source="other"), True)
    [review] = room.teacher.reviews()
    assert (review.label, review.nearest, review.source) == (UNKNOWN, "full", "camera")
    assert image_format(room.teacher.review_image(review.id)) == "jpeg"
    room.teacher.decide([review.id], "full")
    assert room.counts() == {"full": 1} and room.teacher.status().review == 0
    with pytest.raises(TeachingError, match="does not wait"):
        room.teacher.decide([review.id], "full")


def test_frames_of_another_model_do_not_wait_any_longer(room: Class) -> None:
    room.state.loaded = loaded("mine")
    room.teacher.offer(result(1), True)
    assert room.teacher.status().review == 1
    room.state.loaded = loaded("mine")
    assert room.teacher.status().review == 0


def test_a_dismissed_frame_is_not_kept(room: Class) -> None:
    room.state.loaded = loaded("mine")
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


PROBLEMS = ["it is not better than guessing", Incv3dError("out of memory"), RuntimeError("a fault")]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_why_a_training_was_not_taken_over_is_told_until_the_next(room: Class, problem) -> None:
    room.training.problem = problem
    room.training.may_end.set()
    room.teacher.train()
    said = "it failed; see the daemon's log" if isinstance(problem, RuntimeError) else str(problem)
    until(lambda: room.teacher.status().problem == said, "why it was not taken over")
    room.training.problem = ""
    room.teacher.train(force=True)
    until(lambda: room.teacher.status().training is None, "the end of the training")
    assert not room.teacher.status().problem and room.training.asked[-1] == ("mine", True)


def test_auto_means_the_taught_model_from_now_on(tmp_path: Path) -> None:
    add_base(tmp_path)
    teach(tmp_path, "mine", ["empty", "full"])
    room = Class(tmp_path)
    room.teacher.status()
    room.teacher.use()
    assert room.events == [Taught()]
    assert TaughtStore(tmp_path).selected() == "mine"


def test_a_configured_model_is_not_overridden(tmp_path: Path) -> None:
    add_base(tmp_path)
    teach(tmp_path, "mine", ["empty", "full"])
    room = Class(tmp_path, Config(model=ModelSection(name="inception-v3")))
    room.teacher.status()
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
    assert room.teacher.status().name == "" and not room.teacher.status().classes
