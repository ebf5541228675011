"""A copy of Debian's QEMU whose Cortex-A53 is that of a Raspberry Pi 3: it cannot do AES and SHA.

QEMU's own can, and has no option against it. ``ID_AA64ISAR0_EL1`` is 0x00010000 (CRC32 alone) on the Pi's
BCM2837, and 0x00011120 in QEMU 7.2, which raises SIGILL at the other instructions once it has the Pi's value.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MODELS = 3
"""That have the value in QEMU: Cortex-A53, A57 and A72."""
CRC32_ALONE = b"\x00\x00\x01\x00"
STORE = re.compile(rb"(\x48\xc7[\x80-\x87]..\x01\x00)\x20\x11\x01\x00", re.DOTALL)
"""``movq $0x11120, OFFSET(%reg)``, an offset of 64 to 128 KiB."""


def main(source: Path, copy: Path) -> None:
    program, found = STORE.subn(rb"\g<1>" + CRC32_ALONE, source.read_bytes())
    if found != MODELS:
        sys.exit(
            f"{source}: not QEMU 7.2 as Debian 12 has it: {found} places found where {MODELS} are expected"
        )
    copy.unlink(missing_ok=True)  # what is still running keeps the old one
    copy.write_bytes(program)
    copy.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
