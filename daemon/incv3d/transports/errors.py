"""The exceptions of the transports, and the check for the libraries that they need."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from incv3d.errors import Incv3dError, pip_install


class TransportError(Incv3dError):
    """A transport cannot be opened, for example because its address is in use."""


class SettingError(TransportError):
    """A setting, a file that it names, or a library is missing or wrong: trying again does not help."""

    is_lasting = True


def require_libraries(key: str, libraries: Mapping[str, str]) -> None:
    """Check that libraries are installed.

    :param key: the key of the configuration, or the option, that needs them.
    :param libraries: the package of each, by the name of its module.
    :raises SettingError: one is missing; the message holds the command that installs it.
    """
    missing = [package for module, package in libraries.items() if find_spec(module) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise SettingError(
            f"{key}: {' and '.join(missing)} {are} missing: {pip_install(*libraries.values())}"
        )
