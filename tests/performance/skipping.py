"""What ``source.skip_unchanged`` takes for a change, and what it costs and saves.

usage: python tests/performance/skipping.py FOLDER_OF_PHOTOGRAPHS

Makes its state in a temporary folder.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from doubles import jpeg
from incv3d.client import Client
from incv3d.config.source import SourceSection
from incv3d.engines.base import ImageArray
from incv3d.frames import Frame
from incv3d.images.change_detector import cell_means, changed_fraction
from incv3d.images.demo import demo_folder
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.sources.image_files import find_images
from noisy_images import SIZE, Camera, with_something
from processes import DaemonProcess, run_incv3d

STILL = {
    "noise 2": {"noise": 2},
    "noise 10": {"noise": 10},
    "noise 20": {"noise": 20},
    "noise 30": {"noise": 30},
    "noise 5, 3 % brighter": {"noise": 5, "light": 1.03},
    "noise 5, 8 % brighter": {"noise": 5, "light": 1.08},
    "noise 5, bands of 4 %": {"noise": 5, "band": 0.04},
    "noise 5, bands of 8 %": {"noise": 5, "band": 0.08},
    "noise 5, shaken by 1 pixel": {"noise": 5, "shake": 1},
    "noise 5, shaken by 2 pixels": {"noise": 5, "shake": 2},
}
AREAS = (0.005, 0.01, 0.02, 0.03, 0.05)
THRESHOLD = SourceSection().change_threshold


def still(scenes: list[ImageArray]) -> None:
    """How often a scene in which nothing moves is taken for a changed one."""
    for label, how in STILL.items():
        shake = int(how.get("shake", 0))
        light = {key: float(value) for key, value in how.items() if key != "shake"}
        fractions = []
        for seed, scene in enumerate(scenes):
            camera = Camera(seed)
            before = camera.take(scene, light["noise"])
            now = camera.take(np.roll(scene, shake, axis=1), **light)
            fractions.append(changed_fraction(cell_means(before), cell_means(now)))
        taken = sum(fraction >= THRESHOLD for fraction in fractions)
        print(f"{label:28}  changed {taken:3} of {len(scenes)}, at most {max(fractions):6.2%} of a picture")


def entering(scenes: list[ImageArray]) -> None:
    """How often something that enters is seen: a disc of the next scene, at noise 10 and 3 % brighter."""
    places = np.random.default_rng(0)
    for area in AREAS:
        seen = 0
        for seed, scene in enumerate(scenes):
            camera = Camera(seed)
            now = with_something(scene, scenes[seed - 1], area, places.random(2))
            fraction = changed_fraction(
                cell_means(camera.take(scene, 10)), cell_means(camera.take(now, 10, light=1.03))
            )
            seen += fraction >= THRESHOLD
        print(f"something of {area:6.1%}           seen    {seen:3} of {len(scenes)}")


def median_ms(works: dict[str, Callable[[], object]], rounds: int = 40) -> dict[str, float]:
    """The median of each, in turns."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            took[name].append((time.perf_counter() - started) * 1000)
    return {name: statistics.median(each) for name, each in took.items()}


def cost(scene: ImageArray) -> None:
    """The test beside decoding and beside the rest of the preprocessing."""
    spec = InputSpec(299, 299, 128.0, 128.0, "stretch", 1.0, "bilinear")
    preprocessor = Preprocessor(spec, 10**8)
    for width, height in ((640, 480), (1920, 1080)):
        frame = Frame("camera", jpeg(width, height), None, received=0.0, captured=0.0)
        picture = preprocessor.decode(frame)
        before = cell_means(picture)
        took = median_ms(
            {
                "decode": lambda frame=frame: preprocessor.decode(frame),  # type: ignore[misc]
                "test": lambda p=picture, b=before: changed_fraction(b, cell_means(p)),  # type: ignore[misc]
                "resize": lambda picture=picture: preprocessor.feed(picture),  # type: ignore[misc]
            }
        )
        print(f"{width}x{height}: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in took.items()))


def cpu_s(daemon: DaemonProcess) -> float:
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")")[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def saved(state: Path, scene: ImageArray, seconds: float = 20.0) -> None:
    """Processor time of the daemon on a still scene, 10 frames a second."""
    folder = Path(tempfile.mkdtemp(dir=state))
    for number in range(20):
        noisy = Camera(number).take(scene, 5)
        Image.fromarray(noisy).save(folder / f"{number}.jpg", quality=90)
    for skip in (False, True):
        config = folder / "incv3d.yaml"
        source = {"type": "images", "path": str(folder), "fps": 10, "skip_unchanged": skip}
        config.write_text(json.dumps({"source": source}))
        daemon = DaemonProcess(state, folder, "--config", str(config)).ready()
        time.sleep(2)
        before = cpu_s(daemon)
        time.sleep(seconds)
        used = (cpu_s(daemon) - before) / seconds
        with Client(daemon.door) as client:
            outcomes = client.ask("stats")["outcomes"]
        counts = ", ".join(f"{key} {outcomes[key]}" for key in ("ok", "skipped", "dropped"))
        print(f"skip_unchanged {skip!s:5}: {used:6.1%} of one core; {counts}")
        daemon.stop()


def main() -> None:
    scenes = [np.asarray(Image.open(path).convert("RGB").resize(SIZE)) for path in find_images(sys.argv[1])]
    still(scenes)
    entering(scenes)
    cost(scenes[0])
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        run_incv3d(state, "classify", str(demo_folder() / "cat.jpg"))
        saved(state, scenes[0])


if __name__ == "__main__":
    main()
