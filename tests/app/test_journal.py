"""Lines for the journal: each with its priority, and only where the journal reads them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from incv3d.app.journal import JournalFormatter, is_journal, set_level


def record(level: int, message: str, error: Exception | None = None) -> logging.LogRecord:
    trouble = (type(error), error, None) if error else None
    return logging.LogRecord("incv3d", level, "x.py", 1, message, (), trouble)


@pytest.mark.parametrize(
    ("level", "prefix"),
    [(10, "<7>"), (logging.INFO, "<6>"), (logging.WARNING, "<4>"), (logging.ERROR, "<3>"), (50, "<2>")],
)
def test_each_level_has_its_priority(level: int, prefix: str) -> None:
    assert JournalFormatter().format(record(level, "it rains")) == f"{prefix}it rains"


def test_every_line_of_a_traceback_has_it() -> None:
    said = JournalFormatter().format(record(logging.ERROR, "two\nlines", ValueError("and three")))
    assert said.splitlines() == ["<3>two", "<3>lines", "<3>ValueError: and three"]


def test_only_the_stream_that_systemd_gave_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out, (tmp_path / "else").open("w") as other:
        status = os.fstat(out.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert is_journal(out.fileno(), environ)
        assert not is_journal(other.fileno(), environ)
        assert not is_journal(out.fileno(), {})


def test_libraries_log_no_addresses_at_any_level() -> None:
    """urllib3 repeats addresses in its warnings, other HTTP clients in what they say for information."""
    names = ("", "incv3d", "urllib3")
    before = [logging.getLogger(name).level for name in names]
    try:
        for level in ("debug", "info", "error"):
            set_level(level)
            assert logging.getLogger("incv3d.sources").isEnabledFor(logging.DEBUG) == (level == "debug")
            assert not logging.getLogger("urllib3.connectionpool").isEnabledFor(logging.WARNING)
            assert not logging.getLogger("another.library").isEnabledFor(logging.INFO)
            assert logging.getLogger("another.library").isEnabledFor(logging.WARNING)
    finally:
        for name, level_ in zip(names, before, strict=True):
            logging.getLogger(name).setLevel(level_)
