"""Frames, queues and threads that take from them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from incv3d.frames import Frame
from incv3d.pipeline.frame_queue import FrameQueue

LARGE_BYTES = 1000

SOON_S = 10


def frame(
    name: str, peer: str = "p", size_bytes: int = 10, deadline: float | None = None, source: str = "zmq"
) -> Frame:
    data = bytes(size_bytes)
    return Frame(source, data, None, 0.0, 0.0, id=name, peer=peer.encode(), deadline=deadline)


def shot(name: str, camera: str, size_bytes: int = 10) -> Frame:
    return frame(name, peer="", size_bytes=size_bytes, source=camera)


def room(limit: int = 100, limit_bytes: int = 1_000_000, peer_limit: int = 100) -> FrameQueue:
    return FrameQueue(limit, limit_bytes, peer_limit, lambda frame: len(frame.data) >= LARGE_BYTES)


class Waiting:
    """A thread that waits for the mailbox, and what it was given in the end."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self.given: object = None
        self.cpu_s = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.settle()

    def _run(self) -> None:
        self.given = self._call()
        self.cpu_s = time.thread_time()

    def settle(self) -> None:
        """Return once the thread sleeps, or has ended: whatever the mailbox does next must wake it."""
        give_up = time.monotonic() + SOON_S
        while self._thread.is_alive():
            innermost = sys._current_frames().get(self._thread.ident or 0)
            if innermost and innermost.f_code is threading.Condition.wait.__code__:
                return
            assert time.monotonic() < give_up, "the thread never sleeps"
            time.sleep(0.001)

    def end(self) -> object:
        """What it was given."""
        self._thread.join(SOON_S)
        assert not self._thread.is_alive(), "it still waits"
        return self.given


def taker(
    frame_queue: FrameQueue, large: bool = False, camera_time: Callable[[], float] = lambda: 0.0
) -> Waiting:
    """A thread that takes one frame; it is given the frame's id."""

    def take() -> object:
        got = frame_queue.take(large, camera_time)
        return got and got.id

    return Waiting(take)


def taken(frame_queue: FrameQueue, count: int, large: bool = False) -> list[object]:
    return [got.id for got in (frame_queue.take(large) for _ in range(count)) if got]
