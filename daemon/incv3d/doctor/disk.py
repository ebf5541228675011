"""The folders of the models and of the latency log: is there room, and may they be written?"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from incv3d.doctor.findings import Finding
from incv3d.doctor.permissions import Person, may_make_files
from incv3d.doctor.setup import Setup

MB = 1_000_000
FETCH_MB = 300
"""Inception-v3's archive, its graph and its prepared form, which are there together for a while."""
PROBE_BYTES = 4096


def check_disk(setup: Setup, servant: Person | None) -> list[Finding]:
    """Room and permission, for whoever asks and for the service's user.

    :param servant: whom the service runs as; None: it is not installed.
    """
    log_bytes = setup.config.latency.max_bytes * (setup.config.latency.keep + 1)
    there = sum(path.stat().st_size for path in setup.log.parent.glob(f"{setup.log.name}*"))
    return [
        *_folder("model store", setup.store, FETCH_MB * MB, servant),
        *_folder("latency log", setup.log.parent, max(0, log_bytes - there), servant),
        *_log_file(setup.log),
    ]


def _folder(name: str, folder: Path, wanted_bytes: int, servant: Person | None) -> list[Finding]:
    """What there is to say of one folder, or of the nearest one above it that is there."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    where = str(folder) if there == folder else f"{folder} (to be made)"
    if not there.is_dir():
        return [Finding(name, "problem", f"{there} is not a folder", "name another one, or move it away")]
    status = os.statvfs(there)
    if status.f_flag & os.ST_RDONLY:
        what = f"{where}: its file system is mounted read-only; the kernel does that when a card fails"
        fix = "sudo dmesg | grep -i -e mmc -e ext4; if the card is well: sudo mount -o remount,rw /"
        return [Finding(name, "problem", what, fix)]
    free_bytes = status.f_bavail * status.f_frsize
    room = f"{where}: {free_bytes / MB:,.0f} MB free"
    make_room = "make room: sudo apt-get clean; sudo journalctl --vacuum-size=50M; du -xh / | sort -h | tail"
    if complaint := _try_to_write(there):
        if free_bytes < PROBE_BYTES or (not status.f_favail and status.f_files):
            return [Finding(name, "problem", f"{where}: the disk is full ({complaint})", make_room)]
        fix = f"sudo chown {_myself()} {there}, or name another folder (model.store, latency.log)"
        return [Finding(name, "problem", f"{where}: cannot be written: {complaint}", fix)]
    if servant and not may_make_files(there, servant):
        what = f"{where}: the service's user {servant.name} may not write there"
        return [Finding(name, "problem", what, f"sudo chown -R {servant.name}: {folder}")]
    if free_bytes < wanted_bytes:
        what = f"{room}, {wanted_bytes / MB:,.0f} MB can be needed"
        return [Finding(name, "warning", what, make_room)]
    return [Finding(name, "ok", room)]


def _log_file(log: Path) -> list[Finding]:
    if not log.exists() or (log.is_file() and os.access(log, os.W_OK)):
        return []
    if not log.is_file():
        return [Finding("latency log", "problem", f"{log} is not a file", "name another one: latency.log")]
    fix = f"sudo chown {_myself()} {log}"
    return [Finding("latency log", "problem", f"{log}: this user may not write it", fix)]


def _try_to_write(folder: Path) -> str:
    """What goes wrong when a nameless file is written in `folder`; empty: nothing."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            if file.write(bytes(PROBE_BYTES)) < PROBE_BYTES:
                return "No space left on device"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _myself() -> str:
    return "$USER" if os.geteuid() else "root"
