"""Read and decode the first video stream of a file or address with FFmpeg (PyAV)."""

from __future__ import annotations

import errno
import io
import logging
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from incv3d.config.address import Address
from incv3d.config.source_types import RtspTransport
from incv3d.frames import EncodedPacket, Frame
from incv3d.images.resize import SIDEWAYS, turn_upright
from incv3d.sources.base import SourceAbsent, SourceError

if TYPE_CHECKING:
    from incv3d.sources.http_camera import HttpBody

LOG = logging.getLogger(__name__)
RTSP_OPTIONS: Mapping[RtspTransport, dict[str, str]] = {
    # UDP loses packets, which leaves grey areas: it is only for servers that refuse TCP (status 461).
    "auto": {"rtsp_transport": "tcp+udp", "rtsp_flags": "prefer_tcp"},
    "tcp": {"rtsp_transport": "tcp"},
    "udp": {"rtsp_transport": "udp"},
}
LIVE_OPTIONS = {
    "fflags": "nobuffer",
    "flags": "low_delay",
    "analyzeduration": "1000000",
}
"""FFmpeg's options for live streams (ffmpeg-formats(1), ffmpeg-protocols(1))."""


def orientation_of(matrix: bytes) -> int:
    """Return the EXIF orientation of a video's display matrix, to the nearest quarter turn.

    :param matrix: 3 x 3 little-endian int32; a pixel at (x, y) is shown at (m[0] x + m[3] y, m[1] x + m[4] y)
        (libavutil/display.h).
    """
    a, b, _, c, d = struct.unpack_from("<5i", matrix)
    fit = {
        1: a + d,
        2: -a + d,
        3: -a - d,
        4: a - d,
        5: b + c,
        6: b - c,
        7: -b - c,
        8: -b + c,
    }
    return max(fit, key=lambda orientation: fit[orientation])


def covering(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Return `size` scaled down as far as it still covers `wanted`, with even sides and the same shape."""
    factor = min(1.0, max(wanted[0] / size[0], wanted[1] / size[1]))
    if factor == 1.0:
        return size
    return max(2, round(size[0] * factor / 2) * 2), max(2, round(size[1] * factor / 2) * 2)


class VideoInput:
    """The first video stream of a file or an address.

    :param timeout_s: a live stream fails if no data arrives for this long; None: it is a file.
    :param body: the data to read, if it has already been requested.
    """

    def __init__(
        self,
        path: str | Address,
        size: tuple[int, int],
        timeout_s: float | None = None,
        rtsp_transport: RtspTransport = "auto",
        body: HttpBody | None = None,
    ) -> None:
        address = Address(path)
        self._shown = str(address)
        self._size = size
        self._rtsp_transport = rtsp_transport
        try:
            opened = av.open(
                body or address.reveal(),
                "r",
                options=LIVE_OPTIONS | RTSP_OPTIONS[rtsp_transport] if timeout_s else {},
                timeout=None if body else timeout_s,
            )
        except (av.error.FFmpegError, OSError) as error:
            raise self.explain(error) from None
        self._container: InputContainer = opened
        # A sound file may contain its cover image, which FFmpeg lists as a video of one frame.
        videos = [each for each in opened.streams.video if not each.disposition & Disposition.attached_pic]
        usable = [each for each in videos if each.codec_context is not None]
        if not usable:
            opened.close()
            missing = "FFmpeg has no decoder for its video" if videos else "it contains no video"
            raise SourceError(f"{self._shown}: {missing}")
        self.stream: VideoStream = usable[0]
        # Frame threading would delay the output by one frame per thread.
        self.stream.thread_type = ThreadType.SLICE
        self.is_jpeg = self.stream.codec_context.name == "mjpeg"
        self.damaged_frames = 0
        """Frames that were dropped because they, or frames they depend on, arrived damaged."""
        self._builds_on_damage = False
        self._template: VideoStream | None = None
        self._is_unrecorded = False
        self._packets: Iterator[Packet[VideoStream]] = opened.demux(self.stream)

    def next_packet(
        self, record: Callable[[EncodedPacket], None] | None = None
    ) -> Packet[VideoStream] | None:
        """Return the next packet; None at the end.

        :param record: gets a copy of it.
        """
        try:
            packet = next(self._packets, None)
        except (av.error.FFmpegError, OSError) as error:
            raise self.explain(error) from None
        if record and packet is not None and packet.size and (copy := self._copy(packet)):
            record(copy)
        return packet

    def _copy(self, packet: Packet[VideoStream]) -> EncodedPacket | None:
        """Return a copy of the packet; None if no clip can hold it."""
        if self._is_unrecorded:
            return None
        data, now = bytes(packet), time.monotonic()
        if self.is_jpeg:
            return EncodedPacket(data, now, is_key=True)
        if self._template is None:
            try:
                # A stream of another container outlives this one.
                output = av.open(io.BytesIO(), "w", format="mp4")
                self._template = output.add_stream_from_template(self.stream)
            except (av.error.FFmpegError, ValueError) as error:
                self._is_unrecorded = True
                LOG.warning("%s: an .mp4 cannot hold its video (%s): no clips", self._shown, error)
                return None
        return EncodedPacket(
            data, now, packet.is_keyframe, self._template, packet.pts, packet.dts, packet.time_base
        )

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Return the frames of `packet`; an empty packet or None flushes those that the decoder holds.

        A damaged packet yields none, and neither do those up to the next key frame: the decoder would
        fill in what is missing with grey areas and smears.
        """
        try:
            decoded = self.stream.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.InvalidDataError as error:
            LOG.debug("%s: damaged packet: %s", self._shown, error)
            self._builds_on_damage = True
            self.damaged_frames += 1
            return []
        return [each for each in decoded if self._is_whole(each)]

    def decode_alone(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """Return the frame of a key frame's packet at once, even if the decoder would wait for B-frames.

        Packets that follow may then not be decodable up to the next key frame.
        """
        decoded = self.decode(packet)
        if not decoded and self.stream.codec_context.has_b_frames:
            decoded = self.decode(None)
            self.forget()
        return decoded

    def forget(self) -> None:
        """Discard the frames that the decoder still holds, and those that others depend on."""
        self.stream.codec_context.flush_buffers()

    def _is_whole(self, decoded: VideoFrame) -> bool:
        """Return whether a frame was decoded without damage; otherwise count it."""
        if not decoded.is_corrupt and (decoded.key_frame or not self._builds_on_damage):
            self._builds_on_damage = False
            return True
        # As a rule no other frame depends on a B-frame.
        self._builds_on_damage |= decoded.pict_type != PictureType.B
        self.damaged_frames += 1
        return False

    def frame(self, name: str, decoded: VideoFrame, captured: float) -> Frame:
        """Return `decoded` as a frame, scaled down and upright."""
        orientation = _orientation(decoded)
        wanted = self._size[::-1] if orientation in SIDEWAYS else self._size
        reduced_size = covering((decoded.width, decoded.height), wanted)
        reduced = decoded.reformat(*reduced_size, "rgb24", interpolation="AREA")
        pixels = np.asarray(reduced.to_ndarray(), np.uint8)
        pixels = np.ascontiguousarray(turn_upright(pixels, orientation))
        height, width = pixels.shape[:2]
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
        """Return an error of one line for FFmpeg's, without the password that FFmpeg may quote."""
        if isinstance(error, FileNotFoundError):
            return SourceAbsent(f"{self._shown}: no such file")
        if isinstance(error, av.error.ExitError | TimeoutError):
            return SourceError(f"{self._shown}: no data in time")
        words = f"{self._shown}: {getattr(error, 'strerror', None) or type(error).__name__}"
        if getattr(error, "errno", None) == errno.EPROTONOSUPPORT and self._rtsp_transport != "auto":
            # How FFmpeg says that RTSP answered 461, Unsupported Transport.
            refused = self._rtsp_transport.upper()
            return SourceError(f"{self._shown}: it refuses {refused}; leave source.rtsp_transport at auto")
        gone = isinstance(error, ConnectionRefusedError | av.error.HTTPNotFoundError)
        if gone or words.endswith("No route to host"):
            return SourceAbsent(words)
        return SourceError(words)

    def close(self) -> None:
        """Close the stream."""
        self._container.close()


def _orientation(decoded: VideoFrame) -> int:
    """Return the EXIF orientation that makes `decoded` upright."""
    try:
        matrix: Any = decoded.side_data.get("DISPLAYMATRIX")
        return orientation_of(bytes(matrix)) if matrix else 1
    except ValueError:
        # PyAV does not list side data of kinds that it does not know, such as EXIF. Degrees: anticlockwise.
        return {0: 1, 1: 8, 2: 3, 3: 6}[round(decoded.rotation / 90) % 4]
