"""Generated messages over ZeroMQ.

Every multipart message that keeps to the size limits has to get exactly one answer. Beside them come messages
over the limit, bytes that are no ZeroMQ at all, and peers that leave before their answer.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
import warnings

import zmq
from fuzzer import MAX_MESSAGE_BYTES, PATIENCE_S, Fuzzer, GoodFrame
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

from all_doors import AllDoors
from message_strategies import MESSAGES, Parts, encoded, mutated

DEALERS = 4
UNDER_WAY = 6
"""Fewer than the daemon's queue takes, so that frames reach its decoder instead of being `busy`."""
BURST = 60
VARIANTS = 12
"""Mutated copies of each message that Hypothesis made; it is thorough, but slow."""

GREETINGS = (
    b"",
    bytes.fromhex("ff00000000000000017f03") + bytes(53),  # ZMTP 3
    bytes.fromhex("ff00000000000000017f01 05 0000 0005") + b"hello",  # ZMTP 2, with a name and a request
    bytes.fromhex("0100 0600") + b"hello",  # the same of ZMTP 1
)


class ZeromqFuzzer(Fuzzer):
    """Several DEALER sockets, and what is under way on each."""

    name = "ZeroMQ"

    def __init__(self, doors: AllDoors, good: GoodFrame, end: threading.Event) -> None:
        super().__init__(doors, good, end)
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._under_way: dict[zmq.Socket[bytes], int] = {}
        for _ in range(DEALERS):
            dealer = self._dealer()
            self._poller.register(dealer, zmq.POLLIN)
            self._under_way[dealer] = 0
        self._good = 0

    def round(self, seed: int) -> None:
        """Send ten batches of what Hypothesis makes of `seed`."""

        @seeded(seed)
        @settings(
            max_examples=10,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(MESSAGES, min_size=4, max_size=10), st.integers(0, 2**32))
        def batches(messages: list[Parts], number: int) -> None:
            if not self.end.is_set():
                self._batch(messages, random.Random(number))

        with warnings.catch_warnings():
            # It does not like how long the examples are that it would print.
            warnings.simplefilter("ignore", HypothesisWarning)
            batches()

    def close(self) -> None:
        """See that nothing more comes."""
        assert not self._poller.poll(500), "an answer too many came"
        for dealer in self._under_way:
            dealer.close()
        self._context.term()

    def _batch(self, messages: list[Parts], rng: random.Random) -> None:
        limit = BURST if rng.random() < 0.1 else UNDER_WAY
        for message in messages:
            for variant in [message, *(mutated(message, rng) for _ in range(VARIANTS))]:
                if all(len(part) <= MAX_MESSAGE_BYTES * 2 for part in variant):
                    self._wait_until(limit - 1)
                    self._send(variant, rng)
        if rng.random() < 0.1:
            self._misbehave(rng)
        self._wait_until(0)
        self._classify()

    def _dealer(self) -> zmq.Socket[bytes]:
        dealer = self._context.socket(zmq.DEALER)
        dealer.set(zmq.LINGER, 0)
        dealer.connect(self.doors.daemon.door)
        return dealer

    def _send(self, message: Parts, rng: random.Random) -> None:
        dealer = rng.choice(list(self._under_way))
        dealer.send_multipart(message)
        self._under_way[dealer] += 1
        self.sent[f"{len(message)} parts" if len(message) > 1 else "1 part"] += 1

    def _wait_until(self, under_way: int) -> None:
        """Until no more than so many answers are awaited."""
        deadline = time.monotonic() + PATIENCE_S
        while sum(self._under_way.values()) > under_way:
            for dealer, _ in self._poller.poll(1000):
                self._receive(dealer)
            status = self.doors.daemon.process.poll()
            assert status is None, f"the daemon ended with {status}"
            awaited = list(self._under_way.values())
            assert time.monotonic() < deadline, f"unanswered within {PATIENCE_S} s: {awaited}"

    def _receive(self, dealer: zmq.Socket[bytes]) -> None:
        self.answers[self.code_of(json.loads(dealer.recv_multipart()[-1]))] += 1
        self._under_way[dealer] -= 1
        assert self._under_way[dealer] >= 0, "more answers than requests"

    def _classify(self) -> None:
        dealer = next(iter(self._under_way))
        while True:
            self._good += 1
            header = encoded({"v": 1, "encoding": "jpeg", "id": f"good {self._good}"})
            dealer.send_multipart([header, self.good.picture])
            assert dealer.poll(PATIENCE_S * 1000), "a good frame got no answer"
            answer = json.loads(dealer.recv())
            assert answer["id"] == f"good {self._good}", f"an answer too many came: {answer}"
            if not self.pause_if_busy(answer):
                self.expect_labels(answer)
                return

    def _misbehave(self, rng: random.Random) -> None:
        """What gets no answer, or nobody to get it: none of it may disturb the others."""
        self.uncounted += 1
        match rng.randrange(3):
            case 0:
                leaver = self._dealer()
                for _ in range(3):
                    leaver.send(self.good.picture)
                # Its connection has to stand, or nothing would have been sent.
                leaver.send(encoded({"v": 1, "op": "ping"}))
                leaver.poll(1000)
                leaver.close()
            case 1:
                flooder = self._dealer()
                flooder.send(bytes(2 * MAX_MESSAGE_BYTES + rng.randrange(1, MAX_MESSAGE_BYTES)))
                flooder.poll(50)
                flooder.close()
            case 2:
                with socket.socket(socket.AF_UNIX) as stranger:
                    stranger.connect(self.doors.daemon.door.removeprefix("ipc://"))
                    stranger.sendall(rng.choice(GREETINGS) + rng.randbytes(rng.randrange(200)))
