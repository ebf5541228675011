"""Find the configuration, and the folders that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from incv3d.config.loading import ENVIRONMENT, ConfigError, load_config
from incv3d.config.paths import latency_log_path, state_directory
from incv3d.config.schema import Config
from incv3d.tools.doctor.access import check_access
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.permissions import User, can_read
from incv3d.tools.doctor.service import Service


@dataclass(frozen=True, slots=True)
class Installation:
    """The effective configuration, and where it puts the models and the log."""

    config: Config
    store: Path
    """The root of the model store."""
    log: Path
    """The latency log."""
    by_systemd: frozenset[Path] = frozenset()
    """Folders that systemd creates for the service; empty if the service does not start this program."""


def installation_of(config: Config, machine: Host, service: Service) -> Installation:
    """Return where `config` puts models and log: for the service if it starts this program."""
    environ: Mapping[str, str] = machine.environ
    made: dict[str, str] = {}
    if service.runs(machine.prefix) and not environ.get("STATE_DIRECTORY"):
        made = service.directories()
        environ = {**environ, **made}
    prefix = str(machine.prefix)
    store = Path(config.model.store) if config.model.store else state_directory(environ, prefix)
    log = latency_log_path(config.latency.log, environ, prefix)
    return Installation(config, store, log, frozenset(Path(folder) for folder in made.values()))


def read_installation(
    given: str | None, machine: Host, service: Service, service_user: User | None
) -> tuple[Installation, list[Finding]]:
    """Read the configuration as `incv3d run` would.

    :param given: the value of ``--config``.
    :param service_user: the user that the service runs as.
    """
    name = "configuration"
    try:
        loaded = load_config(given, machine.environ)
    except ConfigError as error:
        what = f"{error}; the checks below use the built-in defaults"
        fix = "fix it, then run: incv3d check-config (config/incv3d.yaml shows every key)"
        return installation_of(Config(), machine, service), [Finding(name, "problem", what, fix)]
    setup = installation_of(loaded.config, machine, service)
    overriding = [variable for variable in ENVIRONMENT if machine.environ.get(variable)]
    by = f", overridden by {', '.join(f'${each}' for each in overriding)}" if overriding else ""
    findings = [Finding(name, "ok", f"{loaded.origin}{by}")]
    if loaded.path and service_user and not can_read(loaded.path, service_user):
        what = f"{loaded.path}: the service's user {service_user.name} cannot read it"
        fix = f"sudo chgrp {service_user.name} {loaded.path} && sudo chmod g+r {loaded.path}"
        findings.append(Finding(name, "problem", what, fix))
    return setup, [*findings, check_access(loaded, machine.environ, service_user)]
