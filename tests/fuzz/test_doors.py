"""A moment of the fuzz that `tests/run --fuzz SECONDS` does for longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from brokers import need_mosquitto
from processes import PATIENCE_S, environment


def test_whatever_is_sent_to_any_door_gets_one_answer(state: Path) -> None:
    need_mosquitto()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("doors.py")), "2", "1"],
        env=environment(state),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fuzz: 2 s, seed 1" in done.stdout and done.stdout.count(" 0 unanswered") == 3
