"""A child process is heard, and ended if it hangs or takes too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.models import prepare
from incv3d.models.entry import ModelError
from incv3d.models.prepare import run_child


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the module `tried`, to be written."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(prepare, "LOOK_S", 0.05)
    return tmp_path / "tried.py"


def test_a_child_that_hangs_is_ended(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "STALLED_S", 1.0)
    module.write_text("import threading\nthreading.Event().wait()")
    with pytest.raises(ModelError, match="tried hung: it used no processor time for 1 s"):
        run_child("tried", [])


def test_a_child_that_takes_too_long_is_ended(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "CHILD_TIMEOUT_S", 1.0)
    module.write_text("while True: pass")
    with pytest.raises(ModelError, match="tried took more than 1 s"):
        run_child("tried", [])


def test_a_child_that_prints_a_line_and_ends_is_heard(module: Path) -> None:
    module.write_text("import sys\nprint(__name__, *sys.argv[1:])")
    heard: list[str] = []
    run_child("tried", ["one", "two"], heard=heard.append)
    assert heard == ["__main__ one two"]
