"""An environment as ``systemd/install --engine litert`` makes it, of links to the packages of this one."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from incv3d.errors import QUANTIZER

CHECKOUT = Path(__file__).resolve().parents[2]
EXTRAS = ("http", "mqtt", "camera", "video")
"""As ``systemd/steps.sh`` installs them."""


def make_environment(folder: Path, extras: tuple[str, ...] = EXTRAS) -> Path:
    """Make a virtual environment in `folder` with what incv3d requires except TensorFlow, and the quantizer.

    :returns: its Python.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    quantizer = [distribution(Requirement(line).name) for line in QUANTIZER[1:]]
    for each in (*requirements(extras), *quantizer):
        here = Path(sysconfig.get_path("purelib"))
        for name in {file.parts[0] for file in each.files or [] if file.parts[0] != ".."}:
            if not (site / name).exists() and name != "__pycache__":
                (site / name).symlink_to(here / name)
    (site / "incv3d.pth").write_text(f"{CHECKOUT / 'daemon'}\n")
    return folder / "bin" / "python"


def requirements(extras: tuple[str, ...]) -> list[Distribution]:
    """Return the packages that incv3d requires with these extras, except TensorFlow and its own."""
    found: dict[str, Distribution] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [("incv3d", ("", *extras))]
    while waiting:
        name, wanted = waiting.pop()
        for line in distribution(name).requires or []:
            each = Requirement(line)
            key = canonicalize_name(each.name)
            applies = each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in wanted)
            if applies and key != "tensorflow" and key not in found:
                found[key] = distribution(key)
                waiting.append((key, ("", *each.extras)))
    return list(found.values())
