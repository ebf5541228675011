"""The real daemon on one picture of two things: each region is classified for itself."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from incv3d.client import Client
from incv3d.sources.images import demo_folder
from incv3d.subscription import results
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

    def make(path: Path, **source: object) -> DaemonProcess:
        config = tmp_path / "incv3d.yaml"
        section = {"type": "images", "name": "porch", "path": str(path), **source}
        config.write_text(json.dumps({"source": section, "latency": {"interval_s": 0.2}}))
        started.append(DaemonProcess(state, tmp_path, "--config", str(config)))
        return started[-1]

    yield make
    for daemon in started:
        daemon.kill()


def ask(daemon: DaemonProcess, operation: Any) -> dict[str, Any]:
    with Client(daemon.door) as client:
        facts: dict[str, Any] = client.ask(operation)
    return facts


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
