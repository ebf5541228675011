"""What FFmpeg opens, with PyAV: packets of the first video stream, and frames out of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.codec.context import ThreadType
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from incv3d.address import Address
from incv3d.frames import Frame
from incv3d.sources.base import SourceAbsent, SourceError

LOG = logging.getLogger(__name__)
LIVE_OPTIONS = {
    "rtsp_transport": "tcp",  # UDP loses packets, and then half of the picture is grey
    "fflags": "nobuffer",
    "flags": "low_delay",
    "analyzeduration": "1000000",
}
"""FFmpeg's options for streams that are watched as they come (ffmpeg-formats(1), ffmpeg-protocols(1))."""


def covering(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """`size` reduced as far as it still covers `wanted`, in its own proportions; even numbers."""
    factor = min(1.0, max(wanted[0] / size[0], wanted[1] / size[1]))
    if factor == 1.0:
        return size
    return max(2, round(size[0] * factor / 2) * 2), max(2, round(size[1] * factor / 2) * 2)


class VideoInput:
    """The first video stream in what FFmpeg opens."""

    def __init__(self, path: str | Address, size: tuple[int, int], timeout_s: float | None) -> None:
        address = Address(path)
        self._shown = str(address)
        self._size = size
        try:
            opened = av.open(
                address.reveal(),
                "r",
                options=LIVE_OPTIONS if timeout_s else {},
                timeout=timeout_s,
            )
        except (av.error.FFmpegError, OSError) as error:
            raise self.explain(error) from None
        self._container: InputContainer = opened
        if not opened.streams.video:
            opened.close()
            raise SourceError(f"{self._shown}: there is no video in it")
        self.stream: VideoStream = opened.streams.video[0]
        # Frame threading would hold back a frame for every thread.
        self.stream.thread_type = ThreadType.SLICE
        self.is_jpeg = self.stream.codec_context.name == "mjpeg"
        self._packets: Iterator[Packet[VideoStream]] = opened.demux(self.stream)

    def next_packet(self) -> Packet[VideoStream] | None:
        """The next packet; None at the end."""
        try:
            packet = next(self._packets, None)
        except (av.error.FFmpegError, OSError) as error:
            raise self.explain(error) from None
        return packet

    def decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """The frames in `packet`; an empty one gets out those that the decoder holds back.

        Damaged packets have none: the next key frame mends the picture.
        """
        try:
            return list(self.stream.decode(packet))
        except (av.error.InvalidDataError, av.error.EOFError) as error:
            LOG.debug("%s: a damaged packet: %s", self._shown, error)
            return []

    def frame(self, name: str, decoded: VideoFrame, captured: float) -> Frame:
        """`decoded`, reduced, as a frame."""
        width, height = covering((decoded.width, decoded.height), self._size)
        reduced = decoded.reformat(width, height, "rgb24", interpolation="AREA")
        pixels: npt.NDArray[np.uint8] = np.ascontiguousarray(reduced.to_ndarray(), np.uint8)
        return Frame(
            name,
            pixels.data.cast("B"),
            "rgb24",
            received=captured,
            captured=captured,
            width=width,
            height=height,
            id=decoded.pts,
        )

    def explain(self, error: Exception) -> SourceError:
        """One line about what FFmpeg said, without the password that its own words may have."""
        if isinstance(error, FileNotFoundError):
            return SourceAbsent(f"{self._shown}: no such file")
        if isinstance(error, av.error.ExitError | TimeoutError):
            return SourceError(f"{self._shown}: no data in time")
        words = f"{self._shown}: {getattr(error, 'strerror', None) or type(error).__name__}"
        gone = isinstance(error, ConnectionRefusedError | av.error.HTTPNotFoundError)
        if gone or words.endswith("No route to host"):
            return SourceAbsent(words)
        return SourceError(words)

    def close(self) -> None:
        """Hang up."""
        self._container.close()
