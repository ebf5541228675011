"""What is published over MQTT of the daemon's work: results, pictures, its state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from incv3d.clock import timestamp_ms, unix_time
from incv3d.frames import Frame, Prediction, Result, image_format
from incv3d.images.preprocess import ImageError
from incv3d.protocol import messages
from incv3d.transports.mqtt.complaints import Complaints
from incv3d.transports.mqtt.outbox import Outgoing
from incv3d.transports.mqtt.topics import Topics

JPEG_QUALITY = 85


class PublishedResult(msgspec.Struct, kw_only=True):
    """A result as it is published."""

    v: Literal[1]
    source: str
    at: str
    """When the frame was captured: ``2026-01-31T12:00:00.000Z``."""
    label: str | None
    """The best label; null when its score is below the threshold."""
    score: float
    model: str
    engine: str
    predictions: list[Prediction]
    timing_ms: messages.AnswerTimings
    age_ms: float


class PublishedState(msgspec.Struct, kw_only=True):
    """How the daemon is, as it is published."""

    v: Literal[1]
    state: str
    health: str
    paused: bool
    threshold: float
    model: str
    engine: str
    fps: float
    run_p50_ms: float | None
    run_p95_ms: float | None
    queue_depth: int
    temp_c: float | None
    throttled: int | None
    source: str | None
    """The state of the camera."""
    source_reason: str | None
    """Why that is not ``ok``."""


@dataclass(slots=True)
class _Last:
    """What was published last of one source."""

    at: float
    label: str | None


class MqttPublisher:
    """Turns results into messages, not more of them than are wanted. Threads may share one.

    :param interval_s: at most one result and one picture of a source in so many seconds, but a label that is
        another one at once; 0: all.
    :param threshold: a best label with a lower score is published as none.
    :param with_pictures: whether the pictures of the daemon's own source are published, too.
    :param max_pixels: of a picture that is decoded for that.
    :param publish: takes the messages.
    :param complaints: hears of pictures that cannot be shown.
    """

    def __init__(
        self,
        topics: Topics,
        interval_s: float,
        threshold: float,
        with_pictures: bool,
        max_pixels: int,
        publish: Callable[[Outgoing], None],
        complaints: Complaints,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = topics
        self._interval_s = interval_s
        self._with_pictures = with_pictures
        self._max_pixels = max_pixels
        self._publish = publish
        self._complaints = complaints
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, _Last] = {}
        self._pictured: dict[str, float] = {}  # when, by camera
        self._snapshot_wanted = False
        self.threshold = threshold

    def take_snapshot(self) -> None:
        """Publish the picture of the next frame that the daemon's own source brings."""
        self._snapshot_wanted = True

    def observe(self, result: Result, model: str, engine: str) -> None:
        """Publish `result` if it is due, and its picture."""
        if not result.ok or not result.predictions or result.is_own:
            return
        now = self._clock()
        best = result.predictions[0]
        label = best.label if best.score >= self.threshold else None
        with self._lock:
            is_due = self._is_due(result.source, label, now)
            camera = self._camera_to_show(result, now)
        if is_due:
            self._publish(
                Outgoing(self._topics.result(result.source), _encoded(result, label, model, engine))
            )
        if camera and result.frame:
            whole = replace(result.frame, region=None)
            # Decoded, if it has to be, in the thread that sends it: the Session has better things to do.
            picture = lambda: self._picture(whole)  # noqa: E731
            self._publish(Outgoing(self._topics.image(camera), picture, qos=0, is_latest=True))

    def tell_state(self, facts: dict[str, Any], paused: bool) -> None:
        """Publish how the daemon is.

        :param facts: what it answers to ``stats``.
        """
        window, machine, source = facts["window"], facts["machine"], facts.get("source")
        run = window["run"] or {}
        state = PublishedState(
            v=1,
            state=facts["state"],
            health=facts["health"],
            paused=paused,
            threshold=self.threshold,
            model=facts["model"],
            engine=facts["engine"],
            fps=round(window["fps"], 2),
            run_p50_ms=_rounded(run.get("p50_ms")),
            run_p95_ms=_rounded(run.get("p95_ms")),
            queue_depth=facts["queue_depth"],
            temp_c=_rounded(machine["temp_c"]),
            throttled=machine["throttled"],
            source=source["state"] if source else None,
            source_reason=(source["reason"] or None) if source else None,
        )
        message = Outgoing(self._topics.state, msgspec.json.encode(state), retain=True, is_latest=True)
        self._publish(message)

    def _is_due(self, source: str, label: str | None, now: float) -> bool:
        last = self._last.get(source)
        if last and label == last.label and now - last.at < self._interval_s:
            return False
        self._last[source] = _Last(now, label)
        return True

    def _camera_to_show(self, result: Result, now: float) -> str:
        """The source whose picture is due; empty: none is."""
        if result.request_id is not None or result.frame is None:
            return ""
        camera = result.source.partition(".")[0]
        shown = self._pictured.get(camera)
        is_due = self._with_pictures and (shown is None or now - shown >= self._interval_s)
        if not (is_due or self._snapshot_wanted):
            return ""
        self._snapshot_wanted = False
        self._pictured[camera] = now
        return camera

    def _picture(self, frame: Frame) -> bytes:
        try:
            return upright_jpeg(frame, self._max_pixels)
        except ImageError as error:  # another decoder than the Session's may be stricter
            self._complaints.warn("picture", f"the picture of {frame.source} cannot be shown: {error}")
            return b""


def upright_jpeg(frame: Frame, max_pixels: int) -> bytes:
    """The picture of `frame` as others can show it; as it came, where that is a JPEG and upright.

    :raises PictureError: when it cannot be decoded.
    """
    if not frame.width and frame.transform == "none" and image_format(frame.data) == "jpeg":
        return bytes(frame.data)
    from incv3d.images.annotate import decode_image
    from incv3d.images.encode import encode_jpeg

    return encode_jpeg(decode_image(frame, max_pixels), JPEG_QUALITY)


def _encoded(result: Result, label: str | None, model: str, engine: str) -> bytes:
    captured = result.frame.captured if result.frame else time.monotonic()
    return msgspec.json.encode(
        PublishedResult(
            v=1,
            source=result.source,
            at=timestamp_ms(unix_time(captured)),
            label=label,
            score=result.predictions[0].score,
            model=model,
            engine=engine,
            predictions=list(result.predictions),
            timing_ms=messages.answer_timings(result.timings),
            age_ms=round(result.timings.age_ms, 3),
        )
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
