"""A real daemon under mixed load at all its doors: does anything grow, does anything stay unanswered?

usage: tests/run --soak MINUTES [MODEL]

The load: senders in closed loops over ZeroMQ, HTTP, MQTT and imagezmq; others that send damaged pictures and
requests that are none; clients that connect, ask one thing and leave; uploads that are cut off; readers of
results, of the page and of metrics that come and go. Meanwhile the daemon has three cameras in turn, by a
reload each time. Memory (what belongs to the daemon alone), descriptors and threads are sampled; a straight
line is drawn through all but the first quarter, in which caches and allocators fill.

Ends with 1 when a request stays unanswered, when threads or descriptors grow, when memory does and by more
than 2 MB in the time watched, when a camera gave nothing, when there is a traceback in the log, or when the
daemon does not end in peace.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import numpy as np

from all_doors import AllDoors, all_doors
from incv3d.config.paths import state_directory
from incv3d.tools.load.report import LoadStatistics, describe
from mixed_load import MixedLoad
from process_growth import BLOCKS, LEAST_SAMPLES, Sample, sample, slope
from turning_cameras import turn_cameras

SAMPLES = 400
NOISE_MB = 2.0
"""Memory that came in the time watched counts as growth from here on."""
WARM_UP = 0.25
"""The part of the time that is not judged."""
CAMERAS = 3
LEAST_TURN_S = 3.0
COURSE = 12
"""Lines of the printed course."""
SECTIONS = {
    "mqtt": {"image": True},
    "events": {"allow": ["*"], "threshold": 0.3},
    "latency": {"interval_s": 1.0},
}


def watch(pid: int, load: MixedLoad) -> list[Sample]:
    """Samples until the time is over, or the load has ended."""
    started, told = time.monotonic(), 0
    samples = []
    while (now_s := time.monotonic() - started) < load.seconds:
        samples.append(sample(pid, now_s))
        if now_s // 60 > told:
            told = int(now_s // 60)
            now, answers = samples[-1], load.outcomes.total()
            held = f"{now.memory_mb:.1f} MB, {now.descriptors} descriptors, {now.threads} threads"
            print(f"{told} min: {held}; {answers} other outcomes, {load.unanswered} unanswered", flush=True)
        if load.end.wait(min(5.0, load.seconds / SAMPLES)):
            break
    return samples


def judge(samples: list[Sample]) -> bool:
    """Print the course and the slopes; whether something grows."""
    print("course (means): min, MB, descriptors, threads")
    for each in np.array_split(
        np.array([(s.at_s, s.memory_mb, s.descriptors, s.threads) for s in samples]), COURSE
    ):
        at_s, *held = each.mean(axis=0)
        print(f"  {at_s / 60:5.1f} " + " ".join(f"{value:8.2f}" for value in held))
    watched = samples[int(len(samples) * WARM_UP) :]
    at_s = [each.at_s for each in watched]
    hours = (at_s[-1] - at_s[0]) / 3600
    grows = False
    for name, unit, noise in (
        ("memory_mb", "MB", NOISE_MB),
        ("descriptors", "fds", 2),
        ("threads", "threads", 0),
    ):
        values = [getattr(each, name) for each in watched]
        found, half = slope(at_s, values), len(values) // 2
        grown = found.grows and found.per_hour * hours > noise
        grows = grows or grown
        spread = f"{min(values):.4g} to {max(values):.4g} {unit}"
        print(f"{name}: {spread}, slope {found} over {hours * 60:.1f} min{'  GROWS' if grown else ''}")
        if half >= LEAST_SAMPLES:
            # A step, as by a burst of work, is in one half alone.
            first, second = slope(at_s[:half], values[:half]), slope(at_s[half:], values[half:])
            print(f"  first half {first}, second half {second}")
    return grows


def soak(doors: AllDoors, folder: Path, seconds: float) -> tuple[MixedLoad, list[Sample]]:
    """Load the daemon for `seconds`, and look at it meanwhile."""
    load = MixedLoad(doors, seconds)
    # Each of the blocks through which the line is drawn has every camera once.
    each_s = max(LEAST_TURN_S, seconds * (1 - WARM_UP) / BLOCKS / CAMERAS)
    cameras = threading.Thread(target=turn_cameras, args=(doors, folder, each_s, load.end))
    cameras.start()
    threads = [cameras, *load.start()]
    samples = watch(doors.daemon.process.pid, load)
    load.end.set()
    for thread in threads:
        thread.join()
    return load, samples


def report(load: MixedLoad, samples: list[Sample]) -> list[str]:
    """Print what became of the requests; returns what is wrong."""
    loops: dict[str, LoadStatistics] = {"ZeroMQ": load.zeromq, "MQTT": load.mqtt}
    for name, tally in loops.items():
        print(f"closed loop over {name}: " + "\n".join(describe(tally.report(samples[-1].at_s))))
    print("others: " + ", ".join(f"{name} {count}" for name, count in sorted(load.outcomes.items())))
    wrong = [*load.failures, *load.wrong]
    if load.unanswered:
        wrong.append(f"{load.unanswered} requests are unanswered")
    if not load.outcomes["subscriber: camera"]:
        wrong.append("the cameras gave nothing")
    return wrong


def main(minutes: str, model: str = "efficientnet-lite0") -> int:
    """Start the daemon and the load, watch, judge."""
    seconds = float(minutes) * 60
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as cameras:
        with all_doors(state_directory(os.environ), Path(name), model, **SECTIONS) as doors:
            print(f"soak: {minutes} min, {model}, all doors", flush=True)
            load, samples = soak(doors, Path(cameras), seconds)
            status = doors.daemon.stop()
        wrong = [*report(load, samples), *doors.tracebacks()]
    print(f"{len(doors.daemon.said)} lines of log; the daemon ended with {status}")
    for each in wrong:
        print(f"WRONG: {each}")
    return 1 if judge(samples) or wrong or status else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
