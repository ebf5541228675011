"""The folders of the models and of the latency log: is there room, and may they be written?"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.installation import Installation
from incv3d.tools.doctor.permissions import WRITE, Person, may, may_make_files

MB = 1_000_000
FETCH_MB = 300
"""Inception-v3's archive, its graph and its prepared form, which are there together for a while."""
PROBE_BYTES = 4096
MAKE_ROOM = "make room: sudo apt-get clean; sudo journalctl --vacuum-size=50M; sudo du -xh / | sort -h | tail"


def check_disk(setup: Installation, who: Person) -> list[Finding]:
    """Room and permission.

    :param who: whoever runs the daemon with this setup: the service's user, or whoever asks.
    """
    log_bytes = setup.config.latency.max_bytes * (setup.config.latency.keep + 1)
    there = sum(path.stat().st_size for path in setup.log.parent.glob(f"{setup.log.name}*"))
    findings = [
        _folder("model store", setup.store, FETCH_MB * MB, who, setup.by_systemd),
        _folder("latency log", setup.log.parent, max(0, log_bytes - there), who, setup.by_systemd),
    ]
    models = setup.store / "models"
    if models.is_dir() and not may_make_files(models, who):
        what = f"{models}: {who.name} may not write there; was a model fetched by another user?"
        findings.append(Finding("model store", "problem", what, f"sudo chown -R {who.name} {setup.store}"))
    if setup.log.exists() and not setup.log.is_file():
        what = f"{setup.log} is not a file"
        findings.append(Finding("latency log", "problem", what, "name another one: latency.log"))
    elif setup.log.exists() and not may(setup.log, who, WRITE):
        what = f"{setup.log}: {who.name} may not write it"
        fix = f"sudo chown {who.name} {setup.log}"
        if setup.log.is_symlink():
            # chown would give away the file that the link leads to.
            what = f"{setup.log} is a link to {setup.log.readlink()}, which {who.name} may not write"
            fix = f"sudo rm {setup.log}; or name the file that is meant: latency.log"
        findings.append(Finding("latency log", "problem", what, fix))
    return findings


def _folder(name: str, folder: Path, wanted_bytes: int, who: Person, by_systemd: frozenset[Path]) -> Finding:
    """What there is to say of one folder, or of the nearest one above it that is there."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    where = str(folder) if there == folder else f"{folder} (to be made)"
    if not there.is_dir():
        return Finding(name, "problem", f"{there} is not a folder", "name another one, or move it away")
    status = os.statvfs(there)
    if status.f_flag & os.ST_RDONLY:
        what = f"{where}: its file system is mounted read-only; the kernel does that when a card fails"
        remount = f"sudo mount -o remount,rw $(findmnt -nT {there} -o TARGET)"
        return Finding(name, "problem", what, f"sudo dmesg says why; if the card is well: {remount}")
    free_bytes = status.f_bavail * status.f_frsize
    complaint = _try_to_write(there)
    if complaint in (errno.ENOSPC, errno.EDQUOT) or (not status.f_favail and status.f_files):
        return Finding(name, "problem", f"{where}: the disk is full", MAKE_ROOM)
    if complaint not in (0, errno.EACCES):
        what = f"{where}: cannot be written: {os.strerror(complaint)}"
        return Finding(name, "problem", what, "is the disk well? sudo dmesg; a worn card has to be replaced")
    # systemd makes these folders, and gives them to the service's user, before every start.
    if folder not in by_systemd and not may_make_files(there, who):
        what = f"{where}: {who.name} may not write there"
        return Finding(name, "problem", what, _let_write(who.name, folder, there))
    room = f"{where}: {free_bytes / MB:,.0f} MB free"
    if free_bytes < wanted_bytes:
        what = f"{room}, {wanted_bytes / MB:,.0f} MB can be needed"
        return Finding(name, "warning", what, MAKE_ROOM)
    return Finding(name, "ok", room)


def _let_write(name: str, folder: Path, there: Path) -> str:
    """What lets the user `name` write in `folder`; nothing is said that takes a folder from the system."""
    other = "or name another folder (model.store, latency.log)"
    if there != folder:
        return f"sudo install -d -o {name} {folder}, {other}"
    return (
        f"if {folder} is incv3d's alone: sudo chown -R {name} {folder}; else give {name} its group, {other}"
    )


def _try_to_write(folder: Path) -> int:
    """What goes wrong when a nameless file is written in `folder` (errno); 0: nothing."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return 0 if file.write(bytes(PROBE_BYTES)) == PROBE_BYTES else errno.ENOSPC
    except OSError as error:
        return error.errno or errno.EIO
