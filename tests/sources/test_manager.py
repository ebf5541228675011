"""The daemon's own source, as the daemon holds it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from doubles import ScriptedCamera
from incv3d.config.source import SourceSection
from incv3d.frames import Frame, Refusal, Result
from incv3d.images.decode_cost import is_large
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources.manager import LOG_PAUSE_EVERY_S, LOOK_EVERY_S, SourceManager

SOON_S = 10


class Daemon:
    """Captures as the daemon holds them, and what they reported."""

    def __init__(self) -> None:
        self.frame_queue = FrameQueue(1, 1, 1, is_large)
        self.dropped: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.deaths: queue.SimpleQueue[tuple[str, BaseException]] = queue.SimpleQueue()
        self.asleep: list[str] = []
        self.now_s = 0.0
        self.captures = SourceManager(
            self.frame_queue, self.dropped_one, self.end, self.asleep.append, self.die, lambda: self.now_s
        )
        self.cameras: list[ScriptedCamera] = []

    def dropped_one(self) -> None:
        self.dropped.put(None)

    def end(self, name: str) -> None:
        self.ended.put(name)
        if name == "broken":
            raise ValueError(name)

    def die(self, thread: str, error: BaseException) -> None:
        self.deaths.put((thread, error))

    def camera(self, *scripts: str) -> ScriptedCamera:
        self.cameras.append(ScriptedCamera(*scripts))
        return self.cameras[-1]

    def use(self, *scripts: str, **section: object) -> ScriptedCamera:
        """Capture from a camera that does what its scripts say."""
        camera = self.camera(*scripts)
        used = section_of(**section)
        self.captures.configure([used], {used.name: camera})
        self.captures.start()
        return camera

    def take(self) -> Frame:
        taken: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        threading.Thread(target=lambda: taken.put(self.frame_queue.take(False)), daemon=True).start()
        frame = taken.get(timeout=SOON_S)
        assert frame
        return frame

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        give_up = time.monotonic() + SOON_S
        while not is_so():
            assert time.monotonic() < give_up, self.captures.status()
            time.sleep(0.005)


def section_of(**settings: object) -> SourceSection:
    return SourceSection(**{"type": "v4l2", "name": "camera", "path": "/dev/video0", **settings})  # type: ignore[arg-type]


@pytest.fixture
def daemon(caplog) -> Iterator[Daemon]:
    caplog.set_level(logging.INFO)
    made = Daemon()
    yield made
    for camera in made.cameras:
        camera.let_go()
    made.captures.close()
    made.frame_queue.close()


def test_without_a_source_there_is_nothing_to_capture_tell_or_close(daemon) -> None:
    daemon.captures.configure([], {})
    daemon.captures.start()
    daemon.captures.pause(True)
    daemon.captures.deliver(Result("camera"))
    daemon.captures.accept(Frame("camera", b"", None, 0.0, 0.0))
    assert daemon.captures.status() == []
    daemon.captures.close()


def test_the_frames_of_the_source_come_into_the_mailbox_until_it_is_closed(daemon, caplog) -> None:
    camera = daemon.use("frame silent")
    assert daemon.take().id == "1.1"
    (status,) = daemon.captures.status()
    assert (status.name, status.state, status.frames) == ("camera", "ok", 1)
    assert not any("regions" in record.message for record in caplog.records)
    daemon.captures.close()
    daemon.wait_until(lambda: camera.closed == 1)


def test_nothing_is_opened_before_the_start(daemon) -> None:
    camera = daemon.camera("frame silent")
    daemon.captures.configure([section_of()], {"camera": camera})
    assert not camera.opened and daemon.captures.status()[0].state == "opening"
    daemon.captures.start()
    assert daemon.take().id == "1.1"


def test_what_the_source_reports_goes_to_the_daemon(daemon) -> None:
    daemon.use("frame frame none", name="broken")
    assert daemon.ended.get(timeout=SOON_S) == "broken"
    assert daemon.dropped.get(timeout=SOON_S) is None
    thread, error = daemon.deaths.get(timeout=SOON_S)
    assert thread == "watch-broken" and isinstance(error, ValueError)


def test_the_configuration_says_how_often_how_many_and_how_patiently(daemon) -> None:
    camera = daemon.use("frame frame silent", interval_s=3600.0, every_frame=True, stall_timeout_s=0.5)
    assert [daemon.take().id, daemon.take().id] == ["1.1", "1.2"]
    daemon.wait_until(lambda: len(camera.asked) == 3)
    assert camera.asked[2] - camera.asked[1] == pytest.approx(3600)
    daemon.captures.replace(
        [section_of(stall_timeout_s=0.5)], {"camera": daemon.camera("frame silent")}, lambda: None
    )
    daemon.wait_until(lambda: daemon.captures.status()[0].reason == "no frame for 0.5 s")


def test_the_regions_of_the_source_are_said_and_captured(daemon, caplog) -> None:
    daemon.use("frame silent", regions={"door": [0, 0, 0.5, 1], "yard": [0.5, 0, 0.5, 1]})
    assert {daemon.take().source, daemon.take().source} == {"camera.door", "camera.yard"}
    assert "source camera: regions door, yard" in [record.message for record in caplog.records]


@pytest.mark.parametrize("scripts", [["frame silent"], None], ids=["a source", "no source"])
def test_another_source_takes_the_place_of_the_old_one_which_is_let_go_of_first(daemon, scripts) -> None:
    old = daemon.use(*scripts) if scripts else None
    if old:
        assert daemon.take().id == "1.1"
    closed_between: list[int] = []
    new = daemon.camera("frame frame silent")

    def between() -> None:
        closed_between.append(old.closed if old else 1)
        assert not new.opened and not daemon.captures.status()

    daemon.captures.replace([section_of(name="yard", every_frame=True)], {"yard": new}, between)
    assert closed_between == [1]
    assert daemon.take().id == "1.1" and daemon.captures.status()[0].name == "yard"
    daemon.captures.replace([], {}, lambda: None)
    assert not daemon.captures.status() and new.closed == 1


def test_only_the_sources_that_change_are_closed_and_opened(daemon) -> None:
    sections = {name: section_of(name=name) for name in ("door", "gate", "yard")}
    cameras = {name: daemon.camera("frame silent", "frame silent") for name in sections}
    daemon.captures.configure([sections["door"], sections["gate"]], cameras)
    daemon.captures.start()
    daemon.wait_until(lambda: [each.frames for each in daemon.captures.status()] == [1, 1])
    remaining: list[list[str]] = []
    wider = section_of(name="gate", width=800)
    daemon.captures.replace(
        [sections["yard"], sections["door"], wider],
        cameras,
        lambda: remaining.append([each.name for each in daemon.captures.status()]),
    )
    assert remaining == [["door"]]
    assert [each.name for each in daemon.captures.status()] == ["yard", "door", "gate"]
    daemon.wait_until(lambda: all(each.frames for each in daemon.captures.status()))
    assert [(each.opened, each.closed) for each in cameras.values()] == [(1, 0), (2, 1), (1, 0)]


def test_a_dead_camera_harms_no_other(daemon) -> None:
    cameras = {"dead": daemon.camera("raise"), "camera": daemon.camera("frame silent")}
    daemon.captures.configure([section_of(name=name) for name in cameras], cameras)
    daemon.captures.start()
    assert daemon.take().source == "camera"
    daemon.wait_until(lambda: daemon.captures.status()[0].state == "reopening")
    assert daemon.captures.status()[1].state == "ok"
    daemon.captures.deliver(Result("camera"))
    daemon.captures.accept(Frame("dead", b"", None, 0.0, 0.0))


def test_a_source_that_does_not_close_does_not_keep_another_from_its_place(daemon, monkeypatch) -> None:
    monkeypatch.setattr("incv3d.sources.manager.SOURCE_CLOSES_S", 0.2)
    daemon.use("frame hang", stall_timeout_s=3600.0)
    assert daemon.take().id == "1.1"
    began = time.monotonic()
    daemon.captures.replace([section_of(fps=2.0)], {"camera": daemon.camera("frame silent")}, lambda: None)
    assert time.monotonic() - began < SOON_S
    assert daemon.take().id == "1.1"


def test_a_pause_holds_for_the_source_that_comes_later_too(daemon) -> None:
    daemon.captures.pause(True)
    daemon.use("frame held frame silent")
    daemon.wait_until(lambda: daemon.captures.status()[0].frames == 1)
    assert daemon.captures.paused and not daemon.frame_queue.cameras
    daemon.captures.pause(False)
    daemon.cameras[0].go_on()
    assert daemon.take().id == "1.2" and not daemon.captures.paused
    daemon.captures.pause(True)
    daemon.captures.replace([section_of(fps=2.0)], {"camera": daemon.camera("frame silent")}, lambda: None)
    daemon.wait_until(lambda: daemon.captures.status()[0].frames == 1)
    assert not daemon.frame_queue.cameras


def test_the_results_of_the_sources_frames_are_the_only_ones_that_say_how_it_is(daemon) -> None:
    daemon.use("frame silent")
    daemon.take()
    for source in ("zmq", "camera", "http"):
        daemon.captures.deliver(Result(source, refusal=Refusal.BAD_IMAGE, detail="cut off"))
    assert daemon.captures.status()[0].refused_frames == 1


def test_a_pause_is_said_when_it_changes_and_not_again(daemon, caplog) -> None:
    now = time.monotonic()
    daemon.captures.look(now)
    daemon.captures.pause(True)
    daemon.captures.pause(True)
    assert [record.message for record in caplog.records] == ["paused: frames of the source are discarded"]
    daemon.captures.pause(False)
    daemon.captures.look(now + LOG_PAUSE_EVERY_S - 1)
    assert len(caplog.records) == 1
    later = time.monotonic() + LOG_PAUSE_EVERY_S
    daemon.captures.look(later)
    assert [record.message for record in caplog.records][1:] == ["resumed"]
    daemon.captures.paused = True
    daemon.captures.look(later + LOG_PAUSE_EVERY_S)
    assert len(caplog.records) == 3, "its last line is old enough"


def test_a_flood_of_pauses_and_resumptions_costs_a_line_now_and_then_and_the_last_one_counts(caplog) -> None:
    caplog.set_level(logging.INFO)
    captures = SourceManager(
        FrameQueue(1, 1, 1, is_large), lambda: None, lambda name: None, lambda name: None, lambda *_: None
    )
    began = time.monotonic()
    for _ in range(1000):
        captures.pause(True)
        captures.pause(False)
    captures.pause(True)
    captures.pause(False)
    assert not captures.paused
    said = [record.message for record in caplog.records]
    assert said[0] == "paused: frames of the source are discarded"
    assert len(said) <= 1 + (time.monotonic() - began) / LOG_PAUSE_EVERY_S
    captures.look(time.monotonic() + LOG_PAUSE_EVERY_S)
    captures.look(time.monotonic() + 2 * LOG_PAUSE_EVERY_S)
    assert [record.message for record in caplog.records][-1] == "resumed"
    assert len(caplog.records) == len(said) + 1


def test_a_frame_of_the_source_that_is_skipped_shows_that_it_is_well(daemon) -> None:
    daemon.use("frame silent")
    daemon.take()
    damaged = Result("camera", refusal=Refusal.BAD_IMAGE, detail="cut off")

    def is_refused() -> bool:
        daemon.captures.deliver(damaged)
        return daemon.captures.status()[0].state == "refused"

    daemon.wait_until(is_refused)
    daemon.captures.accept(Frame("zmq", b"", None, 0.0, 0.0))
    assert daemon.captures.status()[0].state == "refused"
    daemon.captures.accept(Frame("camera", b"", None, 0.0, 0.0))
    assert daemon.captures.status()[0].state == "ok"


def test_a_source_sleeps_and_wakes_by_the_clock_and_its_counts_go_on(daemon, caplog) -> None:
    daemon.captures.set_active_times({"camera": lambda now_s: now_s < 100 or now_s >= 200})
    camera = daemon.use("frame silent", active="06:00-20:00")
    assert daemon.take().id == "1.1"
    daemon.now_s = 150.0
    daemon.captures.look(time.monotonic() + LOOK_EVERY_S)
    (status,) = daemon.captures.status()
    assert (status.state, status.reason, status.frames) == ("asleep", "active: 06:00-20:00", 1)
    assert daemon.asleep == ["camera"]
    daemon.wait_until(lambda: camera.closed == 1)
    daemon.captures.look(time.monotonic() + 2 * LOOK_EVERY_S)
    assert camera.opened == 1 and daemon.asleep == ["camera"]
    daemon.now_s = 200.0
    daemon.captures.look(time.monotonic() + 3 * LOOK_EVERY_S)
    assert daemon.take().id == "2.1"
    daemon.wait_until(lambda: daemon.captures.status()[0].state == "ok")
    assert daemon.captures.status()[0].frames == 2
    said = [record.message for record in caplog.records]
    assert "source camera: asleep (active: 06:00-20:00)" in said and "source camera: awake" in said


def test_a_source_that_begins_asleep_is_not_opened(daemon) -> None:
    daemon.captures.set_active_times({"camera": lambda now_s: False})
    camera = daemon.use("frame silent", active="06:00-20:00")
    assert daemon.captures.status()[0].state == "asleep"
    assert not camera.opened and daemon.asleep == []
    daemon.captures.set_active_times({})
    daemon.captures.look(time.monotonic())
    assert daemon.take().id == "1.1"


def test_a_reload_of_the_hours_leaves_an_open_camera_alone(daemon) -> None:
    camera = daemon.use("frame silent", active="06:00-20:00")
    daemon.take()
    daemon.captures.replace([section_of(active="06:00-21:00")], {"camera": camera}, lambda: None)
    daemon.captures.set_active_times({"camera": lambda now_s: False})
    daemon.captures.look(time.monotonic())
    assert camera.opened == 1
    assert daemon.captures.status()[0].reason == "active: 06:00-21:00"
