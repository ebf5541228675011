"""Check the path of a source that reads files."""

from __future__ import annotations

import glob
from pathlib import Path

from incv3d.config.source import SourceSection
from incv3d.sources.base import SourceMisnamed

APPEAR_LATER = ("/dev/", "/media/", "/mnt/", "/net/", "/run/")
"""Where a missing path may still appear: devices, disks and shares."""


def check_local_path(section: SourceSection, path: str) -> None:
    """Raise SourceMisnamed if `path` is missing and is not where disks are mounted or devices appear.

    :param path: a file, a folder or a glob pattern.
    """
    named = path.removeprefix("file://")
    while glob.has_magic(named):
        named = str(Path(named).parent)
    if not named.startswith(APPEAR_LATER) and not Path(named).exists():
        raise SourceMisnamed(
            f"{section.path}: no such file or folder; an address begins with rtsp:// or http://"
        )
