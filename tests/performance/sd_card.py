"""What a daemon in its steady state writes to the SD card: the latency log, and nothing else.

usage: .venv/bin/python tests/performance/sd_card.py [MINUTES] [MODEL]

A daemon of the default configuration replays the bundled pictures, once a second, in a folder on a real disk.
Once it is warm, the growth of its latency log is compared with what the kernel counts as written to storage
(write_bytes in /proc/PID/io): whole pages, each counted when it is first touched after it was last written
back, so that a line of 400 bytes costs a page now and then and not every time. What the journal would get is
counted too.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from incv3d.config.paths import state_directory
from incv3d.config.schema import Config
from processes import DaemonProcess

PAGE = os.sysconf("SC_PAGE_SIZE")
DAY_S = 86_400
SETTLING_S = 15.0
"""The first lines after a start are its own."""


@dataclass(frozen=True)
class Written:
    """Since the start of a daemon."""

    log_bytes: int
    storage_bytes: int
    journal_lines: int


def look(daemon: DaemonProcess) -> Written:
    """What has been written so far."""
    counters = Path(f"/proc/{daemon.process.pid}/io").read_text().splitlines()
    storage_bytes = next(int(line.split()[1]) for line in counters if line.startswith("write_bytes:"))
    return Written(daemon.log.stat().st_size, storage_bytes, daemon.unread())


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    model = sys.argv[2] if len(sys.argv) > 2 else "efficientnet-lite0"
    interval_s = Config().latency.interval_s
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        daemon = DaemonProcess(state_directory(os.environ), Path(folder), "--demo", "--model", model).ready()
        try:
            time.sleep(SETTLING_S)
            before = look(daemon)
            time.sleep(minutes * 60)
            after = look(daemon)
        finally:
            status = daemon.stop()
    days = minutes * 60 / DAY_S
    logged = after.log_bytes - before.log_bytes
    stored = after.storage_bytes - before.storage_bytes
    lines = minutes * 60 / interval_s
    print(f"| {minutes:g} minutes, a line every {interval_s:g} s | measured | a day |")
    print("| --- | --- | --- |")
    print(f"| latency log, bytes | {logged} | {logged / days / 1e6:.1f} MB |")
    print(f"| bytes a line | {logged / lines:.0f} | |")
    print(f"| pages written to storage, bytes | {stored} | {stored / days / 1e6:.1f} MB |")
    print(
        f"| were every line a page, bytes | {lines * PAGE:.0f} | {PAGE * DAY_S / interval_s / 1e6:.1f} MB |"
    )
    print(f"| lines for the journal | {after.journal_lines - before.journal_lines} | |")
    kept = Config().latency
    print(f"the log and its predecessors take at most {kept.max_bytes * (kept.keep + 1) / 1e6:.1f} MB")
    # Every line touches the page that it ends in; one that begins a page touches two.
    if stored > (lines + 2 + logged / PAGE) * PAGE:
        sys.exit("something else is written than the latency log")
    if status:
        sys.exit(f"the daemon ended with status {status}: {daemon.said}")


if __name__ == "__main__":
    main()
