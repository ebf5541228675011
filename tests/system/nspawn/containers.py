"""Containers with a real systemd as their first process, as a freshly installed machine has it.

systemd-nspawn's own ``--boot`` leaves the control groups read-only where the host still has those of version
1, and memory limits would silently do nothing: so each container gets a group of its own in every hierarchy,
and mounts them writable before it starts systemd. Nothing of the host's systemd is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PACKAGES = "systemd,systemd-sysv,dbus,udev,kmod,iproute2,procps,ca-certificates,python3,python3-venv"
CONTROLLERS = ("memory", "pids", "cpu", "cpuacct", "blkio", "devices", "freezer")
CGROUPS = Path("/sys/fs/cgroup")
BOOT_S = 120.0
LEAN = (
    '--aptopt=Apt::Install-Recommends "false"',
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)


def why_not() -> str:
    """Why no container can be booted here; empty when one can."""
    if os.geteuid():
        return "booting a container needs root"
    for program, package in (("systemd-nspawn", "systemd-container"), ("mmdebstrap", "mmdebstrap")):
        if not shutil.which(program):
            return f"there is no {program} (apt-get install {package})"
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        return "booting a container needs CAP_SYS_ADMIN (docker run --privileged)"
    with tempfile.TemporaryDirectory() as folder:
        layers = f"lowerdir=/etc,upperdir={folder}/upper,workdir={folder}/work"
        script = f"cd {folder} && mkdir upper work root && mount -t overlay overlay -o {layers} root"
        if subprocess.run(
            ["unshare", "--mount", "sh", "-c", script], check=False, capture_output=True
        ).returncode:
            return f"no overlay can be mounted in {tempfile.gettempdir()}; set TMPDIR to a folder on a disk"
    return ""


def make_debian(folder: Path, release: str = "bookworm") -> Path:
    """A bare Debian in `folder`, made once, by one process at a time.

    :param release: its name; ``bookworm`` is Debian 12.
    :raises subprocess.CalledProcessError: it cannot be made, as without a network.
    """
    root = folder / ("debian" if release == "bookworm" else f"debian-{release}")
    complete = folder / f"{root.name}-complete"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(root, ignore_errors=True)
            command = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={PACKAGES}"]
            run_quietly(*command, *LEAN, release, root)
            complete.touch()
    return root


class Container:
    """A throw-away copy of the folder `root`, booted; what it writes is kept in `folder` alone.

    :param binds: folders of the host that it sees, read-only, by their path inside.
    :param given: folders of which it has a copy from the start, by their path inside. Files of this copy are
        links: they may be replaced, but not written into.
    """

    def __init__(
        self, name: str, root: Path, folder: Path, binds: dict[str, Path], given: dict[str, Path]
    ) -> None:
        self.name = name
        self._root = root
        self._folder = folder
        self._binds = binds
        self._given = given
        self._process: subprocess.Popen[bytes] | None = None
        self._systemd = 0

    @property
    def log(self) -> Path:
        """What systemd said while it booted."""
        return self._folder / "console.log"

    def boot(self) -> float:
        """Start it, and wait until systemd says that it is up; returns the seconds."""
        started = time.monotonic()
        merged = self._folder / "root"
        if not merged.is_dir():
            for name in ("upper", "work", "root"):
                (self._folder / name).mkdir()
            for inside, outside in self._given.items():
                copy = self._folder / "upper" / inside.lstrip("/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                linked = subprocess.run(["cp", "-alT", outside, copy], check=False, capture_output=True)
                if linked.returncode:  # on another disk
                    run_quietly("cp", "-aT", outside, copy)
            layers = f"lowerdir={self._root},upperdir={self._folder}/upper,workdir={self._folder}/work"
            layers += ",volatile"  # this machine's kernel lives on: nothing has to reach its disk
            run_quietly("mount", "-t", "overlay", "overlay", "-o", layers, merged)
        binds = [f"--bind-ro={outside}:{inside}" for inside, outside in self._binds.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _INTO_GROUPS, "sh", self.name, "systemd-nspawn", "--quiet", "--register=no",
                 "--keep-unit", "--console=pipe", "--private-network", "--capability=CAP_SYS_MODULE",
                 f"--machine={self.name}", "-D", merged,
                 *binds, "/bin/sh", "-c", _START_SYSTEMD],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        while time.monotonic() < started + BOOT_S:
            assert self._process.poll() is None, self.log.read_text()
            self._systemd = _child_of(self._process.pid)
            # It answers `offline` until its bus is there, `starting` until its default target is reached.
            if self._systemd and self.run("systemctl", "is-system-running", check=False) in (
                "running",
                "degraded",
            ):
                return time.monotonic() - started
            time.sleep(0.05)
        raise TimeoutError(f"not booted within {BOOT_S:g} s: {self.log.read_text()}")

    def run(
        self, *command: str | Path, check: bool = True, stdin: bytes = b"", timeout_s: float = 600
    ) -> str:
        """Run a command inside, to its end; returns what it said, standard error included."""
        done = subprocess.run(
            [*self._inside(), *command],
            input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s,
        )  # fmt: skip
        said = done.stdout.decode(errors="replace").rstrip()
        assert done.returncode == 0 or not check, f"{command}: status {done.returncode}\n{said}"
        return said

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command inside; it reads from and writes to pipes."""
        return subprocess.Popen(
            [*self._inside(), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )  # fmt: skip

    def _inside(self) -> list[str]:
        return ["nsenter", "-t", str(self._systemd), "-m", "-u", "-i", "-n", "-p", "-C", "--"]

    def path(self, inside: str) -> Path:
        """A file inside, for the host."""
        return Path(f"/proc/{self._systemd}/root{inside}")

    def power_off(self) -> float:
        """Shut it down in order; returns the seconds."""
        assert self._process
        started = time.monotonic()
        self.run("systemctl", "poweroff", check=False)
        try:
            self._process.wait(BOOT_S)
        except subprocess.TimeoutExpired:
            run_quietly("pkill", "-KILL", "-P", str(self._process.pid))
            self._process.wait()
            raise
        finally:
            self._leave_groups()
        return time.monotonic() - started

    def cut_power(self) -> None:
        """End all that runs in it at once. What was written is there when it boots again."""
        if self._process and self._process.poll() is None:
            if systemd := _child_of(self._process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(systemd, 9)
            self._process.wait()
        self._leave_groups()

    def discard(self) -> None:
        """Stop it, however it is, and unmount."""
        self.cut_power()
        subprocess.run(["umount", "--lazy", self._folder / "root"], check=False, stderr=subprocess.DEVNULL)

    def _leave_groups(self) -> None:
        for controller in CONTROLLERS:
            group = CGROUPS / controller / self.name
            for folder in sorted(group.glob("**/"), key=lambda each: -len(each.parts)):
                with contextlib.suppress(OSError):
                    folder.rmdir()


_INTO_GROUPS = f"""
for controller in {" ".join(CONTROLLERS)}; do
    group=/sys/fs/cgroup/$controller
    mountpoint -q $group && mkdir -p $group/$1 && echo $$ >$group/$1/cgroup.procs
done
shift
exec "$@"
"""
_START_SYSTEMD = f"""
for controller in {" ".join(CONTROLLERS)}; do
    mount -o remount,rw,bind /sys/fs/cgroup/$controller 2>/dev/null
done
exec /lib/systemd/systemd systemd.show_status=0
"""


def _child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


def run_quietly(*command: str | Path) -> None:
    """Run a command of this machine.

    :raises subprocess.CalledProcessError: it fails; with its standard error.
    """
    environ = os.environ | {"LC_ALL": "C.UTF-8"}
    subprocess.run(command, check=True, capture_output=True, text=True, errors="replace", env=environ)


@contextlib.contextmanager
def booted(
    name: str, root: Path, folder: Path, binds: dict[str, Path], given: dict[str, Path] | None = None
) -> Iterator[Container]:
    """A :class:`Container` for as long as the block lasts."""
    container = Container(f"{name}-{os.getpid()}", root, folder, binds, given or {})
    try:
        container.boot()
        yield container
    finally:
        container.discard()
