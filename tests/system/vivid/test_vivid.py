"""The real daemon on a real V4L2 camera: the kernel's `vivid` driver, in a virtual machine.

``build`` makes the machine, ``guest.py`` runs in it and tells what it found, which is judged here. The
processor is emulated (no KVM is needed): seconds compare with each other only.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TOOLS = {"mmdebstrap": "mmdebstrap", "qemu-system-x86_64": "qemu-system-x86", "cpio": "cpio"}
LIMIT_S = 1800
FRAME_S = 1 / 5
"""Between two frames of the camera, as ``guest.py`` asks for them."""
FAULTS = {
    "a damaged frame": ["ok"],
    "half of the frames lost": ["ok"],
    "streaming fails": ["ok", "reopening", "ok"],
    "a buffer is refused": ["ok", "reopening", "ok"],
    "streaming fails, then REQBUFS": ["ok", "reopening", "ok"],
    "streaming fails, then STREAMON": ["ok", "reopening", "ok"],
    "disconnected for a moment": ["ok", "absent", "ok"],
    "no frames come": ["ok", "stalled", "reopening", "ok"],
    "unplugged and plugged in": ["ok", "absent", "ok"],
}
"""What the state of the camera goes through at each."""
BARS = [(r, g, b) for g in (255, 0) for r in (255, 0) for b in (255, 0)]
"""White, yellow, cyan, green, magenta, red, blue, black."""
GREYS = [255, 237, 201, 182, 73, 54, 18, 0]
"""The bars' luma by BT.709, which vivid takes for grey."""

FORMATS = ["YUYV", "UYVY", "YVYU", "VYUY", "NV12", "NV21", "YU12", "YV12", "RGB3", "BGR3", "GREY"]
"""What vivid offers that can be used, best first."""

Finding = dict[str, Any]


def scratch() -> Path:
    """Where the machine is kept: about 1 GB, never in the checkout."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("INCV3D_LAB") or Path(cache) / "incv3d") / "vivid"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def boot(lab: Path, findings: Path) -> str:
    """Run the machine to its end, and say what it says; what it printed."""
    # Without FMA and AVX2, which QEMU computes in software: a run takes six times as long with them.
    machine = (
        "-machine q35 -accel tcg,thread=multi -cpu max,-fma,-avx2 -smp 2 -m 2560 "
        "-nodefaults -display none -no-reboot"
    )
    command = [
        *("setpriv", "--pdeathsig", "KILL"),  # it ends with whoever started it, however that ends
        *("qemu-system-x86_64", *machine.split(), "-serial", "stdio", "-serial", f"file:{findings}"),
        *(
            "-kernel",
            lab / "vmlinuz",
            "-initrd",
            lab / "initramfs",
            "-append",
            "console=ttyS0 panic=-1 quiet",
        ),
    ]
    printed = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        try:
            assert process.stdout
            for line in process.stdout:
                print(line.rstrip(), flush=True)
                printed.append(line)
        finally:
            limit.cancel()
            process.kill()
    return "".join(printed)


@pytest.fixture(scope="module")
def findings(asked_for: None) -> list[Finding]:
    if os.geteuid() != 0:
        pytest.skip("must be root, to make a Debian in a folder")
    if missing := [package for tool, package in TOOLS.items() if not shutil.which(tool)]:
        pytest.skip(f"apt-get install {' '.join(missing)}")
    started = time.monotonic()
    lab = scratch()
    with (lab / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print(f"\nvivid: building in {lab}", flush=True)
        subprocess.run([HERE / "build", lab], env={**os.environ, "PYTHON": sys.executable}, check=True)
        built = time.monotonic()
        printed = boot(lab, lab / "findings")
        found = [json.loads(line) for line in (lab / "findings").read_text().splitlines()]
    print(table(found))
    print(f"vivid: {built - started:.0f} s to build, {time.monotonic() - built:.0f} s in the machine")
    assert found and found[-1]["finding"] == "done", printed[-4000:]
    return found


def table(findings: list[Finding]) -> str:
    """What became of each fault, for people."""
    lines = [
        "| fault | states | noticed, s | frames again, s | lost | questions, slowest | pictures, slowest |",
        "| --- " * 7 + "|",
    ]
    for each in of(findings, "fault"):
        noticed = f"{each['noticed_s']:.1f}" if "noticed_s" in each else ""
        lines.append(
            f"| {each['name']} | {', '.join(each['states'])} | {noticed} | {each['recovered_s']:.1f} "
            f"| {each['lost_frames']} | {each['questions']}, {each['slowest_question_s']:.2f} s "
            f"| {each['pictures']}, {each['slowest_picture_s']:.1f} s |"
        )
    for each in of(findings, "idle"):
        lines.append(
            f"one frame every 10 s: {each['idle_percent']:.2f} % of a core between two frames, "
            f"{each['bare_percent']:.2f} % with no camera, {each['whole_percent']:.0f} % with the classifying"
        )
    return "\n".join(lines)


def of(findings: list[Finding], kind: str) -> list[Finding]:
    return [each for each in findings if each["finding"] == kind]


def only(findings: list[Finding], kind: str) -> Finding:
    (found,) = of(findings, kind)
    return found


def assert_bars(seen: list[list[int]], expected: list[tuple[int, ...]]) -> None:
    for colour, wanted in zip(seen, expected, strict=True):
        assert all(abs(a - b) <= 6 for a, b in zip(colour, wanted, strict=True)), (colour, wanted)


def test_the_daemon_never_crashes(findings: list[Finding]) -> None:
    assert not of(findings, "failed"), of(findings, "failed")[0]["why"]
    assert [each["status"] for each in of(findings, "ended")] == [0] * 6


def test_a_camera_that_is_plugged_in_late_is_taken_up(findings: list[Finding]) -> None:
    late = only(findings, "late")
    assert late["answered"] == "ok"
    print(f"plugged in after the start: frames {late['recovered_s']:.1f} s later")


def test_a_camera_that_another_program_has_is_said_to_be_in_use(findings: list[Finding]) -> None:
    assert "/dev/video0: in use by another program" in only(findings, "in use")["said"]


def test_the_camera_is_listed_with_its_formats_and_sizes(findings: list[Finding]) -> None:
    (camera,) = only(findings, "cameras")["cameras"]
    assert (camera["type"], camera["name"], camera["path"]) == ("v4l2", "vivid", "/dev/video0")
    assert list(camera["formats"]) == FORMATS
    assert [640, 480] in camera["formats"]["YUYV"]
    assert camera["configuration"] == "source: {type: v4l2, path: /dev/video0}"


def test_a_snapshot_shows_what_the_camera_sees(findings: list[Finding]) -> None:
    snapshot = only(findings, "snapshot")
    assert (snapshot["status"], snapshot["said"]) == (0, "/tmp/snapshot.jpg: 640x480")
    assert_bars(snapshot["bars"], BARS)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("YUYV", "yuyv"),
        ("UYVY", "uyvy"),
        ("YVYU", "yvyu"),
        ("VYUY", "vyuy"),
        ("NV12", "nv12"),
        ("NV21", "nv21"),
        ("YUV420", "yu12"),
        ("YVU420", "yv12"),
        ("RGB24", "rgb24"),
        ("BGR24", "bgr24"),
        ("GREY", "gray8"),
    ],
)
def test_every_format_gives_the_colours_drawn_by_the_driver(findings: list[Finding], name, encoding) -> None:
    (found,) = [each for each in of(findings, "format") if each["name"] == name]
    assert set(found["encodings"]) == {encoding}
    assert found["sizes"] == [[640, 480]] * 20, "600x400 was asked for, and this is the next"
    numbers = found["numbers"]
    assert numbers == sorted(set(numbers))
    assert found["lost_frames"] == numbers[-1] - numbers[0] + 1 - len(numbers) > 0, "the gap of two seconds"
    assert_bars(found["bars"], [(grey,) * 3 for grey in GREYS] if name == "GREY" else BARS)


def test_a_frame_is_as_old_as_the_driver_says(findings: list[Finding]) -> None:
    for each in of(findings, "format"):
        assert all(age > 0 for age in each["ages_s"])
        assert max(each["ages_s"]) > 1, "what waited in the driver for two seconds"


def test_results_are_of_ever_newer_frames_no_older_than_a_run_and_a_frame(
    findings: list[Finding],
) -> None:
    stream = only(findings, "stream")
    assert set(stream["statuses"]) == {"ok"}
    assert stream["numbers"] == sorted(set(stream["numbers"]))
    assert (stream["source"]["state"], stream["source"]["reason"]) == ("ok", "")
    beyond_s = [(age - run) / 1000 for age, run in zip(stream["ages_ms"], stream["runs_ms"], strict=True)]
    print(f"age of a result beyond its run: median {statistics.median(beyond_s):.2f} s")
    assert statistics.median(beyond_s) < 2 * FRAME_S


@pytest.mark.parametrize("name", FAULTS)
def test_the_daemon_recovers_and_answers_all_the_while(findings: list[Finding], name) -> None:
    (found,) = [each for each in of(findings, "fault") if each["name"] == name]
    assert found["states"] == FAULTS[name]
    assert not found["failures"] and found["pictures"] and found["questions"]
    assert found["slowest_question_s"] < 3, "it waited for the camera"


def test_a_camera_that_comes_back_under_another_number_is_found(findings: list[Finding]) -> None:
    found = only(findings, "at once")
    (camera,) = found["cameras"]
    print(f"unplugged and at once plugged in: frames {found['recovered_s']:.1f} s later, of {camera}")


def test_frames_that_are_damaged_or_lost_are_counted(findings: list[Finding]) -> None:
    lost = {each["name"]: each["lost_frames"] for each in of(findings, "fault")}
    assert lost["a damaged frame"] > 0
    assert lost["half of the frames lost"] > 2


def test_no_fault_leaves_anything_open_behind(findings: list[Finding]) -> None:
    before, after = only(findings, "stream"), only(findings, "after all faults")
    handles = ("opened", "mapped", "threads")
    assert [before[each] for each in handles] == [after[each] for each in handles]
    source = after["source"]
    assert (source["state"], source["hung_threads"]) == ("ok", 0)
    assert source["recoveries"] == sum(len(states) > 1 for states in FAULTS.values())


def test_between_two_frames_of_an_interval_it_idles(findings: list[Finding]) -> None:
    idle = only(findings, "idle")
    assert idle["idle_percent"] < 2
    assert idle["lost_frames"] == 0, "frames that nobody wanted"
    assert all(age < 10_000 for age in idle["ages_ms"]), "a frame of the interval before"
