"""Decide from results when labels enter and leave. No I/O, no threads; the caller passes the time.

A score that flickers around a threshold must not cause an event with every frame, so there are two kinds of
hysteresis. A label *enters* when at least `needed` of the last `frames` frames of its source have it at its
``enter`` score or above. While it is present, a lower score, ``leave``, suffices, and it *leaves* when none
of the last `frames` frames has it at that score. So between two events of a label there are always at least
`needed` frames that have it, or `frames` that do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
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
    """For a label that has entered; at most `enter`."""


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """A label has entered or left a source."""

    happening: Change
    source: str
    prediction: Prediction
    """The label, with the score of the last frame that had it."""
    at: float
    """When the frame that caused it was captured, or when it was noticed without one (monotonic)."""
    frames: int
    """``entered``: frames with the label until it entered; ``left``: all frames with it."""
    best: float
    """Its highest score so far."""
    duration_s: float = 0.0
    """``left``: time from the first to the last of these frames."""
    reason: Reason | None = None
    """``left``: why."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A label that is present."""

    source: str
    prediction: Prediction
    since: float
    """When the first frame with it was captured (monotonic)."""


@dataclass(slots=True)
class _Track:
    """The state of one label of one source."""

    latest: Prediction
    seen: int
    """The number of the last frame that had it, at ``leave`` or above."""
    seen_at: float
    hits: deque[tuple[int, float, float]] = field(default_factory=deque)
    """Until it enters: number, time and score of the frames that had it, at ``enter`` or above."""
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
    """Tracks which of the watched labels are present, for each source.

    A result contains only its best predictions: a label that is not among them counts as not seen.

    :param watched: the watched labels, by output of the network.
    :param frames: the number of recent frames of a source that count.
    :param needed: how many of them must have a label for it to enter.
    """

    def __init__(self, watched: Mapping[int, Threshold], frames: int, needed: int) -> None:
        self._watched = watched
        self._frames = frames
        self._needed = needed
        self._sources: dict[str, _Source] = {}

    def observe(self, result: Result, captured: float, now: float) -> list[PresenceChange]:
        """Take the next classified frame of a source into account, and return what changed.

        :param captured: when it was captured (monotonic).
        """
        source = self._sources.setdefault(result.source, _Source())
        source.frames += 1
        source.heard = now
        entered = [
            self._change("entered", result.source, track, captured)
            for prediction in result.predictions
            if (track := self._see(source, prediction, captured)) and self._enters(source, track)
        ]
        gone = [index for index, track in source.tracks.items() if source.frames - track.seen >= self._frames]
        tracks = [source.tracks.pop(index) for index in gone]
        left = [self._left(result.source, track, captured, "unseen") for track in tracks if track.present]
        return left + entered

    def matches(self, result: Result) -> tuple[Prediction, ...]:
        """Return the watched labels of one frame, at their ``enter`` scores or above."""
        return tuple(
            prediction
            for prediction in result.predictions
            if (threshold := self._watched.get(prediction.index)) and prediction.score >= threshold.enter
        )

    def end(self, source: str, now: float, reason: Reason) -> list[PresenceChange]:
        """Let all labels of `source` leave, because no more frames of it are expected."""
        ended = self._sources.pop(source, _Source())
        return [self._left(source, track, now, reason) for track in ended.tracks.values() if track.present]

    def end_silent(self, now: float, silence_s: Callable[[str], float]) -> list[PresenceChange]:
        """Let all labels leave the sources of which no frame was observed for a time.

        :param silence_s: returns that time for a source.
        """
        silent = [name for name, source in self._sources.items() if now - source.heard >= silence_s(name)]
        return [change for name in silent for change in self.end(name, now, "silent")]

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of which frames were observed."""
        return tuple(self._sources)

    @property
    def present(self) -> list[Presence]:
        """The labels that are present now."""
        return [
            Presence(name, track.latest, track.since)
            for name, source in self._sources.items()
            for track in source.tracks.values()
            if track.present
        ]

    def _see(self, source: _Source, prediction: Prediction, captured: float) -> _Track | None:
        """Update and return the track of a label; None if it is not watched or its score is too low."""
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
        return self._change("left", source, track, at, max(0.0, track.seen_at - track.since), reason)

    def _change(
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
