"""What comes and goes, told to those who want to know: the log, subscribers, the folder of pictures."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from incv3d.config.schema import Config, SavingSection
from incv3d.events.image_folder import ImageFolder
from incv3d.events.image_saver import ImageSaver
from incv3d.events.labelled_image import ImageToSave
from incv3d.events.presence import PresenceChange, PresenceTracker
from incv3d.events.watchlist import Watchlist, read_watchlist
from incv3d.frames import Frame, Prediction, Result
from incv3d.pipeline.classifier import LabelSet
from incv3d.protocol import messages
from incv3d.protocol.events import EventMessage, Reason, precise_timestamp

LOG = logging.getLogger(__name__)
WORDS = {
    "unseen": "",
    "silent": ", as no frame of it was classified for long",
    "ended": ", as it has no more frames",
    "stopping": ", as the daemon stops",
    "reloaded": ", as the configuration is another one",
}

Announce = Callable[[EventMessage, Frame | None], None]


class EventMonitor:
    """Follows the results of every source, and tells what enters and what leaves. Threads may share one.

    :param watchlist: whose groups are added to each result.
    :param silence_s: after so long without a frame of a source, what was there has left.
    :param with_zmq: whether frames count that others sent, over ZeroMQ, HTTP or a broker.
    :param announce: takes every event, and the frame that decided it, if one did.
    :param saver: takes the frames that are to be kept; None: none are.
    :param model: what is written on these.
    """

    def __init__(
        self,
        watchlist: Watchlist,
        sightings: PresenceTracker,
        silence_s: float,
        with_zmq: bool,
        announce: Announce,
        saver: ImageSaver | None,
        saving: SavingSection,
        model: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watchlist = watchlist
        self._sightings = sightings
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
        """Take a result into account; those without predictions tell nothing."""
        frame = result.frame
        if not result.ok or frame is None or (result.source in messages.SENT and not self._with_zmq):
            return
        now = self._clock()
        seen = replace(result, predictions=self._watchlist.with_groups(result.predictions))
        with self._lock:
            sightings = self._sightings.observe(seen, frame.captured, now)
            self._tell(sightings, frame)
            if self._saving.when == "match":
                labels = self._sightings.matches(seen)
            else:
                labels = tuple(each.prediction for each in sightings if each.happening == "entered")
            if labels:
                self._keep(frame, labels, result.predictions, now)

    def look(self) -> None:
        """Let leave what was before a source that gives no frames; to be called every now and then."""
        with self._lock:
            self._tell(self._sightings.end_silent(self._clock(), self._silence_s))

    def end(self, source: str) -> None:
        """`source`, with all its regions, has no more frames."""
        self._end_all("ended", lambda name: name == source or name.startswith(f"{source}."))

    def stop(self, reason: Reason = "stopping") -> None:
        """Everything leaves: the daemon stops, or another announcer begins anew."""
        self._end_all(reason, lambda name: True)

    def close(self, timeout_s: float) -> None:
        """Have the last pictures written."""
        if self._saver and not self._saver.close(timeout_s):
            LOG.warning("not every picture could be written in time")

    def status(self) -> dict[str, Any]:
        """For ``stats``: how much came and went, what is there, and how saving is going."""
        with self._lock:
            present = [
                {
                    "source": each.source,
                    "label": each.prediction.label,
                    "synset": each.prediction.synset,
                    "score": each.prediction.score,
                    "since": precise_timestamp(self._unix_s(each.since)),
                }
                for each in self._sightings.present
            ]
            counts = {happening: self._counts[happening] for happening in ("entered", "left")}
        events = {**counts, "present": present}
        return {"events": events, "saving": self._saver.status()} if self._saver else {"events": events}

    def _end_all(self, reason: Reason, is_meant: Callable[[str], bool]) -> None:
        with self._lock:
            for source in self._sightings.sources:
                if is_meant(source):
                    self._tell(self._sightings.end(source, self._clock(), reason))

    def _tell(self, sightings: Iterable[PresenceChange], frame: Frame | None = None) -> None:
        for sighting in sightings:
            self._counts[sighting.happening] += 1
            LOG.info("%s", _line(sighting))
            self._announce(announcement(sighting, self._unix_s(sighting.at)), frame)

    def _keep(
        self, frame: Frame, labels: tuple[Prediction, ...], predictions: tuple[Prediction, ...], now: float
    ) -> None:
        if self._saver is None or not any(self._is_due(frame.source, label, now) for label in labels):
            return
        best_first = tuple(sorted(labels, key=lambda label: -label.score))
        shot = ImageToSave(
            frame, self._unix_s(frame.captured), self._saving.when, best_first, predictions, self._model
        )
        if self._saver.offer(shot):
            self._saved_at.update({(frame.source, label.index): now for label in labels})

    def _is_due(self, source: str, label: Prediction, now: float) -> bool:
        saved_at = self._saved_at.get((source, label.index))
        return saved_at is None or now - saved_at >= self._saving.min_interval_s

    def _unix_s(self, moment: float) -> float:
        return time.time() - (self._clock() - moment)


def create_event_monitor(
    config: Config,
    labels: LabelSet,
    model: str,
    announce: Announce,
    on_death: Callable[[str, BaseException], None],
) -> EventMonitor | None:
    """What the configuration has announced and kept; None: nothing.

    :param labels: of the network `model`.
    :raises ConfigError: the configuration names labels that the network does not have.
    """
    section, saving = config.events, config.saving
    if not section.enabled:
        return None
    watchlist = read_watchlist(section, labels, model)
    watched = watchlist.thresholds
    _warn_of_blind_spot(min(threshold.leave for threshold in watched.values()), config.model.top_k)
    saver = None
    if saving.folder:
        folder = ImageFolder(Path(saving.folder), saving.max_files, saving.max_bytes, saving.min_free_bytes)
        saver = ImageSaver(folder, on_death)
        saver.start()
    kept = f", pictures go to {saving.folder}" if saver else ""
    LOG.info("events: %d labels and groups are watched%s", len(watched), kept)
    sightings = PresenceTracker(watched, section.frames, section.needed)
    source = config.source
    seldom_s = source.unchanged_max_s if source.skip_unchanged else 0.0
    silence_s = max(section.silence_s, 3 * source.frame_interval_s, 3 * seldom_s, source.frame_timeout_s)
    return EventMonitor(watchlist, sightings, silence_s, section.zmq, announce, saver, saving, model)


def _warn_of_blind_spot(lowest: float, top_k: int) -> None:
    """Scores sum up to 1: one that is not among the `top_k` best is below 1 / (top_k + 1), but how much?"""
    needed = math.ceil(1 / lowest) - 1
    if top_k < needed:
        LOG.warning(
            "events: a label with a score as low as %.2g may be overlooked, as a result has the %d best "
            "labels only; set model.top_k to %d",
            lowest,
            top_k,
            needed,
        )


def _line(sighting: PresenceChange) -> str:
    what = f"{sighting.source}: {sighting.prediction.label}"
    if sighting.happening == "entered":
        return f"{what} entered ({sighting.prediction.score:.2f}, {sighting.frames} frames)"
    reason = WORDS[sighting.reason] if sighting.reason else ""
    return f"{what} left after {sighting.duration_s:.1f} s (best {sighting.best:.2f}){reason}"


def announcement(sighting: PresenceChange, at_unix_s: float) -> EventMessage:
    """What to publish of `sighting`, which happened at `at_unix_s`."""
    left = sighting.happening == "left"
    return EventMessage(
        v=1,
        event=sighting.happening,
        source=sighting.source,
        label=sighting.prediction.label,
        synset=sighting.prediction.synset,
        score=sighting.prediction.score,
        at=precise_timestamp(at_unix_s),
        frames=sighting.frames,
        duration_s=round(sighting.duration_s, 3) if left else None,
        best=sighting.best if left else None,
        reason=sighting.reason,
    )
