"""The camera of Debian's `vivid` driver, inside the virtual machine, and what can happen to it.

Its controls for that are described in the kernel's documentation: admin-guide/media/vivid, "Error Injection".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from linuxpy.video.device import ButtonControl, Device

CAMERA = Path("/dev/video0")
DRIVER = Path("/sys/bus/platform/drivers/vivid")
MODULE = ("modprobe", "vivid", "n_devs=1", "node_types=0x1", "num_inputs=1", "input_types=0x0")
"""One device, which captures, and whose only input is a webcam."""
COLOUR_BARS = 1
"""Of vivid's test patterns: white, yellow, cyan, green, magenta, red, blue and black, all at 100 %."""
CONTROLS = {"test_pattern": COLOUR_BARS, "timestamp_source": 1}
"""Frames bear the time at which their exposure began; vivid's own choice is its end, which is yet to come."""


def set_control(name: str, value: int = 1) -> None:
    """As ``v4l2-ctl --set-ctrl`` does it, beside the daemon; a button is pushed."""
    with Device(CAMERA) as device:
        control = next(each for each in device.controls.values() if each.config_name == name)
        if isinstance(control, ButtonControl):
            control.push()
        else:
            control.value = value


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to a camera."""

    name: str
    cause: Callable[[], None]
    noticed: str
    """What the daemon's log says then; empty: it goes on."""
    lasts_s: float = 0.0
    lift: Callable[[], None] | None = None
    """None: it lifts itself."""


def unbind() -> None:
    (DRIVER / "unbind").write_text("vivid.0")


def bind() -> None:
    (DRIVER / "bind").write_text("vivid.0")


def in_turn(*buttons: str) -> Callable[[], None]:
    """Push these buttons; each makes the next call of its kind fail, or the stream."""

    def push() -> None:
        for button in buttons:
            set_control(button)

    return push


def drop(percent: int) -> Callable[[], None]:
    return lambda: set_control("percentage_of_dropped_buffers", percent)


FATAL = "inject_fatal_streaming_error"
REQBUFS = "inject_vidioc_reqbufs_error"
STREAMON = "inject_vidioc_streamon_error"
FAULTS = (
    Fault("a damaged frame", in_turn("inject_v4l2_buf_flag_error"), ""),
    Fault("half of the frames lost", drop(50), "", 3.0, drop(0)),
    Fault("streaming fails", in_turn(FATAL), "gate: reopening"),
    Fault("a buffer is refused", in_turn("inject_vidioc_qbuf_error"), "gate: reopening"),
    Fault("streaming fails, then REQBUFS", in_turn(REQBUFS, FATAL), "gate: reopening"),
    Fault("streaming fails, then STREAMON", in_turn(STREAMON, FATAL), "gate: reopening"),
    Fault("disconnected for a moment", in_turn("disconnect"), "gate: absent"),
    Fault("no frames come", drop(100), "gate: stalled", 8.0, drop(0)),
    Fault("unplugged and plugged in", unbind, "gate: absent", 8.0, bind),
)


def tell(finding: str, **facts: object) -> None:
    with Path("/dev/ttyS1").open("w") as port:
        print(json.dumps({"finding": finding, **facts}), file=port)


def say(text: str) -> None:
    print(f"vivid: {float(Path('/proc/uptime').read_text().split()[0]):6.1f} s: {text}", flush=True)
