"""Files and network streams (RTSP, HTTP) through FFmpeg, with PyAV."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from typing import TYPE_CHECKING

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from incv3d.config.address import Address
from incv3d.config.schema import RtspTransport
from incv3d.frames import Frame
from incv3d.sources.base import FrameSource, SourceError
from incv3d.sources.ffmpeg import VideoInput

if TYPE_CHECKING:
    from incv3d.sources.http_camera import HttpBody

KEY_FRAMES_FROM_S = 1.0
"""Where frames are wanted this far apart, a stream gives key frames: those between them are not decoded."""
KEY_STEP_SHARE = 1.5
"""Of the time between two wanted frames: where key frames are further apart, every frame is decoded."""
LONGEST_KEY_WAIT_S = 60.0
"""For so long it is no stall that a stream whose packets come has no key frame among them."""
AT_ONCE_S = 0.002
"""A packet that was there sooner had been waiting for us."""
BEHIND_S = 0.5
"""When every packet had been waiting for so long, the decoder is too slow and the stream grows old."""
LONGEST_DRAIN_S = 2.0
DAMAGE_SHARE = 0.8
"""Of the time in which a frame must come: when only damaged ones came meanwhile, that is the reason."""
LONGEST_PAUSE_S = 60.0
"""Frames that are further apart by their times are taken for a jump of the clock that made them."""
FPS_UNSAID = 25.0
"""Of a file that does not say its rate."""
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
    gap_s: float = 0.0,
) -> FrameSource:
    """A stream of the network, or a file.

    :param size: to which pictures are reduced; they keep their proportions and cover it.
    :param fps: of a file; 0: its own rate.
    :param loop: begin a file again after its end.
    :param every_frame: play a file as fast as its frames are taken.
    :param timeout_s: a network stream that sends nothing for so long has failed.
    :param rtsp_transport: how RTSP sends its pictures; ``auto``: over TCP, or UDP where TCP is refused.
    :param body: what comes from a network stream, where FFmpeg need not ask itself.
    :param gap_s: seconds between two frames that are wanted; from 1 on, a network stream gives key frames
        alone, if they come often enough.
    :raises SourceAbsent: when there is no such file, or nobody answers.
    :raises SourceError: when it cannot be read.
    """
    address = Address(path)
    if not address.is_path:
        return StreamSource(name, address, size, timeout_s, rtsp_transport, body, gap_s)
    return FileSource(name, address, size, fps, loop, paced=not every_frame)


def usual_step_s(said: Fraction | None) -> float:
    """Seconds from frame to frame at the rate that a film says it has, if it says one that is possible."""
    rate = float(said or FPS_UNSAID)
    return min(1 / rate, LONGEST_PAUSE_S) if 0 < rate <= HIGHEST_FPS else 1 / FPS_UNSAID


class StreamSource:
    """A live stream, read to its newest frame.

    Packets are read as they come, wanted or not, so that none grows old at the sender. Motion JPEG stays
    encoded. The time of a frame is that at which its packet came.
    """

    def __init__(
        self,
        name: str,
        path: str | Address,
        size: tuple[int, int],
        timeout_s: float,
        rtsp_transport: RtspTransport,
        body: HttpBody | None,
        gap_s: float,
    ) -> None:
        self.idle_until = 0.0
        self._name = name
        self._gap_s = gap_s
        self._video = VideoInput(path, size, timeout_s, rtsp_transport, body)
        self._body = body
        self._shown = str(Address(path))
        self._interrupted = threading.Event()
        self._keys_only = False
        self._skip_to_key = True
        self._waited_at = self._key_at = time.monotonic()
        self._key_step_s = 0.0
        """Between the last two key frames."""
        self._longest_damage_s = DAMAGE_SHARE * timeout_s

    @property
    def lost_frames(self) -> int:
        """Frames that came damaged."""
        return self._video.damaged_frames

    def capture(self, after: float) -> Frame | None:
        """The next frame.

        :raises SourceError: when the stream ends or fails, or nothing but damaged frames come.
        """
        now = time.monotonic()
        wanted_at = max(now, after)
        gap_s = max(self._gap_s, after - now)
        self._keys_only = gap_s >= max(KEY_FRAMES_FROM_S, self._key_step_s / KEY_STEP_SHARE)
        self._skip_to_key |= self._keys_only
        while not self._interrupted.is_set():
            asked = time.monotonic()
            packet = self._video.next_packet()
            now = time.monotonic()
            if packet is None or packet.size == 0:
                raise SourceError(f"{self._shown}: the stream ended")
            if packet.is_keyframe:
                self._key_step_s = now - self._key_at
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
                raise SourceError(f"{self._shown}: its video comes damaged; is the network too slow for it?")
        return None

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        if not self._skip_to_key:
            return self._video.decode(packet)
        # What the decoder holds back is from before the leap.
        self._video.forget()
        decoded = self._video.decode_alone(packet) if self._keys_only else self._video.decode(packet)
        # Where a key frame is the first of several that bring the picture bit by bit, the others are needed.
        self._skip_to_key = self._keys_only and bool(decoded)
        return decoded

    def _is_stale(self, asked: float, now: float) -> bool:
        """Whether to pass over a packet because the decoder cannot keep up and what waits is old.

        From then on packets are read and forgotten until one has to be waited for: that one is new.
        """
        if now - asked >= AT_ONCE_S or now - self._waited_at > BEHIND_S + LONGEST_DRAIN_S:
            self._waited_at = now
        elif now - self._waited_at > BEHIND_S:
            self._skip_to_key = True
            return True
        return False

    def interrupt(self) -> None:
        """Let a capture return at the next packet, or when the stream has been silent for too long."""
        self._interrupted.set()
        if self._body:
            self._body.interrupt()

    def close(self) -> None:
        """Hang up."""
        self._video.close()
        if self._body:
            self._body.close()


class FileSource:
    """A video file, played at its own rate or at another, or as fast as it is taken."""

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
        """From the last frame to the next."""
        self._decoded: list[VideoFrame] = []
        self._at_end = False
        self._has_frames = False
        self._due = time.monotonic()
        self._is_first = True
        self._shown_s: float | None = None

    def capture(self, after: float) -> Frame | None:
        """The next frame when it is due; those due before `after` are left out.

        :raises SourceError: when the file cannot be read.
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
                    raise SourceError(f"{Address(self._path)}: no frame of it can be decoded")
                if not self._loop:
                    return None
                rewound, self._at_end = True, False
                # Opened anew: seeking back leaves a little memory behind each time.
                self._video.close()
                self._video = VideoInput(self._path, self._size)
                # The next round follows the last frame, also where several rounds are passed over.
                self._due += self._step_s
                self._is_first, self._shown_s = True, None
            packet = self._video.next_packet()
            self._at_end = packet is None or packet.size == 0
            if packet is not None:
                damaged_before = self._video.damaged_frames
                self._decoded = self._video.decode(packet)
                self.lost_frames += self._video.damaged_frames - damaged_before
        self._has_frames = True
        return self._decoded.pop(0)

    def _advance(self, decoded: VideoFrame) -> None:
        """Move on to the moment at which `decoded` is to be shown.

        Times that stand still, run backwards, jump or are missing leave the step between frames as it was.
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
        """Wake a capture that waits."""
        self._interrupted.set()

    def close(self) -> None:
        """Close the file."""
        self._video.close()
