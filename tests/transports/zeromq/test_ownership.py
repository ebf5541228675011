"""Root in folders of other users: no link of theirs takes it elsewhere."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from incv3d.protocol.curve_keys import KeyFileError, new_pair
from incv3d.transports.zeromq.key_store import KeyStore
from incv3d.transports.zeromq.ownership import as_owner, open_folder

USER, GROUP = 1234, 4321
TRIES = 150
SWAPPER = """
import os, sys
folder, victim = sys.argv[1:]
os.setgroups([]); os.setgid(4321); os.setuid(1234)
real, link = folder + ".real", folder + ".link"
os.symlink(victim, link)
print("swapping", flush=True)
while os.getppid() != 1:
    for step in ((folder, real), (link, folder), (folder, link), (real, folder)):
        try:
            os.rename(*step)
        except OSError:
            pass
"""
"""What another user does meanwhile: puts a link in the folder's place, and the folder back."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of another user."""
    folder = tmp_path / "home"
    folder.mkdir()
    os.chown(folder, USER, GROUP)
    # pytest's own folders are for root alone.
    for each in (tmp_path, *tmp_path.parents):
        if not each.stat().st_mode & 0o001:
            each.chmod(0o711)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of root's, with a file."""
    folder = tmp_path / "victim"
    folder.mkdir(0o700)
    (folder / "gate.key").write_text("root's")
    return folder


@pytest.fixture
def ring(home: Path) -> KeyStore:
    ring = KeyStore(home / "keys")
    ring.new()
    return ring


@contextlib.contextmanager
def swapping(folder: Path, victim: Path) -> Iterator[None]:
    """Let the other user swap `folder` for a link to `victim`, and back, all the time."""
    command = [sys.executable, "-c", SWAPPER, folder, victim]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as swapper:
        assert swapper.stdout and swapper.stdout.readline() == "swapping\n"
        try:
            yield
        finally:
            swapper.kill()


def untouched(victim: Path) -> bool:
    files = list(victim.iterdir())
    return (
        [file.name for file in files] == ["gate.key"]
        and files[0].read_text() == "root's"
        and {path.stat().st_uid for path in (victim, *files)} == {0}
    )


def test_a_link_in_the_place_of_the_clients_folder_is_not_followed(ring: KeyStore, victim: Path) -> None:
    (ring.folder / "clients").rmdir()
    (ring.folder / "clients").symlink_to(victim)
    for attempt in (
        lambda: ring.add("shed", new_pair().public.decode()),
        lambda: ring.revoke("gate"),
    ):
        with pytest.raises(KeyFileError, match="root does not follow the link `clients`"):
            attempt()
    assert untouched(victim)


def test_a_dangling_link_gives_nothing_away(ring: KeyStore, tmp_path: Path) -> None:
    (ring.folder / "clients").rmdir()
    (ring.folder / "clients").symlink_to(tmp_path / "made-by-root")
    with pytest.raises(KeyFileError):
        ring.add("shed", new_pair().public.decode())
    assert not (tmp_path / "made-by-root").exists()


def test_a_race_for_the_clients_folder_is_lost_by_its_owner(ring: KeyStore, victim: Path) -> None:
    added = 0
    with swapping(ring.folder / "clients", victim):
        for number in range(TRIES):
            with contextlib.suppress(KeyFileError):
                ring.add(f"client{number}", new_pair().public.decode())
                added += 1
            assert untouched(victim), f"after {number} tries: {list(victim.iterdir())}"
    assert added, "the folder was never there: nothing was tried"


def test_a_race_for_the_folder_of_a_handed_out_file_is_lost_by_its_owner(
    ring: KeyStore, home: Path, victim: Path
) -> None:
    target = home / "out"
    target.mkdir()
    os.chown(target, USER, GROUP)
    handed_out = 0
    with swapping(target, victim):
        for number in range(TRIES):
            with contextlib.suppress(KeyFileError):
                ring.issue(f"client{number}", target / f"client{number}.key")
                handed_out += 1
            assert untouched(victim), f"after {number} tries: {list(victim.iterdir())}"
    assert handed_out, "the folder was never there: nothing was tried"


def test_a_folder_of_roots_that_another_user_could_replace_is_refused(home: Path) -> None:
    (home / "keys").mkdir()
    with pytest.raises(KeyFileError, match="another user could replace this folder of root's"):
        KeyStore(home / "keys").new()


def test_links_of_roots_own_are_followed(tmp_path: Path, home: Path) -> None:
    (tmp_path / "relative").symlink_to("home")
    (tmp_path / "absolute").symlink_to(home)
    for name in ("relative", "absolute"):
        ring = KeyStore(tmp_path / name / name)
        ring.new()
        assert ring.server_file.stat().st_uid == USER
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        open_folder(tmp_path / "loop")


def test_root_has_its_rights_back_afterwards(home: Path) -> None:
    before = os.geteuid(), os.getegid(), os.getgroups()
    with pytest.raises(ZeroDivisionError), as_owner(home):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (USER, GROUP, [GROUP])
        raise ZeroDivisionError
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before
