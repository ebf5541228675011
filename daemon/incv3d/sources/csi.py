"""What the two source types of a Raspberry Pi's CSI cameras share."""

from __future__ import annotations

from incv3d.config.source import SourceSection
from incv3d.frames import Transform

FLIPS: tuple[Transform, ...] = ("hflip", "vflip", "rotate180")
"""What the camera applies by itself."""
CSI_FIX = (
    "check the ribbon cable and which way its contacts face; set camera_auto_detect=1 in "
    "/boot/firmware/config.txt; reboot; then run: incv3d cameras"
)


def idle_fps(section: SourceSection) -> float:
    """Return the frame rate of a camera without ``fps``; low if frames are rarely needed: each costs time."""
    return 5.0 if section.frame_interval_s >= 1 else 30.0


def index_absence(section: SourceSection, found: int) -> str:
    """Return why there is no camera with the number ``source.camera`` among `found`; empty: there is one."""
    if found > section.camera:
        return ""
    return f"source.camera: there is no camera {section.camera}; {found} found, numbered from 0"
