"""Files with a password or a token in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from incv3d.secretfile import read_secret


def test_of_a_huge_file_no_more_is_read_than_a_secret_can_have(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    assert read_secret(tmp_path / "huge", "mqtt.password_file", 100) == bytes(100)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_secret(tmp_path / "pipe", "mqtt.password_file", 100) == b""


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_secret(tmp_path, "mqtt.password_file", 100)
    with pytest.raises(FileNotFoundError):
        read_secret(tmp_path / "none", "mqtt.password_file", 100)


@pytest.mark.parametrize(("mode", "is_warned_of"), [(0o600, False), (0o640, False), (0o644, True)])
def test_who_else_can_read_it_is_looked_at(tmp_path: Path, caplog, mode: int, is_warned_of: bool) -> None:
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(mode)
    assert read_secret(path, "http.token_file", 100) == b"x"
    warning = f"http.token_file: everybody on this machine can read {path} (chmod o-r)"
    assert (warning in caplog.text) is is_warned_of
