"""Teach the running daemon: capture pictures, have a child train on them, and take the head over."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from incv3d.app.daemon_events import Taught
from incv3d.app.state import DaemonState
from incv3d.app.training_child import run_training
from incv3d.clock import unix_time
from incv3d.errors import Incv3dError
from incv3d.frames import Frame, Result
from incv3d.images.encode import encode_classified, encode_preview
from incv3d.images.preprocess import ImageError
from incv3d.models.entry import ModelError
from incv3d.models.resolve import AUTO
from incv3d.models.store import ModelStore
from incv3d.models.taught.model import TaughtModel
from incv3d.models.taught.store import TaughtStore
from incv3d.pipeline.latest_frames import LatestFrames, NumberedFrame
from incv3d.pipeline.loader import LoadedModel
from incv3d.teaching.errors import TeachingError
from incv3d.teaching.picture_set import PictureSet
from incv3d.teaching.report import read_report
from incv3d.teaching.report_text import report_lines
from incv3d.teaching.review import Review, ReviewQueue
from incv3d.threads import OnDeath, start_thread
from incv3d.transports.teaching import (
    ClassCount,
    PictureInfo,
    ReportSummary,
    ReviewInfo,
    TeachingStatus,
    TrainingProgress,
)

LOG = logging.getLogger(__name__)
PICTURES = "pictures"
"""The folder of a taught model's own pictures."""
CAPTURE_S = 5.0
"""How long to wait for a frame to capture."""
PAUSE_S = 0.05


class Train(Protocol):
    """Trains in a child process. Implemented by :func:`incv3d.app.training_child.run_training`."""

    def __call__(
        self, config: Path | None, name: str, force: bool, heard: Callable[[TrainingProgress], None]
    ) -> str:
        """Train the taught model `name`; return why its head was not kept, empty if it was."""


class DaemonTeacher:
    """The teaching set of the daemon, and its training. Any thread may call it.

    :param frames: the latest frame of each source that is asked for.
    :param put: puts an event into the daemon's queue, so that it reads the heads again.
    :param on_death: called with the thread's name and the error when the thread that trains dies.
    :param config: the configuration file, for the child that trains; None: the daemon runs without one.
    """

    def __init__(
        self,
        state: DaemonState,
        store: ModelStore,
        frames: LatestFrames,
        put: Callable[[Taught], None],
        on_death: OnDeath,
        config: Path | None = None,
        train: Train = run_training,
    ) -> None:
        self._state = state
        self._store = TaughtStore(store.root)
        self._frames = frames
        self._put = put
        self._on_death = on_death
        self._config = config
        self._train = train
        self._lock = threading.Lock()
        self._captured: dict[str, int] = {}
        """By source: the number of the frame that was captured last."""
        self._reviews = ReviewQueue(unix_time)
        self._loaded: LoadedModel | None = None
        """The model that ran when the set was looked at last."""
        self._name = ""
        self._seen: object = None
        """What the files of the set looked like when the status was made."""
        self._status = TeachingStatus()
        self._training: TrainingProgress | None = None
        self._problem = ""

    def offer(self, result: Result, is_accepted: bool) -> None:
        """Keep the frame of a result for review if the taught model is unsure of it."""
        loaded = self._state.loaded
        if loaded is not self._loaded:
            self._follow(loaded)
        if result.ok and not result.is_own and loaded and (result.model or loaded.model) == self._name:
            self._reviews.offer(result)

    def status(self) -> TeachingStatus:
        """Return the state of the teaching set and of the training; the disk is read only after a change."""
        loaded = self._state.loaded
        with self._lock:
            if loaded is not self._loaded:
                self._follow(loaded)
            self._name = name = self._current_name()
            seen = _stamp(self._store.folder(name)) if name else None
            if name != self._status.name or seen != self._seen:
                self._status, self._seen = self._read(name), seen
            return msgspec.structs.replace(
                self._status,
                in_use=name in names_in_use(loaded),
                review=len(self._reviews),
                review_revision=self._reviews.revision,
                training=self._training,
                problem=self._problem or self._status.problem,
            )

    def begin(self, name: str) -> None:
        """Begin a teaching set for a model called `name`, on the model that runs."""
        with _as_teaching_errors():
            self._store.check_free(name)
            self._store.folder(name).joinpath(PICTURES).mkdir(parents=True, exist_ok=True)
        self._name = name

    def capture(self, source: str, class_name: str) -> str:
        """Add the latest frame of `source` to a class, and return the picture's id."""
        found = self._next_frame(source)
        return self._set.add(class_name, self._jpeg(found.frame), source, found.at_unix_s).id

    def add(self, data: bytes, class_name: str) -> str:
        """Add an encoded image to a class, and return the picture's id."""
        return self._set.add(class_name, data, "uploaded", time.time()).id

    def pictures(self, class_name: str) -> list[PictureInfo]:
        """Return the pictures of a class, the latest first."""
        return [
            PictureInfo(id=each.id, source=each.source, at=each.at_unix_s)
            for each in self._set.pictures(class_name)
        ]

    def picture(self, picture_id: str) -> bytes:
        """Return a picture, reduced in size, as a JPEG."""
        path = self._set.get(picture_id).path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TeachingError(f"{path}: cannot be read: {error.strerror}") from None
        return self._preview(Frame("", data, None, 0, 0))

    def move(self, picture_ids: Sequence[str], class_name: str) -> None:
        """Move pictures to another class, which may be new."""
        self._set.move(picture_ids, class_name)

    def delete(self, picture_ids: Sequence[str]) -> None:
        """Delete pictures."""
        self._set.delete(picture_ids)

    def undo(self) -> None:
        """Take back the last change of the teaching set."""
        self._set.undo()

    def reviews(self) -> list[ReviewInfo]:
        """Return the frames that wait to be reviewed, the latest first."""
        return [_info(each) for each in self._reviews.waiting()]

    def review_image(self, review_id: str) -> bytes:
        """Return such a frame, reduced in size, as a JPEG."""
        return self._preview(self._review(review_id).frame)

    def decide(self, review_ids: Sequence[str], class_name: str | None) -> None:
        """Add frames to a class, or, for None, dismiss them."""
        for each in review_ids:
            if class_name is not None:
                review = self._review(each)
                self._set.add(class_name, self._jpeg(review.frame), review.frame.source, review.at_unix_s)
            self._reviews.remove(each)

    def train(self, force: bool = False) -> None:
        """Train on the teaching set, in a child process, and take the result over."""
        with self._lock:
            if self._training:
                raise TeachingError("a training is under way")
            if not self._name:
                raise TeachingError("there is no teaching set yet")
            self._training, self._problem = TrainingProgress(step="start"), ""
        start_thread("teaching", lambda: self._train_set(self._name, force), self._on_death)

    def use(self) -> None:
        """Classify with the taught model, also after a restart."""
        configured = self._state.config.model.name
        if configured not in (AUTO, self._name):
            raise TeachingError(
                f"the configuration says `model.name: {configured}`; change it: "
                f"sudo incv3d teach --name {self._name} --use"
            )
        with _as_teaching_errors():
            self._store.select(self._name)
        self._put(Taught())

    @property
    def _set(self) -> PictureSet:
        if not self._name:
            raise TeachingError("there is no teaching set yet")
        return PictureSet(self._store.folder(self._name) / PICTURES)

    def _next_frame(self, source: str) -> NumberedFrame:
        """Wait for a frame that was not captured yet: frames are kept only while they are asked for."""
        deadline = time.monotonic() + CAPTURE_S
        while not (found := self._frames.after(source, self._captured.get(source, 0))):
            if time.monotonic() > deadline:
                raise TeachingError(f"{source} has had no new frame for {CAPTURE_S:g} s")
            time.sleep(PAUSE_S)
        self._captured[source] = found.number
        return found

    def _jpeg(self, frame: Frame) -> bytes:
        return self._encode(frame, encode_classified)

    def _preview(self, frame: Frame) -> bytes:
        return self._encode(frame, encode_preview)

    def _encode(self, frame: Frame, encode: Callable[[Frame, int], bytes]) -> bytes:
        try:
            return encode(frame, self._state.config.intake.max_pixels)
        except ImageError as error:
            raise TeachingError(f"{frame.source or 'the picture'}: {error}") from None

    def _review(self, review_id: str) -> Review:
        found = self._reviews.get(review_id)
        if found is None:
            raise TeachingError("this frame does not wait any longer")
        return found

    def _train_set(self, name: str, force: bool) -> None:
        try:
            problem = self._train(self._config, name, force, self._heard)
        except Incv3dError as error:
            problem = str(error)
        except Exception:
            # Whatever went wrong, frames are classified as before.
            LOG.exception("teaching %s failed", name)
            problem = "it failed; see the daemon's log"
        if problem:
            LOG.warning("teaching: %s is not taken over: %s", name, problem)
        self._problem, self._training = problem, None
        if not problem and name in names_in_use(self._state.loaded):
            self._put(Taught())

    def _heard(self, progress: TrainingProgress) -> None:
        self._training = progress

    def _follow(self, loaded: LoadedModel | None) -> None:
        """Note that other heads, or another model, classify from now on."""
        self._loaded = loaded
        self._reviews.clear()
        in_use = names_in_use(loaded)
        if in_use and self._name not in in_use:
            self._name = in_use[0]

    def _current_name(self) -> str:
        """Return the set that was begun or is in use, or else the one that changed last; empty: none."""
        names = self._store.begun()
        if self._name in names:
            return self._name
        return max(names, key=lambda name: _stamp(self._store.folder(name)), default="")

    def _read(self, name: str) -> TeachingStatus:
        """Read the state of the set `name` from the disk."""
        if not name:
            return TeachingStatus()
        try:
            taught = self._store.find(name)
            pictures = PictureSet(self._store.folder(name) / PICTURES)
            return TeachingStatus(
                name=name,
                base=taught.facts.base if taught else "",
                classes=[ClassCount(name=each, pictures=count) for each, count in pictures.counts().items()],
                revision=pictures.state(),
                changes=pictures.changes(),
                undo=pictures.undo_in_words(),
                report=_report(taught) if taught else None,
            )
        except Incv3dError as error:
            return TeachingStatus(name=name, problem=str(error))


def names_in_use(loaded: LoadedModel | None) -> list[str]:
    """Return the names of the taught models that classify."""
    return [each.name for each in loaded.taught.each] if loaded and loaded.taught else []


def _report(model: TaughtModel) -> ReportSummary:
    """Return what the page shows of the report of a taught model.

    :raises Incv3dError: it is damaged.
    """
    report = read_report(model.report())
    return ReportSummary(
        accuracy=msgspec.to_builtins(report.accuracy),
        guessing=report.guessing,
        classes=msgspec.to_builtins(report.classes),
        text="\n".join(report_lines(report)),
    )


def _info(review: Review) -> ReviewInfo:
    best = review.predictions[0]
    return ReviewInfo(
        id=review.id,
        source=review.frame.source,
        at=review.at_unix_s,
        label=best.label,
        score=best.score,
        nearest=review.nearest,
    )


def _stamp(folder: Path) -> tuple[int, ...]:
    """Return numbers that change with the files of a teaching set."""
    files = (folder / "facts.json", folder / PICTURES / ".changes.json", folder / PICTURES)
    return tuple(each.stat().st_mtime_ns if each.exists() else 0 for each in files)


@contextlib.contextmanager
def _as_teaching_errors() -> Iterator[None]:
    try:
        yield
    except ModelError as error:
        raise TeachingError(str(error)) from None
    except OSError as error:
        raise TeachingError(f"{error.filename}: cannot be written: {error.strerror}") from None
