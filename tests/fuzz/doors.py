"""Throws generated requests at all doors of a real daemon at once, for as long as it is told.

usage: tests/run --fuzz SECONDS [SEED]

ZeroMQ, HTTP and MQTT have fuzzers of their own (`zeromq_door.py`, `http_door.py`, `mqtt_door.py`): every
request that keeps to the protocol has to get exactly one answer, whatever it says, and every good frame in
between the labels that it got at the start. The seed is printed: the same one makes the same requests.

Ends with 1 when an answer is missing, too many or wrong, when the daemon ended, failed at a request or wrote
a traceback, or when it holds more descriptors or threads than before.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from fuzzer import MAX_MESSAGE_BYTES, Fuzzer, GoodFrame
from http_door import HttpFuzzer
from mqtt_door import MqttFuzzer
from zeromq_door import ZeromqFuzzer

from all_doors import AllDoors, all_doors
from incv3d.client import Client
from incv3d.config.paths import state_directory
from incv3d.images.demo import demo_folder
from process_growth import LEAST_SAMPLES, Sample, sample, slope

SECTIONS = {"intake": {"max_message_bytes": MAX_MESSAGE_BYTES}, "latency": {"interval_s": 1}}
DOORS: tuple[type[Fuzzer], ...] = (ZeromqFuzzer, HttpFuzzer, HttpFuzzer, HttpFuzzer, MqttFuzzer)
"""One of HTTP waits for each answer, so there are several."""
SEEDS_APART = 1_000_003
"""Between the first seeds of two fuzzers."""
SAMPLE_EVERY_S = 1.0
SLACK_DESCRIPTORS = 8
"""Connections that the daemon has not noticed yet to be closed."""
SLACK_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""asyncio's pool, in which aiohttp reads files, starts a thread when it needs one, and keeps it."""


class Failed(Exception):
    """The daemon did something that it must not do."""


def fuzz(fuzzers: list[Fuzzer], end: threading.Event, first_seed: int, seconds: float) -> list[Sample]:
    """Let each fuzzer make its rounds until the time is over; returns looks at the daemon.

    :raises Failed: one of them found something.
    """
    started = time.monotonic()
    found: list[str] = []

    def go(number: int, fuzzer: Fuzzer) -> None:
        seed = first_seed + number * SEEDS_APART
        try:
            while time.monotonic() < started + seconds and not end.is_set():
                fuzzer.round(seed)
                seed += 1
        except BaseException as error:  # noqa: BLE001 - raised by the main thread
            # Without Hypothesis's own account: a batch is thousands of bytes, and its seed makes it again.
            found.append(f"FAILED, {fuzzer.name}, seed {seed}: {type(error).__name__}: {error}")
            end.set()

    threads = [threading.Thread(target=go, args=pair) for pair in enumerate(fuzzers)]
    for thread in threads:
        thread.start()
    samples: list[Sample] = []
    daemon = fuzzers[0].doors.daemon
    for thread in threads:
        while thread.is_alive() and daemon.process.poll() is None:
            samples.append(sample(daemon.process.pid, time.monotonic() - started))
            thread.join(SAMPLE_EVERY_S)
        thread.join()
    if found:
        raise Failed("\n".join(found))
    return samples


def good_frame(doors: AllDoors) -> GoodFrame:
    """A picture with the labels that it gets before all else."""
    picture = (demo_folder() / "cat.jpg").read_bytes()
    with Client(doors.daemon.door) as client:
        predictions = client.classify(picture).predictions
    return GoodFrame(picture, [(each.label, each.score) for each in predictions])


def run(doors: AllDoors, first_seed: int, seconds: float) -> tuple[list[Fuzzer], list[Sample]]:
    """Fuzz all doors; returns the fuzzers, and samples of before, meanwhile and after.

    :raises Failed: one of them found something.
    """
    end = threading.Event()
    good = good_frame(doors)
    fuzzers = [door(doors, good, end) for door in DOORS]
    pid = doors.daemon.process.pid
    fuzz(fuzzers, end, first_seed, 0.1)
    before, started = sample(pid, 0.0), time.monotonic()
    samples = fuzz(fuzzers, end, first_seed + 1, seconds)
    elapsed_s = time.monotonic() - started
    try:
        for fuzzer in fuzzers:
            fuzzer.close()
    except AssertionError as error:
        raise Failed(f"FAILED: {error}") from None
    with Client(doors.daemon.door) as client:
        client.ask("stats")
    return fuzzers, [before, *samples, sample(pid, elapsed_s)]


def main(seconds: str, seed_word: str = "") -> int:
    """Start the daemon, fuzz it, say what came out."""
    first_seed = int(seed_word) if seed_word else random.SystemRandom().randrange(2**32)
    print(f"fuzz: {seconds} s, seed {first_seed}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        state = state_directory(os.environ)
        with all_doors(state, Path(name), "efficientnet-lite0", **SECTIONS) as doors:
            try:
                fuzzers, samples = run(doors, first_seed, float(seconds))
                failure = ""
            except Failed as error:
                fuzzers, samples, failure = [], [], str(error)
            status = doors.daemon.stop()
        said = doors.daemon.said
    if failure or status or doors.tracebacks():
        print(failure, *said[-20:], f"the daemon ended with {status}", sep="\n")
        return 1
    report(fuzzers, samples)
    print(f"{len(said)} lines of log, no traceback; the daemon ended with {status}")
    before, after = samples[0], samples[-1]
    threads, descriptors = after.threads - before.threads, after.descriptors - before.descriptors
    return 1 if threads > SLACK_THREADS or descriptors > SLACK_DESCRIPTORS else 0


def report(fuzzers: list[Fuzzer], samples: list[Sample]) -> None:
    """The sums, for a person."""
    before, after = samples[0], samples[-1]
    for name in dict.fromkeys(each.name for each in fuzzers):
        those = [each for each in fuzzers if each.name == name]
        sent = sum((each.sent for each in those), Counter[str]())
        answers = sum((each.answers for each in those), Counter[str]())
        good, uncounted = sum(each.good_answers for each in those), sum(each.uncounted for each in those)
        print(f"{name}: {sent.total()} requests in {after.at_s:.0f} s: {dict(sorted(sent.items()))}")
        unanswered = sent.total() - answers.total()
        print(f"  {answers.total()} answers, {unanswered} unanswered: {dict(answers.most_common())}")
        print(f"  {uncounted} that need no answer; {good} good frames got their labels")
    for name, unit in (("memory_mb", "MB"), ("descriptors", "descriptors"), ("threads", "threads")):
        print(f"{unit}: {getattr(before, name):.4g} before, {getattr(after, name):.4g} after")
    settled = samples[len(samples) // 2 : -1]
    if len(settled) >= LEAST_SAMPLES:
        found = slope([each.at_s for each in settled], [each.memory_mb for each in settled])
        print(f"memory in the second half: {found} MB")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
