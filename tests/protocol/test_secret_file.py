"""Files with a password or a token in them."""

from __future__ import annotations

import contextlib
import importlib
import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from incv3d.protocol.secret_file import (
    advice_if_denied,
    is_ours_alone,
    make_command,
    protect_command,
    read_secret,
)
from incv3d.transports.zeromq.key_store import KeyStore

SERVANT = 4321
"""A user, and its group, that runs the daemon where root owns the files."""


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
    warning = f"http.token_file: every user can read {path}; protect it: chmod 600 {path}"
    assert (warning in caplog.text) is is_warned_of


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter; those of pytest are for their owner alone."""
    importlib.import_module("grp")  # another user might not be able to read this Python
    with tempfile.TemporaryDirectory(prefix="secrets of ") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def acting_as_servant(uid: int = SERVANT, gid: int = SERVANT) -> Iterator[None]:
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def typed(command: str, by: int = 0) -> None:
    """Run what a message advises; not every machine has `sudo`, so what needs root is run as root."""
    subprocess.run(["sh", "-euc", command.replace("sudo ", "")], check=True, user=by, group=by)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("kind", "mode"), [("file", 0o600), ("folder", 0o700)])
def test_the_advice_as_typed_leaves_a_secret_to_the_daemon_and_to_no_other_user(
    open_folder: Path, kind: str, mode: int
) -> None:
    path = open_folder / "to\tken"
    path.write_text("secret") if kind == "file" else path.mkdir()
    for owner in (0, SERVANT, SERVANT + 1):
        os.chown(path, owner, owner)
        path.chmod(mode | 0o055)
        with acting_as_servant():
            assert not is_ours_alone(path)
            advice = protect_command(path, mode)
        typed(advice)
        status = path.stat()
        assert not status.st_mode & 0o007 and status.st_uid in (0, SERVANT)
        with acting_as_servant():
            assert is_ours_alone(path)
            if kind == "file":
                assert read_secret(path, "http.token_file", 9) == b"secret"
            else:
                assert list(path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("owner", [0, SERVANT])
def test_the_command_that_makes_a_secret_as_typed_makes_one_that_the_daemon_can_read(
    open_folder: Path, owner: int, caplog
) -> None:
    path = open_folder / "token"
    os.chown(open_folder, owner, owner)
    with acting_as_servant():
        command = make_command(path, "echo a secret")
    typed(command, by=owner)
    with acting_as_servant():
        assert read_secret(path, "http.token_file", 99) == b"a secret\n" and not caplog.records
        assert is_ours_alone(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_keys_that_root_makes_in_a_folder_of_its_own_are_for_the_daemon_to_read(
    open_folder: Path, monkeypatch
) -> None:
    user = pwd.getpwnam("daemon")
    for module in ("transports.zeromq.key_store", "protocol.secret_file"):
        monkeypatch.setattr(f"incv3d.{module}.SERVICE_USER", user.pw_name)
    ring = KeyStore(open_folder / "keys")
    ring.folder.mkdir(0o755)
    ring.new()
    status = ring.server_file.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, user.pw_gid, 0o640)
    pair = ring.server()
    with acting_as_servant(user.pw_uid, user.pw_gid):
        assert ring.server() == pair
    ring.issue("gate", open_folder / "gate.key")
    with acting_as_servant(user.pw_uid, user.pw_gid):
        assert [client.name for client in ring.clients().values()] == ["gate"]
    assert (open_folder / "gate.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_advice_for_what_a_user_may_not_see_opens_no_secret_of_the_service(
    open_folder: Path, monkeypatch
) -> None:
    token = open_folder / "inner/token"
    token.parent.mkdir(0o755)
    token.write_text("secret")
    token.chmod(0o600)
    with acting_as_servant():
        assert advice_if_denied(token).startswith("sudo chown root:4321 ")
    token.parent.chmod(0o700)
    with acting_as_servant():
        assert advice_if_denied(token).startswith(f"{token.parent} is not accessible to this user")
    user = pwd.getpwnam("daemon")
    monkeypatch.setattr("incv3d.protocol.secret_file.SERVICE_USER", user.pw_name)
    os.chown(token.parent, user.pw_uid, user.pw_gid)
    with acting_as_servant():
        assert (
            advice_if_denied(token) == "the user daemon may; run this as that user: sudo incv3d check-config"
        )
