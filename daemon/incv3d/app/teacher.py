"""Teach the running daemon: capture pictures, have a child train on them, and take the head over."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from incv3d.app.daemon_events import Taught
from incv3d.app.state import DaemonState
from incv3d.errors import Incv3dError
from incv3d.frames import Result
from incv3d.images.encode import encode_classified
from incv3d.images.preprocess import ImageError
from incv3d.models.entry import ModelError
from incv3d.models.resolve import AUTO
from incv3d.models.store import ModelStore
from incv3d.models.taught.model import TaughtModel
from incv3d.models.taught.store import TaughtStore
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
    ReviewInfo,
    TeachingStatus,
    TrainingProgress,
)

LOG = logging.getLogger(__name__)
PICTURES = "pictures"
"""The folder of a taught model's own pictures."""
SOURCES_KEPT = 32
"""Sources whose latest frame can be captured."""


class Train(Protocol):
    """Trains in a child process. Implemented by :class:`incv3d.app.training_child.TrainingChild`."""

    def __call__(self, name: str, force: bool, heard: Callable[[TrainingProgress], None]) -> str:
        """Train the taught model `name`; return why the result was not taken over, empty if it was.

        :raises Incv3dError: it failed.
        """

    def stop(self) -> None:
        """Stop the training, if there is one."""


class DaemonTeacher:
    """The teaching set of the daemon, and its training. Any thread may call it.

    :param put: puts an event into the daemon's queue, so that it reads the heads again.
    :param on_death: called with the thread's name and the error when that thread dies.
    :param train: trains in a child process.
    """

    def __init__(
        self,
        state: DaemonState,
        store: ModelStore,
        put: Callable[[Taught], None],
        on_death: OnDeath,
        train: Train,
    ) -> None:
        self._state = state
        self._store = TaughtStore(store.root)
        self._put = put
        self._on_death = on_death
        self._train = train
        self._lock = threading.Lock()
        self._latest: OrderedDict[str, Result] = OrderedDict()
        """The latest result with its frame of each source."""
        self._reviews = ReviewQueue(lambda at: time.time() - time.monotonic() + at)
        self._name = ""
        self._seen: object = None
        """What the files of the set looked like when the status was made."""
        self._status = TeachingStatus()
        self._training: TrainingProgress | None = None
        self._problem = ""

    def offer(self, result: Result, is_accepted: bool) -> None:
        """Keep the frame of a result for capturing, and for review if the taught model is unsure of it."""
        if not result.ok or result.is_own or result.frame is None:
            return
        with self._lock:
            self._latest[result.source] = result
            self._latest.move_to_end(result.source)
            if len(self._latest) > SOURCES_KEPT:
                self._latest.popitem(last=False)
        loaded = self._state.loaded
        if (result.model or (loaded.model if loaded else "")) == self._name:
            self._reviews.offer(result)

    def begin_with(self, loaded: LoadedModel | None) -> None:
        """Note that other heads, or another model, classify from now on."""
        in_use = names_in_use(loaded)
        self._reviews.clear()
        if in_use and self._name not in in_use:
            self._name = in_use[0]
        self._seen = None
        self.look()

    def look(self) -> None:
        """Notice what other processes have changed; the main loop calls this every second."""
        name = self._current_name()
        seen = _stamp(self._store.folder(name)) if name else None
        if name != self._status.name or seen != self._seen:
            self._name, self._seen = name, seen
            self._refresh()

    def status(self) -> TeachingStatus:
        """Return the state of the teaching set and of the training, from memory."""
        return msgspec.structs.replace(
            self._status, review=len(self._reviews), training=self._training, problem=self._problem
        )

    def begin(self, name: str) -> None:
        """Begin a teaching set for a model called `name`, on the model that runs."""
        with _as_teaching_errors():
            self._store.check_free(name)
            self._store.folder(name).joinpath(PICTURES).mkdir(parents=True, exist_ok=True)
        self._name, self._seen = name, None
        self.look()

    def capture(self, source: str, class_name: str) -> str:
        """Add the latest frame of `source` to a class, and return the picture's id."""
        with self._lock:
            result = self._latest.get(source)
        if result is None:
            raise TeachingError(f"{source} has no frame yet")
        return self._keep(result, class_name)

    def add(self, data: bytes, class_name: str) -> str:
        """Add an encoded image to a class, and return the picture's id."""
        picture = self._set.add(class_name, data, "uploaded", time.time())
        self.look()
        return picture.id

    def pictures(self, class_name: str) -> list[PictureInfo]:
        """Return the pictures of a class, the latest first."""
        return [
            PictureInfo(id=each.id, source=each.source, at=each.at_unix_s)
            for each in self._set.pictures(class_name)
        ]

    def picture(self, picture_id: str) -> bytes:
        """Return a picture as it is stored."""
        path = self._set.get(picture_id).path
        try:
            return path.read_bytes()
        except OSError as error:
            raise TeachingError(f"{path}: cannot be read: {error.strerror}") from None

    def move(self, picture_ids: Sequence[str], class_name: str) -> None:
        """Move pictures to another class, which may be new."""
        self._set.move(picture_ids, class_name)
        self.look()

    def delete(self, picture_ids: Sequence[str]) -> None:
        """Delete pictures."""
        self._set.delete(picture_ids)
        self.look()

    def undo(self) -> None:
        """Take back the last change of the teaching set."""
        self._set.undo()
        self.look()

    def reviews(self) -> list[ReviewInfo]:
        """Return the frames that wait to be reviewed, the latest first."""
        return [_info(each) for each in self._reviews.waiting()]

    def review_image(self, review_id: str) -> bytes:
        """Return such a frame as a JPEG."""
        return self._jpeg(self._review(review_id).result)

    def decide(self, review_ids: Sequence[str], class_name: str | None) -> None:
        """Add frames to a class, or, for None, dismiss them."""
        for each in review_ids:
            if class_name is not None:
                self._keep(self._review(each).result, class_name)
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

    def close(self) -> None:
        """Stop the training, if there is one."""
        self._train.stop()

    @property
    def _set(self) -> PictureSet:
        if not self._name:
            raise TeachingError("there is no teaching set yet")
        return PictureSet(self._store.folder(self._name) / PICTURES)

    def _keep(self, result: Result, class_name: str) -> str:
        assert result.frame
        at_unix_s = time.time() - time.monotonic() + result.frame.captured
        picture = self._set.add(class_name, self._jpeg(result), result.source, at_unix_s)
        self.look()
        return picture.id

    def _jpeg(self, result: Result) -> bytes:
        assert result.frame
        try:
            return encode_classified(result.frame, self._state.config.intake.max_pixels)
        except ImageError as error:
            raise TeachingError(f"{result.source}: {error}") from None

    def _review(self, review_id: str) -> Review:
        found = self._reviews.get(review_id)
        if found is None:
            raise TeachingError("this frame does not wait any longer")
        return found

    def _train_set(self, name: str, force: bool) -> None:
        try:
            problem = self._train(name, force, self._heard)
        except Incv3dError as error:
            problem = str(error)
        if problem:
            LOG.warning("teaching: %s is not taken over: %s", name, problem)
        self._problem, self._training = problem, None
        self._seen = None
        self.look()
        if not problem and self._status.in_use:
            self._put(Taught())

    def _heard(self, progress: TrainingProgress) -> None:
        self._training = progress

    def _current_name(self) -> str:
        """Return the set that was begun or is in use, or else the one that changed last; empty: none."""
        names = self._store.begun()
        if self._name in names:
            return self._name
        return max(names, key=lambda name: _stamp(self._store.folder(name)), default="")

    def _refresh(self) -> None:
        """Make the status anew from the disk."""
        name = self._name
        if not name:
            self._status = TeachingStatus()
            return
        try:
            taught = self._store.find(name)
            pictures = self._set
            counts = pictures.counts()
            self._status = TeachingStatus(
                name=name,
                base=taught.facts.base if taught else "",
                in_use=name in names_in_use(self._state.loaded),
                classes=[ClassCount(name=each, pictures=count) for each, count in counts.items()],
                changes=pictures.changes(),
                undo=pictures.undo_in_words(),
                report=_report(taught) if taught else None,
            )
        except Incv3dError as error:
            self._problem = str(error)


def names_in_use(loaded: LoadedModel | None) -> list[str]:
    """Return the names of the taught models that classify."""
    return [each.name for each in loaded.taught.each] if loaded and loaded.taught else []


def _report(model: TaughtModel) -> dict[str, Any]:
    """Return the report of a taught model, and its text under ``text``.

    :raises Incv3dError: it is damaged.
    """
    data = model.report()
    return {**msgspec.json.decode(data), "text": "\n".join(report_lines(read_report(data)))}


def _info(review: Review) -> ReviewInfo:
    best = review.result.predictions[0]
    return ReviewInfo(
        id=review.id,
        source=review.result.source,
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
