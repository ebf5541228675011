"""``incv3d history``."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from incv3d.history.visit import Visit
from incv3d.history.writer import HistoryWriter

TUESDAY = round(datetime(2026, 12, 1).timestamp() * 1000)
HOUR = 3_600_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = HistoryWriter(tmp_path / "history.sqlite")
    visits = [
        Visit("box", "great tit", "", TUESDAY + hour * HOUR, 0.9, 90.0, "unseen", f"{hour}.jpg")
        for hour in (7, 7, 8)
    ]
    writer.write(visits, [Visit("box", "cat", "", TUESDAY + 9 * HOUR, 0.5)])
    writer.close()
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "incv3d", "history", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "STATE_DIRECTORY": str(folder), "COLUMNS": "100"},
        cwd=folder,
    )


TUESDAY_WORDS = ("--since", "2026-12-01", "--until", "2026-12-02")


def test_a_chart_by_hour_of_a_day(folder: Path) -> None:
    lines = run(folder, *TUESDAY_WORDS, "--label", "great tit").stdout.splitlines()
    assert lines[0].split() == ["hour", "visits", "time"]
    assert lines[1].split()[:6] == ["Tue", "2026-12-01", "07:00", "2", "3", "min"]
    assert lines[1].count("█") == 2 * lines[2].count("█") == 40


def test_labels_and_visits(folder: Path) -> None:
    labels = run(folder, *TUESDAY_WORDS, "--by", "label").stdout
    assert "great tit  box          3" in labels and "2026-12-01 07:00:00" in labels
    visits = run(folder, *TUESDAY_WORDS, "--by", "visit").stdout.splitlines()
    assert "still there" in visits[1] and "cat" in visits[1]
    assert visits[2].split()[-3:] == ["tit", "0.90", "8.jpg"]


def test_csv_and_json(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(folder, *TUESDAY_WORDS, "--by", "visit", "--csv").stdout)))
    assert [row["label"] for row in rows] == ["cat", "great tit", "great tit", "great tit"]
    found = json.loads(run(folder, *TUESDAY_WORDS, "--by", "day", "--json").stdout)
    assert found["by"] == "day" and found["rows"][0]["visits"] == 4


def test_nothing_in_the_period_and_no_history_are_said(folder: Path, tmp_path: Path) -> None:
    assert run(folder, "--until", "2020-01-01", "--since", "2019-01-01").stdout == (
        "nothing was seen in this period\n"
    )
    (folder / "empty").mkdir()
    none = run(folder / "empty")
    assert none.returncode == 1
    assert none.stderr == (
        f"incv3d: {folder}/empty/history.sqlite: there is no history yet; it begins with the first label "
        "that enters\n"
    )


def test_a_copy_is_made(folder: Path) -> None:
    assert run(folder, "--copy", "copy.sqlite").returncode == 0
    (folder / "history.sqlite").unlink()
    (folder / "copy.sqlite").rename(folder / "history.sqlite")
    assert json.loads(run(folder, *TUESDAY_WORDS, "--json").stdout)["rows"]


def test_a_rebuild_needs_saved_images(folder: Path) -> None:
    (folder / "incv3d.yaml").write_text("model: {}\n")
    said = run(folder, "--rebuild", "--config", "incv3d.yaml")
    assert said.returncode == 2
    assert said.stderr == "incv3d: --rebuild: no images of events are saved; set saving.folder\n"
