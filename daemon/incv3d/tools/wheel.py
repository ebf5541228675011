"""Pack the installed incv3d into a wheel again, for an installation that does not start from a checkout.

A program: ``python -P -m incv3d.tools.wheel FOLDER ENGINE`` writes the wheel to FOLDER; with the engine
``litert`` it does not require TensorFlow. ``systemd/install`` runs it where there is no source to build from.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePosixPath

from incv3d.errors import Incv3dError

NOT_PACKED = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
"""Files of the metadata that pip writes as it installs."""


class WheelError(Incv3dError):
    """The installed package cannot be packed."""


def pack_wheel(package: Distribution, folder: Path, engine: str = "tensorflow") -> Path:
    """Write a wheel with the files of an installed package.

    :param engine: with ``litert``, TensorFlow is left out of the requirements.

    The format: the files, and their hashes in ``RECORD`` (Python Packaging User Guide, "Binary distribution
    format").

    :raises WheelError: files of the package are missing, or it is an editable installation.
    """
    # Not `package.files`: from Python 3.12 on, it leaves out files that are missing.
    rows = csv.reader((package.read_text("RECORD") or "").splitlines())
    listed = [PurePosixPath(row[0]) for row in rows if row]
    files = [file for file in listed if ".." not in file.parts and file.suffix != ".pyc"]
    metadata = next((file.parent for file in files if file.name == "WHEEL"), None)
    if not metadata or not any(file.match("incv3d/__init__.py") for file in files):
        raise WheelError("this incv3d was not installed from a wheel; run systemd/install of its checkout")
    tag = next(
        line.removeprefix("Tag: ")
        for line in (package.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag: ")
    )
    wheel = folder / f"{metadata.name.removesuffix('.dist-info')}-{tag}.whl"
    record = io.StringIO()
    lines = csv.writer(record, lineterminator="\n")
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            if file.parent == metadata and file.name in NOT_PACKED:
                continue
            try:
                content = Path(str(package.locate_file(str(file)))).read_bytes()
            except OSError as error:
                raise WheelError(
                    f"{package.locate_file(str(file))}: {error.strerror}; install incv3d again"
                ) from error
            if engine == "litert" and file == metadata / "METADATA":
                content = without_tensorflow(content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            archive.writestr(str(file), content)
            lines.writerow([str(file), f"sha256={digest}", len(content)])
        lines.writerow([f"{metadata}/RECORD", "", ""])
        archive.writestr(f"{metadata}/RECORD", record.getvalue())
    return wheel


def without_tensorflow(metadata: bytes) -> bytes:
    """Return a package's ``METADATA`` in which only extras require TensorFlow."""
    head, gap, text = metadata.partition(b"\n\n")
    required = re.compile(rb"Requires-Dist: tensorflow\b(?!-)(?!.*\bextra ==)", re.IGNORECASE)
    lines = [line for line in head.split(b"\n") if not required.match(line)]
    return b"\n".join(lines) + gap + text


if __name__ == "__main__":
    try:
        print(pack_wheel(distribution("incv3d"), Path(sys.argv[1]), sys.argv[2]))  # noqa: T201 - the caller reads it
    except WheelError as error:
        sys.exit(f"incv3d: {error}")
