"""Home Assistant in a Debian 13 of its own, because it needs a newer Python than this machine may have.

It takes a gigabyte and, the first time, a network and some minutes. It runs in a mount namespace with the
root changed, on this machine's network: it finds the broker on 127.0.0.1 and nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

VERSION = "2026.2.3"
PACKAGES = "python3,python3-venv,python3-dev,gcc,g++,libc6-dev,ca-certificates,libturbojpeg0,tzdata"
COMPONENTS = (
    "frontend mqtt recorder history api config onboarding backup hardware automation logbook system_log "
    "file_upload image camera person zone sun network usb mobile_app homeassistant_alerts analytics"
)
"""What it loads by itself or by ``configuration.yaml``; the packages that they take are installed."""
BESIDES = "numpy zlib-ng isal hassil home-assistant-intents mutagen av ha-ffmpeg"
"""Packages that are imported, but that no component of those names."""
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
ENVIRON = {
    "PATH": "/opt/ha/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PIP_CERT": CERTIFICATES,
    "SSL_CERT_FILE": CERTIFICATES,
    "REQUESTS_CA_BUNDLE": CERTIFICATES,
}
_ENTER = """
root=$1; shift
for folder in proc sys dev; do mount --rbind "/$folder" "$root/$folder" || exit; done
for pair in $BINDS; do mkdir -p "$root${pair#*:}"; mount --bind "${pair%%:*}" "$root${pair#*:}" || exit; done
exec chroot "$root" "$@"
"""


def why_not() -> str:
    """Why it cannot run here; empty when it can."""
    if os.geteuid():
        return "Home Assistant in a root of its own needs root"
    if not shutil.which("mmdebstrap"):
        return "there is no mmdebstrap (apt-get install mmdebstrap)"
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        return "Home Assistant in a root of its own needs CAP_SYS_ADMIN (docker run --privileged)"
    return ""


def make_root(folder: Path) -> Path:
    """A Debian with Home Assistant in ``/opt/ha``, made once, by one process at a time.

    :raises subprocess.CalledProcessError: it cannot be made, as without a network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root, stamp = folder / "root", folder / "complete"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != VERSION:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(root, ignore_errors=True)
            command = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={PACKAGES}"]
            _run([*command, "trixie", str(root)])
            _install(root)
            stamp.write_text(VERSION)
    return root


def _install(root: Path) -> None:
    for name in ("/etc/resolv.conf", "/etc/hosts", CERTIFICATES):
        shutil.copyfile(name, f"{root}{name}")
    pip = ("/opt/ha/bin/pip", "install", "--quiet", "--disable-pip-version-check")
    _run(inside(root, "python3", "-m", "venv", "/opt/ha"))
    _run(inside(root, *pip, f"homeassistant=={VERSION}"))
    (package,) = root.glob("opt/ha/lib/python3*/site-packages/homeassistant")
    wanted = sorted(_requirements(package / "components", COMPONENTS.split()))
    limits = f"/{(package / 'package_constraints.txt').relative_to(root)}"
    _run(inside(root, *pip, "--constraint", limits, *wanted, *BESIDES.split()))


def _requirements(components: Path, names: list[str]) -> set[str]:
    """The packages of components, and of those on which they depend."""
    seen: set[str] = set()
    found: set[str] = set()
    while names:
        name = names.pop()
        if name not in seen:
            seen.add(name)
            manifest = json.loads((components / name / "manifest.json").read_text())
            found.update(manifest.get("requirements", []))
            names.extend(manifest.get("dependencies", []))
    return found


def inside(root: Path, *command: str, binds: dict[Path, str] | None = None) -> list[str]:
    """The command that runs `command` in `root`; its mounts end with it.

    :param binds: folders of this machine that it sees, by their path there.
    """
    words = [f"{name}={value}" for name, value in ENVIRON.items()]
    pairs = " ".join(f"{outside}:{path}" for outside, path in (binds or {}).items())
    enter = ["unshare", "--mount", "--propagation", "private", "env", "-i", "PATH=/usr/sbin:/usr/bin:/bin"]
    enter += [f"BINDS={pairs}", "sh", "-c", _ENTER, "sh", str(root)]
    return [*enter, "env", "-i", *words, *command]


def _run(command: list[str]) -> None:
    environ = os.environ | {"LC_ALL": "C.UTF-8"}
    subprocess.run(command, check=True, capture_output=True, text=True, errors="replace", env=environ)
