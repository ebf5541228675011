"""The door beside a flood of clients whose keys it does not know.

usage: .venv/bin/python tests/performance/strangers.py [MODEL] [ROUNDS] [SECONDS] [PROCESSES]

A client with a key asks (`ping`), and sends a frame, in a closed loop; and clients with a key connect anew,
one after the other. Each round measures all three alone, beside a flood, and beside the same flood at another
door with keys, in a process that does nothing else: that tells what the flood costs by itself on one machine,
where it takes the processor from the daemon and its client. The flood is PROCESSES processes, of the lowest
priority, as if they ran elsewhere. Each connects, shows a key that is not known, is turned away, and begins
again; or has the wrong server's key; or has no key. Figures are medians over the rounds.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq

from incv3d.client import Client
from incv3d.protocol.curve_keys import ClientKey, new_pair, read_client_key
from incv3d.transports.zeromq.key_store import KeyStore
from incv3d.transports.zeromq.zap import ZapAuthenticator
from measuring import daemon, free_port, jpegs, median, table
from processes import DaemonProcess

KINDS = ("unknown key", "wrong server's key", "no key")
LOWEST_PRIORITY = 19
CONNECTIONS_A_CONTEXT = 50


def flood(address: str, key_file: str, kind: str) -> None:
    """What one process of the flood does, until it is killed."""
    os.nice(LOWEST_PRIORITY)
    known = read_client_key(key_file)
    key = {
        "unknown key": ClientKey(new_pair(), known.server),
        "wrong server's key": ClientKey(known.pair, new_pair().public),
        "no key": None,
    }[kind]
    while True:
        # Leaving a context waits until all its sockets are really closed.
        with zmq.Context() as context:
            for _ in range(CONNECTIONS_A_CONTEXT):
                with context.socket(zmq.DEALER) as dealer:
                    dealer.set(zmq.LINGER, 0)
                    if key:
                        key.lock(dealer)
                    monitor = dealer.get_monitor_socket(zmq.Event.DISCONNECTED)
                    dealer.connect(address)
                    monitor.poll(1000)
                    dealer.disable_monitor()
                    monitor.close()


def other_door(address: str, folder: str) -> None:
    """A door with the same keys, and nothing behind it."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        keeper = ZapAuthenticator(context, KeyStore(Path(folder)))
        keeper.open()
        keeper.guard(router)
        router.bind(address)
        print("ready", flush=True)
        while True:
            keeper.socket.poll()
            keeper.decide()


@contextlib.contextmanager
def children(*commands: list[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """This file's ``--child`` processes, for a while."""
    started = []
    try:
        for words in commands:
            command = [sys.executable, __file__, "--child", *words]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def repeated(seconds: float, act: Callable[[], object]) -> float:
    """The median of how long `act` takes, in ms."""
    took = []
    end = time.monotonic() + seconds
    while (started := time.monotonic()) < end:
        act()
        took.append((time.monotonic() - started) * 1000)
    return median(took)


def measure(address: str, key: Path, seconds: float) -> dict[str, float]:
    """The three medians, in ms, and how many strangers were turned away a second meanwhile."""
    picture = jpegs()[0]

    def come_in() -> None:
        with Client(address, key=key) as newcomer:
            newcomer.ask("ping")

    with Client(address, key=key, wait_if_busy=True) as client:
        before, began = client.ask("stats")["keys"]["turned_away"], time.monotonic()
        found = {
            "ping": repeated(seconds, lambda: client.ask("ping")),
            "frame": repeated(seconds, lambda: client.classify(picture)),
            "connecting": repeated(seconds, come_in),
        }
        turned_away = client.ask("stats")["keys"]["turned_away"] - before
    return {**found, "turned_away_per_s": turned_away / (time.monotonic() - began)}


def main(model: str = "auto", rounds: str = "3", seconds: str = "3", processes: str = "4") -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        ring, key = KeyStore(Path(name) / "keys"), Path(name) / "gate.key"
        ring.new()
        ring.issue("gate", key)
        elsewhere = f"tcp://127.0.0.1:{free_port()}"
        with (
            daemon(model, f"intake: {{keys: {ring.folder}}}\n") as served,
            children(["door", elsewhere, str(ring.folder)]) as (other,),
        ):
            assert other.stdout and other.stdout.readline()
            measure(served.door, key, 1)
            before = held(served)
            for kind in KINDS:
                compare(kind, served.door, elsewhere, key, int(rounds), float(seconds), int(processes))
            after = held(served)
    table(
        "the daemon before and after all of it",
        [
            ("resident, MB", f"{before[0]:.1f}, {after[0]:.1f}", ""),
            ("descriptors", f"{before[1]}, {after[1]}", ""),
        ],
    )


def held(served: DaemonProcess) -> tuple[float, int]:
    """Its memory in MB, and how many descriptors it has open."""
    descriptors = len(list(Path(f"/proc/{served.process.pid}/fd").iterdir()))
    return int(served.facts("VmRSS").split()[0]) / 1024, descriptors


def compare(
    kind: str, door: str, elsewhere: str, key: Path, rounds: int, seconds: float, processes: int
) -> None:
    """One kind of flood: its rounds, and its table."""
    found: dict[str, list[dict[str, float]]] = {"alone": [], "beside": [], "elsewhere": []}
    for _ in range(rounds):
        found["alone"].append(measure(door, key, seconds))
        for where, address in (("beside", door), ("elsewhere", elsewhere)):
            with children(*[["flood", address, str(key), kind]] * processes):
                time.sleep(1)  # until they are at it
                found[where].append(measure(door, key, seconds))
    rows = []
    for what in ("ping", "frame", "connecting"):
        alone, beside, apart = (median([each[what] for each in found[where]]) for where in found)
        rows.append(
            (
                f"{what}: alone, beside it, beside one elsewhere, ms",
                f"{alone:.2f}, {beside:.2f}, {apart:.2f}",
                "",
            )
        )
        rows.append((f"{what}: beside it over alone", f"{beside / alone:.2f}", ""))
        rows.append((f"{what}: beside it over elsewhere", f"{beside / apart:.2f}", "1.2"))
    away = median([each["turned_away_per_s"] for each in found["beside"]])
    if kind == KINDS[0]:
        rows.append(("turned away a second", f"{away:.0f}", ""))
    table(f"{processes} processes, {kind}, medians of {rounds} rounds", rows)


if __name__ == "__main__" and sys.argv[1:2] == ["--child"]:
    {"flood": flood, "door": other_door}[sys.argv[2]](*sys.argv[3:])
elif __name__ == "__main__":
    main(*sys.argv[1:])
