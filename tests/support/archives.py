"""Archives like Google's, made small."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from incv3d.models.published_archives import CLASSES_MEMBER, GRAPH_MEMBER, NAMES_MEMBER


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


def graph(*names: str) -> bytes:
    return b"".join(field(1, field(1, name.encode()) + field(2, b"Softmax")) for name in names)


GOOD = {
    GRAPH_MEMBER: graph("Mul", "softmax"),
    CLASSES_MEMBER: b'entry {\n  target_class: 449\n  target_class_string: "n01440764"\n}\n',
    NAMES_MEMBER: b"n01440764\ttench, Tinca tinca\n",
}
"""What is imported as a network like Inception-v3 of 2015."""


def archive(path: Path, members: dict[str, bytes], prefix: str = "") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def packed(folder: Path, **more: bytes) -> bytes:
    """Such an archive's bytes, with `more` members."""
    return archive(folder / "packed.tgz", GOOD | more).read_bytes()


def changed(exported: Path, out: Path, member: str, content: bytes | None) -> Path:
    """A copy of the archive in which one member is another, or missing."""
    with tarfile.open(exported) as source, tarfile.open(out, "w") as target:
        for info in source:
            stream = source.extractfile(info)
            assert stream
            data = stream.read()
            if info.name == member:
                if content is None:
                    continue
                data = content or bytes([data[0] ^ 1]) + data[1:]
                info.size = len(data)
            target.addfile(info, io.BytesIO(data))
    return out
