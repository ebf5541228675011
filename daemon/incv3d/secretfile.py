"""Files that hold a secret: a password, a token."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

LOG = logging.getLogger(__name__)


def read_secret(path: Path, key: str, most_bytes: int) -> bytes:
    """What is in the file at `path`, so much of it at most; nothing of a pipe, which would be waited for.

    A file that everybody on this machine can read is warned of.

    :param key: of the configuration, that names the file.
    :raises OSError: it cannot be read.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return b""
    with path.open("rb") as file:
        secret = file.read(most_bytes)
    if mode & stat.S_IROTH:
        LOG.warning("%s: everybody on this machine can read %s (chmod o-r)", key, path)
    return secret
