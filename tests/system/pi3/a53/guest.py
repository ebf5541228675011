"""Runs once on the emulated processor, the run to be counted between two marks.

usage: guest.py STATE MODEL ENGINE [PREPARED]    a model of a store, by incv3d's own Session
       guest.py NETWORK.param                    a network of ncnn's benchmark, as benchncnn runs it

ENGINE is `tensorflow`, which needs a PREPARED form of the graph for this processor; `float32` or `int8` for
the model's conversion; or `own` for a model that is a flatbuffer itself.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

GETPPID = 173
"""The number of the system call that the plugin takes for a mark (asm-generic/unistd.h)."""


def main() -> None:
    if len(sys.argv) == 2:
        run = ncnn_run(Path(sys.argv[1]))
    else:
        state, model, engine, *prepared = sys.argv[1:]
        run = session_run(Path(state), model, engine, Path(*prepared) if prepared else None)
    mark(0)
    run()
    mark(1)
    # Nothing of what would follow is counted, and emulated it takes long.
    sys.stdout.flush()
    os._exit(0)


def mark(number: int) -> None:
    """Clear the plugin's counters (0), or have them written."""
    ctypes.CDLL(None).syscall(ctypes.c_long(GETPPID), ctypes.c_long(number))


def session_run(state: Path, name: str, engine: str, prepared: Path | None) -> Callable[[], object]:
    """Return the run of an open Session. Opening it made the first run."""
    import numpy as np

    from incv3d.engines import open_session
    from incv3d.models.conversions import open_conversion
    from incv3d.models.store import ModelStore

    model = ModelStore(state).find(name)
    if model is None:
        sys.exit(f"there is no model {name} in {state}")
    spec = model.session_spec(threads=1)
    if engine in ("float32", "int8"):
        spec = open_conversion(model, engine).session_spec(model, threads=1)
    session = open_session(spec, prepared)
    print(name, session.facts, flush=True)
    pixels = np.random.default_rng(1).uniform(-1, 1, spec.input_shape).astype(np.float32)
    return lambda: session.run(pixels)


def ncnn_run(network: Path) -> Callable[[], object]:
    """Return the run of a network whose weights are all zero, like benchncnn's."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    net.load_param(str(network))
    net.load_model(ncnn.DataReaderFromEmpty())
    # A line is a layer: its type, its name, how many inputs and outputs, their names, then its parameters.
    layers = [line.split() for line in network.read_text().splitlines()[2:]]
    first = next(layer for layer in layers if layer[0] == "Input")
    sides = dict(word.split("=") for word in first[5:])
    width, height, channels = (
        int(sides.get(key, default)) for key, default in (("0", 224), ("1", 224), ("2", 3))
    )
    output = layers[-1][4 + int(layers[-1][2])]
    print(network, ncnn.__version__, flush=True)

    def run() -> None:
        pixels = ncnn.Mat(width, height, channels)
        pixels.fill(0.01)
        extractor = net.create_extractor()
        extractor.input(first[4], pixels)
        status, _ = extractor.extract(output)
        if status:
            sys.exit(f"{network}: ncnn's status {status}")

    return run


if __name__ == "__main__":
    main()
