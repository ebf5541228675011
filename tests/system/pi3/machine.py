"""The service on an emulated Raspberry Pi 3, a whole machine of 1 GB: ``tests/run --raspi3b``.

``build`` makes the root of an arm64 Debian, ``image`` an SD card of it on which incv3d is a service of
systemd; QEMU's ``raspi3b`` boots Debian's kernel, with no network and no camera. ``guest`` imports the
archive of the stand-in for Inception-v3, if there is one, has the service classify a picture, and waits until
it has converted the model to int8 with frames of its own source. Then it starts the service with each engine,
has it classify, and stops it. Emulated seconds compare with each other only. Ends with status 1 where
anything is otherwise than on this machine, or too much memory was in use.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

from emulation import (
    ENGINES,
    TOOLS,
    Predictions,
    agrees,
    configuration,
    laboratory,
    make,
    proc_in,
    set_up,
    settings,
    shared,
)

MACHINE_TOOLS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "cpio": "cpio",
    "systemd-sysusers": "systemd",
}
LIMIT_S = 6 * 3600
MOST_MB = 600
"""What may be in use on the machine while it imports, converts and tunes."""
PICTURES = 24
"""Given to the source of the service that tunes itself: more than it needs."""
SAYS = "pi3: "
"""What a line of ``guest`` begins with, among all else on the serial port."""

MACHINE = "-M raspi3b -m 1024 -accel tcg,thread=multi -display none -no-reboot -monitor none"
CARD = "format=raw,if=sd,snapshot=on"
KERNEL_OPTIONS = (
    *("console=ttyS1,115200", "rw", "loglevel=4", "systemd.show_status=0", "systemd.firstboot=off"),
    "systemd.mask=serial-getty@ttyS1.service",  # it would hang up on the guest
)


def main() -> int:
    with laboratory({**TOOLS, **MACHINE_TOOLS}) as lab:
        with proc_in(lab):
            models = {engine: set_up(lab, engine) for engine in ENGINES}
        is_tuned = set_up_tuning(lab)
        make("image", lab)
        said = boot(lab)
        right = [judge(lab, engine, model, said[engine]) for engine, model in models.items()]
        if is_tuned:
            right.append(judge_tuning(lab, said["tuning"]))
        else:
            print("pi3: left out: to import an archive and tune, which needs the large test data", flush=True)
    return 0 if all(right) else 1


def set_up_tuning(lab: Path) -> bool:
    """Give the root an archive to import, and pictures to tune with; return whether they exist."""
    archive, folder = shared("models/inception-2015-12-05-standin.tgz"), lab / "root/srv/pictures"
    shutil.rmtree(folder, ignore_errors=True)
    (lab / "root/srv/archive.tgz").unlink(missing_ok=True)
    pictures = sorted(shared("images").glob("*.JPEG"))[:PICTURES]
    if not archive.exists() or not pictures:
        return False
    shutil.copy(archive, lab / "root/srv/archive.tgz")
    folder.mkdir()
    for picture in pictures:
        shutil.copy(picture, folder)
    with_source = settings("litert", "standin")
    with_source["session"] |= {"tune": True, "tune_over_s": 1}
    with_source["source"] = {"type": "images", "path": "/srv/pictures", "interval_s": 30}
    configuration(lab, "tuning").write_text(json.dumps(with_source))
    return True


def boot(lab: Path) -> dict[str, list[str]]:
    """Run the machine until ``guest`` is done; what it said of each engine. ``serial.log`` has all of it."""
    kernel = lab / "kernel"
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    (tree,) = kernel.glob("usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb")
    command = [
        *("setpriv", "--pdeathsig", "KILL"),  # it ends with whoever started it, however that ends
        *(lab / "qemu-system", *MACHINE.split(), "-drive", f"file={lab / 'card'},{CARD}"),
        *("-kernel", image, "-dtb", tree, "-initrd", lab / "initramfs"),
        *("-serial", "null", "-serial", "stdio"),  # the second is the console
        *("-append", " ".join(KERNEL_OPTIONS)),
    ]
    said = defaultdict(list)
    engine = ""
    with (
        (lab / "serial.log").open("w") as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
        ) as process,
    ):
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        assert process.stdout
        for line in map(str.rstrip, process.stdout):
            print(line, file=log, flush=True)
            if not line.startswith(SAYS):
                continue
            kind, _, rest = line.removeprefix(SAYS).partition(" ")
            if kind == "done":
                break
            if kind == "engine":
                engine = rest
            if kind != "answer":
                print(line, flush=True)
            said[engine].append(line.removeprefix(SAYS))
        limit.cancel()
        process.kill()
    return said


def judge(lab: Path, engine: str, model: str, said: list[str]) -> bool:
    """Whether the service with this engine found what this machine finds, and ended well."""
    print(f"pi3: {engine}, {model}:")
    answers = answers_in(said)
    right = bool(answers) and agrees(answers[0], lab, engine) and "ended success" in said
    print(f"pi3: {engine}: {'ok' if right else f'FAILED; see {lab}/serial.log'}", flush=True)
    return right


def judge_tuning(lab: Path, said: list[str]) -> bool:
    """Whether float32 found what this machine finds, and then int8 the same label, within the memory."""
    print("pi3: tuning, standin, float32, then int8:")
    answers = [
        json.loads(each.partition(" ")[2])["predictions"] for each in said if each.startswith("answer {")
    ]
    most_mb = max((int(each) for each in re.findall(r"at most (\d+) MB s", "\n".join(said))), default=0)
    right = (
        len(answers) == 2
        and agrees(answers[0], lab, "tuning")
        and answers[0][0]["label"] == answers[1][0]["label"]
        and any(each.startswith("tuning: tuned: litert int8") for each in said)
        and 0 < most_mb <= MOST_MB
        and "ended success" in said
    )
    print(f"  in use on the machine at most {most_mb} MB, of {MOST_MB}")
    print(f"pi3: tuning: {'ok' if right else f'FAILED; see {lab}/serial.log'}", flush=True)
    return right


def answers_in(said: list[str]) -> list[Predictions]:
    return [json.loads(each.partition(" ")[2])["predictions"] for each in said if each.startswith("answer {")]


if __name__ == "__main__":
    sys.exit(main())
