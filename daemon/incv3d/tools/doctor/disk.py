"""Check that the folders of the models and the latency log have room and can be written."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.installation import Installation
from incv3d.tools.doctor.permissions import WRITE, User, can_create_files, has_permission

MB = 1_000_000
FETCH_MB = 300
"""Room for Inception-v3's archive, graph and prepared form, which exist together for a while."""
PROBE_BYTES = 4096
MAKE_ROOM = (
    "free some space: sudo apt-get clean; sudo journalctl --vacuum-size=50M; sudo du -xh / | sort -h | tail"
)


def check_disk(setup: Installation, who: User) -> list[Finding]:
    """Report free space and permissions.

    :param who: the user who runs the daemon: the service's user, or the one who runs this program.
    """
    log_bytes = setup.config.latency.max_bytes * (setup.config.latency.keep + 1)
    there = sum(path.stat().st_size for path in setup.log.parent.glob(f"{setup.log.name}*"))
    findings = [
        _folder("model store", setup.store, FETCH_MB * MB, who, setup.by_systemd),
        _folder("latency log", setup.log.parent, max(0, log_bytes - there), who, setup.by_systemd),
    ]
    models = setup.store / "models"
    if models.is_dir() and not can_create_files(models, who):
        what = f"{models}: {who.name} cannot write there; another user may have fetched a model"
        findings.append(Finding("model store", "problem", what, f"sudo chown -R {who.name} {setup.store}"))
    if setup.log.exists() and not setup.log.is_file():
        what = f"{setup.log} is not a file"
        findings.append(Finding("latency log", "problem", what, "set latency.log to another file"))
    elif setup.log.exists() and not has_permission(setup.log, who, WRITE):
        what = f"{setup.log}: {who.name} cannot write it"
        fix = f"sudo chown {who.name} {setup.log}"
        if setup.log.is_symlink():
            # chown would change the owner of the link's target.
            what = f"{setup.log} is a link to {setup.log.readlink()}, which {who.name} cannot write"
            fix = f"sudo rm {setup.log}, or set latency.log to another file"
        findings.append(Finding("latency log", "problem", what, fix))
    return findings


def _folder(name: str, folder: Path, wanted_bytes: int, who: User, by_systemd: frozenset[Path]) -> Finding:
    """Report on one folder, or on its nearest parent that exists."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    where = str(folder) if there == folder else f"{folder} (not created yet)"
    if not there.is_dir():
        return Finding(name, "problem", f"{there} is not a folder", "move it away, or set another folder")
    status = os.statvfs(there)
    if status.f_flag & os.ST_RDONLY:
        what = f"{where}: its file system is mounted read-only, as the kernel does when a card fails"
        remount = f"sudo mount -o remount,rw $(findmnt -nT {there} -o TARGET)"
        return Finding(name, "problem", what, f"see: sudo dmesg; if the card is good: {remount}")
    free_bytes = status.f_bavail * status.f_frsize
    error = _write_error(there)
    if error in (errno.ENOSPC, errno.EDQUOT) or (not status.f_favail and status.f_files):
        return Finding(name, "problem", f"{where}: the disk is full", MAKE_ROOM)
    if error not in (0, errno.EACCES):
        what = f"{where}: cannot be written: {os.strerror(error)}"
        return Finding(name, "problem", what, "see: sudo dmesg; replace the card if it is worn out")
    # systemd creates these folders for the service's user before every start.
    if folder not in by_systemd and not can_create_files(there, who):
        what = f"{where}: {who.name} cannot write there"
        return Finding(name, "problem", what, _let_write(who.name, folder, there))
    room = f"{where}: {free_bytes / MB:,.0f} MB free"
    if free_bytes < wanted_bytes:
        what = f"{room}, up to {wanted_bytes / MB:,.0f} MB needed"
        return Finding(name, "warning", what, MAKE_ROOM)
    return Finding(name, "ok", room)


def _let_write(name: str, folder: Path, there: Path) -> str:
    """Say how to let the user `name` write in `folder`, without taking a folder from the system."""
    other = "or set another folder (model.store, latency.log)"
    if there != folder:
        return f"sudo install -d -o {name} {folder}, {other}"
    return (
        f"if only incv3d uses {folder}: sudo chown -R {name} {folder}; else add {name} to its group, {other}"
    )


def _write_error(folder: Path) -> int:
    """Write an unnamed file in `folder`; return the error number, or 0."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return 0 if file.write(bytes(PROBE_BYTES)) == PROBE_BYTES else errno.ENOSPC
    except OSError as error:
        return error.errno or errno.EIO
