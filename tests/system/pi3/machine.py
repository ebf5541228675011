"""The service on an emulated Raspberry Pi 3, a whole machine of 1 GB: ``tests/run --raspi3b``.

``build`` makes the root of an arm64 Debian, ``image`` an SD card of it on which incv3d is a service of
systemd; QEMU's ``raspi3b`` boots Debian's kernel, with no network and no camera. ``guest`` starts the service
with each engine, has it classify a picture, and stops it. Emulated seconds compare with each other only.
Ends with status 1 where anything is otherwise than on this machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

from emulation import ENGINES, TOOLS, agrees, laboratory, make, proc_in, set_up

LIMIT_S = 3600
SAYS = "pi3: "
"""What a line of ``guest`` begins with, among all else on the serial port."""

MACHINE = "-M raspi3b -m 1024 -accel tcg,thread=multi -display none -no-reboot -monitor none"
CARD = "format=raw,if=sd,snapshot=on"
KERNEL_OPTIONS = (
    *("console=ttyS1,115200", "rw", "loglevel=4", "systemd.show_status=0", "systemd.firstboot=off"),
    "systemd.mask=serial-getty@ttyS1.service",  # it would hang up on the guest
)


def main() -> int:
    with laboratory({**TOOLS, "qemu-system-aarch64": "qemu-system-arm", "cpio": "cpio"}) as lab:
        with proc_in(lab / "root"):
            models = {engine: set_up(lab, engine) for engine in ENGINES}
        make("image", lab)
        said = boot(lab)
        right = [judge(lab, engine, model, said[engine]) for engine, model in models.items()]
    return 0 if all(right) else 1


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
    answers = [json.loads(each.partition(" ")[2]) for each in said if each.startswith("answer {")]
    right = bool(answers) and agrees(answers[0]["predictions"], lab, engine) and "ended success" in said
    print(f"pi3: {engine}: {'ok' if right else f'FAILED; see {lab}/serial.log'}", flush=True)
    return right


if __name__ == "__main__":
    sys.exit(main())
