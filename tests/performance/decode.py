"""Decoding and resizing: the daemon's fast and exact ways beside full decoding with Pillow.

usage: .venv/bin/python tests/performance/decode.py [PHOTOGRAPH] [ROUNDS]

The pictures are made from PHOTOGRAPH. Times are medians over the rounds; in each round every way is taken
once, in an order that changes, so that neither a noisy machine nor a filled cache favours one. Memory is what
a process of its own took at its peak (VmHWM) for one picture, above what it had before (VmRSS).
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice, permutations
from pathlib import Path

import numpy as np
from PIL import Image

from incv3d.frames import Encoding, Frame
from incv3d.images.demo import demo_folder
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec, fit
from incv3d.models.catalog import load_catalog
from incv3d.pipeline.session_spec import input_spec

MODELS = ("inception-v3", "efficientnet-lite0")
WAYS = ("fast", "exact", "Pillow")
CASES: dict[str, tuple[int, int, Encoding | None]] = {
    "JPEG 4000x3000": (4000, 3000, "jpeg"),
    "the same, progressive": (4000, 3000, "jpeg"),
    "JPEG 640x480": (640, 480, "jpeg"),
    "raw BGR 1920x1080": (1920, 1080, "bgr24"),
    "raw grey 1920x1080": (1920, 1080, "gray8"),
}


def make(photograph: Path, case: str) -> bytes:
    """The bytes of one case's picture."""
    width, height, encoding = CASES[case]
    image = Image.open(photograph).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    if encoding == "jpeg":
        out = io.BytesIO()
        image.save(out, "JPEG", quality=90, progressive="progressive" in case)
        return out.getvalue()
    if encoding == "gray8":
        return image.convert("L").tobytes()
    return np.asarray(image)[:, :, ::-1].tobytes()


def way_of(way: str, spec: InputSpec, case: str, data: bytes) -> Callable[[], object]:
    """What is measured: one picture to the model's input."""
    width, height, encoding = CASES[case]
    if way != "Pillow":
        prepare = Preprocessor(spec, 50_000_000, "fast" if way == "fast" else "exact")
        frame = Frame("benchmark", data, encoding, received=0.0, captured=0.0, width=width, height=height)
        return lambda: prepare(frame)

    def with_pillow() -> object:
        if encoding == "jpeg":
            image = Image.open(io.BytesIO(data))
        else:
            mode, raw = ("L", "L") if encoding == "gray8" else ("RGB", "BGR")
            image = Image.frombytes(mode, (width, height), data, "raw", raw)
        return fit(np.asarray(image.convert("RGB")), spec)

    return with_pillow


def peak_mb(model: str, way: str, case: str, file: Path) -> float:
    """What one picture takes, in a process of its own."""
    command = [sys.executable, __file__, "--child", model, way, case, str(file)]
    return float(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def child(model: str, way: str, case: str, file: str) -> None:
    """Take one picture, and print by how many MB the process grew at its peak."""
    data = Path(file).read_bytes()
    small = Image.new("RGB", (8, 8)).resize((4, 4))  # so that the libraries are loaded
    fit(np.asarray(small), input_spec(load_catalog()[model]))
    run = way_of(way, input_spec(load_catalog()[model]), case, data)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew (proc(5))
    run()
    print(json.dumps((_status("VmHWM") - before) / 1024))


def _status(key: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(f"{key}:")[2].split()[0])


def main(photograph: str = str(demo_folder() / "coffee.jpg"), rounds: str = "18") -> None:
    """Print the tables of both models."""
    catalog = load_catalog()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "picture"
        for model in MODELS:
            spec = input_spec(catalog[model])
            print(f"| for {model} | " + " | ".join(f"{way}, ms" for way in WAYS), end=" | ")
            print(" | ".join(f"{way}, MB" for way in WAYS) + " |\n" + "| --- " * 7 + "|")
            for case in CASES:
                data = make(Path(photograph), case)
                scratch.write_bytes(data)
                runs = {way: way_of(way, spec, case, data) for way in WAYS}
                times: dict[str, list[float]] = {way: [] for way in WAYS}
                for order in islice(cycle(permutations(WAYS)), int(rounds)):
                    for way in order:
                        started = time.perf_counter()
                        runs[way]()
                        times[way].append((time.perf_counter() - started) * 1000)
                cells = [f"{statistics.median(times[way]):.1f}" for way in WAYS]
                cells += [f"{peak_mb(model, way, case, scratch):.0f}" for way in WAYS]
                print(f"| {case} | " + " | ".join(cells) + " |", flush=True)
            print()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
