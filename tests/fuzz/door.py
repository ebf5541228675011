"""Throws generated messages at a real daemon, over real sockets, for as long as it is told.

usage: tests/run --fuzz SECONDS [SEED]

Every multipart message that keeps to the size limits has to get exactly one answer, and every good frame in
between the label it got at the start. Beside them come messages over the limit, bytes that are no ZeroMQ at
all, and peers that leave before their answer. The seed is printed: the same one makes the same messages.

Ends with 1 when an answer is missing, too many or wrong, when the daemon ended, or when it holds more
descriptors or threads than before.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import zmq
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from incv3d.client import Client
from incv3d.config.paths import state_directory
from incv3d.frames import Refusal
from incv3d.images.demo import demo_folder
from message_strategies import MESSAGES, Parts, encoded, mutated
from process_growth import LEAST_SAMPLES, Sample, sample, slope
from processes import DaemonProcess

MAX_MESSAGE_BYTES = 200_000
"""The daemon's limit here: small, so that going over it is cheap."""
CONFIG = f"intake: {{max_message_bytes: {MAX_MESSAGE_BYTES}}}\nlatency: {{interval_s: 1}}\n"
DEALERS = 4
UNDER_WAY = 6
"""Fewer than the daemon's queue takes, so that frames reach its decoder instead of being `busy`."""
BURST = 60
VARIANTS = 12
"""Mutated copies of each message that Hypothesis made; it is thorough, but slow."""
PATIENCE_S = 60
SLACK_DESCRIPTORS = 8
"""Connections that the daemon has not noticed yet to be closed."""


class Failed(Exception):
    """The daemon did something that it must not do."""


class Fuzzer:
    """The sockets, and the sums."""

    def __init__(self, daemon: DaemonProcess, picture: Path) -> None:
        self.daemon = daemon
        self.sent: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.uncounted = 0
        self._picture = picture.read_bytes()
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._under_way: dict[zmq.Socket[bytes], int] = {}
        for _ in range(DEALERS):
            dealer = self._dealer()
            self._poller.register(dealer, zmq.POLLIN)
            self._under_way[dealer] = 0
        self._good = 0
        self._expected = None
        self._expected = self._classify()

    def batch(self, messages: list[Parts], rng: random.Random) -> None:
        """Send `messages` and variants of them, wait for all the answers, see that a good frame is served."""
        limit = BURST if rng.random() < 0.1 else UNDER_WAY
        for message in messages:
            for variant in [message, *(mutated(message, rng) for _ in range(VARIANTS))]:
                if all(len(part) <= MAX_MESSAGE_BYTES * 2 for part in variant):
                    self._wait_until(limit - 1)
                    self._send(variant, rng)
        if rng.random() < 0.1:
            self._misbehave(rng)
        self._wait_until(0)
        assert self._classify() == self._expected, "a good frame got other predictions than at first"

    def close(self) -> None:
        """Nothing may come any more."""
        assert not self._poller.poll(500), "an answer too many came"
        for dealer in self._under_way:
            dealer.close()
        self._context.term()

    def _dealer(self) -> zmq.Socket[bytes]:
        dealer = self._context.socket(zmq.DEALER)
        dealer.set(zmq.LINGER, 0)
        dealer.connect(self.daemon.door)
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
            status = self.daemon.process.poll()
            assert status is None, f"the daemon ended with {status}: {self._last_words()}"
            awaited = list(self._under_way.values())
            assert time.monotonic() < deadline, f"unanswered within {PATIENCE_S} s: {awaited}"

    def _receive(self, dealer: zmq.Socket[bytes]) -> None:
        self._check(json.loads(dealer.recv_multipart()[-1]))
        self._under_way[dealer] -= 1
        assert self._under_way[dealer] >= 0, "more answers than requests"

    def _check(self, answer: dict[str, object]) -> None:
        assert answer["v"] == 1 and "id" in answer, answer
        if answer["status"] == "ok":
            assert answer.get("predictions") or answer.get("op"), answer
            self.answers["ok" if "predictions" in answer else str(answer["op"])] += 1
        else:
            detail = answer["detail"]
            assert isinstance(detail, str) and detail and "\n" not in detail, answer
            self.answers[Refusal(answer["code"]).value] += 1

    def _classify(self) -> object:
        self._good += 1
        dealer = next(iter(self._under_way))
        dealer.send_multipart(
            [encoded({"v": 1, "encoding": "jpeg", "id": f"good {self._good}"}), self._picture]
        )
        assert dealer.poll(PATIENCE_S * 1000), "a good frame got no answer"
        answer = json.loads(dealer.recv())
        assert answer["id"] == f"good {self._good}", f"an answer too many came: {answer}"
        return answer.get("predictions") or answer

    def _misbehave(self, rng: random.Random) -> None:
        """What gets no answer, or nobody to get it: none of it may disturb the others."""
        self.uncounted += 1
        match rng.randrange(3):
            case 0:
                leaver = self._dealer()
                for _ in range(3):
                    leaver.send(self._picture)
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
                    stranger.connect(self.daemon.door.removeprefix("ipc://"))
                    greeting = bytes.fromhex("ff00000000000000017f03") + bytes(53)
                    stranger.sendall(
                        rng.choice([rng.randbytes(rng.randrange(200)), greeting + rng.randbytes(50)])
                    )

    def _last_words(self) -> str:
        self.daemon.wait()
        return "\n".join(self.daemon.said[-20:])


def fuzz(fuzzer: Fuzzer, first_seed: int, seconds: float) -> list[Sample]:
    """Batches until the time is over; returns a look at the daemon after each seed."""
    started = time.monotonic()
    deadline = started + seconds
    samples: list[Sample] = []
    while time.monotonic() < deadline:

        @seed(first_seed + len(samples))
        @settings(
            max_examples=10,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(MESSAGES, min_size=4, max_size=10), st.integers(0, 2**32))
        def one_round(messages: list[Parts], number: int) -> None:
            fuzzer.batch(messages, random.Random(number))

        try:
            one_round()
        except AssertionError as error:
            # Without Hypothesis's own account: a batch is thousands of bytes, and its seed makes it again.
            raise Failed(f"FAILED, seed {first_seed + len(samples)}: {error}") from None
        samples.append(sample(fuzzer.daemon.process.pid, time.monotonic() - started))
    return samples


def main(seconds: str, seed_word: str = "") -> int:
    """Start the daemon, fuzz it, say what came out."""
    # It does not like how long the examples are that it would print.
    warnings.simplefilter("ignore", HypothesisWarning)
    first_seed = int(seed_word) if seed_word else random.SystemRandom().randrange(2**32)
    print(f"fuzz: {seconds} s, seed {first_seed}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "incv3d.yaml"
        config.write_text(CONFIG)
        words = ("--config", str(config), "--model", "efficientnet-lite0")
        daemon = DaemonProcess(state_directory(os.environ), folder, *words)
        try:
            daemon.ready()
            fuzzer = Fuzzer(daemon, demo_folder() / "cat.jpg")
            fuzz(fuzzer, first_seed, 0.1)
            before, started = sample(daemon.process.pid, 0.0), time.monotonic()
            samples = fuzz(fuzzer, first_seed + 1, float(seconds))
            elapsed_s = time.monotonic() - started
            fuzzer.close()
            with Client(daemon.door) as client:
                client.ask("stats")
            after = sample(daemon.process.pid, elapsed_s)
            assert daemon.stop() == 0, daemon.said[-20:]
        finally:
            daemon.kill()
    report(fuzzer, samples, before, after)
    grown = after.threads > before.threads or after.descriptors > before.descriptors + SLACK_DESCRIPTORS
    return 1 if grown else 0


def report(fuzzer: Fuzzer, samples: list[Sample], before: Sample, after: Sample) -> None:
    """The sums, for a person."""
    sent, answered = sum(fuzzer.sent.values()), sum(fuzzer.answers.values())
    print(
        f"{sent} messages in {after.at_s:.0f} s ({len(samples)} seeds): {dict(sorted(fuzzer.sent.items()))}"
    )
    print(f"{answered} answers, {sent - answered} unanswered: {dict(fuzzer.answers.most_common())}")
    print(f"{fuzzer.uncounted} times something over the limit, no ZeroMQ, or a peer that left")
    for name, unit in (("memory_mb", "MB"), ("descriptors", "descriptors"), ("threads", "threads")):
        print(f"{unit}: {getattr(before, name):.4g} before, {getattr(after, name):.4g} after")
    settled = samples[len(samples) // 2 :]
    if len(settled) >= LEAST_SAMPLES:
        found = slope([each.at_s for each in settled], [each.memory_mb for each in settled])
        print(f"memory in the second half: {found} MB")


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Failed as failure:
        sys.exit(str(failure))
