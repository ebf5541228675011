"""Capture from video files and network streams with FFmpeg (PyAV)."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from incv3d.config.address import Address
from incv3d.config.source_types import RtspTransport
from incv3d.frames import EncodedPacket, Frame
from incv3d.sources.base import FrameSource, SourceError
from incv3d.sources.ffmpeg import VideoInput

if TYPE_CHECKING:
    from incv3d.sources.http_camera import HttpBody

KEY_FRAMES_FROM_S = 1.0
"""From this interval between frames on, only key frames of a stream are decoded ..."""
KEY_STEP_SHARE = 1.5
"""... unless key frames are further apart than this multiple of the interval."""
KEY_STEPS = 4
"""How many of the last distances between key frames count."""
LONGEST_KEY_WAIT_S = 60.0
"""How long a stream that sends packets, but no key frame, does not count as stalled."""
AT_ONCE_S = 0.002
"""A packet that is read faster than this had already been waiting."""
BEHIND_S = 0.5
"""If every packet had been waiting for this long, the decoder is too slow and the stream lags behind."""
LONGEST_DRAIN_S = 2.0
DAMAGE_SHARE = 0.8
"""Fraction of the timeout after which damaged frames are reported as the reason for having none."""
LONGEST_PAUSE_S = 60.0
"""Timestamps that are further apart are a jump of the clock that made them."""
DEFAULT_FPS = 25.0
"""The frame rate of a file that does not state it."""
HIGHEST_FPS = 1000.0


def open_video(
    name: str,
    path: str | Address,
    size: tuple[int, int],
    fps: float,
    loop: bool,
    every_frame: bool,
    timeout_s: float,
    rtsp_transport: RtspTransport = "auto",
    body: HttpBody | None = None,
    frame_interval_s: float = 0.0,
) -> FrameSource:
    """Open a network stream or a file.

    :param size: frames are scaled down as far as they still cover it.
    :param fps: the frame rate of a file; 0: its own.
    :param loop: start a file again after its end.
    :param every_frame: read a file as fast as its frames are classified.
    :param timeout_s: a network stream fails if no data arrives for this long.
    :param rtsp_transport: how RTSP sends frames; ``auto``: over TCP, or UDP if the server refuses TCP.
    :param body: the data of a network stream, if it has already been requested.
    :param frame_interval_s: seconds between two frames; from 1 on, only key frames of a network stream are
        decoded, if they arrive often enough.
    :raises SourceAbsent: there is no such file, or the server does not answer.
    :raises SourceError: it cannot be read.
    """
    address = Address(path)
    if not address.is_path:
        return StreamSource(name, address, size, timeout_s, rtsp_transport, body, frame_interval_s)
    return FileSource(name, address, size, fps, loop, paced=not every_frame)


def usual_step_s(said: Fraction | None) -> float:
    """Return the seconds between two frames at the stated frame rate, if it is plausible."""
    rate = float(said or DEFAULT_FPS)
    return min(1 / rate, LONGEST_PAUSE_S) if 0 < rate <= HIGHEST_FPS else 1 / DEFAULT_FPS


class StreamSource:
    """A live stream, read up to its newest frame.

    Packets are read as they arrive, needed or not, so that none grows stale at the sender. Motion JPEG stays
    encoded. The capture time of a frame is when its packet arrived.
    """

    def __init__(
        self,
        name: str,
        path: str | Address,
        size: tuple[int, int],
        timeout_s: float,
        rtsp_transport: RtspTransport,
        body: HttpBody | None,
        frame_interval_s: float,
    ) -> None:
        self.idle_until = 0.0
        self.record: Callable[[EncodedPacket], None] | None = None
        """Gets every packet that arrives."""
        self._name = name
        self._frame_interval_s = frame_interval_s
        self._video = VideoInput(path, size, timeout_s, rtsp_transport, body)
        self._body = body
        self._shown = str(Address(path))
        self._interrupted = threading.Event()
        self._keys_only = False
        self._skip_to_key = True
        self._waited_at = self._key_at = time.monotonic()
        self._key_steps_s: deque[float] = deque([0.0], maxlen=KEY_STEPS)
        """Seconds between the last key frames; encoders add some where the scene changes."""
        self._longest_damage_s = DAMAGE_SHARE * timeout_s

    @property
    def lost_frames(self) -> int:
        """Frames that arrived damaged."""
        return self._video.damaged_frames

    def capture(self, after: float) -> Frame | None:
        """Return the next frame.

        :raises SourceError: the stream ends or fails, or only damaged frames arrive.
        """
        now = time.monotonic()
        wanted_at = max(now, after)
        frame_interval_s = max(self._frame_interval_s, after - now)
        self._keys_only = frame_interval_s >= max(KEY_FRAMES_FROM_S, max(self._key_steps_s) / KEY_STEP_SHARE)
        self._skip_to_key |= self._keys_only
        while not self._interrupted.is_set():
            asked = time.monotonic()
            packet = self._video.next_packet(self.record)
            now = time.monotonic()
            if packet is None or packet.size == 0:
                raise SourceError(f"{self._shown}: the stream ended")
            if packet.is_keyframe:
                self._key_steps_s.append(now - self._key_at)
                self._key_at = now
            if self._is_stale(asked, now):
                continue
            if self._skip_to_key and (now < after or not packet.is_keyframe):
                if now - self._key_at < LONGEST_KEY_WAIT_S:
                    self.idle_until = now
                continue
            if self._video.is_jpeg:
                if now >= after:
                    return Frame(self._name, bytes(packet), "jpeg", received=now, captured=now, id=packet.pts)
                continue
            damaged_before = self._video.damaged_frames
            decoded = self._decode(packet)
            if decoded and now >= after:
                return self._video.frame(self._name, decoded[-1], now)
            is_damaged = self._video.damaged_frames > damaged_before
            if is_damaged and now - wanted_at > self._longest_damage_s:
                raise SourceError(f"{self._shown}: its video arrives damaged; is the network too slow?")
        return None

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        if not self._skip_to_key:
            return self._video.decode(packet)
        # The frames that the decoder still holds are from before the jump.
        self._video.forget()
        damaged_before = self._video.damaged_frames
        decoded = self._video.decode_alone(packet) if self._keys_only else self._video.decode(packet)
        # If a key frame is the first of several that build up the image, the others are needed.
        is_damaged = self._video.damaged_frames > damaged_before
        self._skip_to_key = self._keys_only and (bool(decoded) or is_damaged)
        return decoded

    def _is_stale(self, asked: float, now: float) -> bool:
        """Return whether to skip a packet because the decoder cannot keep up and waiting packets are stale.

        From then on packets are discarded until one has to be waited for: that one is new.
        """
        if now - asked >= AT_ONCE_S or now - self._waited_at > BEHIND_S + LONGEST_DRAIN_S:
            self._waited_at = now
        elif now - self._waited_at > BEHIND_S:
            self._skip_to_key = True
            return True
        return False

    def interrupt(self) -> None:
        """Make a blocked capture return at the next packet, or after the timeout of the stream."""
        self._interrupted.set()
        if self._body:
            self._body.interrupt()

    def close(self) -> None:
        """Close the stream."""
        self._video.close()
        if self._body:
            self._body.close()


class FileSource:
    """A video file, played at its own or a given frame rate, or as fast as frames are classified."""

    def __init__(
        self,
        name: str,
        path: str | Address,
        size: tuple[int, int],
        fps: float,
        loop: bool,
        paced: bool,
    ) -> None:
        self.idle_until = 0.0
        self.record: Callable[[EncodedPacket], None] | None = None
        """Gets every packet that is read."""
        self.lost_frames = 0
        """Frames that are damaged in the file."""
        self._name = name
        self._path = path
        self._loop = loop
        self._paced = paced
        self._fps = fps
        self._interrupted = threading.Event()
        self._size = size
        self._video = VideoInput(path, size)
        self._step_s = 1 / fps if fps else usual_step_s(self._video.stream.average_rate)
        """Seconds from the last frame to the next."""
        self._decoded: list[VideoFrame] = []
        self._at_end = False
        self._has_frames = False
        self._due = time.monotonic()
        self._is_first = True
        self._shown_s: float | None = None

    def capture(self, after: float) -> Frame | None:
        """Return the next frame when it is due; those due before `after` are skipped.

        :raises SourceError: the file cannot be read.
        """
        while not self._interrupted.is_set():
            decoded = self._next()
            if decoded is None:
                return None
            if self._paced:
                self._advance(decoded)
                if self._due < after:
                    continue
                # A replay that fell behind continues from now instead of catching up in a burst.
                self._due = max(self._due, now := time.monotonic())
                self.idle_until = self._due
                if self._interrupted.wait(self._due - now):
                    return None
            return self._video.frame(self._name, decoded, time.monotonic())
        return None

    def _next(self) -> VideoFrame | None:
        rewound = False
        while not self._decoded:
            if self._at_end:
                if rewound or not (self._loop or self._has_frames):
                    raise SourceError(f"{Address(self._path)}: none of its frames can be decoded")
                if not self._loop:
                    return None
                rewound, self._at_end = True, False
                # Reopened, because seeking back leaks a little memory each time.
                self._video.close()
                self._video = VideoInput(self._path, self._size)
                # The next round follows the last frame, even if several rounds are skipped.
                self._due += self._step_s
                self._is_first, self._shown_s = True, None
            packet = self._video.next_packet(self.record)
            self._at_end = packet is None or packet.size == 0
            if packet is not None:
                damaged_before = self._video.damaged_frames
                self._decoded = self._video.decode(packet)
                self.lost_frames += self._video.damaged_frames - damaged_before
        self._has_frames = True
        return self._decoded.pop(0)

    def _advance(self, decoded: VideoFrame) -> None:
        """Advance to the time at which `decoded` is due.

        Timestamps that stand still, run backwards, jump or are missing leave the frame interval as it was.
        """
        shown_s: float | None = None
        if not self._fps and decoded.pts is not None and decoded.time_base is not None:
            shown_s = float(decoded.pts * decoded.time_base)
        if shown_s is not None and self._shown_s is not None:
            step_s = shown_s - self._shown_s
            self._step_s = step_s if 0 < step_s <= LONGEST_PAUSE_S else self._step_s
        self._shown_s = shown_s
        if not self._is_first:
            self._due += self._step_s
        self._is_first = False

    def interrupt(self) -> None:
        """Wake a blocked capture."""
        self._interrupted.set()

    def close(self) -> None:
        """Close the file."""
        self._video.close()
