"""A child process converts a model with pixels that the daemon has prepared, and tells its verdict."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from flatbuffers_by_hand import random_pixels
from incv3d.models.conversions import folder_name, open_conversion
from incv3d.models.entry import ModelError
from incv3d.models.store import ModelStore
from incv3d.models.tuning import TUNER, TuningJob, run_tuning
from processes import PATIENCE_S
from tunable_models import SIDE, add_tunable

pytestmark = pytest.mark.slow

IMAGES = 40


@pytest.fixture
def job(tmp_path: Path) -> TuningJob:
    """A job for a random network whose float32 conversion is in the store."""
    store = add_tunable(tmp_path / "state", "random")
    pixels = random_pixels(tmp_path / "pixels", IMAGES, SIDE)
    return TuningJob(
        store=str(store.root), model="random", pixels=str(pixels.path), threads=1, min_agreement=0.9,
        calibrating=tuple(range(IMAGES // 2)), held_back=tuple(range(IMAGES // 2, IMAGES)), memory_mb=400,
    )  # fmt: skip


def has_conversion(job: TuningJob) -> bool:
    """Whether an int8 conversion is stored; nothing else may have been left behind."""
    root = Path(job.store)
    assert not (root / ".converting").exists()
    return (root / "models" / job.model / folder_name("int8")).exists()


def test_a_conversion_that_agrees_is_kept(job: TuningJob) -> None:
    heard: list[str] = []
    verdict = run_tuning(job, heard.append)
    assert verdict.kept and not verdict.complaint and has_conversion(job)
    compared = verdict.comparison
    assert compared.images == IMAGES // 2 and compared.top1_agreement >= 0.9 and compared.threads == 1
    assert compared.session.engine.startswith("litert") and compared.conversion.engine.startswith("litert")
    assert compared.conversion.size_bytes < compared.session.size_bytes
    assert "calibrating with 20 images, quantizing" in heard and "20/20" in heard
    assert heard[-1] == "20/20" and "comparing on 20 images" in heard
    facts = open_conversion(ModelStore(Path(job.store)).get("random"), "int8").facts
    assert facts.converter.startswith("ai-edge-quantizer-") and facts.calibration_images == IMAGES // 2
    assert facts.comparison == compared


def test_one_that_does_not_agree_is_not_kept(job: TuningJob) -> None:
    verdict = run_tuning(msgspec.structs.replace(job, min_agreement=1.01))
    assert not verdict.kept and "at least 101.0% is required" in verdict.complaint
    assert not has_conversion(job)


def test_tensorflow_is_never_imported(
    job: TuningJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "tensorflow.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    assert run_tuning(job).kept


def test_it_can_be_stopped_and_leaves_nothing(job: TuningJob) -> None:
    stops = []

    def heard(line: str) -> None:
        if line == "3/20":
            stops[0]()

    with pytest.raises(ModelError, match="the conversion was stopped"):
        run_tuning(job, heard, stops.append)
    assert not has_conversion(job)


def test_a_child_that_is_killed_does_not_spoil_the_store(job: TuningJob) -> None:
    words = [sys.executable, "-m", TUNER, msgspec.json.encode(job).decode()]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    for line in child.stdout:
        if line == "1/20\n":
            os.kill(child.pid, signal.SIGKILL)
            break
    child.stdout.close()
    assert child.wait(PATIENCE_S) == -signal.SIGKILL
    again: list[str] = []
    for _ in range(3):  # while the killed one's own child ends
        try:
            assert run_tuning(job, again.append).kept
            break
        except ModelError as error:
            assert "another process" in str(error)
            threading.Event().wait(1)
    assert has_conversion(job)


@pytest.mark.parametrize("memory_mb", [30, 80])
def test_too_little_memory_is_said_in_one_line(job: TuningJob, memory_mb: int) -> None:
    with pytest.raises(ModelError, match="of memory"):
        run_tuning(msgspec.structs.replace(job, memory_mb=memory_mb))
    assert not has_conversion(job)


def test_a_model_that_is_gone_is_named(job: TuningJob) -> None:
    with pytest.raises(ModelError, match="no model `other`"):
        run_tuning(msgspec.structs.replace(job, model="other"))


def test_it_yields_to_every_other_process() -> None:
    code = "import os; from incv3d.tools.conversion.tuning import become_idle as b; b(0); "
    code += "raise SystemExit(os.sched_getscheduler(0) != os.SCHED_IDLE)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
