"""A training in a child process, started by the daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.app.training_child import run_training
from incv3d.errors import Incv3dError


def test_what_the_child_complains_of_is_told_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("INCV3D_CONFIG", "")
    with pytest.raises(Incv3dError, match=r"^mine has no pictures yet; "):
        run_training(None, "mine", False, lambda progress: None)
