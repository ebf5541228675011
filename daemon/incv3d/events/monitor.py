"""Publish and log labels that enter and leave, and save images of them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from incv3d.clock import timestamp_ms, unix_time
from incv3d.config.events import SavingSection
from incv3d.config.schema import Config
from incv3d.config.source import SourceSection
from incv3d.events.image_folder import ImageFolder
from incv3d.events.image_saver import ImageSaver, OnSaved
from incv3d.events.labelled_image import ImageToSave
from incv3d.events.presence import PresenceChange, PresenceTracker
from incv3d.events.watchlist import Watchlist, read_watchlists
from incv3d.frames import Frame, Prediction, Result
from incv3d.pipeline.variants import LabelSet
from incv3d.protocol import messages
from incv3d.protocol.events import EventMessage, Reason
from incv3d.threads import OnDeath

LOG = logging.getLogger(__name__)
WORDS = {
    "unseen": "",
    "silent": ": no frame was classified for a long time",
    "ended": ": the source has no more frames",
    "asleep": ": the source is asleep",
    "stopping": ": the daemon is stopping",
    "reloaded": ": the configuration was reloaded",
}

Announce = Callable[[EventMessage, Frame | None], None]


@dataclass(frozen=True, slots=True)
class Watch:
    """What is watched of one source, or of all that have nothing of their own."""

    watchlist: Watchlist
    """Its groups are added to each result."""
    tracker: PresenceTracker


class EventMonitor:
    """Follows the results of every source and announces labels that enter and leave. Thread-safe.

    :param watches: what is watched of a source, by its name; ``""``: of all others.
    :param unwatched: the names of the sources of which nothing is watched.
    :param silence_s: returns after which time without a frame of a source its labels leave.
    :param with_zmq: whether frames count that clients send, over ZeroMQ, HTTP or MQTT.
    :param announce: called with every event, and the frame that caused it, if any.
    :param saver: saves frames; None: none are saved.
    :param model: the model's name, written into saved images.
    """

    def __init__(
        self,
        watches: Mapping[str, Watch],
        unwatched: Collection[str],
        silence_s: Callable[[str], float],
        with_zmq: bool,
        announce: Announce,
        saver: ImageSaver | None,
        saving: SavingSection,
        model: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watches = watches
        self._unwatched = unwatched
        self._silence_s = silence_s
        self._with_zmq = with_zmq
        self._announce = announce
        self._saver = saver
        self._saving = saving
        self._model = model
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._saved_at: dict[tuple[str, int], float] = {}  # by source and label
        self._lock = threading.Lock()

    def observe(self, result: Result) -> None:
        """Take a result into account; results without predictions are ignored."""
        frame = result.frame
        if not result.ok or frame is None or (result.source in messages.SENT and not self._with_zmq):
            return
        watch = self._watch_of(result.source)
        if watch is None:
            return
        now = self._clock()
        seen = replace(result, predictions=watch.watchlist.with_groups(result.predictions))
        with self._lock:
            changes = watch.tracker.observe(seen, frame.captured, now)
            self._publish(changes, frame)
            if self._saving.when == "match":
                labels = watch.tracker.matches(seen)
            else:
                labels = tuple(each.prediction for each in changes if each.happening == "entered")
            if labels:
                self._save(frame, labels, result.predictions, now)

    def look(self) -> None:
        """Let the labels of silent sources leave. Call this regularly."""
        with self._lock:
            for watch in self._watches.values():
                self._publish(watch.tracker.end_silent(self._clock(), self._silence_s))

    def end(self, source: str, reason: Reason = "ended") -> None:
        """Let the labels of `source` and its regions leave: no more frames of it are expected."""
        self._end_all(reason, lambda name: name == source or name.startswith(f"{source}."))

    def stop(self, reason: Reason = "stopping") -> None:
        """Let all labels leave, because the daemon stops or another monitor replaces this one."""
        self._end_all(reason, lambda name: True)

    def close(self, timeout_s: float) -> None:
        """Wait until the last images are written."""
        if self._saver and not self._saver.close(timeout_s):
            LOG.warning("some images could not be written in time")

    def status(self) -> dict[str, Any]:
        """Return, for ``stats``, the number of events, the present labels, and the state of saving."""
        with self._lock:
            present = [
                {
                    "source": each.source,
                    "label": each.prediction.label,
                    "synset": each.prediction.synset,
                    "score": each.prediction.score,
                    "since": timestamp_ms(unix_time(each.since, self._clock())),
                }
                for watch in self._watches.values()
                for each in watch.tracker.present
            ]
            counts = {happening: self._counts[happening] for happening in ("entered", "left")}
        events = {**counts, "present": present}
        return {"events": events, "saving": self._saver.status()} if self._saver else {"events": events}

    def _end_all(self, reason: Reason, is_meant: Callable[[str], bool]) -> None:
        with self._lock:
            for tracker in [watch.tracker for watch in self._watches.values()]:
                for source in filter(is_meant, tracker.sources):
                    self._publish(tracker.end(source, self._clock(), reason))

    def _watch_of(self, source: str) -> Watch | None:
        camera = source.partition(".")[0]
        return None if camera in self._unwatched else self._watches.get(camera, self._watches.get(""))

    def _publish(self, changes: Iterable[PresenceChange], frame: Frame | None = None) -> None:
        for change in changes:
            self._counts[change.happening] += 1
            LOG.info("%s", _line(change))
            self._announce(event_message(change, unix_time(change.at, self._clock())), frame)

    def _save(
        self, frame: Frame, labels: tuple[Prediction, ...], predictions: tuple[Prediction, ...], now: float
    ) -> None:
        if self._saver is None or not any(self._is_due(frame.source, label, now) for label in labels):
            return
        best_first = tuple(sorted(labels, key=lambda label: -label.score))
        image = ImageToSave(
            frame,
            unix_time(frame.captured, self._clock()),
            self._saving.when,
            best_first,
            predictions,
            self._model,
        )
        if self._saver.offer(image):
            self._saved_at.update({(frame.source, label.index): now for label in labels})

    def _is_due(self, source: str, label: Prediction, now: float) -> bool:
        saved_at = self._saved_at.get((source, label.index))
        return saved_at is None or now - saved_at >= self._saving.min_interval_s


def create_event_monitor(
    config: Config,
    labels: LabelSet,
    model: str,
    announce: Announce,
    on_saved: OnSaved,
    on_death: OnDeath,
) -> EventMonitor | None:
    """Return the configured event monitor; None if no label is watched.

    :param labels: the labels of the network `model`.
    :raises ConfigError: the configuration names labels that the network does not have.
    """
    saving, sections = config.saving, config.all_events
    if not config.watches_labels:
        return None
    watches = {
        source: Watch(
            found, PresenceTracker(found.thresholds, sections[source].frames, sections[source].needed)
        )
        for source, found in read_watchlists(config, labels, model).items()
    }
    thresholds = [each for watch in watches.values() for each in watch.watchlist.thresholds.values()]
    _warn_of_blind_spot(min(threshold.leave for threshold in thresholds), config.model.top_k)
    saver = None
    if saving.folder:
        folder = ImageFolder(Path(saving.folder), saving.max_files, saving.max_bytes, saving.min_free_bytes)
        saver = ImageSaver(folder, on_saved, on_death)
        saver.start()
    saved = f", images are saved to {saving.folder}" if saver else ""
    for source, watch in watches.items():
        of = f" of {source}" if source else ""
        LOG.info("events: watching %d labels and groups%s%s", len(watch.watchlist.thresholds), of, saved)
    by_camera = {
        each.name: _silence_s(each, sections.get(each.name, config.events).silence_s)
        for each in config.all_sources.values()
    }

    def silence_s(source: str) -> float:
        return by_camera.get(source.partition(".")[0], config.events.silence_s)

    unwatched = sections.keys() - watches.keys()
    return EventMonitor(watches, unwatched, silence_s, config.events.zmq, announce, saver, saving, model)


def _silence_s(source: SourceSection, configured_s: float) -> float:
    """Return how long the frames of `source` may be away before its labels leave."""
    seldom_s = source.unchanged_max_s if source.skip_unchanged else 0.0
    return max(configured_s, 3 * source.frame_interval_s, 3 * seldom_s, source.frame_timeout_s)


def _warn_of_blind_spot(lowest: float, top_k: int) -> None:
    """Warn if a watched label can miss the `top_k` best. Such a label scores below 1 / (top_k + 1)."""
    needed = math.ceil(1 / lowest) - 1
    if top_k < needed:
        LOG.warning(
            "events: a label with a score as low as %.2g may be missed, because a result contains only the "
            "%d best labels; set model.top_k to %d",
            lowest,
            top_k,
            needed,
        )


def _line(change: PresenceChange) -> str:
    what = f"{change.source}: {change.prediction.label}"
    if change.happening == "entered":
        return f"{what} entered ({change.prediction.score:.2f}, {change.frames} frames)"
    reason = WORDS[change.reason] if change.reason else ""
    return f"{what} left after {change.duration_s:.1f} s (best {change.best:.2f}){reason}"


def event_message(change: PresenceChange, at_unix_s: float) -> EventMessage:
    """Return the message to publish about a change that happened at `at_unix_s`."""
    left = change.happening == "left"
    return EventMessage(
        v=1,
        event=change.happening,
        source=change.source,
        label=change.prediction.label,
        synset=change.prediction.synset,
        score=change.prediction.score,
        at=timestamp_ms(at_unix_s),
        frames=change.frames,
        duration_s=round(change.duration_s, 3) if left else None,
        best=change.best if left else None,
        reason=change.reason,
    )
