"""Put small faults into a room's modules, one after another, and see whether its tests notice.

usage: tests/run --mutants ROOM [--sample N]    one of the rooms below, all of its faults or about N

The faults are cosmic-ray's, and a statement left out. They are put into copies, never into the checkout.
mutants.yaml lists the faults that nobody need notice, and why. The exit status is 1 when fewer than nine of
ten are noticed, or one that is not listed is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import itertools
import math
import multiprocessing
import os
import queue
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names
from parso.python.tree import Keyword, search_ancestor

CHECKOUT = Path(__file__).resolve().parents[2]
LISTED = Path(__file__).with_suffix(".yaml")
COPIED = ("daemon", "tests", "config", "systemd", "pyproject.toml", "setup.py", "README.md", "LICENSE")
FORKS = multiprocessing.get_context("forkserver")
"""Every run is a fork of a process that has imported what is not ours and takes long."""
PRELOADED = [
    *("pytest", "hypothesis", "numpy", "PIL.Image", "zmq", "yaml", "simplejpeg", "cosmic_ray.plugins"),
    *("aiohttp.web", "msgspec", "paho.mqtt.client"),
]
RAN = 100
"""Added to pytest's status, which other failures share."""
SAID = "said"
"""In a copy, what its tests said last."""
ENOUGH = 0.9
"""Of the faults, noticed."""
PATIENCE = 5
"""A fault that lets the tests take so many times as long has made them hang."""
TEST_LIMIT_S = 20
"""The same for one test: far longer than any of these takes, far shorter than a test may take elsewhere."""


@dataclass(frozen=True, slots=True)
class Room:
    """Modules, and the tests that guard them; both as paths in the checkout."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


MQTT = (
    "busy_answers",
    "dispatch",
    "broker",
    "topics",
    "message",
    "outbox",
    "complaints",
    "commands",
    "request_message",
)
"""What of MQTT needs no broker to be tested."""
ROOMS = {
    "queue": Room(
        ("pipeline/frame_queue.py", "transports/admission.py"),
        ("pipeline/test_frame_queue.py", "pipeline/test_camera_slots.py", "transports/test_admission.py"),
    ),
    "workers": Room(
        ("pipeline/workers.py", "pipeline/run_slots.py", "app/stall_detector.py"),
        (
            "pipeline/test_workers.py",
            "pipeline/test_run_slots.py",
            "pipeline/test_camera_timing.py",
            "pipeline/test_concurrent_runs.py",
            "pipeline/test_replacing_sessions.py",
            "pipeline/test_skipping.py",
            "app/test_stall_detector.py",
        ),
    ),
    "latency": Room(("latency/rolling.py",), ("latency/test_rolling.py",)),
    "capture": Room(
        ("sources/supervisor.py", "sources/manager.py"),
        tuple(
            f"sources/test_{name}.py"
            for name in ("manager", "supervisor", "supervisor_states", "supervisor_timing")
        ),
    ),
    "reload": Room(("app/reload.py",), ("app/test_reload.py",)),
    "access": Room(
        ("transports/http/auth.py", "transports/http/login.py"),
        ("transports/http/test_auth.py", "transports/http/test_login.py"),
    ),
    "keys": Room(
        ("transports/zeromq/zap.py", "transports/zeromq/access.py"),
        (
            "transports/zeromq/test_access.py",
            "transports/zeromq/test_zap.py",
            "transports/zeromq/test_zap_connections.py",
        ),
    ),
    "protocol": Room(
        ("protocol/messages.py", "images/decode_cost.py", "transports/zeromq/envelope.py"),
        ("transports/zeromq/test_envelope.py", "images/test_decode_cost.py", "protocol/test_messages.py"),
    ),
    "mqtt": Room(
        tuple(f"transports/mqtt/{name}.py" for name in MQTT),
        tuple(f"transports/mqtt/test_{name}.py" for name in MQTT),
    ),
    "folding": Room(
        ("models/graph/fold.py",),
        tuple(f"models/graph/test_fold{part}.py" for part in ("", "_constants", "_normalisation")),
    ),
}

OPERATORS = re.compile(
    r"core/(AddNot|ExceptionReplacer|NumberReplacer|ReplaceAndWithOr|ReplaceOrWithAnd|ReplaceTrueWithFalse"
    r"|ReplaceFalseWithTrue|ReplaceBreakWithContinue|ReplaceContinueWithBreak|ZeroIterationForLoop"
    r"|ReplaceUnaryOperator_(Delete_Not|Delete_USub)"
    r"|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul)"
    r"|ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Lt_GtE|Gt_LtE))$"
)
"""One or two replacements of each kind: all of cosmic-ray's would find the same gaps many times."""


class WithoutModels:
    """Leaves tests out that need a model in a store: building one takes minutes, for each fault anew."""

    def pytest_collection_modifyitems(self, items):
        items[:] = [each for each in items if not {"state", "standin"}.intersection(each.fixturenames)]


class LeaveOut(Operator):
    """Replaces a statement of a function, but for docstrings, by ``pass``."""

    def mutation_positions(self, node):
        if node.type == "simple_stmt" and search_ancestor(node, "funcdef"):
            statement = node.children[0]
            text = statement.get_code(include_prefix=False)
            if statement.type not in ("string", "import_name", "import_from") and text not in ("pass", "..."):
                yield statement.start_pos, statement.end_pos

    def mutate(self, node, index):
        first = node.children[0]
        prefix = first.get_first_leaf().prefix
        node.children[0] = Keyword("pass", first.start_pos, prefix)
        return node

    @classmethod
    def examples(cls):
        return ()


@dataclass(frozen=True, slots=True)
class Fault:
    """A module with one fault in it."""

    module: str
    source: str
    was: str
    becomes: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.module, self.was, self.becomes


def faults_of(module: str) -> Iterator[Fault]:
    """Every fault that can be put into a module, each once."""
    original = (CHECKOUT / "daemon/incv3d" / module).read_text("utf-8")
    operators = [get_operator(name)() for name in sorted(operator_names()) if OPERATORS.match(name)]
    seen = {original}
    for operator in (*operators, LeaveOut()):
        for occurrence in itertools.count():
            try:
                source = mutate_code(original, operator, occurrence)
            except AttributeError:  # cosmic-ray cannot replace a dotted name in a tuple of exceptions
                continue
            if source is None:
                break
            was, becomes = changed_lines(original, source)
            # What a dataclass forbids, mypy sees.
            if source not in seen and not was.startswith("@dataclass"):
                seen.add(source)
                yield Fault(module, source, was, becomes)


def changed_lines(original: str, source: str) -> tuple[str, str]:
    lines = list(difflib.ndiff(original.splitlines(), source.splitlines()))
    was = " ".join(line[2:].strip() for line in lines if line.startswith("- "))
    becomes = " ".join(line[2:].strip() for line in lines if line.startswith("+ "))
    return was, becomes


def copy_checkout(folder: Path) -> Path:
    folder.mkdir()
    for name in COPIED:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CHECKOUT / name, folder / name)
    return folder


def run_tests(folder: Path, room: Room, module: str) -> None:
    """Run the room's tests in a copy of the checkout; ends the process with pytest's status and `RAN`.

    :param module: its own tests come first: they notice its faults soonest.
    """
    os.setsid()
    said = os.open(folder / SAID, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder / "daemon")
    os.environ.setdefault("INCV3D_SHARED", str(CHECKOUT.parent / "shared"))
    sys.path.insert(0, str(folder / "daemon"))
    # A fault of the same size, put in in the same second, is to be seen.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    import pytest

    # Rewriting the assertions takes longer than most tests.
    options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", f"--timeout={TEST_LIMIT_S}"]
    own_test = f"test_{Path(module).name}"
    tests = [f"tests/{test}" for test in sorted(room.tests, key=lambda test: Path(test).name != own_test)]
    try:
        status = int(pytest.main([*options, *tests], plugins=[WithoutModels()]))
    except ExceptionGroup as error:  # a fault left something open, which pytest finds when it ends
        print(error, *error.exceptions, sep="\n", flush=True)
        status = 1
    os._exit(RAN + status)


def passes(folder: Path, room: Room, module: str, limit_s: float) -> bool:
    """Whether the room's tests, with those of `module` first, pass in a copy of the checkout, in time."""
    process = FORKS.Process(target=run_tests, args=(folder, room, module))
    process.start()
    process.join(limit_s)
    status = process.exitcode
    assert process.pid
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    if status is not None and not RAN <= status < RAN + 6:
        said = (folder / SAID).read_text("utf-8", "replace")
        sys.exit(f"pytest could not be run: status {status}:\n{said}")
    return status == RAN


def missed_faults(room: Room, faults: list[Fault], scratch: Path, jobs: int) -> list[Fault]:
    """The faults that no test of the room notices."""
    copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for number in range(jobs):
        copies.put(copy_checkout(scratch / f"copy-{number}"))
    whole = copies.get()
    started = time.monotonic()
    if not passes(whole, room, room.modules[0], 3600):
        sys.exit(f"the tests fail without any fault:\n{(whole / SAID).read_text()}")
    limit_s = PATIENCE * (time.monotonic() - started) + 30
    copies.put(whole)

    def is_missed(fault: Fault) -> bool:
        copy = copies.get()
        module = copy / "daemon/incv3d" / fault.module
        original = module.read_text("utf-8")
        try:
            module.write_text(fault.source, "utf-8")
            return passes(copy, room, fault.module, limit_s)
        finally:
            module.write_text(original, "utf-8")
            copies.put(copy)

    missed = []
    with ThreadPoolExecutor(jobs) as pool:
        for number, (fault, is_one) in enumerate(zip(faults, pool.map(is_missed, faults), strict=True), 1):
            if is_one:
                missed.append(fault)
                print(f"{number}/{len(faults)} missed in {fault.module}:")
                print(f"    - {fault.was}\n    + {fault.becomes}", flush=True)
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/run --mutants")
    parser.add_argument("room", choices=sorted(ROOMS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--list", action="store_true", help="print the faults, and try none")
    parser.add_argument("--sample", type=int, metavar="N", help="try only N faults, evenly spread")
    options = parser.parse_args()
    room = ROOMS[options.room]
    faults = [fault for module in room.modules for fault in faults_of(module)]
    if options.sample:
        faults = faults[:: math.ceil(len(faults) / options.sample)]
    if options.list:
        for fault in faults:
            print(f"{fault.module}\n    - {fault.was}\n    + {fault.becomes}")
        return
    listed = {
        (each["module"], each["was"], each["becomes"])
        for each in yaml.safe_load(LISTED.read_text("utf-8")) or ()
    }
    FORKS.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory(prefix="incv3d-mutants-") as scratch:
        missed = missed_faults(room, faults, Path(scratch), options.jobs)
    noticed = 1 - len(missed) / len(faults)
    unlisted = [fault for fault in missed if fault.key not in listed]
    print(
        f"{options.room}: {len(faults) - len(missed)} of {len(faults)} faults noticed ({noticed:.1%}),",
        end=" ",
    )
    print(f"{len(missed)} missed, {len(unlisted)} of them not in {LISTED.name}")
    sys.exit(noticed < ENOUGH or bool(unlisted))


if __name__ == "__main__":
    main()
