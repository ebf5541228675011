"""Put packets into a video file as they are: .mp4, or .mkv for JPEGs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from incv3d.errors import Incv3dError
from incv3d.frames import EncodedPacket

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

MILLISECOND = Fraction(1, 1000)


class ClipError(Incv3dError):
    """Packets cannot be put into a video file."""


def mux(packets: Sequence[EncodedPacket]) -> tuple[str, bytes]:
    """Return the suffix and the content of a video file with these packets, the first a key frame.

    :raises ClipError: FFmpeg cannot write them.
    """
    import av

    file = io.BytesIO()
    template = packets[0].template
    suffix, container = (".mkv", "matroska") if template is None else (".mp4", "mp4")
    try:
        with av.open(file, "w", format=container) as output:
            if template is None:
                _mux_jpegs(output, packets)
            else:
                _mux_video(output, packets, cast("VideoStream", template))
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise ClipError(f"the packets cannot be written as {suffix}: {error}") from None
    return suffix, file.getvalue()


def _mux_jpegs(output: OutputContainer, packets: Sequence[EncodedPacket]) -> None:
    with Image.open(io.BytesIO(packets[0].data)) as image:
        width, height = image.size
    stream = output.add_mux_stream("mjpeg", width=width, height=height, time_base=MILLISECOND)
    last_ms = -1
    for packet in packets:
        last_ms = max(round((packet.at - packets[0].at) * 1000), last_ms + 1)
        _write(output, stream, packet, last_ms, last_ms, MILLISECOND)


def _mux_video(output: OutputContainer, packets: Sequence[EncodedPacket], template: VideoStream) -> None:
    stream = output.add_stream_from_template(template)
    epoch, offset, last_dts = None, 0, -1
    for packet in packets:
        time_base = packet.time_base or MILLISECOND
        at = round(float(packet.at - packets[0].at) / float(time_base))
        dts = packet.dts if packet.dts is not None else packet.pts
        if dts is None:
            dts = at
        if packet.template is not epoch:
            # The file begins again, or the camera was opened again: its own times begin again, too.
            epoch, offset = packet.template, at - dts
        dts += offset
        dts, last_dts = max(dts, last_dts + 1), max(dts, last_dts + 1)
        pts = dts if packet.pts is None else max(packet.pts + offset, dts)
        _write(output, stream, packet, pts, dts, time_base)


def _write(
    output: OutputContainer, stream: Any, packet: EncodedPacket, pts: int, dts: int, time_base: Fraction
) -> None:
    from av.packet import Packet

    written: Packet[Any] = Packet(packet.data)
    written.pts, written.dts, written.time_base = pts, dts, time_base
    written.is_keyframe = packet.is_key
    written.stream = stream
    output.mux_one(written)
