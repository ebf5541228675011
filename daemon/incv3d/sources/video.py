"""Files and network streams (RTSP, HTTP) through FFmpeg, with PyAV."""

from __future__ import annotations

import threading
import time

from av.video.frame import VideoFrame

from incv3d.address import Address
from incv3d.frames import Frame
from incv3d.sources.base import FrameSource, SourceError
from incv3d.sources.ffmpeg import VideoInput

KEY_FRAMES_FROM_S = 1.0
"""Who wants a frame so seldom gets key frames: those between them are not even decoded."""
AT_ONCE_S = 0.002
"""A packet that was there sooner had been waiting for us."""
BEHIND_S = 0.5
"""When every packet had been waiting for so long, the decoder is too slow and the stream grows old."""
LONGEST_DRAIN_S = 2.0
FPS_UNSAID = 25.0
"""Of a file that does not say its rate."""


def open_video(
    name: str,
    path: str | Address,
    size: tuple[int, int],
    fps: float,
    loop: bool,
    every_frame: bool,
    timeout_s: float,
) -> FrameSource:
    """A stream of the network, or a file.

    :param size: to which pictures are reduced; they keep their proportions and cover it.
    :param fps: of a file; 0: its own rate.
    :param loop: begin a file again after its end.
    :param every_frame: play a file as fast as its frames are taken.
    :param timeout_s: a network stream that sends nothing for so long has failed.
    :raises SourceAbsent: when there is no such file, or nobody answers.
    :raises SourceError: when it cannot be read.
    """
    address = Address(path)
    if not address.is_path:
        return StreamSource(name, address, size, timeout_s)
    return FileSource(name, address, size, fps, loop, paced=not every_frame)


class StreamSource:
    """A live stream, read to its newest frame.

    Packets are read as they come, wanted or not, so that none grows old at the sender. Motion JPEG stays
    encoded. The time of a frame is that at which its packet came.
    """

    lost_frames = 0

    def __init__(self, name: str, path: str | Address, size: tuple[int, int], timeout_s: float) -> None:
        self._name = name
        self._video = VideoInput(path, size, timeout_s)
        self._shown = str(Address(path))
        self._interrupted = threading.Event()
        self._skip_to_key = True
        self._waited_at = time.monotonic()

    def capture(self, after: float) -> Frame | None:
        """The next frame.

        :raises SourceError: when the stream ends or fails.
        """
        while not self._interrupted.is_set():
            asked = time.monotonic()
            packet = self._video.next_packet()
            now = time.monotonic()
            if packet is None or packet.size == 0:
                raise SourceError(f"{self._shown}: the stream ended")
            if self._is_stale(asked, now):
                continue
            if after - now >= KEY_FRAMES_FROM_S:
                self._skip_to_key = True
            if self._skip_to_key and (now < after or not packet.is_keyframe):
                continue
            self._skip_to_key = False
            if self._video.is_jpeg:
                if now >= after:
                    return Frame(self._name, bytes(packet), "jpeg", received=now, captured=now, id=packet.pts)
                continue
            decoded = self._video.decode(packet)
            if decoded and now >= after:
                return self._video.frame(self._name, decoded[-1], now)
        return None

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

    def close(self) -> None:
        """Hang up."""
        self._video.close()


class FileSource:
    """A video file, played at its own rate or at another, or as fast as it is taken."""

    lost_frames = 0

    def __init__(
        self,
        name: str,
        path: str | Address,
        size: tuple[int, int],
        fps: float,
        loop: bool,
        paced: bool,
    ) -> None:
        self._name = name
        self._path = path
        self._loop = loop
        self._paced = paced
        self._fps = fps
        self._interrupted = threading.Event()
        self._size = size
        self._video = VideoInput(path, size, None)
        self._interval_s = 1 / (fps or float(self._video.stream.average_rate or FPS_UNSAID))
        self._decoded: list[VideoFrame] = []
        self._at_end = False
        self._count = 0
        self._started = self._due_last = time.monotonic()
        self._first_pts: int | None = None

    def capture(self, after: float) -> Frame | None:
        """The next frame when it is due; those due before `after` are left out.

        :raises SourceError: when the file cannot be read.
        """
        while not self._interrupted.is_set():
            decoded = self._next()
            if decoded is None:
                return None
            if self._paced:
                due = self._due(decoded)
                if due < after:
                    continue
                late_s = time.monotonic() - due
                if self._interrupted.wait(max(0.0, -late_s)):
                    return None
                # Who fell behind goes on from now instead of catching up in a burst.
                self._started += max(0.0, late_s)
            return self._video.frame(self._name, decoded, time.monotonic())
        return None

    def _next(self) -> VideoFrame | None:
        rewound = False
        while not self._decoded:
            if self._at_end:
                if not self._loop:
                    return None
                if rewound:
                    raise SourceError(f"{self._path}: no frame of it can be decoded")
                rewound, self._at_end = True, False
                # Opened anew: seeking back leaves a little memory behind each time.
                self._video.close()
                self._video = VideoInput(self._path, self._size, None)
                # The film goes on where it ended, also for one who passes over several rounds of it.
                self._started = self._due_last + self._interval_s
                self._count, self._first_pts = 0, None
            packet = self._video.next_packet()
            self._at_end = packet is None or packet.size == 0
            if packet is not None:
                self._decoded = self._video.decode(packet)
        return self._decoded.pop(0)

    def _due(self, decoded: VideoFrame) -> float:
        """When `decoded` is to be shown (monotonic)."""
        self._count += 1
        if self._fps or decoded.pts is None or decoded.time_base is None:
            shown_s = (self._count - 1) * self._interval_s
        else:
            if self._first_pts is None:
                self._first_pts = decoded.pts
            shown_s = float((decoded.pts - self._first_pts) * decoded.time_base)
        self._due_last = self._started + shown_s
        return self._due_last

    def interrupt(self) -> None:
        """Wake a capture that waits."""
        self._interrupted.set()

    def close(self) -> None:
        """Close the file."""
        self._video.close()
