"""Check who can connect to the daemon, and whether its keys can be used."""

from __future__ import annotations

from collections.abc import Mapping

from incv3d.config.checks import is_loopback, split_http_address
from incv3d.config.loading import LoadedConfig
from incv3d.config.schema import Config
from incv3d.errors import Incv3dError
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.permissions import User, can_read

NAME = "access"


def check_access(loaded: LoadedConfig, environ: Mapping[str, str], service_user: User | None) -> Finding:
    """Report who can connect to the daemon.

    :param service_user: the user that the service runs as.
    """
    try:
        # Imports ZeroMQ, which may be broken here.
        from incv3d.protocol.curve_keys import KeyFileDenied
        from incv3d.transports.zeromq.access import insecure_warning, required_keys
    except ImportError as error:
        return Finding(NAME, "note", f"could not be checked: {error}", "see the finding about pyzmq")
    more = _other_ways(loaded.config)
    if warning := insecure_warning(loaded.config.intake):
        fix = "run incv3d keys new and incv3d keys add CLIENT, then remove intake.insecure"
        return Finding(NAME, "warning", warning, fix)
    try:
        ring = required_keys(loaded, environ)
        if ring is None:
            only = "only this machine can connect over ZeroMQ" if more else "only this machine can connect"
            return Finding(NAME, "ok", only + more)
        count = len(ring.clients())
    except KeyFileDenied as error:
        return Finding(NAME, "note", str(error), "run: sudo incv3d doctor")
    except Incv3dError as error:
        return Finding(NAME, "problem", str(error), "fix it, then run: incv3d check-config")
    if service_user and not can_read(ring.server_file, service_user):
        what = f"{ring.server_file}: the service's user {service_user.name} cannot read it"
        return Finding(NAME, "problem", what, f"sudo chown -R {service_user.name}: {ring.folder}")
    if not count:
        what = "keys are required, but no client has one: no program can connect"
        return Finding(NAME, "warning", what, "incv3d keys add CLIENT")
    clients = f"{count} client{'s' if count > 1 else ''}"
    return Finding(NAME, "ok", f"{clients} can connect, with the keys in {ring.folder}{more}")


def _other_ways(config: Config) -> str:
    """Say how other machines can reach the daemon over HTTP and MQTT."""
    more = ""
    if config.http.bind and not is_loopback(split_http_address("http.bind", config.http.bind)[0]):
        token = config.http.token_file
        more = f"; other machines can connect over HTTP at {config.http.bind}, with the token in {token}"
    if config.mqtt.host and config.mqtt.frames:
        more += f"; every client that can publish to the broker {config.mqtt.host} can send frames over MQTT"
    return more
