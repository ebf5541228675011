"""Find the daemon of a configuration on this machine, and let it read that configuration again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from incv3d.config.loading import SYSTEM_FILE, LoadedConfig
from incv3d.errors import Incv3dError
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.ports import ask_daemon
from incv3d.tools.doctor.service import ask_systemd

RELOAD_S = 120.0
"""How long a reload may take: a Raspberry Pi 3 warms another base model in less."""
PAUSE_S = 0.2
JOURNAL = "see its log: journalctl -u incv3d"


class ReloadFailed(Incv3dError):
    """The running daemon does not do what its configuration says now."""


@dataclass(frozen=True, slots=True)
class RunningDaemon:
    """A daemon that runs on this machine."""

    pid: int
    is_service: bool
    answers: bool
    """Whether it answers questions; False: it wants a key, and there is none."""
    models: frozenset[str]
    """The models that it classifies with; empty: unknown, or still loading."""
    reloads: int
    problem: str
    """Why it has not taken over the configuration that it read last."""

    def how_to_reload(self) -> str:
        """Return the command that lets it read its configuration again; it may take root."""
        return "sudo systemctl reload incv3d" if self.is_service else f"sudo kill -HUP {self.pid}"


def find_daemon(loaded: LoadedConfig, key: str | None = None) -> RunningDaemon | None:
    """Return the daemon that runs with this configuration on this machine; None: there is none.

    :param key: a client's key file, for a daemon that requires one.
    """
    service = ask_systemd(Host()) if loaded.path and loaded.path.resolve() == SYSTEM_FILE else None
    service_pid = service.pid if service and service.active else 0
    answer = ask_daemon(loaded.config.intake, key)
    facts = answer.facts
    pid = int(facts.get("pid") or service_pid)
    if not pid or not _is_here(pid):
        return None
    reload = facts.get("reload") or {}
    return RunningDaemon(
        pid,
        is_service=pid == service_pid,
        answers=bool(facts),
        models=_models(facts),
        reloads=int(reload.get("count", 0)),
        problem=str(reload.get("problem", "")),
    )


def reload_daemon(loaded: LoadedConfig, daemon: RunningDaemon, key: str | None = None) -> RunningDaemon:
    """Let `daemon` read its configuration and its models again, and wait until it has.

    :returns: what it is afterwards.
    :raises ReloadFailed: this user must not, or the daemon cannot use what it read, or does not answer in
        time; the message says what to do.
    """
    try:
        os.kill(daemon.pid, signal.SIGHUP)
    except PermissionError:
        raise ReloadFailed(
            f"the running daemon belongs to another user; to let it take this over: {daemon.how_to_reload()}"
        ) from None
    except ProcessLookupError:
        raise ReloadFailed("the daemon has just ended; start it again") from None
    if not daemon.answers:
        raise ReloadFailed(
            f"the running daemon was told, but whether it could cannot be asked without a key; {JOURNAL}"
        )
    deadline = time.monotonic() + RELOAD_S
    while time.monotonic() < deadline:
        now = find_daemon(loaded, key)
        if now and now.reloads > daemon.reloads:
            if now.problem:
                raise ReloadFailed(f"the running daemon stays as it was: {now.problem}")
            return now
        time.sleep(PAUSE_S)
    raise ReloadFailed(
        f"the running daemon has not read its configuration within {RELOAD_S:.0f} s; {JOURNAL}"
    )


def _models(facts: dict[str, object]) -> frozenset[str]:
    sources = facts.get("sources")
    found = sources if isinstance(sources, list) else []
    regions = [each for source in found for each in source["regions"].values()]
    own = [each.get("model") for each in (*found, *regions) if isinstance(each, dict)]
    return frozenset(str(each) for each in (facts.get("model"), *own) if each)


def _is_here(pid: int) -> bool:
    """Return whether this process number is that of a daemon here, and not in a container of its own."""
    with contextlib.suppress(OSError):
        return b"incv3d" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
