"""The watchdog is fed by results that have left, its own if nobody else asks, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.app.systemd import SystemdNotifier
from incv3d.app.watchdog import Watchdog
from incv3d.frames import OWN, Frame, Refusal, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.probe import Probe
from notify import NotifySocket

PICTURE = b"a picture"
FED = ["WATCHDOG=1"]


class Guarded:
    """A watchdog that systemd waits 30 s for, its frame_queue, and what systemd hears."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.now = 100.0
        self.systemd = NotifySocket(folder / "notify")
        self.frame_queue = FrameQueue(8, 1000, 4, lambda frame: False)
        self._notifier = SystemdNotifier({"NOTIFY_SOCKET": self.systemd.address, **environ})
        self.watchdog = Watchdog(self._notifier, Probe(self.frame_queue, lambda: PICTURE), lambda: self.now)

    def look_for(self, seconds: int) -> list[str]:
        """What systemd hears while the watchdog looks every second."""
        for _ in range(seconds):
            self.now += 1
            self.watchdog.check()
        return self.systemd.rest()

    def close(self) -> None:
        self.systemd.close()
        self._notifier.close()


@pytest.fixture
def guarded(tmp_path: Path):
    made = Guarded(tmp_path, {"WATCHDOG_USEC": "30000000"})
    yield made
    made.close()


def test_while_results_flow_it_is_fed_three_times_as_often_as_needed(guarded: Guarded) -> None:
    heard = 0
    for _ in range(60):
        guarded.watchdog.complete(Result("zmq"))
        heard += len(guarded.look_for(1))
    assert heard == 6 and guarded.frame_queue.cameras == 0, "results flow, and it probes all the same"


def test_in_an_idle_daemon_a_probe_takes_the_way_of_a_camera(guarded: Guarded) -> None:
    assert guarded.look_for(1) == []
    probe = guarded.frame_queue.take(large=False)
    assert probe and probe.source == OWN and probe.data == PICTURE
    guarded.watchdog.complete(Result(OWN))
    assert guarded.look_for(1) == FED
    assert guarded.look_for(9) == [] and guarded.frame_queue.cameras == 0
    guarded.look_for(1)
    assert guarded.frame_queue.cameras == 1


def test_a_probe_that_gets_no_result_feeds_nothing_and_is_not_repeated(guarded: Guarded) -> None:
    assert guarded.look_for(1) == []
    guarded.frame_queue.take(large=False)
    assert guarded.look_for(300) == [] and guarded.frame_queue.cameras == 0


@pytest.mark.parametrize("refusal", [Refusal.BAD_IMAGE, Refusal.EXPIRED, Refusal.INTERNAL])
def test_what_was_refused_is_no_completed_work(guarded: Guarded, refusal: Refusal) -> None:
    frame = Frame("zmq", b"", None, 0.0, 0.0)
    for _ in range(60):
        guarded.watchdog.complete(Result.refused(frame, refusal, "scripted"))
        assert guarded.look_for(1) == []
    assert guarded.frame_queue.cameras == 1, "it asks for work of its own"


def test_a_probe_that_fails_is_asked_again(guarded: Guarded) -> None:
    guarded.look_for(1)
    probe = guarded.frame_queue.take(large=False)
    assert probe
    guarded.watchdog.complete(Result.refused(probe, Refusal.INTERNAL, "scripted"))
    assert guarded.look_for(1) == [] and guarded.frame_queue.cameras == 1


def test_where_nobody_waits_for_signs_nothing_is_probed(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, {})
    assert guarded.look_for(100) == [] and guarded.frame_queue.cameras == 0
    guarded.close()
