"""What there is to see, and how viewers are told: no network, no waiting."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from doubles import jpeg
from incv3d.events.monitor import event_message
from incv3d.events.presence import PresenceChange
from incv3d.frames import OWN, Frame, Prediction, Refusal, Region, Result, Timings
from incv3d.images.encode import IMAGE_SIDE, LARGEST_SENT, THUMBNAIL_SIDE, encode_image, encode_thumbnail
from incv3d.images.preprocess import ImageError
from incv3d.protocol.events import EventMessage
from incv3d.transports.http.webui.broadcast import (
    MOST_VIEWERS,
    PAST_EVENTS,
    Broadcast,
    TooManyViewers,
    Viewer,
)
from incv3d.transports.http.webui.routes import WebUi
from incv3d.transports.http.webui.state import EVENTS_KEPT, LARGEST_HELD, RUNS_KEPT, SOURCES_KEPT, UiState
from incv3d.transports.teaching import ClassCount, TeachingStatus

MAX_PIXELS = 10_000_000


def frame(source: str = "camera", data: bytes = b"\xff\xd8\xff", **more: Any) -> Frame:
    return Frame(source, data, None, received=100.0, captured=100.0, **more)


def result(source: str = "camera", label: str = "cat", data: bytes = b"\xff\xd8\xff") -> Result:
    predictions = (Prediction(1, "n1", label, 0.9),)
    return Result(source, predictions=predictions, timings=Timings(run_ms=30), frame=frame(source, data))


def entered(label: str = "cat") -> EventMessage:
    return event_message(
        PresenceChange("entered", "camera", Prediction(1, "n1", label, 0.9), 0.0, 3, 0.9), 0.0
    )


def test_of_every_source_the_latest_result_is_seen() -> None:
    view = UiState(clock=lambda: 101.5, wall=lambda: 1_800_000_000.0)
    for source, label in (("porch", "cat"), ("gate", "dog"), ("porch", "fox")):
        view.deliver(result(source, label))
    assert [(each.number, each.result.source) for each in view.latest()] == [(2, "gate"), (3, "porch")]
    assert view.latest()[-1].result.predictions[0].label == "fox"
    assert view.latest()[-1].at_unix_s == 1_800_000_000.0 - 1.5, "when it was captured"


def test_refusals_and_the_daemons_own_frames_are_not_seen() -> None:
    view = UiState()
    view.deliver(Result.refused(frame(), Refusal.BAD_IMAGE, "damaged"))
    view.deliver(Result(OWN, frame=frame(OWN)))
    assert not view.latest() and not view.runs()


def test_what_another_source_captured_is_not_seen_however_late_its_result_comes() -> None:
    clock = iter((100.5, 101.0, 102.0, 103.0))
    view = UiState(clock=lambda: next(clock))
    view.deliver(result("porch"))
    view.forget_sources()
    view.deliver(result("porch"))  # captured at 100.0, and waited for the Session meanwhile
    assert not view.latest() and len(view.runs()) == 2
    view.deliver(replace(result("gate"), frame=replace(frame("gate"), captured=101.5)))
    assert [each.result.source for each in view.latest()] == ["gate"]


def test_nothing_grows_for_ever() -> None:
    view = UiState()
    for number in range(2000):
        view.deliver(result(f"camera{number}"))
        view.announce(entered(), b"")
    assert len(view.latest()) == SOURCES_KEPT and view.latest()[-1].result.source == "camera1999"
    assert len(view.runs()) == RUNS_KEPT and len(view.events()) == EVENTS_KEPT
    assert [run.number for run in view.runs(after=1998)] == [1999, 2000]


def test_a_picture_that_is_very_large_is_not_held() -> None:
    view = UiState()
    view.deliver(result(data=bytes(LARGEST_HELD + 1)))
    assert view.latest()[0].result.frame is None and view.latest()[0].result.predictions


class NoTeacher:
    """A teacher that is only asked for its state."""

    def status(self) -> TeachingStatus:
        return TeachingStatus()


class Hall:
    """Viewers of a view, in an event loop."""

    def __init__(self, stats: Callable[[], dict[str, Any]] = dict) -> None:
        self.view = UiState()
        self.failures: list[BaseException] = []
        self.teaching = TeachingStatus()
        self.broadcast = Broadcast(
            self.view,
            lambda: b"event: hello\ndata: {}\n\n",
            stats,
            lambda: self.teaching,
            self.failures.append,
        )


async def hear(viewer: Viewer, *names: str) -> list[tuple[str, Any]]:
    """What the viewer is told, until it has heard all `names`."""
    heard: list[tuple[str, Any]] = []
    while not {name for name, _ in heard} >= set(names):
        text = (await asyncio.wait_for(viewer.take(), 20)).decode()
        for message in text.split("\n\n")[:-1]:
            name, data = message.split("\n")
            heard.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return heard


def test_a_viewer_hears_of_the_teaching_set_when_it_has_changed() -> None:
    async def scene() -> None:
        hall = Hall()
        viewer = hall.broadcast.join()
        assert [data["name"] for name, data in await hear(viewer, "teaching") if name == "teaching"] == [""]
        hall.teaching = TeachingStatus(name="mine", classes=[ClassCount(name="empty", pictures=3)])
        heard = [data for name, data in await hear(viewer, "teaching") if name == "teaching"]
        assert [(each["name"], each["classes"]) for each in heard] == [
            ("mine", [{"name": "empty", "pictures": 3}])
        ]
        hall.broadcast.leave(viewer)

    asyncio.run(scene())


def test_a_viewer_hears_hello_first_and_then_everything_once() -> None:
    async def scene() -> None:
        hall = Hall()
        hall.view.deliver(result())
        hall.view.announce(entered("early"), b"")
        viewer = hall.broadcast.join()
        heard = await hear(viewer, "hello", "runs", "event", "result", "facts")
        assert [name for name, _ in heard].count("result") == 1 and heard[0][0] == "hello"
        hall.view.deliver(result(label="fox"))
        hall.view.announce(entered("late"), b"x")
        heard = await hear(viewer, "result", "event", "runs")
        assert [data["predictions"][0]["label"] for name, data in heard if name == "result"] == ["fox"]
        said = [(data["label"], data["has_thumbnail"]) for name, data in heard if name == "event"]
        assert said == [("late", True)]
        assert [len(data) for name, data in heard if name == "runs"] == [1]
        hall.broadcast.leave(viewer)
        assert not hall.failures

    asyncio.run(scene())


def test_a_viewer_who_reads_late_misses_no_run() -> None:
    async def scene() -> None:
        hall = Hall()
        reading, waiting = hall.broadcast.join(), hall.broadcast.join()
        for label in ("first", "second"):
            hall.view.deliver(result(label=label))
            while not any(data for name, data in await hear(reading, "runs") if name == "runs"):
                pass
        heard = await hear(waiting, "runs")
        assert sum(len(data) for name, data in heard if name == "runs") == 2
        hall.broadcast.close()

    asyncio.run(scene())


def test_who_comes_later_hears_what_was_told_before_and_no_run_twice() -> None:
    async def scene() -> None:
        hall = Hall()
        for _ in range(PAST_EVENTS + 5):
            hall.view.deliver(result())
            hall.view.announce(entered(), b"")
        await hear(hall.broadcast.join(), "result", "facts")
        hall.view.deliver(result())
        heard = await hear(hall.broadcast.join(), "facts", "result")
        assert [name for name, _ in heard].count("event") == PAST_EVENTS
        runs = [run for name, data in heard if name == "runs" for run in data]
        assert len(runs) in (PAST_EVENTS + 5, PAST_EVENTS + 6)
        hall.broadcast.close()

    asyncio.run(scene())


def test_a_slow_viewer_hears_the_latest_only() -> None:
    async def scene() -> None:
        viewer = Viewer()
        for number in range(1000):
            viewer.put("result camera", b"%d " % number)
            viewer.put("result gate", b"g%d " % number)
        assert await viewer.take() == b"999 g999 "

    asyncio.run(scene())


def test_while_nobody_looks_nothing_is_asked() -> None:
    async def scene() -> None:
        asked: list[None] = []

        def stats() -> dict[str, Any]:
            asked.append(None)
            return {}

        hall = Hall(stats)
        viewer = hall.broadcast.join()
        await hear(viewer, "facts")
        hall.view.deliver(result())
        hall.broadcast.leave(viewer)
        assert hall.broadcast.shown("camera") is None
        before = len(asked)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(asked) == before and len(asyncio.all_tasks()) == 1

    asyncio.run(scene())


def test_one_too_many_is_told_so() -> None:
    async def scene() -> None:
        hall = Hall()
        viewers = [hall.broadcast.join() for _ in range(MOST_VIEWERS)]
        with pytest.raises(TooManyViewers, match="close another page"):
            hall.broadcast.join()
        hall.broadcast.leave(viewers[0])
        hall.broadcast.join()
        hall.broadcast.close()
        assert await viewers[1].take() == b"", "it is over"

    asyncio.run(scene())


def test_a_failure_is_reported() -> None:
    async def scene() -> None:
        def stats() -> dict[str, Any]:
            raise ZeroDivisionError("scripted")

        hall = Hall(stats)
        hall.broadcast.join()
        async with asyncio.timeout(20):
            while not hall.failures:
                await asyncio.sleep(0)
        assert isinstance(hall.failures[0], ZeroDivisionError)

    asyncio.run(scene())


def size_of(data: bytes) -> tuple[int, int]:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return image.size


def raw(width: int, height: int, **more: Any) -> Frame:
    pixels = (bytes(range(256)) * (width * height * 3 // 256 + 1))[: width * height * 3]
    return Frame("camera", pixels, "bgr24", 0.0, 0.0, width, height, **more)


def test_a_small_jpeg_goes_out_as_it_came_and_others_become_small_ones() -> None:
    small = jpeg()
    assert encode_image(frame(data=small), MAX_PIXELS) == small
    assert encode_image(frame(data=small, transform="rotate90"), MAX_PIXELS) != small
    assert max(size_of(encode_image(raw(1600, 1200), MAX_PIXELS))) == IMAGE_SIDE
    buffer = io.BytesIO()
    Image.effect_noise((3000, 2000), 90).save(buffer, "JPEG", quality=95)
    assert len(buffer.getvalue()) > LARGEST_SENT
    shown = encode_image(frame(data=buffer.getvalue()), MAX_PIXELS)
    assert size_of(shown) == (IMAGE_SIDE, IMAGE_SIDE * 2 // 3)


def test_a_picture_is_upright_and_whole_and_a_thumbnail_is_of_the_region() -> None:
    turned = raw(640, 480, transform="rotate90", region=Region(0, 0, 0.5, 1))
    assert size_of(encode_image(turned, MAX_PIXELS)) == (480, 640)
    width, height = size_of(encode_thumbnail(turned, MAX_PIXELS))
    assert height == THUMBNAIL_SIDE and abs(width / height - 240 / 640) < 0.02


def test_each_picture_is_encoded_once_though_the_sources_are_asked_for_in_turn(monkeypatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(
        "incv3d.transports.http.webui.routes.encode_image",
        lambda frame, max_pixels: made.append(frame.source) or frame.source.encode(),
    )
    page = WebUi(False, MAX_PIXELS, MAX_PIXELS, NoTeacher(), dict, lambda error: None)
    view = UiState()
    for source in ("left", "right"):
        view.deliver(result(source))

    async def look() -> None:
        page._broadcast._shown = {each.result.source: each for each in view.latest()}
        for _ in range(5):
            assert [page._encode(each) for each in view.latest()] == [b"left", b"right"]
        view.deliver(result("left"))
        assert [page._encode(each) for each in view.latest()] == [b"right", b"left"]

    asyncio.run(look())
    page.close()
    assert made == ["left", "right", "left"]


def test_what_cannot_be_decoded_raises() -> None:
    with pytest.raises(ImageError):
        encode_thumbnail(frame(data=b"\xff\xd8\xff nothing more"), MAX_PIXELS)


def test_viewers_are_told_of_a_source_that_is_gone() -> None:
    async def scene() -> None:
        hall = Hall()
        hall.view.deliver(result("porch"))
        viewer = hall.broadcast.join()
        await hear(viewer, "result")
        hall.view.forget_sources()
        assert ("gone", "porch") in await hear(viewer, "gone")
        assert hall.broadcast.shown("porch") is None
        hall.broadcast.close()

    asyncio.run(scene())
