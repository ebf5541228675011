"""A daemon that captures from several sources."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import yaml
import zmq

from incv3d.client import Client
from incv3d.images.demo import demo_folder
from processes import ScriptedDaemon
from waiting import until

FAST = {"type": "images", "path": str(demo_folder()), "fps": 200}
RUN_MS = 10


def settings(*names: str, **more: object) -> str:
    return yaml.safe_dump({"sources": [{**FAST, "name": name, **more} for name in names]})


def test_cameras_get_equal_shares_and_requests_get_theirs(
    scripted: Callable[..., ScriptedDaemon], connect: Callable[..., zmq.Socket[bytes]]
) -> None:
    daemon = scripted(settings("door", "gate"), RUN_MS)
    subscriber = connect(zmq.SUB, daemon.results, SUBSCRIBE=b"result.")
    with Client(daemon.door) as client:
        jpeg = next(demo_folder().glob("*.jpg")).read_bytes()
        for _ in range(3):
            assert client.classify(jpeg).predictions
    counts = Counter(subscriber.recv_multipart()[0].decode() for _ in range(200))
    assert abs(counts["result.door"] - counts["result.gate"]) <= 0.05 * 200, counts


def test_a_reload_adds_and_removes_single_sources_while_the_others_run_on(
    scripted: Callable[..., ScriptedDaemon], tmp_path: Path
) -> None:
    daemon = scripted(settings("door", "gate"), RUN_MS)

    def frames() -> dict[str, int]:
        with Client(daemon.door) as client:
            return {each["name"]: each["frames"] for each in client.ask("stats")["sources"]}

    until(lambda: all(count > 20 for count in frames().values()), "frames of both")
    before = frames()
    (tmp_path / "0" / "incv3d.yaml").write_text(settings("door", "yard"))
    daemon.signal(signal.SIGHUP)
    until(lambda: list(frames()) == ["door", "yard"] and frames()["yard"] > 2, "frames of the new source")
    assert frames()["door"] > before["door"], "it was opened again"
    assert daemon.stop() == 0
    said = "\n".join(daemon.said)
    assert "sources.gate is now `removed`" in said and "sources.yard is now `captured`" in said
    assert said.count("source door: ok") == 1, said


def test_one_that_is_away_harms_no_other_and_is_named(
    scripted: Callable[..., ScriptedDaemon],
) -> None:
    away = {"name": "away", "type": "video", "path": "http://127.0.0.1:9/stream"}
    daemon = scripted(yaml.safe_dump({"sources": [away, {**FAST, "name": "door"}]}), RUN_MS)
    with Client(daemon.door) as client:

        def states() -> dict[str, str]:
            return {each["name"]: each["state"] for each in client.ask("stats")["sources"]}

        until(lambda: states() == {"away": "absent", "door": "ok"}, "both states")
        assert client.ask("info")["source"]["name"] == "away"
