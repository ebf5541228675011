"""How fast a Raspberry Pi 3 would be, by counted instructions: ``tests/run --pi3-speed``.

incv3d's own Sessions run once in QEMU's user mode, as on a Cortex-A53; a plugin (``a53/``) counts what they
execute, and ``estimate.py`` turns that into times of a Raspberry Pi 3. First the model is held to loops whose
cycles on a real Cortex-A53 were published: where it is off by more than a few per cent, nothing is estimated.

``--calibrate NCNN`` fits the constants again instead, see ``calibration.py``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import calibration
from counting import SELFCHECK_TOOLS, SOURCES, Counts, build_plugin, count, make_view, self_check
from emulation import CHECKOUT, TOOLS, laboratory
from estimate import BAND, HZ, four_threads_s, one_thread_s

from processes import environment

SHARED = Path(os.environ.get("INCV3D_SHARED") or CHECKOUT.parent / "shared")
CORAL = SHARED / "models/coral"
LARGEST_ERROR = 0.06
"""Of the loops that were measured."""
TITLES = {
    "tensorflow": "TensorFlow",
    "float32": "LiteRT float32",
    "int8": "LiteRT int8",
    "own": "LiteRT uint8",
}


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the table."""

    model: str
    """Its name in the store."""
    title: str
    engines: tuple[str, ...]


ENGINES = ("tensorflow", "float32", "int8")
NETWORKS = (
    Network("standin", "Inception-v3", ENGINES),
    Network("efficientnet-lite0", "EfficientNet-Lite0", ENGINES),
    Network("birds", "iNaturalist birds (MobileNet-v2)", ("own",)),
)
SOURCE_FILES = {
    "standin": SHARED / "models/inception-2015-12-05-standin.tgz",
    "birds": CORAL / "mobilenet_v2_1.0_224_inat_bird_quant.tflite",
}
"""Those that the project cannot make itself."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/run --pi3-speed")
    parser.add_argument("--calibrate", metavar="NCNN", type=Path, help="a checkout of ncnn's repository")
    asked = parser.parse_args()
    started = time.monotonic()
    with laboratory({**TOOLS, **SELFCHECK_TOOLS}) as lab:
        folder = lab / "speed"
        folder.mkdir(exist_ok=True)
        plugin = build_plugin(folder)
        if not check_model(folder, plugin):
            return 1
        make_view(lab / "root", folder / "view")
        if asked.calibrate:
            calibrate(lab, plugin, asked.calibrate)
        else:
            print_table(lab, plugin)
    print(f"- made in {(time.monotonic() - started) / 60:.0f} min")
    return 0


def check_model(folder: Path, plugin: Path) -> bool:
    """Hold the issue model to what was measured on a real core."""
    checks = self_check(folder, plugin)
    worst = max(checks, key=lambda each: abs(each.error))
    right = abs(worst.error) <= LARGEST_ERROR
    said = (
        f"{len(checks)} loops measured on a Cortex-A53 are met within {abs(worst.error):.1%} ({worst.name})"
    )
    print(f"pi3: {said}{'' if right else f': more than {LARGEST_ERROR:.0%}'}", flush=True)
    return right


def print_table(lab: Path, plugin: Path) -> None:
    """Count the networks and print their times, as Markdown."""
    rows, left_out = [], []
    for network in NETWORKS:
        source = SOURCE_FILES.get(network.model)
        if source and not source.exists():
            left_out.append(f"{network.title}: {source.name} is not in ../shared/models")
            continue
        state = make_ready(lab, network)
        for engine in network.engines:
            say(f"counting {network.title}, {TITLES[engine]}")
            rows.append(row(network, engine, count_session(lab, plugin, state, network, engine)))
    print(
        "| network | engine | million instructions | MB from and to memory | 1 thread, ms | 4 threads, ms |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows))
    print()
    print(f"- estimated from counted instructions, for four Cortex-A53 at {HZ / 1e9:.1f} GHz, ±{BAND:.0%}")
    print(f"- {calibration.in_words(calibration.errors(calibration.read_counts()))}")
    for each in left_out:
        print(f"- left out: {each}")


def row(network: Network, engine: str, counts: Counts) -> str:
    """Return a row of the table."""
    four_ms = four_threads_s(counts) * 1000
    cells = (
        network.title,
        TITLES[engine],
        f"{counts.instructions / 1e6:.0f}",
        f"{counts.memory_mb:.0f}",
        f"{one_thread_s(counts) * 1000:.0f}",
        f"{four_ms:.0f} ({four_ms * (1 - BAND):.0f} to {four_ms * (1 + BAND):.0f})",
    )
    return f"| {' | '.join(cells)} |"


def make_ready(lab: Path, network: Network) -> Path:
    """Put a network into the store of this machine with its conversions; returns the state directory."""
    state = lab / "state"
    folder = state / "models" / network.model
    if network.model == "birds" and not folder.exists():
        labels = CORAL / "inat_bird_labels.txt"
        incv3d(state, "model", "import", SOURCE_FILES["birds"], "--name", "birds", "--labels", labels)
    for precision in {"float32", "int8"} & set(network.engines):
        if not (folder / f"litert-{precision}/conversion.json").exists():
            # With so few pictures the scales are poor, which changes the scores, not the time.
            converted = ("model", "convert", network.model, "--to", precision, "--min-agreement", "0")
            incv3d(state, *converted, "--pictures", lab / "pictures")
    return state


def count_session(lab: Path, plugin: Path, state: Path, network: Network, engine: str) -> Counts:
    """Count one run of incv3d's Session."""
    words = [SOURCES / "guest.py", state, network.model, engine]
    if engine == "tensorflow":
        words.append(portable(lab, state, network))
    return count_python(lab, plugin, f"{network.model}-{engine}", *words)


def portable(lab: Path, state: Path, network: Network) -> Path:
    """Prepare a graph for the kernels of an A53: those of this machine fuse operations differently."""
    from incv3d.models.prepare import prepare_model
    from incv3d.models.store import ModelStore

    out = lab / "speed" / f"{network.model}-prepared"
    model = ModelStore(state).find(network.model)
    assert model is not None
    shutil.rmtree(out, ignore_errors=True)
    prepare_model(model, out, portable=True)
    return out


def count_python(lab: Path, plugin: Path, name: str, *words: str | Path) -> Counts:
    """Run a script in the arm64 Python with this checkout's incv3d, and count it."""
    root, folder = lab / "root", lab / "speed"
    site = root / "opt/incv3d/current/lib/python3.11/site-packages"
    paths = ":".join(str(each) for each in (CHECKOUT / "daemon", site, folder / "ncnn"))
    python = root / "usr/bin/python3.11"
    environ = {"PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    (counts,), said = count(plugin, folder / f"{name}.json", [python, *words], folder / "view", **environ)
    say(said.strip())
    return counts


def calibrate(lab: Path, plugin: Path, ncnn: Path) -> None:
    """Count ncnn's networks, keep the counts, and print the constants that fit best."""
    site = lab / "speed/ncnn"
    pip = (sys.executable, "-m", "pip", "install", "-qq", "--upgrade", "--target", site, "--no-deps")
    wanted = "--only-binary=:all: --python-version 3.11 --platform manylinux_2_28_aarch64 --platform any"
    subprocess.run([*pip, *wanted.split(), "ncnn"], check=True)
    counts = {}
    for name in calibration.PUBLISHED:
        say(f"counting {name}")
        network = lab / "speed" / f"{name}.param"
        shutil.copy(ncnn / "benchmark/models" / network.name, network)
        counts[name] = count_python(lab, plugin, name, SOURCES / "guest.py", network)
    calibration.write_counts(counts)
    constants = calibration.fit(counts)
    print(constants)
    print(calibration.in_words(calibration.errors(counts, constants)))
    for name, error in calibration.errors(counts, constants).items():
        print(f"  {name}: {error:+.0%}")


def incv3d(state: Path, *words: str | Path) -> None:
    """Run a command of this machine's incv3d, its output on standard error."""
    command = [sys.executable, "-m", "incv3d", *words]
    subprocess.run(command, env=environment(state), stdout=sys.stderr, check=True)


def say(line: str) -> None:
    """Say on standard error what is being done."""
    print(f"pi3: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
