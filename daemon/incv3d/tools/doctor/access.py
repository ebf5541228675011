"""Who can connect to the door, and whether its keys are as they should be."""

from __future__ import annotations

from collections.abc import Mapping

from incv3d.config.checks import is_loopback, split_http_address
from incv3d.config.loading import LoadedConfig
from incv3d.config.schema import Config
from incv3d.errors import Incv3dError
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.permissions import Person, may_read

NAME = "access"


def check_access(loaded: LoadedConfig, environ: Mapping[str, str], servant: Person | None) -> Finding:
    """Whether other machines can connect, and whether the daemon could tell them apart.

    :param servant: whom the service runs as.
    """
    try:
        # Imports ZeroMQ, which may be what is broken here.
        from incv3d.protocol.curve_keys import KeyFileDenied
        from incv3d.transports.zeromq.access import insecure_warning, required_keys
    except ImportError as error:
        return Finding(NAME, "note", f"could not be looked at: {error}", "see `pyzmq` here")
    more = _other_ways(loaded.config)
    if warning := insecure_warning(loaded.config.intake):
        fix = "incv3d keys new, incv3d keys add CLIENT, and leave out intake.insecure"
        return Finding(NAME, "warning", warning, fix)
    try:
        ring = required_keys(loaded, environ)
        if ring is None:
            only = "over ZeroMQ only this machine can connect" if more else "only this machine can connect"
            return Finding(NAME, "ok", only + more)
        count = len(ring.clients())
    except KeyFileDenied as error:
        return Finding(NAME, "note", str(error), "sudo incv3d doctor sees more")
    except Incv3dError as error:
        return Finding(NAME, "problem", str(error), "mend it, then: incv3d check-config")
    if servant and not may_read(ring.server_file, servant):
        what = f"{ring.server_file}: the service's user {servant.name} may not read it"
        return Finding(NAME, "problem", what, f"sudo chown -R {servant.name}: {ring.folder}")
    if not count:
        what = "no client has a key, so nobody can connect"
        return Finding(NAME, "warning", what, "incv3d keys add CLIENT")
    return Finding(NAME, "ok", f"with a key of {ring.folder}: {count} client{'s' if count > 1 else ''}{more}")


def _other_ways(config: Config) -> str:
    """How other machines reach the daemon besides ZeroMQ."""
    more = ""
    if config.http.bind and not is_loopback(split_http_address("http.bind", config.http.bind)[0]):
        token = config.http.token_file
        more = f"; over HTTP other machines can, at {config.http.bind}, with the token of {token}"
    if config.mqtt.host and config.mqtt.frames:
        more += f"; over MQTT everybody can send frames who may publish at {config.mqtt.host}"
    return more
