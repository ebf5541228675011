"""Releases of changed versions, made within seconds: of links to the files of one that is there."""

from __future__ import annotations

import re
from pathlib import Path

from containers import Container

VERSION = "daemon/incv3d/__init__.py"
_COPY = """
cp -al "$1" "$2"
sed -i "s|$1|$2|" "$2/bin/incv3d"
site=$(echo "$2"/lib/python3*/site-packages)
rm -r "$site/incv3d"
cp -r "$3/daemon/incv3d" "$site/"
"$2/bin/python" -m compileall -q "$site/incv3d"
"""


def replace(path: Path, old: str, new: str) -> None:
    """Change a file; it must have what is to be replaced."""
    text = path.read_text("utf-8")
    assert old in text, f"{path} no longer has {old!r}"
    path.write_text(text.replace(old, new), "utf-8")


def make_release(machine: Container, checkout: str) -> None:
    """Make the release of `checkout`, a folder inside, of one with the same dependencies."""
    said = machine.run(f"{checkout}/systemd/install", "--wheels", "/wheels", "--no-camera", "--dry-run")
    if re.search(r"release \S+: already installed", said):
        return
    found = re.search(r"creating (/opt/incv3d/releases/[^ :]+):", said)
    assert found, said
    there = machine.run("sh", "-c", "ls -d /opt/incv3d/releases/*/complete | head -n 1 | xargs dirname")
    machine.run("sh", "-euc", _COPY, "sh", there, found[1], checkout)


def running_release(machine: Container) -> str:
    """Return the folder of the release that is in force."""
    return machine.run("readlink", "/opt/incv3d/current")
