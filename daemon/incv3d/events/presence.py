"""From results, frame by frame, to what came and what went. No I/O, no threads, no clock of its own.

A score that flickers around one threshold must not make a new event with every frame, so there are two
kinds of hysteresis. A label *enters* when at least `needed` of the last `frames` frames of its source have it
at its ``enter`` score or above; while it is there, a lower score, ``leave``, is enough; and it *leaves* when
none of the last `frames` frames has it at that score. So between two events of one label there are always
`needed` frames at least that have it, or `frames` that do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from incv3d.frames import Prediction, Result
from incv3d.protocol.events import Reason

Change = Literal["entered", "left"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """The scores at which a label counts as seen."""

    enter: float
    leave: float
    """For a label that is there already; no higher than `enter`."""


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """A label has entered what a source sees, or left it."""

    happening: Change
    source: str
    prediction: Prediction
    """The label, with the score of the frame that had it last."""
    at: float
    """When the frame was captured that decided it; without one, when it was noticed (monotonic)."""
    frames: int
    """``entered``: frames that it took; ``left``: all in which it was seen."""
    best: float
    """Its highest score so far."""
    duration_s: float = 0.0
    """``left``: from the first of these frames to the last."""
    reason: Reason | None = None
    """``left``: why."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A label that is there."""

    source: str
    prediction: Prediction
    since: float
    """When the first frame that showed it was captured (monotonic)."""


@dataclass(slots=True)
class _Track:
    """One label before one source."""

    latest: Prediction
    seen: int
    """The number of the frame that had it last, at ``leave`` or above."""
    seen_at: float
    hits: deque[tuple[int, float, float]] = field(default_factory=deque)
    """Before it has entered: number, moment and score of the frames that had it, at ``enter`` or above."""
    present: bool = False
    since: float = 0.0
    frames: int = 0
    best: float = 0.0


@dataclass(slots=True)
class _Source:
    frames: int = 0
    heard: float = 0.0
    tracks: dict[int, _Track] = field(default_factory=dict)


class PresenceTracker:
    """Which of the watched labels are there, source by source.

    A result has its best few predictions only: a label that is not among them counts as not seen.

    :param watched: the labels that make events, by output of the network.
    :param frames: how many frames of a source are looked back on.
    :param needed: how many of these must have a label for it to enter.
    """

    def __init__(self, watched: Mapping[int, Threshold], frames: int, needed: int) -> None:
        self._watched = watched
        self._frames = frames
        self._needed = needed
        self._sources: dict[str, _Source] = {}

    def observe(self, result: Result, captured: float, now: float) -> list[PresenceChange]:
        """Take the next classified frame of a source into account.

        :param captured: when it was captured (monotonic).
        """
        source = self._sources.setdefault(result.source, _Source())
        source.frames += 1
        source.heard = now
        entered = [
            self._sighting("entered", result.source, track, captured)
            for prediction in result.predictions
            if (track := self._see(source, prediction, captured)) and self._enters(source, track)
        ]
        gone = [index for index, track in source.tracks.items() if source.frames - track.seen >= self._frames]
        tracks = [source.tracks.pop(index) for index in gone]
        left = [self._left(result.source, track, captured, "unseen") for track in tracks if track.present]
        return left + entered

    def matches(self, result: Result) -> tuple[Prediction, ...]:
        """The watched labels that this one frame has, at their ``enter`` scores or above."""
        return tuple(
            prediction
            for prediction in result.predictions
            if (threshold := self._watched.get(prediction.index)) and prediction.score >= threshold.enter
        )

    def end(self, source: str, now: float, reason: Reason) -> list[PresenceChange]:
        """Everything leaves `source`, as no more frames of it are expected."""
        ended = self._sources.pop(source, _Source())
        return [self._left(source, track, now, reason) for track in ended.tracks.values() if track.present]

    def end_silent(self, now: float, silence_s: float) -> list[PresenceChange]:
        """Everything leaves the sources of which no frame was observed for `silence_s`."""
        silent = [name for name, source in self._sources.items() if now - source.heard >= silence_s]
        return [sighting for name in silent for sighting in self.end(name, now, "silent")]

    @property
    def sources(self) -> tuple[str, ...]:
        """Those of which frames were observed."""
        return tuple(self._sources)

    @property
    def present(self) -> list[Presence]:
        """What is there now."""
        return [
            Presence(name, track.latest, track.since)
            for name, source in self._sources.items()
            for track in source.tracks.values()
            if track.present
        ]

    def _see(self, source: _Source, prediction: Prediction, captured: float) -> _Track | None:
        """The track of a label that this frame has; None if it has not enough of it."""
        threshold = self._watched.get(prediction.index)
        if threshold is None or prediction.score < threshold.leave:
            return None
        track = source.tracks.setdefault(prediction.index, _Track(prediction, source.frames, captured))
        track.latest, track.seen, track.seen_at = prediction, source.frames, captured
        if track.present:
            track.frames += 1
            track.best = max(track.best, prediction.score)
        elif prediction.score >= threshold.enter:
            track.hits.append((source.frames, captured, prediction.score))
        return track

    def _enters(self, source: _Source, track: _Track) -> bool:
        while track.hits and source.frames - track.hits[0][0] >= self._frames:
            track.hits.popleft()
        if track.present or len(track.hits) < self._needed:
            return False
        track.present = True
        track.since = track.hits[0][1]
        track.frames = len(track.hits)
        track.best = max(score for _, _, score in track.hits)
        track.hits.clear()
        return True

    def _left(self, source: str, track: _Track, at: float, reason: Reason) -> PresenceChange:
        return self._sighting("left", source, track, at, max(0.0, track.seen_at - track.since), reason)

    def _sighting(
        self,
        happening: Change,
        source: str,
        track: _Track,
        at: float,
        duration_s: float = 0.0,
        reason: Reason | None = None,
    ) -> PresenceChange:
        return PresenceChange(
            happening, source, track.latest, at, track.frames, track.best, duration_s, reason
        )
