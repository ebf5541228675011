"""What the estimates of ``--pi3-speed`` rest on."""

from __future__ import annotations

import shutil
from dataclasses import astuple
from pathlib import Path

import calibration
import pytest
from counting import SELFCHECK_TOOLS, build_plugin, self_check
from estimate import BAND, CONSTANTS

WORST = 0.25


def test_loops_cost_what_was_measured_on_a_cortex_a53(tmp_path: Path) -> None:
    missing = [package for tool, package in SELFCHECK_TOOLS.items() if not shutil.which(tool)]
    if missing:
        pytest.skip(f"needs {' '.join(missing)}")
    checks = self_check(tmp_path, build_plugin(tmp_path))
    assert len(checks) == 19
    wrong = {each.name: each.error for each in checks if abs(each.error) > 0.06}
    assert not wrong


def test_the_constants_are_those_that_fit_the_published_times() -> None:
    found = calibration.fit(calibration.read_counts())
    assert astuple(CONSTANTS) == pytest.approx(astuple(found), rel=0.01)


def test_published_times_lie_within_the_band() -> None:
    found = calibration.errors(calibration.read_counts())
    assert len(found) == 3 * len(calibration.PUBLISHED)
    assert sum(abs(each) <= BAND for each in found.values()) >= 0.9 * len(found)
    assert max(abs(each) for each in found.values()) <= WORST
