"""Senders in tight loops, each a process, as on other machines: ``looping_senders.py KIND ADDRESS``.

``imagezmq`` is the library's own sender, which waits for its answer however long that takes; ``safe`` is the
same with the three options of the README; ``keyed:FILE`` is a plain REQ socket with a client's key. Each
writes a line for every answer: its code, or ``ok``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import zmq

from doubles import jpeg

GOES_ON_WITHIN_S = 20.0
SAFE_TIMEOUT_MS = 2000


class LoopingSender:
    """One sender, and what it was answered."""

    def __init__(self, kind: str, address: str) -> None:
        self.answers: Counter[str] = Counter()
        self.process = subprocess.Popen(
            [sys.executable, __file__, kind, address], stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.answers[line.strip()] += 1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout
        self.process.stdout.close()


class LoopingSenders:
    """Several of them; one that hangs is replaced."""

    def __init__(self, kinds: Sequence[str], address: str) -> None:
        self._kinds = kinds
        self._address = address
        self._senders = [LoopingSender(kind, address) for kind in kinds]

    def counts(self) -> list[int]:
        """How many answers each has."""
        return [sender.answers.total() for sender in self._senders]

    def codes(self) -> Counter[str]:
        """All answers by code."""
        return sum((sender.answers for sender in self._senders), Counter())

    def wait_for(self, answers: int) -> None:
        """Return when each has so many answers."""
        assert all(self._reach([answers] * len(self._senders))), f"they did not begin: {self.counts()}"

    def going_on_from(self, counts: list[int]) -> int:
        """How many have got further than `counts`."""
        went_on = self._reach([count + 1 for count in counts])
        for number, kind in enumerate(self._kinds):
            if not went_on[number]:
                self._senders[number].close()
                self._senders[number] = LoopingSender(kind, self._address)
        self.wait_for(1)
        return sum(went_on)

    def _reach(self, wanted: list[int]) -> list[bool]:
        deadline = time.monotonic() + GOES_ON_WITHIN_S
        while True:
            reached = [count >= least for count, least in zip(self.counts(), wanted, strict=True)]
            if all(reached) or time.monotonic() >= deadline:
                return reached
            time.sleep(0.02)

    def __enter__(self) -> LoopingSenders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sender in self._senders:
            sender.close()


def asker(kind: str, address: str) -> Callable[[], bytes]:
    """Sends one picture and waits for the answer."""
    if kind.startswith("keyed:"):
        keys = dict(re.findall(r'(\w+)-key = "(.*)"', Path(kind.removeprefix("keyed:")).read_text()))
        door = zmq.Context.instance().socket(zmq.REQ)
        door.curve_publickey = keys["public"].encode()
        door.curve_secretkey = keys["secret"].encode()
        door.curve_serverkey = keys["server"].encode()
        door.connect(address)
        picture = jpeg()

        def ask() -> bytes:
            door.send(picture)
            return door.recv()

        return ask
    import imagezmq
    import numpy as np

    sender = imagezmq.ImageSender(connect_to=address)
    if kind == "safe":
        sender.zmq_socket.setsockopt(zmq.REQ_RELAXED, 1)
        sender.zmq_socket.setsockopt(zmq.REQ_CORRELATE, 1)
        sender.zmq_socket.setsockopt(zmq.RCVTIMEO, SAFE_TIMEOUT_MS)
    pixels = np.zeros((48, 64, 3), np.uint8)
    return lambda: sender.send_image("loop", pixels)


def main() -> None:
    ask = asker(*sys.argv[1:])
    while True:
        try:
            print(json.loads(ask()).get("code", "ok"), flush=True)
        except zmq.Again:
            continue


if __name__ == "__main__":
    main()
