"""What the virtual machine does with the camera of Debian's `vivid` driver; started by ``init``.

Every finding is one line of JSON on the second serial port; ``test_vivid.py`` reads and judges them.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from linuxpy.video.device import PixelFormat
from PIL import Image
from vivid import CAMERA, COLOUR_BARS, CONTROLS, FAULTS, MODULE, Fault, bind, say, set_control, tell, unbind

from incv3d.client import Client
from incv3d.client.subscription import Published, results
from incv3d.images.annotate import decode_image
from incv3d.images.demo import demo_folder
from incv3d.sources import v4l2_capture as v4l2
from processes import PATIENCE_S, DaemonProcess, run_incv3d

STATE = Path("/state")
SMALL = {"width": 320, "height": 180, "fps": 5}
"""Converting frames to RGB takes an emulated processor its time."""
STALL_S = 3.0
INTERVAL_S = 10.0
INTERVALS = 4
CAT = demo_folder() / "cat.jpg"
HEALTHY_S = 31.0
"""After so long a failure is the first of its row again; later ones have growing pauses between them."""
OK_AGAIN = "source gate: ok after"


def wait_until(met: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


@contextmanager
def daemon_on_the_camera(**source: object) -> Iterator[DaemonProcess]:
    folder = Path(tempfile.mkdtemp())
    section = {
        "type": "v4l2",
        "name": "gate",
        "path": str(CAMERA),
        "stall_timeout_s": STALL_S,
        **SMALL,
        **source,
    }
    config = folder / "incv3d.yaml"
    model = {"name": "efficientnet-lite0"}
    config.write_text(json.dumps({"source": section, "model": model, "session": {"warmup_runs": 1}}))
    daemon = DaemonProcess(STATE, folder, "--config", str(config))
    try:
        yield daemon
        status = daemon.stop()
        tell("ended", source=section, status=status)
    finally:
        daemon.kill()
        for line in daemon.said:
            say(f"the daemon said: {line}")


class Witness:
    """Asks the door all the while: for labels, one picture after the other, and for the camera's state."""

    def __init__(self, door: str) -> None:
        self._door = door
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.states: list[str] = []
        self.source: dict[str, Any] = {}
        self.failures: list[str] = []
        self._answers: dict[str, list[float]] = {"stats": [], "picture": []}
        self._threads = [
            threading.Thread(target=self._repeat, args=(work,)) for work in (self._ask, self._send)
        ]
        for thread in self._threads:
            thread.start()

    def _repeat(self, work: Callable[[Client], str]) -> None:
        with Client(self._door, timeout_s=PATIENCE_S) as client:
            while not self._stop.wait(0.1):
                asked = time.monotonic()
                try:
                    kind = work(client)
                except Exception as error:  # noqa: BLE001 - whatever it is, the host is told
                    self.failures.append(repr(error))
                    return
                with self._lock:
                    self._answers[kind].append(time.monotonic() - asked)

    def _ask(self, client: Client) -> str:
        self.source = client.ask("stats")["source"]
        with self._lock:
            if self.states[-1:] != [self.source["state"]]:
                self.states.append(self.source["state"])
        return "stats"

    def _send(self, client: Client) -> str:
        client.classify(CAT)
        return "picture"

    def begin(self) -> None:
        with self._lock:
            self.states = self.states[-1:]
            self._answers = {"stats": [], "picture": []}

    def seen(self) -> dict[str, object]:
        """What it saw since ``begin``, once it has seen a picture answered."""
        wait_until(lambda: bool(self._answers["picture"] or self.failures), "no picture was answered")
        with self._lock:
            return {
                "states": list(self.states),
                "pictures": len(self._answers["picture"]),
                "slowest_picture_s": max(self._answers["picture"], default=None),
                "questions": len(self._answers["stats"]),
                "slowest_question_s": max(self._answers["stats"], default=None),
                "failures": list(self.failures),
            }

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)


def happen(fault: Fault, daemon: DaemonProcess, witness: Witness) -> None:
    say(f"fault: {fault.name}")
    witness.begin()
    before = dict(witness.source)
    facts: dict[str, float] = {}
    caused = time.monotonic()
    fault.cause()
    if fault.noticed:
        daemon.wait_for(fault.noticed)
        facts["noticed_s"] = time.monotonic() - caused
    time.sleep(fault.lasts_s)
    lifted = time.monotonic() if fault.lift else caused
    if fault.lift:
        fault.lift()
    if fault.noticed:
        daemon.wait_for(OK_AGAIN)
    else:
        wait_until(lambda: witness.source["lost_frames"] > before["lost_frames"], "no frame was lost")
    recovered = time.monotonic()
    facts["recovered_s"] = recovered - lifted
    frames = witness.source["frames"]
    wait_until(lambda: witness.source["state"] == "ok" and witness.source["frames"] > frames, "no frames")
    seen = witness.seen()
    lost = witness.source["lost_frames"] - before["lost_frames"]
    tell("fault", name=fault.name, lost_frames=lost, **facts, **seen)
    if fault.noticed:
        time.sleep(max(0.0, recovered + HEALTHY_S - time.monotonic()))


def handles(daemon: DaemonProcess) -> dict[str, int]:
    """How often the daemon has the camera open and mapped; its threads."""
    process = Path(f"/proc/{daemon.process.pid}")
    links = [os.readlink(each) for each in (process / "fd").iterdir()]  # noqa: PTH115
    maps = (process / "maps").read_text().splitlines()
    return {
        "opened": sum(link.startswith(str(CAMERA)) for link in links),
        "mapped": sum(str(CAMERA) in line for line in maps),
        "threads": int(daemon.facts("Threads")),
    }


def cpu_s(daemon: DaemonProcess) -> float:
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")")[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def published(daemon: DaemonProcess, count: int) -> list[Published]:
    stream = results(daemon.results, "gate", PATIENCE_S)
    found = [next(stream) for _ in range(count)]
    stream.close()
    return found


def colour_bars(pixels: np.ndarray) -> list[list[int]]:
    """The colour in the middle of each bar, low enough to miss the text at the top; `pixels`: (h, w, 3)."""
    height, width, _ = pixels.shape
    middles = [int((bar + 0.5) * width / 8) for bar in range(8)]
    return [pixels[height * 7 // 8, x - 4 : x + 4].mean(axis=0).round().astype(int).tolist() for x in middles]


def look_at_formats() -> None:
    """Each format that can be used, through the source itself, which takes the first of them otherwise."""
    all_formats = v4l2.FORMATS
    for format_ in all_formats:
        if format_ in (PixelFormat.MJPEG, PixelFormat.JPEG):  # which the driver has not
            continue
        v4l2.FORMATS = (format_,)
        source = v4l2.V4l2Source("gate", CAMERA, (600, 400), 5, CONTROLS)
        frames = []
        for pause_s in (0.0, 0.0, 2.0, 0.0, 0.0):
            time.sleep(pause_s)  # so long that the driver runs out of buffers
            frames += [source.capture(0.0) for _ in range(v4l2.BUFFERS)]
        source.close()
        assert all(frames)
        tell(
            "format",
            name=format_.name,
            encodings=[frame.encoding for frame in frames],
            sizes=[(frame.width, frame.height) for frame in frames],
            numbers=[frame.id for frame in frames],
            lost_frames=source.lost_frames,
            ages_s=[frame.received - frame.captured for frame in frames],
            bars=colour_bars(decode_image(frames[-1], 1_000_000)),
        )
    v4l2.FORMATS = all_formats


def look_at_commands() -> None:
    done = run_incv3d(STATE, "cameras", "--json")
    tell("cameras", status=done.returncode, **json.loads(done.stdout))
    set_control("test_pattern", COLOUR_BARS)
    done = run_incv3d(STATE, "snapshot", "/tmp/snapshot.jpg", "--source", str(CAMERA))
    with Image.open("/tmp/snapshot.jpg") as picture:
        bars = colour_bars(np.asarray(picture.convert("RGB")))
        tell("snapshot", status=done.returncode, said=done.stdout.strip(), size=picture.size, bars=bars)


def start_without_a_camera() -> None:
    """Before the driver is there; a second daemon then finds the camera in use."""
    with daemon_on_the_camera() as daemon:
        daemon.ready().wait_for("gate: absent")
        with Client(daemon.door, timeout_s=PATIENCE_S) as client:
            status = client.classify(CAT).status
        plugged_in = time.monotonic()
        subprocess.run(MODULE, check=True)
        daemon.wait_for(OK_AGAIN)
        tell("late", answered=status, recovered_s=time.monotonic() - plugged_in)
        with daemon_on_the_camera() as second:
            tell("in use", said=second.wait_for("gate: reopening"))


def go_through_faults() -> None:
    with daemon_on_the_camera(controls=CONTROLS) as daemon:
        daemon.ready().wait_for("gate: ok")
        found = published(daemon, 4)
        witness = Witness(daemon.door)
        try:
            wait_until(lambda: witness.source.get("frames", 0) > 20, "no frames")
            tell(
                "stream",
                numbers=[each.answer.id for each in found],
                ages_ms=[each.answer.age_ms for each in found],
                runs_ms=[each.answer.timing_ms.run for each in found if each.answer.timing_ms],
                statuses=[each.answer.status for each in found],
                source=witness.source,
                **handles(daemon),
            )
            for fault in FAULTS:
                happen(fault, daemon, witness)
        finally:
            witness.stop()
        tell("after all faults", source=witness.source, failures=witness.failures, **handles(daemon))


def plug_in_at_once() -> None:
    """Before the daemon has let go of it: it can come back under another number; an empty path follows it."""
    with daemon_on_the_camera(path="") as daemon:
        daemon.ready().wait_for("gate: ok")
        unbind()
        bind()
        plugged_in = time.monotonic()
        daemon.wait_for(OK_AGAIN)
        cameras = [str(path) for path in Path("/dev").glob("video*")]
        tell("at once", recovered_s=time.monotonic() - plugged_in, cameras=cameras)
    unbind()
    bind()


def idle() -> None:
    """Processor time between a result and the next frame, over whole intervals, and with no camera at all."""
    with daemon_on_the_camera(type="none") as daemon:
        daemon.ready()
        time.sleep(3)
        began, used = time.monotonic(), cpu_s(daemon)
        time.sleep(2 * INTERVAL_S)
        bare_percent = 100 * (cpu_s(daemon) - used) / (time.monotonic() - began)
    with daemon_on_the_camera(interval_s=INTERVAL_S, controls=CONTROLS) as daemon:
        daemon.ready().wait_for("gate: ok")
        stream = results(daemon.results, "gate", PATIENCE_S)
        next(stream)
        began, used_before, idle_s, idle_cpu_s, ages_ms = time.monotonic(), cpu_s(daemon), 0.0, 0.0, []
        for _ in range(INTERVALS):
            time.sleep(1.0)
            resting, used = time.monotonic(), cpu_s(daemon)
            time.sleep(INTERVAL_S / 2)
            idle_s += time.monotonic() - resting
            idle_cpu_s += cpu_s(daemon) - used
            ages_ms.append(next(stream).answer.age_ms)
        stream.close()
        whole_s, whole_cpu_s = time.monotonic() - began, cpu_s(daemon) - used_before
        with Client(daemon.door) as client:
            source = client.ask("stats")["source"]
        tell(
            "idle",
            bare_percent=bare_percent,
            idle_percent=100 * idle_cpu_s / idle_s,
            whole_percent=100 * whole_cpu_s / whole_s,
            ages_ms=ages_ms,
            interval_s=whole_s / INTERVALS,
            frames=source["frames"],
            lost_frames=source["lost_frames"],
        )


def main() -> None:
    done = run_incv3d(STATE, "model", "import", "/srv/model.tar")
    if done.returncode:
        raise RuntimeError(done.stderr)
    for step in (
        start_without_a_camera,
        look_at_commands,
        look_at_formats,
        go_through_faults,
        plug_in_at_once,
        idle,
    ):
        say(step.__name__.replace("_", " "))
        try:
            step()
        except Exception:  # noqa: BLE001 - the host is told, and the others may still tell something
            traceback.print_exc()
            tell("failed", step=step.__name__, why=traceback.format_exc())
        subprocess.run(MODULE, check=True)
    tell("done", uptime_s=float(Path("/proc/uptime").read_text().split()[0]))


if __name__ == "__main__":
    main()
