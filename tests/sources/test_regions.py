"""The real daemon on one picture of two things: each region is classified, or skipped, for itself."""

from __future__ import annotations

import json
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from incv3d.client import Client
from incv3d.client.subscription import results
from incv3d.images.demo import demo_folder
from processes import PATIENCE_S, DaemonProcess

CATS = {"tabby", "tiger cat", "Egyptian cat"}
CUPS = {"espresso", "cup", "coffee mug"}
REGIONS = {"sofa": [0.0, 0.0, 0.5, 1.0], "table": [0.5, 0.0, 0.5, 1.0]}


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """A cat on the left, a cup on the right."""
    image = Image.new("RGB", (1280, 640))
    for left, name in ((0, "cat.jpg"), (640, "coffee.jpg")):
        with Image.open(demo_folder() / name) as thing:
            image.paste(thing.convert("RGB").resize((640, 640)), (left, 0))
    return image


@pytest.fixture
def start(state: Path, tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    started: list[DaemonProcess] = []

    def make(path: Path, environment: Mapping[str, str] | None = None, **source: object) -> DaemonProcess:
        config = tmp_path / "incv3d.yaml"
        section = {"type": "images", "name": "porch", "path": str(path), **source}
        config.write_text(json.dumps({"source": section, "latency": {"interval_s": 0.2}}))
        started.append(DaemonProcess(state, tmp_path, "--config", str(config), **(environment or {})))
        return started[-1]

    yield make
    for daemon in started:
        daemon.kill()


def ask(daemon: DaemonProcess, operation: Any) -> dict[str, Any]:
    with Client(daemon.door) as client:
        facts: dict[str, Any] = client.ask(operation)
    return facts


def outcomes(daemon: DaemonProcess) -> tuple[dict[str, int], int]:
    """What became of the frames, and how many the camera took."""
    facts = ask(daemon, "stats")
    return facts["outcomes"], facts["source"]["frames"]


def test_each_region_of_a_camera_that_hangs_sideways_gets_its_own_label(start, scene, tmp_path) -> None:
    scene.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "sideways.jpg")
    daemon = start(tmp_path / "sideways.jpg", fps=20, transform="rotate90", regions=REGIONS)
    assert daemon.wait_for("regions").endswith("source porch: regions sofa, table")
    daemon.ready()
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for number, result in enumerate(results(daemon.results, timeout_s=PATIENCE_S), start=1):
        assert result.answer.predictions
        labels[result.source].add(result.answer.predictions[0].label)
        if number >= 10 and len(labels) == 2:
            break
    assert set(labels) == {"porch.sofa", "porch.table"}
    assert labels["porch.sofa"] <= CATS and labels["porch.table"] <= CUPS, labels
    assert next(results(daemon.results, "porch.table", PATIENCE_S)).source == "porch.table"
    assert ask(daemon, "info")["source"] == {"type": "images", "name": "porch", "regions": REGIONS}
    assert daemon.stop() == 0
    assert " regions=sofa,table" in daemon.log.read_text().splitlines()[0]


def test_what_became_of_the_regions_of_all_frames_adds_up(start, scene, tmp_path) -> None:
    pictures = tmp_path / "still"
    pictures.mkdir()
    for number in range(40):
        scene.save(pictures / f"{number:02}.jpg")
    daemon = start(pictures, fps=40, loop=False, regions=REGIONS, skip_unchanged=True).ready()
    daemon.wait_for("has no more frames")
    deadline = time.monotonic() + PATIENCE_S
    counted, frames = outcomes(daemon)
    while counted["ok"] + counted["dropped"] + counted["skipped"] < 80 and time.monotonic() < deadline:
        counted, frames = outcomes(daemon)
    assert frames == 40 and counted["ok"] == 2, counted
    assert counted["skipped"] >= 2 and counted["ok"] + counted["dropped"] + counted["skipped"] == 80, counted
    assert daemon.stop() == 0
    last = daemon.log.read_text().splitlines()[-1]
    assert last.endswith(f" skipped={counted['skipped']}")


def test_a_still_camera_is_classified_at_the_floor_rate_and_the_door_is_served(
    start, scene, tmp_path
) -> None:
    scene.save(tmp_path / "still.jpg")
    daemon = start(tmp_path / "still.jpg", fps=30, skip_unchanged=True, unchanged_max_s=0.5).ready()
    arrived = []
    for result in results(daemon.results, "porch", PATIENCE_S):
        arrived.append(time.monotonic())
        assert result.answer.status == "ok"
        if len(arrived) == 5:
            break
    assert arrived[-1] - arrived[0] >= 3 * 0.5, "four pauses; one may look shorter when a result comes late"
    counted, _ = outcomes(daemon)
    assert counted["skipped"] > 2 * counted["ok"], counted
    with Client(daemon.door) as client:
        answers = [client.classify(demo_folder() / "cat.jpg") for _ in range(3)]
    assert all(answer.predictions and answer.predictions[0].label in CATS for answer in answers)
    assert daemon.stop() == 0


def test_a_still_camera_does_not_keep_the_watchdog_from_being_fed(start, scene, tmp_path) -> None:
    scene.save(tmp_path / "still.jpg")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_S)
        daemon = start(
            tmp_path / "still.jpg",
            {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "900000"},
            fps=30,
            skip_unchanged=True,
            unchanged_max_s=3600,
        ).ready()
        signs = 0
        while signs < 5:
            signs += b"WATCHDOG=1" in systemd.recv(4096).split(b"\n")
        counted, _ = outcomes(daemon)
        assert counted["ok"] == 1 and counted["skipped"] > 0, counted
        assert daemon.stop() == 0
