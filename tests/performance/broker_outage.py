"""What a broker that is away costs the daemon: ``broker_outage.py [SECONDS_AWAY]``, 5 minutes unless said.

A daemon classifies a replay and publishes every result; its broker goes away and comes back. What is compared
is how many frames it classifies before, meanwhile and afterwards.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from brokers import Listener, MosquittoBroker
from incv3d.client import Client
from incv3d.images.demo import demo_folder
from measuring import table
from processes import ScriptedDaemon
from waiting import until

RUN_MS = 20.0
FPS = 20
BESIDE_S = 20.0
"""How long to look before and afterwards."""


def stats(daemon: ScriptedDaemon) -> dict:
    with Client(daemon.door) as client:
        return client.ask("stats")


def rate(daemon: ScriptedDaemon, seconds: float) -> float:
    """Frames classified a second."""
    before = stats(daemon)["outcomes"]["ok"]
    time.sleep(seconds)
    return (stats(daemon)["outcomes"]["ok"] - before) / seconds


def main() -> None:
    away_s = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    with TemporaryDirectory() as name:
        folder = Path(name)
        broker = MosquittoBroker(folder)
        section = {
            "host": "127.0.0.1",
            "port": broker.port,
            "name": "pi",
            "interval_s": 0,
        }
        source = {"type": "images", "path": str(demo_folder()), "fps": FPS}
        (folder / "incv3d.yaml").write_text(json.dumps({"mqtt": section, "source": source}))
        daemon = ScriptedDaemon(folder, folder, str(folder / "incv3d.yaml"), str(RUN_MS)).ready()
        try:
            until(lambda: stats(daemon)["mqtt"]["published"], "the broker does not let it in")
            before, rss_before = rate(daemon, BESIDE_S), daemon.facts("RssAnon")
            broker.stop()
            meanwhile = rate(daemon, away_s)
            rss_away, left = daemon.facts("RssAnon"), stats(daemon)["mqtt"]
            broker.start()
            back = time.monotonic()
            until(lambda: stats(daemon)["mqtt"]["connected"], "it does not come back", 90)
            took_s = time.monotonic() - back
            listener = Listener(broker.port, "incv3d/pi/#")
            listener.next("incv3d/pi/result/camera")
            listener.close()
            afterwards = rate(daemon, BESIDE_S)
            assert daemon.stop() == 0
        finally:
            daemon.kill()
            broker.stop()
        lines = [line for line in daemon.said if "mqtt:" in line]
        table(
            f"the broker is away for {away_s:g} s",
            [
                ("frames a second before", f"{before:.2f}", ""),
                ("meanwhile", f"{meanwhile:.2f}", "the same"),
                ("afterwards", f"{afterwards:.2f}", "the same"),
                ("memory of its own before, then", f"{rss_before}, {rss_away}", "the queue more"),
                (
                    "results kept, dropped",
                    f"{left['queued']}, {left['dropped']}",
                    "1000 and a few kept",
                ),
                ("seconds until it was connected again", f"{took_s:.1f}", "60 at most"),
                ("lines in the log", str(len(lines)), "3: connected, lost, connected"),
            ],
        )
        print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
