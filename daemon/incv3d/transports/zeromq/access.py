"""Decide who may connect over ZeroMQ: local clients, clients with a key, or (if configured) everyone."""

from __future__ import annotations

from collections.abc import Mapping

from incv3d.config.intake import IntakeSection
from incv3d.config.loading import ConfigError, LoadedConfig
from incv3d.config.paths import keys_folder
from incv3d.transports.zeromq.key_store import KeyStore


def required_keys(loaded: LoadedConfig, environ: Mapping[str, str]) -> KeyStore | None:
    """Return the keys of the server, complete and usable; None: it needs no keys.

    It needs keys if other machines can connect, or if the configuration names their folder.

    :raises ConfigError: other machines could connect, and there are no keys.
    :raises KeyFileError: the keys cannot be used.
    """
    section = loaded.config.intake
    store = KeyStore(keys_folder(section.keys, loaded.path, environ))
    if section.keys or (section.open_addresses and not section.insecure):
        if not store.exists:
            raise ConfigError(_missing_keys(section, store))
        store.server()
        return store
    return None


def _missing_keys(section: IntakeSection, store: KeyStore) -> str:
    make = "make them with `incv3d keys new` and `incv3d keys add CLIENT`"
    if section.keys:
        return f"intake.keys: there are no keys in {store.folder}: {make}"
    key, address = next(iter(section.open_addresses.items()))
    return (
        f"intake.{key}: other machines can connect to {address}, and "
        f"there are no keys in {store.folder}: {make}, or let anybody in with `intake.insecure: true`"
    )


def insecure_warning(section: IntakeSection) -> str:
    """Return the warning for a server that other machines reach without keys; empty: it does not apply."""
    if not (section.insecure and section.open_addresses):
        return ""
    return (
        "intake.insecure: without keys, every machine that reaches "
        f"{' or '.join(section.open_addresses.values())} can send frames and read the results"
    )
