"""Who may connect to the door: this machine alone, clients with a key, or, if it is said so, anybody."""

from __future__ import annotations

from collections.abc import Mapping

from incv3d.config.loading import ConfigError, LoadedConfig
from incv3d.config.paths import keys_folder
from incv3d.config.schema import IntakeSection
from incv3d.transports.zeromq.key_store import KeyStore


def required_keys(loaded: LoadedConfig, environ: Mapping[str, str]) -> KeyStore | None:
    """The keys that the door must have, complete and usable; None: it needs none.

    They are needed where other machines can connect, and where the configuration names their folder.

    :raises ConfigError: other machines could connect, and there are no keys.
    :raises KeyFileError: the keys cannot be used.
    """
    section = loaded.config.intake
    ring = KeyStore(keys_folder(section.keys, loaded.path, environ))
    if section.keys or (section.open_addresses and not section.insecure):
        if not ring.made:
            raise ConfigError(_what_is_missing(section, ring))
        ring.server()
        return ring
    return None


def _what_is_missing(section: IntakeSection, ring: KeyStore) -> str:
    make = "make them with `incv3d keys new` and `incv3d keys add CLIENT`"
    if section.keys:
        return f"intake.keys: there are no keys in {ring.folder}: {make}"
    key, address = next(iter(section.open_addresses.items()))
    return (
        f"intake.{key}: other machines can connect to {address}, and "
        f"there are no keys in {ring.folder}: {make}, or let anybody in with `intake.insecure: true`"
    )


def insecure_warning(section: IntakeSection) -> str:
    """What a door that other machines reach without keys has to say of itself; empty where there is none."""
    if not (section.insecure and section.open_addresses):
        return ""
    return (
        "intake.insecure: without keys, every machine that reaches "
        f"{' or '.join(section.open_addresses.values())} can send frames and read the results"
    )
