"""Restarts by SIGTERM under imagezmq senders in tight loops: how many of them go on.

usage: .venv/bin/python tests/performance/restarts.py [RESTARTS] [SENDERS] [ADDRESS]

Each sender is a process of its own with the library's ImageSender, which waits for its answer for as long as
that takes. The daemon runs EfficientNet-Lite0, on a free port of loopback unless an ADDRESS is given.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from incv3d.config.paths import state_directory
from looping_senders import LoopingSenders
from measuring import free_port, table
from processes import DaemonProcess

BETWEEN_S = 0.5


def main() -> None:
    restarts, count = (int(word) for word in (*sys.argv[1:3], "10", "10")[:2])
    door = sys.argv[3] if len(sys.argv) > 3 else f"tcp://127.0.0.1:{free_port()}"
    with TemporaryDirectory() as name, LoopingSenders(["imagezmq"] * count, door) as senders:

        def start() -> DaemonProcess:
            words = ("--model", "efficientnet-lite0")
            return DaemonProcess(state_directory(os.environ), Path(name), *words, INCV3D_BIND=door).ready()

        went_on, stops_s = 0, []
        daemon = start()
        try:
            senders.wait_for(1)
            for _ in range(restarts):
                time.sleep(BETWEEN_S)
                began = time.monotonic()
                assert daemon.stop() == 0, daemon.said
                stops_s.append(time.monotonic() - began)
                counts = senders.counts()
                daemon = start()
                went_on += senders.going_on_from(counts)
        finally:
            daemon.kill()
        codes = ", ".join(f"{code} {number}" for code, number in senders.codes().most_common())
    rows = [
        ("senders that went on", f"{went_on} of {restarts * count}", f"{restarts * count * 0.99:.0f}"),
        ("median stop, s", f"{statistics.median(stops_s):.2f}", ""),
        ("longest stop, s", f"{max(stops_s):.2f}", ""),
        ("answers", codes, ""),
    ]
    table(f"{restarts} restarts under {count} senders", rows)


if __name__ == "__main__":
    main()
