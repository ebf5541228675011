"""``GET /history`` of a running daemon."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from incv3d.history.database import FILE
from incv3d.history.visit import Visit
from incv3d.history.writer import HistoryWriter
from processes import ScriptedDaemon

NOON_MS = 1_796_126_400_000
NAME = "20261201T120000.000Z_camera_fox_0.89.jpg"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    seen = tmp_path / "seen"
    seen.mkdir()
    (seen / NAME).write_bytes(b"\xff\xd8 a fox")
    (seen / "secret.txt").write_text("secret")
    (tmp_path / "20261201T120000.000Z_camera_fox_0.10.jpg").write_text("outside")
    sections = {
        "http": {"bind": "127.0.0.1:0"},
        "events": {"allow": ["*"]},
        "saving": {"folder": str(seen), "min_free_bytes": 0},
    }
    (tmp_path / "incv3d.yaml").write_text(json.dumps(sections))
    started = ScriptedDaemon(tmp_path, tmp_path, str(tmp_path / "incv3d.yaml"), "5")
    started.address = started.url()
    yield started
    started.kill()


def get(daemon: ScriptedDaemon, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"{daemon.address}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_it_answers_questions_and_says_what_is_wrong_with_them(
    daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    assert get(daemon, "/history?since=1d&by=hour") == (200, b'{"by": "hour", "rows": []}')
    writer = HistoryWriter(tmp_path / FILE)
    writer.write([Visit("camera", "fox", "", NOON_MS, 0.9, 5.0, "unseen", NAME)], [])
    writer.close()
    status, answer = get(daemon, "/history?since=2026-11-30&label=fox&by=visit")
    assert status == 200
    assert json.loads(answer)["rows"] == [
        {
            "source": "camera",
            "label": "fox",
            "synset": "",
            "entered": "2026-12-01T12:00:00.000Z",
            "duration_s": 5.0,
            "best": 0.9,
            "reason": "unseen",
            "image": NAME,
        }
    ]
    assert get(daemon, "/history?by=week") == (
        400,
        b"by: must be one of hour, day, label, visit, not `week`\n",
    )


def test_it_hands_out_saved_images_and_no_other_file(daemon: ScriptedDaemon) -> None:
    assert get(daemon, f"/history/image/{NAME}") == (200, b"\xff\xd8 a fox")
    assert get(daemon, "/history/image/secret.txt") == (404, b"no such image\n")
    outside = "..%2F20261201T120000.000Z_camera_fox_0.10.jpg"
    assert get(daemon, f"/history/image/{outside}")[0] == 404
    assert get(daemon, "/history/image/20261201T120000.000Z_camera_fox_0.10.jpg") == (
        404,
        b"the image was deleted\n",
    )
