"""The real daemon on pictures of a panda and a cat in turn: what it announces, and what it keeps."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from PIL import ExifTags, Image

from incv3d.client import Client, events
from incv3d.images.demo import demo_folder
from incv3d.protocol.events import EventMessage
from processes import PATIENCE_S, DaemonProcess

CAT = demo_folder() / "cat.jpg"
COFFEE = demo_folder() / "coffee.jpg"
WATCHED = {"labels": {"giant panda": 0.5, "*cat": 0.3}, "deny": ["tiger cat"], "frames": 3, "needed": 2}


@pytest.fixture
def panda(shared: Path) -> Path:
    return shared / "images" / "cropped_panda.jpg"


@pytest.fixture
def start(state: Path, tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    started: list[DaemonProcess] = []

    def make(**sections: object) -> DaemonProcess:
        config = tmp_path / "incv3d.yaml"
        config.write_text(json.dumps(sections))
        started.append(DaemonProcess(state, tmp_path, "--config", str(config)))
        return started[-1]

    yield make
    for daemon in started:
        daemon.kill()


def replay(folder: Path, *pictures: Path, times: int = 5) -> dict[str, object]:
    """A source that shows each picture so many times, in their order; none of its frames is dropped."""
    folder.mkdir()
    for number, picture in enumerate(pictures):
        for repeated in range(times):
            shutil.copy(picture, folder / f"{number}-{repeated}.jpg")
    return {"type": "images", "name": "yard", "path": str(folder), "every_frame": True, "fps": 20}


def once(client: Client, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the daemon answers to ``stats`` once it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so(stats := client.ask("stats")):
        assert time.monotonic() < deadline, stats
        time.sleep(0.02)
    return stats


def pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return picture.tobytes()


def test_what_comes_and_goes_is_announced_in_order_and_kept_as_images(start, panda, tmp_path) -> None:
    kept = tmp_path / "kept"
    daemon = start(
        source=replay(tmp_path / "pictures", panda, CAT, COFFEE),
        events=WATCHED,
        saving={"folder": str(kept), "min_interval_s": 0, "min_free_bytes": 0, "max_files": 3},
    )
    told: list[EventMessage] = []
    with contextlib.closing(events(daemon.results, source="yard", timeout_s=PATIENCE_S)) as heard:
        while sum(each.event == "left" for each in told) < 4:
            told.append(next(heard))
    with Client(daemon.door) as client:
        # An event is told before its picture is written.
        stats = once(client, lambda stats: stats["saving"]["saved"] >= 4)
    assert stats["events"]["entered"] >= 4 and stats["events"]["left"] >= 4
    assert stats["saving"]["files"] <= 3
    assert stats["saving"]["failed"] == stats["saving"]["dropped"] == 0
    assert daemon.stop() == 0, daemon.said
    cycle = [
        ("entered", "giant panda"),
        ("entered", "Egyptian cat"),  # with its second frame
        ("left", "giant panda"),  # with the third in which it is not seen
        ("left", "Egyptian cat"),
    ]
    found = [(each.event, each.label) for each in told]
    begin = cycle.index(found[0])
    assert found == list(itertools.islice(itertools.cycle(cycle), begin, begin + len(found)))
    assert sorted(each.at for each in told) == [each.at for each in told]
    for each in told:
        assert (each.v, each.source) == (1, "yard") and each.synset.startswith("n0")
        if each.event == "left":
            assert (each.frames, each.reason, each.best) == (5, "unseen", each.score)
            assert each.duration_s and each.duration_s > 0.1
    names = sorted(path.name for path in kept.iterdir())
    assert len(names) == 3 and all(name.endswith(".jpg") for name in names)
    for path in kept.iterdir():
        original = panda if "giant-panda" in path.name else CAT
        assert pixels(path) == pixels(original)
        with Image.open(path) as picture:
            exif = picture.getexif()
        assert exif[ExifTags.Base.ImageDescription].startswith(("giant panda 0.", "Egyptian cat 0."))
        comment = exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
        assert json.loads(comment[8:])["source"] == "yard"


def test_a_video_that_ends_is_left_by_what_it_showed(start, panda, tmp_path) -> None:
    ending = {**replay(tmp_path / "pictures", CAT, panda), "loop": False}
    daemon = start(source=ending, events=WATCHED)
    daemon.wait_for("yard: Egyptian cat left after")
    assert daemon.wait_for("yard: giant panda left after").endswith(": the source has no more frames")
    with Client(daemon.door) as client:
        assert client.ask("stats")["events"] == {"entered": 2, "left": 2, "present": []}
    assert daemon.stop() == 0


def test_what_is_there_when_the_daemon_stops_has_left_and_subscribers_hear_of_it(start, panda) -> None:
    daemon = start(events={**WATCHED, "frames": 2, "zmq": True}).ready()
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber, Client(daemon.door) as client:
        subscriber.set(zmq.SUBSCRIBE, b"event.")
        subscriber.connect(daemon.results)
        while not subscriber.poll(50):  # a subscription takes a moment to arrive
            for picture in (COFFEE, COFFEE, panda, panda):
                client.classify(picture)
        (present,) = client.ask("stats")["events"]["present"]
        assert (present["source"], present["label"]) == ("zmq", "giant panda")
        assert daemon.stop() == 0
        told = []
        while subscriber.poll(1000):
            topic, data = subscriber.recv_multipart()
            told.append((topic, json.loads(data)))
    topic, last = told[-1]
    assert topic == b"event.zmq" and (last["event"], last["reason"]) == ("left", "stopping")
    assert [event["event"] for _, event in told][-2:] == ["entered", "left"]


def test_a_label_that_the_model_does_not_have_ends_the_daemon_with_one_line(start) -> None:
    daemon = start(events={"allow": ["gaint panda"]})
    assert daemon.wait() == 2
    line = daemon.said[-1]
    assert "efficientnet-lite0 has no label `gaint panda`; similar labels: `giant panda`" in line, daemon.said


def test_a_folder_that_cannot_be_written_to_stops_nothing(start, panda, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    daemon = start(
        source=replay(tmp_path / "pictures", panda, CAT),
        events=WATCHED,
        saving={"folder": str(tmp_path / "file" / "kept"), "min_free_bytes": 0},
    )
    daemon.wait_for("images cannot be saved (Not a directory); continuing without")
    for _ in range(4):
        daemon.wait_for("giant panda entered")
    with Client(daemon.door) as client:
        stats = once(client, lambda stats: stats["saving"]["failed"] >= 3)
        assert client.classify(panda).status == "ok"
    assert stats["saving"]["saved"] == 0 and stats["health"] == "ok"
    assert stats["saving"]["trouble"] == "Not a directory"
    assert daemon.stop() == 0
    assert sum("images cannot be saved" in line for line in daemon.said) == 1
