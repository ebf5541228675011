"""Real streams on loopback: Motion JPEG over HTTP from ffmpeg, RTSP from GStreamer's server."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's, whose packages hold GStreamer's bindings."""
RTSP_SERVER = """
import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(sys.argv[2])
factory.set_shared(True)
if sys.argv[3]:
    factory.set_protocols(getattr(GstRtsp.RTSPLowerTrans, sys.argv[3]))
server.get_mount_points().add_factory("/stream", factory)
server.attach(None)
print("listening", flush=True)
GLib.MainLoop().run()
"""
PICTURES = "videotestsrc is-live=true ! video/x-raw,format=I420,width=1280,height=720,framerate=25/1"
H264 = (
    f"( {PICTURES} ! x264enc tune=zerolatency key-int-max=12 speed-preset=ultrafast ! rtph264pay name=pay0 )"
)
MJPEG = f"( {PICTURES} ! jpegenc ! rtpjpegpay name=pay0 )"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def needs_ffmpeg() -> str:
    """The path of ffmpeg; the test is skipped where there is none."""
    return shutil.which("ffmpeg") or pytest.skip("needs ffmpeg: apt-get install ffmpeg")


class HttpStream:
    """ffmpeg as a camera that sends Motion JPEG over HTTP to whoever connects first."""

    def __init__(self, rate: int = 15) -> None:
        self._ffmpeg = needs_ffmpeg()
        self._port = free_port()
        self._rate = rate
        self.url = f"http://127.0.0.1:{self._port}/stream"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> HttpStream:
        words = f"-loglevel error -re -f lavfi -i testsrc=size=640x480:rate={self._rate} -f mpjpeg -listen 1"
        self._process = subprocess.Popen(
            [self._ffmpeg, *words.split(), self.url], stderr=subprocess.DEVNULL, text=True
        )
        _wait_until_listening(self._port)
        return self

    def freeze(self) -> None:
        """Stay connected and send nothing more."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


class RtspStream:
    """GStreamer's RTSP server; `launch` is its pipeline, `only` its one transport, UDP or TCP."""

    def __init__(self, launch: str, only: str = "") -> None:
        looked = subprocess.run([SYSTEM_PYTHON, "-c", RTSP_SERVER.split("Gst.init")[0]], capture_output=True)
        if looked.returncode:
            pytest.skip(
                "needs GStreamer's RTSP server: apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 "
                "gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
            )
        self._port = free_port()
        self._launch = launch
        self._only = only
        self.url = f"rtsp://127.0.0.1:{self._port}/stream"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> RtspStream:
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, "-c", RTSP_SERVER, str(self._port), self._launch, self._only],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == "listening\n"
        return self

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


def film(folder: Path, seconds: int = 2, codec: str = "mpeg4") -> Path:
    """A video file of 320 x 240 pixels, 10 frames a second."""
    path = folder / f"film-{codec}.mkv"
    source = f"testsrc=size=320x240:rate=10:duration={seconds}"
    words = f"-loglevel error -y -f lavfi -i {source} -c:v {codec}"
    subprocess.run([needs_ffmpeg(), *words.split(), str(path)], check=True)
    return path


def _wait_until_listening(port: int) -> None:
    # A connection would be the one client that ffmpeg serves: the kernel's table is looked at instead.
    listening = f":{port:04X} 00000000:0000 0A"
    deadline = time.monotonic() + 20
    while listening not in Path("/proc/net/tcp").read_text():
        assert time.monotonic() < deadline, f"ffmpeg does not listen on port {port}"
        time.sleep(0.02)
