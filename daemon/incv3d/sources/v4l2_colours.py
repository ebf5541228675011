"""The colour encoding of a V4L2 driver's YUV, from the constants of videodev2.h."""

from __future__ import annotations

from typing import cast

from incv3d.frames import Colours

WEIGHTS_BY_COLORSPACE = {2: "smpte240m", 3: "bt709", 10: "bt2020", 12: "bt709"}
WEIGHTS_BY_ENCODING = {
    1: "bt601",
    2: "bt709",
    3: "bt601",
    4: "bt709",
    5: "bt601",
    6: "bt2020",
    7: "bt2020",
    8: "smpte240m",
}
COLORSPACE_OF_JPEG = 7
FULL_RANGE = 1
"""``enum v4l2_colorspace``, ``v4l2_ycbcr_encoding`` and ``v4l2_quantization``."""


def colours_of(colorspace: int, encoding: int, quantization: int) -> Colours:
    """Return the colour encoding for the kernel's constants; 0 means that the driver does not specify it.

    The defaults are those of the kernel (``V4L2_MAP_YCBCR_ENC_DEFAULT``, ``V4L2_MAP_QUANTIZATION_DEFAULT``).
    """
    by_default = WEIGHTS_BY_COLORSPACE.get(colorspace, "bt601")
    weights = WEIGHTS_BY_ENCODING.get(encoding, by_default)
    is_full = quantization == FULL_RANGE or (not quantization and colorspace == COLORSPACE_OF_JPEG)
    return cast(Colours, f"{weights}-full" if is_full else weights)
