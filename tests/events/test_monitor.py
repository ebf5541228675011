"""What is told of results, to whom, and which of their frames are kept."""

from __future__ import annotations

import json
import logging
import queue
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from doubles import TwoLabels, jpeg
from incv3d.config.loading import ConfigError, load_config
from incv3d.config.schema import Config
from incv3d.events.monitor import EventMonitor, create_event_monitor
from incv3d.frames import Frame, Prediction, Refusal, Result
from incv3d.protocol.events import EventMessage

PATIENCE_S = 30


@dataclass
class Listener:
    """An announcer at work, and what it published."""

    announcer: EventMonitor
    published: list[tuple[EventMessage, Frame | None]]
    deaths: queue.SimpleQueue[object] = field(default_factory=queue.SimpleQueue)

    def see(self, score: float, source: str = "camera", captured: float | None = None) -> None:
        now = time.monotonic() if captured is None else captured
        frame = Frame(source, jpeg(), None, received=now, captured=now)
        predictions = (Prediction(1, "n1", "label 1", score), Prediction(0, "n0", "label 0", 1 - score))
        self.announcer.observe(Result(source, predictions=predictions, frame=frame))

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """Source, happening and label of each event."""
        return [(event.source, event.event, event.label) for event, _ in self.published]


@pytest.fixture
def listen(tmp_path: Path):
    def make(text: str) -> Listener:
        path = tmp_path / "incv3d.yaml"
        path.write_text(text)
        published: list[tuple[EventMessage, Frame | None]] = []
        deaths: queue.SimpleQueue[object] = queue.SimpleQueue()
        announcer = create_event_monitor(
            load_config(str(path), {}).config,
            TwoLabels(),
            "double",
            lambda event, frame: published.append((event, frame)),
            lambda image, path: None,
            lambda thread, error: deaths.put((thread, error)),
        )
        assert announcer
        return Listener(announcer, published, deaths)

    return make


def kept(folder: Path) -> set[str]:
    """The pictures there, without their times."""
    names = [path.name.split("_", 1)[1] for path in folder.iterdir()]
    assert len(set(names)) == len(names)
    return set(names)


def test_nothing_is_announced_unless_labels_are_named() -> None:
    assert (
        create_event_monitor(Config(), TwoLabels(), "m", lambda *_: None, lambda *_: None, lambda *_: None)
        is None
    )


TWO_SOURCES = """
events: {labels: {label 1: 0.6}, frames: 2, needed: 2}
sources:
- {name: door, path: door.mp4}
- {name: gate, path: gate.mp4, events: {labels: {label 0: 0.3}, frames: 1, needed: 1}}
- {name: yard, path: yard.mp4, events: {}}
"""


def test_a_source_has_events_of_its_own_or_none(listen) -> None:
    listener = listen(TWO_SOURCES)
    for _ in range(2):
        for source in ("door", "gate.path", "yard"):
            listener.see(0.65, source)
    assert listener.told == [("gate.path", "entered", "label 0"), ("door", "entered", "label 1")]
    present = listener.announcer.status()["events"]["present"]
    assert [(each["source"], each["label"]) for each in present] == [
        ("door", "label 1"),
        ("gate.path", "label 0"),
    ]
    listener.announcer.end("gate")
    listener.announcer.stop()
    assert listener.told[2:] == [("gate.path", "left", "label 0"), ("door", "left", "label 1")]


def test_a_source_can_be_the_only_one_with_events(listen) -> None:
    listener = listen("source: {path: a.mp4, events: {labels: {label 1: 0.6}, frames: 1, needed: 1}}")
    listener.see(0.9, "zmq")
    listener.see(0.9)
    assert listener.told == [("camera", "entered", "label 1")]


def test_a_label_that_only_one_source_watches_is_named_by_its_place(listen) -> None:
    with pytest.raises(ConfigError, match=r"sources\[0\]\.events\.labels: double has no label `fox`"):
        listen("sources: [{name: door, path: a.mp4, events: {labels: {fox: 0.5}}}]")


def test_an_event_is_published_logged_and_counted(listen, caplog) -> None:
    listener = listen("events: {labels: {label 1: 0.6}, frames: 2, needed: 2}\n")
    captured_at = time.time() - 5
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            listener.see(0.7, captured=time.monotonic() - 5)
        for _ in range(2):
            listener.see(0.1)
    (entered, frame), (left, _) = listener.published
    assert frame and frame.source == "camera"
    found = json.loads(msgspec.json.encode(entered))
    assert abs(datetime.fromisoformat(found["at"]).timestamp() - captured_at) < 3
    assert found == {
        "v": 1,
        "event": "entered",
        "source": "camera",
        "label": "label 1",
        "synset": "n1",
        "score": 0.7,
        "at": found["at"],
        "frames": 2,
    }
    assert (left.event, left.reason, left.best, left.frames) == ("left", "unseen", 0.7, 2)
    assert left.duration_s is not None and left.duration_s < 1
    assert caplog.messages[-2:] == [
        "camera: label 1 entered (0.70, 2 frames)",
        "camera: label 1 left after 0.0 s (best 0.70)",
    ]
    assert listener.announcer.status() == {"events": {"entered": 1, "left": 1, "present": []}}


def test_what_is_there_is_in_the_status(listen) -> None:
    listener = listen("events: {allow: [label 1], frames: 1, needed: 1}\n")
    listener.see(0.7)
    (present,) = listener.announcer.status()["events"]["present"]
    assert (present["source"], present["label"], present["score"]) == ("camera", "label 1", 0.7)
    assert present["since"].endswith("Z")


def test_results_without_predictions_and_frames_over_zeromq_tell_nothing(listen) -> None:
    listener = listen("events: {allow: ['*'], frames: 2, needed: 1}\n")
    listener.see(0.9, source="zmq")
    frame = Frame("camera", b"", None, 0.0, 0.0)
    for _ in range(3):
        listener.announcer.observe(Result.refused(frame, Refusal.BAD_IMAGE, "no picture"))
    assert listener.told == []
    listener.see(0.9)
    for _ in range(3):
        listener.announcer.observe(Result.refused(frame, Refusal.EXPIRED, "late"))
    assert listener.told == [("camera", "entered", "label 1")], "no result is no sign of absence"


def test_frames_over_zeromq_count_if_that_is_asked_for(listen) -> None:
    listener = listen("events: {allow: ['*'], frames: 1, needed: 1, zmq: true}\n")
    listener.see(0.9, source="zmq")
    assert listener.told == [("zmq", "entered", "label 1")]


def test_what_is_denied_makes_no_event_whatever_allows_it(listen) -> None:
    text = "events: {allow: ['*'], labels: {label 1: 0.1}, deny: [n1], frames: 1, needed: 1}\n"
    listener = listen(text)
    listener.see(0.9)
    listener.see(0.2)
    assert listener.told == [("camera", "entered", "label 0")]


def test_all_leaves_when_the_source_ends_with_its_regions_and_when_the_daemon_stops(listen, caplog) -> None:
    listener = listen("events: {allow: [label 1], frames: 1, needed: 1}\n")
    with caplog.at_level(logging.INFO):
        for source in ("porch", "porch.feeder", "porch2"):
            listener.see(0.9, source)
        listener.announcer.end("porch")
        listener.announcer.stop()
    assert listener.told[3:] == [
        ("porch", "left", "label 1"),
        ("porch.feeder", "left", "label 1"),
        ("porch2", "left", "label 1"),
    ]
    reasons = [event.reason for event, _ in listener.published[3:]]
    assert reasons == ["ended", "ended", "stopping"]
    assert caplog.messages[-1].endswith("(best 0.90): the daemon is stopping")


@pytest.mark.parametrize(
    ("keys", "silence_s"),
    [
        ("", 120),
        ("source: {type: v4l2, interval_s: 100}\n", 300),
        ("source: {type: images, path: x, fps: 0.01}\n", 200),
        ("source: {type: v4l2, skip_unchanged: true}\n", 180),
    ],
)
def test_how_long_a_source_may_be_silent_follows_from_how_often_it_gives_frames(
    listen, monkeypatch, keys, silence_s
) -> None:
    listener = listen(keys + "events: {allow: [label 1], frames: 1, needed: 1}\n")
    now = time.monotonic()
    monkeypatch.setattr(listener.announcer, "_clock", lambda: now)
    listener.see(0.9)
    now += silence_s - 1
    listener.announcer.look()
    assert len(listener.told) == 1
    now += 1
    listener.announcer.look()
    assert listener.told[1:] == [("camera", "left", "label 1")]


def test_the_frame_with_which_a_label_enters_is_kept(listen, tmp_path) -> None:
    folder = tmp_path / "seen"
    listener = listen(
        f"events: {{allow: ['*'], frames: 2, needed: 2}}\nsaving: {{folder: {folder}, min_free_bytes: 0}}\n"
    )
    for score in (0.9, 0.8, 0.9, 0.4, 0.3, 0.3):
        listener.see(score)
    listener.announcer.close(PATIENCE_S)
    assert kept(folder) == {"camera_label-1_0.80.jpg", "camera_label-0_0.70.jpg"}
    assert listener.announcer.status()["saving"]["saved"] == 2 and listener.deaths.empty()


def test_every_frame_with_a_label_is_kept_if_that_is_asked_for_but_not_too_often(listen, tmp_path) -> None:
    folder = tmp_path / "seen"
    text = "events: {{allow: [label 1], frames: 4, needed: 4}}\nsaving: {{folder: {}, when: match, {}}}\n"
    listener = listen(text.format(folder / "all", "min_interval_s: 0, min_free_bytes: 0"))
    for score in (0.9, 0.4, 0.8):
        listener.see(score)
    listener.announcer.close(PATIENCE_S)
    assert kept(folder / "all") == {"camera_label-1_0.90.jpg", "camera_label-1_0.80.jpg"}
    assert listener.told == [], "four frames in a row would make an event"
    listener = listen(text.format(folder / "seldom", "min_interval_s: 600, min_free_bytes: 0"))
    for score in (0.9, 0.8, 0.7):
        listener.see(score)
    listener.see(0.6, source="porch")
    listener.announcer.close(PATIENCE_S)
    assert kept(folder / "seldom") == {"camera_label-1_0.90.jpg", "porch_label-1_0.60.jpg"}


def test_a_label_that_enters_just_after_another_has_a_image_too(listen, tmp_path) -> None:
    folder = tmp_path / "seen"
    text = "events: {allow: ['*'], threshold: 0.3, frames: 1, needed: 1}\nsaving: {folder: FOLDER, "
    listener = listen(text.replace("FOLDER", str(folder)) + "min_interval_s: 600, min_free_bytes: 0}\n")
    listener.see(0.9)
    listener.see(0.6)
    listener.announcer.close(PATIENCE_S)
    assert kept(folder) == {"camera_label-1_0.90.jpg", "camera_label-0_0.40.jpg"}


def test_a_group_enters_though_none_of_its_labels_does(listen, tmp_path) -> None:
    folder = tmp_path / "seen"
    listener = listen(
        "events: {groups: {thing: ['label *']}, labels: {thing: 0.9, label 1: 0.8}, frames: 2, needed: 2}\n"
        f"saving: {{folder: {folder}, min_free_bytes: 0}}\n"
    )
    for score in (0.6, 0.4):
        listener.see(score)
    listener.announcer.close(PATIENCE_S)
    assert listener.told == [("camera", "entered", "thing")]
    assert kept(folder) == {"camera_thing_1.00.jpg"}


def test_labels_that_the_network_does_not_have_are_an_error(listen) -> None:
    with pytest.raises(ConfigError, match=r"double has no label `lable 1`; similar labels: `label 1`"):
        listen("events: {allow: [lable 1]}\n")


def test_scores_too_low_to_be_among_the_best_are_warned_of(listen, caplog) -> None:
    listen("model: {top_k: 4}\nevents: {allow: [label 1], threshold: [0.5, 0.2]}\n")
    assert caplog.messages == []
    listen("events: {allow: [label 1], threshold: [0.5, 0.1]}\n")
    assert len(caplog.messages) == 1 and "set model.top_k to 9" in caplog.messages[0]
