"""Which results and pictures are published, and what they say."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from doubles import jpeg
from incv3d.frames import OWN, Frame, Prediction, Refusal, Region, Result, Timings
from incv3d.transports.mqtt.complaints import Complaints
from incv3d.transports.mqtt.outbox import Outgoing
from incv3d.transports.mqtt.publisher import MqttPublisher, upright_jpeg
from incv3d.transports.mqtt.topics import Topics


class Desk:
    """A publisher, what it published, and a clock that the test moves."""

    def __init__(self, interval_s: float = 1.0, threshold: float = 0.0, with_images: bool = False) -> None:
        self.now = 100.0
        self.sent: list[Outgoing] = []
        self.publisher = MqttPublisher(
            Topics("incv3d", "pi"),
            interval_s,
            threshold,
            with_images,
            1_000_000,
            self.sent.append,
            Complaints(),
            lambda: self.now,
        )

    def see(
        self, label: str, score: float = 0.9, source: str = "camera", request_id: int | None = None
    ) -> None:
        now = time.monotonic()
        frame = Frame(source, jpeg(), None, now, now, request_id=request_id)
        prediction = Prediction(0, "n0", label, score)
        result = Result(source, None, request_id, (prediction,), Timings(run_ms=1.23456), frame=frame)
        self.publisher.publish_result(result, "inception-v3", "tensorflow")

    @property
    def topics(self) -> list[str]:
        return [message.topic.removeprefix("incv3d/pi/") for message in self.sent]

    @property
    def labels(self) -> list[str | None]:
        return [json.loads(message.payload)["label"] for message in self.sent]


def test_a_result_says_what_was_seen_when_and_by_whom() -> None:
    desk = Desk()
    desk.see("tench", 0.75)
    said = json.loads(desk.sent[0].payload)
    assert desk.topics == ["result/camera"] and desk.sent[0].qos == 1 and not desk.sent[0].retain
    assert (said["label"], said["score"], said["model"]) == ("tench", 0.75, "inception-v3")
    assert said["timing_ms"]["run"] == 1.235 and said["at"].startswith("20") and said["at"].endswith("Z")
    assert said["predictions"] == [{"index": 0, "synset": "n0", "label": "tench", "score": 0.75}]


def test_the_state_says_why_a_camera_is_not_well() -> None:
    desk = Desk()
    facts = {
        "state": "ready", "health": "ok", "model": "m", "engine": "e", "queue_depth": 0,
        "window": {"run": None, "fps": 0.0}, "machine": {"temp_c": None, "throttled": None},
        "tuning": {"state": "given_up", "reason": "it does not agree"},
    }  # fmt: skip
    refused = {"state": "refused", "reason": "bad_image: damaged JPEG"}
    fine = {"name": "camera", "state": "ok", "reason": ""}
    gate = {"name": "gate", **refused}
    for source in ({"sources": [fine, gate]}, {"sources": [fine]}, {}):
        desk.publisher.publish_state({**facts, **source}, paused=False)
    states = [json.loads(message.payload) for message in desk.sent]
    said = [(state["source"], state["source_reason"]) for state in states]
    assert said == [("refused", "bad_image: damaged JPEG"), ("ok", None), (None, None)]
    assert [(state["sources"], state["reasons"]) for state in states][:2] == [
        ({"camera": "ok", "gate": "refused"}, {"gate": "bad_image: damaged JPEG"}),
        ({"camera": "ok"}, {}),
    ]
    assert {(state["tuning"], state["tuning_reason"]) for state in states} == {
        ("given_up", "it does not agree")
    }


@pytest.mark.parametrize(
    ("health", "sources", "problem"),
    [
        ("ok", {"door": "ok", "gate": "asleep", "film": "ended", "new": "opening"}, None),
        ("ok", {"door": "stalled", "gate": "absent"}, "door: stalled: why; gate: absent: why"),
        ("it hangs", {"door": "reopening"}, "it hangs; door: reopening: why"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(health: str, sources: dict[str, str], problem: str) -> None:
    desk = Desk()
    facts = {
        "state": "ready", "health": health, "model": "m", "engine": "e", "queue_depth": 0,
        "window": {"run": None, "fps": 0.0}, "machine": {"temp_c": None, "throttled": None},
        "tuning": {"state": "off", "reason": ""},
        "sources": [{"name": name, "state": state, "reason": "why"} for name, state in sources.items()],
    }  # fmt: skip
    desk.publisher.publish_state(facts, paused=False)
    assert json.loads(desk.sent[0].payload)["problem"] == problem


def test_the_same_label_is_published_once_an_interval() -> None:
    desk = Desk(interval_s=1.0)
    for _ in range(25):
        desk.see("tench")
        desk.now += 0.1
    assert len(desk.sent) == 3


def test_another_label_is_published_at_once() -> None:
    desk = Desk(interval_s=60)
    for label in ("tench", "tench", "goldfish", "tench", "tench"):
        desk.see(label)
    assert desk.labels == ["tench", "goldfish", "tench"]


def test_sources_do_not_share_an_interval() -> None:
    desk = Desk(interval_s=60)
    for source in ("camera.door", "camera.tree", "zmq", "camera.door"):
        desk.see("tench", source=source)
    assert desk.topics == ["result/camera.door", "result/camera.tree", "result/zmq"]


def test_a_score_below_the_threshold_is_no_label() -> None:
    desk = Desk(interval_s=0, threshold=0.5)
    desk.see("tench", 0.49)
    desk.see("tench", 0.5)
    assert desk.labels == [None, "tench"]


@pytest.mark.parametrize(
    "result",
    [
        Result("camera", refusal=Refusal.BAD_IMAGE),
        Result(OWN, predictions=(Prediction(0, "", "x", 1.0),)),
        Result("camera"),
    ],
)
def test_what_is_no_news_is_not_published(result: Result) -> None:
    desk = Desk(with_images=True)
    desk.publisher.publish_result(result, "", "")
    assert not desk.sent


def test_pictures_are_those_of_the_camera_and_newest_only() -> None:
    desk = Desk(interval_s=1.0, with_images=True)
    desk.see("tench", source="zmq", request_id=1)
    desk.see("tench", source="camera.door")
    desk.see("tench", source="camera.tree")
    pictures = [message for message in desk.sent if "/image/" in message.topic]
    assert [message.topic for message in pictures] == ["incv3d/pi/image/camera"]
    assert pictures[0].is_latest and pictures[0].qos == 0
    assert callable(pictures[0].payload) and pictures[0].payload() == jpeg()


def test_a_snapshot_is_one_picture_and_only_of_a_camera() -> None:
    desk = Desk(interval_s=0)
    desk.publisher.take_snapshots(["camera"])
    desk.see("tench", source="zmq", request_id=1)
    desk.see("tench")
    desk.see("tench")
    assert desk.topics == ["result/zmq", "result/camera", "image/camera", "result/camera"]


def test_a_snapshot_is_one_picture_of_each_camera_whether_it_is_classified_or_not() -> None:
    desk = Desk(interval_s=0)
    now = time.monotonic()
    desk.publisher.take_snapshots(["door", "gate"])
    for name in ("door.left", "door.right", "gate", "gate", "shed"):
        desk.publisher.offer(Frame(name, jpeg(), None, now, now))
    assert desk.topics == ["image/door", "image/gate"] and all(each.retain for each in desk.sent)


def test_pictures_are_turned_upright_and_whole() -> None:
    red_left = np.zeros((20, 40, 3), np.uint8)
    red_left[:, :20, 0] = 255
    frame = Frame("camera", red_left.tobytes(), "rgb24", 0, 0, 40, 20, transform="rotate90")
    picture = Image.open(io.BytesIO(upright_jpeg(frame, 1000)))
    assert picture.format == "JPEG" and picture.size == (20, 40)
    assert picture.getpixel((10, 5))[0] > 200 > 50 > picture.getpixel((10, 35))[0]


def test_a_region_is_no_picture_of_its_own() -> None:
    desk = Desk(with_images=True)
    now = time.monotonic()
    pixels = np.zeros((20, 40, 3), np.uint8).tobytes()
    frame = Frame("camera.door", pixels, "rgb24", now, now, 40, 20, region=Region(0, 0, 0.5, 0.5))
    result = Result("camera.door", predictions=(Prediction(0, "", "x", 1.0),), frame=frame)
    desk.publisher.publish_result(result, "", "")
    picture = next(message.payload for message in desk.sent if "/image/" in message.topic)
    assert callable(picture) and Image.open(io.BytesIO(picture())).size == (40, 20)


def test_a_picture_that_cannot_be_decoded_here_is_empty(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(with_images=True)
    frame = Frame("camera", b"nothing", None, 0, 0)
    result = Result("camera", predictions=(Prediction(0, "", "x", 1.0),), frame=frame)
    desk.publisher.publish_result(replace(result), "", "")
    picture = desk.sent[-1].payload
    assert callable(picture) and picture() == b"" and "cannot be published" in caplog.text
