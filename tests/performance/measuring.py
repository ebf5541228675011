"""What the benchmarks of the door share: pictures, a bare Session to compare with, tables."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import zmq
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from incv3d.config.paths import state_directory
from incv3d.config.schema import Config, ModelSection
from incv3d.engines.base import Feed, Session
from incv3d.frames import Frame
from incv3d.images.demo import demo_folder
from incv3d.images.preprocess import InputSpec, Preprocessor
from incv3d.pipeline.loader import find_model, load_model, open_store
from incv3d.pipeline.session_spec import input_spec
from incv3d.pipeline.variants import LabelSet
from incv3d.sources.image_files import find_images
from processes import DaemonProcess, environment

WARMUP_RUNS = 10


@dataclass(frozen=True, slots=True)
class Opened:
    """A warm Session and what belongs to it."""

    session: Session
    spec: InputSpec
    labels: LabelSet

    @property
    def preprocessor(self) -> Preprocessor:
        """Incv3d's own decoding."""
        return Preprocessor(self.spec, Config().intake.max_pixels)


def open_model(name: str) -> Opened:
    """The Session that the daemon would open, in this process."""
    config = Config(model=ModelSection(name=name))
    store = open_store(config, state_directory(os.environ))
    model = find_model(config, store, lambda line: None).model
    loaded = load_model(config, model, store, WARMUP_RUNS, lambda line: None)
    return Opened(loaded.classifier.session, input_spec(model.entry), loaded.classifier.labels)


def jpegs(width: int = 640, height: int = 480) -> list[bytes]:
    """The bundled photographs at this size."""
    found = []
    for path in find_images(str(demo_folder())):
        out = io.BytesIO()
        Image.open(path).convert("RGB").resize((width, height)).save(out, "JPEG", quality=90)
        found.append(out.getvalue())
    return found


def free_port() -> int:
    """A TCP port that nobody listened on a moment ago."""
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        return socket.bind_to_random_port("tcp://127.0.0.1")


@contextlib.contextmanager
def daemon(model: str, config: str = "") -> Iterator[DaemonProcess]:
    """A warm daemon on a TCP port of its own."""
    with TemporaryDirectory() as name:
        path = Path(name) / "incv3d.yaml"
        path.write_text(config)
        door = f"tcp://127.0.0.1:{free_port()}"
        words = ("--model", model, "--config", str(path))
        process = DaemonProcess(state_directory(os.environ), Path(name), *words, INCV3D_BIND=door)
        process.door = door
        try:
            yield process.ready()
            assert process.stop() == 0, process.said
        finally:
            process.kill()


class Child:
    """This file's or another's ``--child WHAT`` as a process: a line in, a line of JSON out."""

    def __init__(self, script: str, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, script, "--child", *words],
            env=environment(state_directory(os.environ)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._answer() == "ready"

    def ask(self, line: str) -> list[float]:
        """Hand a line over and wait for what comes back."""
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        found: list[float] = self._answer()
        return found

    def _answer(self) -> object:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return msgspec.json.decode(line)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        # With what it has started itself, such as LitServe's worker.
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def bare(model: str) -> Child:
    """A process that runs the Session back to back for as many seconds as it is asked to."""
    return Child(__file__, model)


def ready_pixels(opened: Opened) -> Feed:
    """One of the bundled photographs as the model takes it."""
    now = time.monotonic()
    return opened.preprocessor(Frame("bare", jpegs()[0], "jpeg", received=now, captured=now))


def bare_child(model: str) -> None:
    """What :func:`bare`'s process does."""
    opened = open_model(model)
    pixels = ready_pixels(opened)
    print('"ready"', flush=True)
    for line in sys.stdin:
        runs_ms = []
        ended = started = time.perf_counter()
        while ended - started < float(line):
            before = ended
            opened.session.run(pixels)
            ended = time.perf_counter()
            runs_ms.append((ended - before) * 1000)
        print([len(runs_ms) / (ended - started), statistics.median(runs_ms)], flush=True)


def median(values: Sequence[float]) -> float:
    """The median, for rounds."""
    return statistics.median(values)


def table(
    title: str, rows: Sequence[tuple[str, str, str]], columns: tuple[str, str] = ("measured", "wanted")
) -> None:
    """A Markdown table of figures, beside what they should be where nothing else is said."""
    print(f"\n| {title} | {columns[0]} | {columns[1]} |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__" and sys.argv[1:2] == ["--child"]:
    bare_child(sys.argv[2])
