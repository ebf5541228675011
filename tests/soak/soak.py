"""A real daemon under mixed, honest load: does anything grow, does anything stay unanswered?

usage: tests/run --soak MINUTES [MODEL]

The load: three senders in a closed loop; one that sends damaged pictures and requests that are none; clients
that connect, ask one thing and leave; a subscriber that comes and goes. Memory (what belongs to the daemon
alone), descriptors and threads are sampled; a straight line is drawn through all but the first quarter, in
which caches and allocators fill.

Ends with 1 when a request stays unanswered, when threads or descriptors grow, when memory does and by more
than 2 MB in the time watched, or when the daemon does not end in peace.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from incv3d.client import Client, NoAnswer, Refused, results
from incv3d.config.paths import state_directory
from incv3d.images.demo import demo_folder
from incv3d.sources.images import find_pictures
from incv3d.tools.load.report import LoadStatistics, describe
from incv3d.tools.load.sender import LoadImage, Plan
from incv3d.tools.load.zeromq import ZmqLoadSender
from process_growth import Sample, sample, slope
from processes import DaemonProcess

SAMPLES = 400
NOISE_MB = 2.0
"""Memory that came in the time watched counts as growth from here on."""
SENDERS = 3
SILENCE_S = 10
"""A subscriber that hears nothing for so long, while frames are classified, has been forgotten."""


@dataclass
class Load:
    """The sending threads, and what became of their requests."""

    daemon: DaemonProcess
    seconds: float
    end: threading.Event = field(default_factory=threading.Event)
    outcomes: Counter[str] = field(default_factory=Counter)
    tally: LoadStatistics = field(default_factory=LoadStatistics)
    failures: list[BaseException] = field(default_factory=list)

    def start(self) -> list[threading.Thread]:
        """One thread a kind of peer."""
        works = (self._send_closed_loop, self._send_bad, self._come_and_go, self._subscribe)
        threads = [threading.Thread(target=self._guard, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        return threads

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - reported at the end, which it brings about
            self.failures.append(error)
            self.end.set()

    def _send_closed_loop(self) -> None:
        shots = [LoadImage(each.name, each.read_bytes()) for each in find_pictures(str(demo_folder()))]
        plan = Plan(connections=SENDERS, limit=SENDERS, duration_s=self.seconds)
        with ZmqLoadSender(self.daemon.door, plan) as generator:
            for outcome in generator.shoot(itertools.cycle(shots)):
                self.tally.add(outcome)
                if self.end.is_set():
                    return

    def _send_bad(self) -> None:
        picture = (demo_folder() / "cat.jpg").read_bytes()
        bad = [
            picture[: len(picture) // 2],
            picture[:100],
            b"no picture",
            b"",
            b"\x89PNG\r\n\x1a\n" + bytes(50),
        ]
        with Client(self.daemon.door) as client:
            for data in itertools.cycle(bad):
                try:
                    client.classify(data)
                    self.outcomes["a bad picture got a label"] += 1
                except Refused as error:
                    self.outcomes[str(error.code.value if error.code else error)] += 1
                except NoAnswer:
                    self.outcomes["no_answer"] += 1
                if self.end.wait(0.2):
                    return

    def _come_and_go(self) -> None:
        picture = (demo_folder() / "coffee.jpg").read_bytes()
        for number in itertools.count():
            with Client(self.daemon.door) as client:
                try:
                    client.ask("stats") if number % 2 else client.classify(picture)
                    self.outcomes["came and went"] += 1
                except Refused as error:
                    self.outcomes[str(error.code.value if error.code else error)] += 1
                except NoAnswer:
                    self.outcomes["no_answer"] += 1
            if self.end.wait(0.1):
                return

    def _subscribe(self) -> None:
        while not self.end.is_set():
            stream = results(self.daemon.results, timeout_s=SILENCE_S)
            try:
                for _ in itertools.islice(stream, 50):
                    self.outcomes["results heard"] += 1
            except NoAnswer:
                if not self.end.is_set():
                    raise
            stream.close()


def watch(pid: int, seconds: float, end: threading.Event) -> list[Sample]:
    """Samples until the time is over, or the load has ended."""
    started = time.monotonic()
    samples = []
    while (now_s := time.monotonic() - started) < seconds:
        samples.append(sample(pid, now_s))
        if end.wait(min(5.0, seconds / SAMPLES)):
            break
    return samples


def judge(samples: list[Sample]) -> bool:
    """Print the slopes; whether something grows."""
    watched = samples[len(samples) // 4 :]
    at_s = [each.at_s for each in watched]
    hours = (at_s[-1] - at_s[0]) / 3600
    grows = False
    for name, unit, noise in (
        ("memory_mb", "MB", NOISE_MB),
        ("descriptors", "fds", 2),
        ("threads", "threads", 0),
    ):
        values = [getattr(each, name) for each in watched]
        found = slope(at_s, values)
        grown = found.grows and found.per_hour * hours > noise
        grows = grows or grown
        spread = f"{min(values):.4g} to {max(values):.4g} {unit}"
        print(f"{name}: {spread}, slope {found} over {hours * 60:.1f} min{'  GROWS' if grown else ''}")
    return grows


def main(minutes: str, model: str = "efficientnet-lite0") -> int:
    """Start the daemon and the load, watch, judge."""
    seconds = float(minutes) * 60
    with tempfile.TemporaryDirectory() as name:
        daemon = DaemonProcess(state_directory(os.environ), Path(name), "--model", model)
        try:
            daemon.ready()
            print(f"soak: {minutes} min, {model}, {SENDERS} senders and others", flush=True)
            load = Load(daemon, seconds)
            threads = load.start()
            samples = watch(daemon.process.pid, seconds, load.end)
            load.end.set()
            for thread in threads:
                thread.join()
            status = daemon.stop()
        finally:
            daemon.kill()
    report = load.tally.report(samples[-1].at_s)
    print("\n".join(describe(report)))
    print(f"others: {dict(sorted(load.outcomes.items()))}")
    unanswered = load.outcomes["no_answer"] + sum(
        found.count for kind, found in report.outcomes.items() if kind == "no_answer"
    )
    print(f"unanswered: {unanswered}; the daemon ended with {status}")
    for failure in load.failures:
        print(f"the load failed: {failure!r}")
    grows = judge(samples)
    wrong = load.outcomes["a bad picture got a label"]
    return 1 if grows or unanswered or status or load.failures or wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
