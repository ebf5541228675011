"""Publish results, images and state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from incv3d.clock import timestamp_ms, unix_time
from incv3d.frames import Frame, Prediction, Result, image_format
from incv3d.images.preprocess import ImageError
from incv3d.protocol import messages
from incv3d.transports.base import TuningState
from incv3d.transports.mqtt.complaints import Complaints
from incv3d.transports.mqtt.outbox import Outgoing
from incv3d.transports.mqtt.topics import Topics

JPEG_QUALITY = 85
TROUBLE = ("refused", "stalled", "reopening", "absent")
"""The states of a camera that should deliver frames and does not."""


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
    """The state of the daemon as it is published."""

    v: Literal[1]
    state: str
    health: str
    problem: str | None
    """What is wrong with the daemon or a camera, in one line; null: nothing is."""
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
    """The state of the camera; of several, of the first that is not ``ok``."""
    source_reason: str | None
    """Why it is not ``ok``."""
    sources: dict[str, str]
    """The state of each camera, by its name."""
    reasons: dict[str, str]
    """Why it is not ``ok``, of each camera that is not."""
    tuning: TuningState
    tuning_reason: str | None


@dataclass(slots=True)
class _LastResult:
    """The last result published of a source."""

    at: float
    label: str | None


class MqttPublisher:
    """Turn results into messages, at a limited rate. Thread-safe.

    :param interval_s: publish at most one result and one image of a source in this time, but a changed label
        at once; 0: publish all.
    :param threshold: a best label with a lower score is published as null.
    :param with_images: whether to publish the images of the daemon's own source.
    :param max_pixels: the largest image to decode for that.
    :param publish: sends a message.
    :param complaints: logs images that cannot be published.
    """

    def __init__(
        self,
        topics: Topics,
        interval_s: float,
        threshold: float,
        with_images: bool,
        max_pixels: int,
        publish: Callable[[Outgoing], None],
        complaints: Complaints,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = topics
        self._interval_s = interval_s
        self._with_images = with_images
        self._max_pixels = max_pixels
        self._publish = publish
        self._complaints = complaints
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, _LastResult] = {}
        self._image_at: dict[str, float] = {}  # when an image was published, by camera
        self._snapshots: set[str] = set()  # cameras whose next image is published in any case
        self.threshold = threshold

    def take_snapshots(self, cameras: Iterable[str]) -> None:
        """Publish the image of the next frame of each of `cameras`."""
        with self._lock:
            self._snapshots.update(cameras)

    def offer(self, frame: Frame) -> None:
        """Publish the image of a frame that is not classified, if a snapshot of its camera is wanted."""
        camera = frame.source.partition(".")[0]
        with self._lock:
            if camera not in self._snapshots:
                return
            self._note_shown(camera, self._clock())
        self._publish_image(camera, frame)

    def publish_result(self, result: Result, model: str, engine: str) -> None:
        """Publish `result` and its image, each if it is due."""
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
            self._publish_image(camera, result.frame)

    def publish_state(self, facts: dict[str, Any], paused: bool) -> None:
        """Publish the state of the daemon.

        :param facts: the answer to ``stats``.
        """
        window, machine, sources = facts["window"], facts["machine"], facts.get("sources", ())
        source = next((each for each in sources if each["state"] != "ok"), sources[0] if sources else None)
        tuning = facts["tuning"]
        reasons = {each["name"]: each["reason"] for each in sources if each["state"] != "ok"}
        run = window["run"] or {}
        state = PublishedState(
            v=1,
            state=facts["state"],
            health=facts["health"],
            problem=_problem(facts["health"], sources),
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
            sources={each["name"]: each["state"] for each in sources},
            reasons=reasons,
            tuning=tuning["state"],
            tuning_reason=tuning["reason"] or None,
        )
        message = Outgoing(self._topics.state, msgspec.json.encode(state), retain=True, is_latest=True)
        self._publish(message)

    def _is_due(self, source: str, label: str | None, now: float) -> bool:
        last = self._last.get(source)
        if last and label == last.label and now - last.at < self._interval_s:
            return False
        self._last[source] = _LastResult(now, label)
        return True

    def _camera_to_show(self, result: Result, now: float) -> str:
        """Return the source whose image is due; empty: none is."""
        if result.request_id is not None or result.frame is None:
            return ""
        camera = result.source.partition(".")[0]
        shown = self._image_at.get(camera)
        is_due = self._with_images and (shown is None or now - shown >= self._interval_s)
        if not (is_due or camera in self._snapshots):
            return ""
        self._note_shown(camera, now)
        return camera

    def _note_shown(self, camera: str, now: float) -> None:
        self._snapshots.discard(camera)
        self._image_at[camera] = now

    def _publish_image(self, camera: str, frame: Frame) -> None:
        whole = replace(frame, region=None)
        # Encoded, if necessary, in the thread that sends it, and not in the Session's.
        encode = lambda: self._encode_image(whole)  # noqa: E731
        self._publish(Outgoing(self._topics.image(camera), encode, qos=0, retain=True, is_latest=True))

    def _encode_image(self, frame: Frame) -> bytes:
        try:
            return upright_jpeg(frame, self._max_pixels)
        except ImageError as error:  # another decoder than the Session's may be stricter
            self._complaints.warn("picture", f"the image of {frame.source} cannot be published: {error}")
            return b""


def upright_jpeg(frame: Frame, max_pixels: int) -> bytes:
    """Return the image of `frame` as an upright JPEG; unchanged, if it is one already.

    :raises ImageError: it cannot be decoded.
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
            model=result.model or model,
            engine=engine,
            predictions=list(result.predictions),
            timing_ms=messages.answer_timings(result.timings),
            age_ms=round(result.timings.age_ms, 3),
        )
    )


def _problem(health: str, sources: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what is wrong with the daemon and its cameras, in one line."""
    found = [] if health == "ok" else [health]
    for each in sources:
        if each["state"] in TROUBLE:
            found.append(": ".join(filter(None, (each["name"], each["state"], each["reason"]))))
    return "; ".join(found) or None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
