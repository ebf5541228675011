"""A real daemon whose Session and decoder misbehave on demand: ``scripted_daemon.py CONFIG [RUN_MS]``.

A frame says by its id what is to happen to it: ``hang-run`` and ``hang-decode`` never return, as if they hung
in a library; ``fail-run`` and ``fail-decode`` raise; ``die-decode`` ends the thread; every other id is
classified, in RUN_MS milliseconds. A model that the configuration calls ``broken`` fails its golden check.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from doubles import TwoLabels
from incv3d.app.daemon import Daemon
from incv3d.app.journal import set_up_logging
from incv3d.app.systemd import SystemdNotifier
from incv3d.cli.output import leave
from incv3d.config.loading import LoadedConfig, load_config
from incv3d.config.paths import latency_log_path
from incv3d.config.schema import Config
from incv3d.engines.base import Features, Feed, Scores, SessionError, SessionFacts
from incv3d.engines.warmup import WarmUp
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.models.store import ModelStore
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.golden_check import GoldenMismatch
from incv3d.pipeline.loader import LoadedModel

SPEC = InputSpec(8, 8, 128.0, 128.0, "stretch", 1.0, "bilinear")


def hang() -> None:
    print("scripted: it hangs", file=sys.stderr, flush=True)
    threading.Event().wait()


class Script:
    """The Session, and the preprocessor that tells it what its next runs are to do."""

    facts = SessionFacts("scripted", "double", "1", 1, 0.0, 0.0, reentrant=True)

    def __init__(self, config: Config, run_s: float) -> None:
        self._decoder = Preprocessor(SPEC, config.intake.max_pixels)
        self._run_s = run_s

    def decode(self, frame: Frame) -> Feed:
        match frame.id:
            case "hang-decode":
                hang()
            case "fail-decode":
                raise ZeroDivisionError("scripted")
            case "die-decode":
                raise SystemExit
        pixels = self._decoder(frame)
        assert isinstance(pixels, np.ndarray)
        pixels[0, 0, 0, 0] = {"hang-run": 1000.0, "fail-run": 2000.0}.get(str(frame.id), 0.0)
        return pixels

    def run(self, feed: Feed) -> Scores:
        assert isinstance(feed, np.ndarray)
        match feed[0, 0, 0, 0]:
            case 1000.0:
                hang()
            case 2000.0:
                raise SessionError("scripted")
        time.sleep(self._run_s)
        return np.array([0.25, 0.75], np.float32)

    def run_with_features(self, feed: Feed) -> tuple[Scores, Features]:
        return self.run(feed), np.empty(0, np.float32)

    def close(self) -> None:
        pass


class ScriptedPreprocessor(Preprocessor):
    def __init__(self, script: Script, config: Config) -> None:
        super().__init__(SPEC, config.intake.max_pixels)
        self._script = script

    def __call__(self, frame: Frame) -> Feed:
        return self._script.decode(frame)


def main() -> None:
    def read() -> LoadedConfig:
        return load_config(sys.argv[1])

    loaded = read()
    config = loaded.config
    set_up_logging(config.daemon.log_level)
    run_s = float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0

    def load(
        config: Config, store: ModelStore, warmup_runs: int, *, fetch: Callable[[str], None] | None
    ) -> LoadedModel:
        name = config.model.name
        if name == "broken":
            raise GoldenMismatch("broken failed the golden check")
        script = Script(config, run_s)
        overlap = config.session.overlap_runs
        classifier = Classifier(
            ScriptedPreprocessor(script, config), script, TwoLabels(), top_k=2, overlap=overlap
        )
        return LoadedModel(
            classifier,
            "scripted" if name == "auto" else name,
            script.facts,
            WarmUp((run_s * 1000,), settled=True),
        )

    log_path = latency_log_path(config.latency.log, os.environ)
    store = ModelStore(Path(os.environ["STATE_DIRECTORY"]))
    leave(Daemon(loaded, store, log_path, SystemdNotifier(os.environ), read, load).run())


if __name__ == "__main__":
    main()
