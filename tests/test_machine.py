"""Readings of the machine, from trees that look like sysfs and procfs."""

from __future__ import annotations

import pytest

from incv3d.machine import TEMPERATURE, THROTTLED, Readings, read_machine


def test_a_pi_tells_temperature_throttling_and_memory(tmp_path) -> None:
    for path, text in (
        (tmp_path / TEMPERATURE, "48312\n"),
        (tmp_path / THROTTLED, "50005\n"),
        (tmp_path / "self/status", "Name:\tx\nVmRSS:\t  441344 kB\n"),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert read_machine(tmp_path, tmp_path) == Readings(48.312, 0x50005, 431.0)


@pytest.mark.parametrize("text", [None, "", "hot\n", "\xff"])
def test_what_is_missing_or_garbled_is_none(tmp_path, text) -> None:
    if text is not None:
        (tmp_path / TEMPERATURE).parent.mkdir(parents=True)
        (tmp_path / TEMPERATURE).write_text(text, "latin-1")
    assert read_machine(tmp_path, tmp_path) == Readings(None, None, None)


def test_this_machine_tells_its_memory() -> None:
    readings = read_machine()
    assert readings.rss_mb and readings.rss_mb > 1
