"""A live H.264 stream over HTTP whose pictures tell which they are, made with PyAV."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence

import av
import numpy as np
from av.video.stream import VideoStream

from webcams import Request

RATE = 50
KEY_EVERY = 20
KEY_EVERY_S = KEY_EVERY / RATE
PICTURES = 800
DARK = 40
"""Less than any key frame, whose grey level is 80 + 4 for each group before it."""


def group_of(grey: float) -> int:
    """Which key frame, from 0, has this grey level; below 0: it is not a key frame."""
    return round((grey - 80) / 4)


class _Pieces(io.RawIOBase):
    """Keeps what is written, as one piece for each packet."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.pieces[-1] += bytes(data)
        return len(data)


def encode(b_frames: int = 0, key_every: int = KEY_EVERY) -> list[bytes]:
    """MPEG-TS of 16 s, one piece for each picture."""
    out = _Pieces()
    with av.open(out, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        stream = container.add_stream("libx264", rate=RATE)
        assert isinstance(stream, VideoStream)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        keys = f"keyint={key_every}:min-keyint={key_every}:scenecut=0"
        stream.options = {"x264-params": f"{keys}:bframes={b_frames}:b-adapt=0"}
        for number in range(PICTURES):
            grey = DARK if number % key_every else 80 + 4 * (number // key_every)
            picture = np.full((64, 64, 3), grey, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                out.pieces.append(b"")
                container.mux(packet)
    return out.pieces


class LiveH264:
    """Sends `pieces` at their rate to each client; answers for :func:`webcams.web_camera`."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self.sent = 0

    @property
    def newest_group(self) -> int:
        """The group of which the latest picture sent is."""
        return (self.sent - 1) // KEY_EVERY

    def __call__(self, request: Request) -> None:
        request.head(Content_Type="video/mp2t")
        began = time.monotonic()
        for number, piece in enumerate(self._pieces):
            if not request.pause(max(0.0, began + number / RATE - time.monotonic())):
                return
            self.sent = number + 1
            request.send(piece)
        request.wait()
