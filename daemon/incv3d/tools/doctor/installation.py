"""What is configured here: which file, which folders."""

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
from incv3d.tools.doctor.permissions import Person, may_read
from incv3d.tools.doctor.service import Service


@dataclass(frozen=True, slots=True)
class Installation:
    """The configuration in force, and where it puts things."""

    config: Config
    store: Path
    """The root of the model store."""
    log: Path
    """The latency log."""
    by_systemd: frozenset[Path] = frozenset()
    """Folders that systemd makes for the service; empty where it starts another program, or none."""


def setup_of(config: Config, machine: Host, service: Service) -> Installation:
    """Where `config` puts models and log: as the service would, if it is this program that it starts."""
    environ: Mapping[str, str] = machine.environ
    made: dict[str, str] = {}
    if service.runs(machine.prefix) and not environ.get("STATE_DIRECTORY"):
        made = service.directories()
        environ = {**environ, **made}
    prefix = str(machine.prefix)
    store = Path(config.model.store) if config.model.store else state_directory(environ, prefix)
    log = latency_log_path(config.latency.log, environ, prefix)
    return Installation(config, store, log, frozenset(Path(folder) for folder in made.values()))


def read_setup(
    given: str | None, machine: Host, service: Service, servant: Person | None
) -> tuple[Installation, list[Finding]]:
    """Read the configuration as `incv3d run` would.

    :param given: the value of ``--config``.
    :param servant: whom the service runs as.
    """
    name = "configuration"
    try:
        loaded = load_config(given, machine.environ)
    except ConfigError as error:
        what = f"{error}; everything below is about the built-in defaults"
        fix = "mend it, then: incv3d check-config (config/incv3d.yaml shows every key)"
        return setup_of(Config(), machine, service), [Finding(name, "problem", what, fix)]
    setup = setup_of(loaded.config, machine, service)
    overriding = [variable for variable in ENVIRONMENT if machine.environ.get(variable)]
    by = f", overridden by {', '.join(f'${each}' for each in overriding)}" if overriding else ""
    findings = [Finding(name, "ok", f"{loaded.origin}{by}")]
    if loaded.path and servant and not may_read(loaded.path, servant):
        what = f"{loaded.path}: the service's user {servant.name} may not read it"
        fix = f"sudo chgrp {servant.name} {loaded.path} && sudo chmod g+r {loaded.path}"
        findings.append(Finding(name, "problem", what, fix))
    return setup, [*findings, check_access(loaded, machine.environ, servant)]
