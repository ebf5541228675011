"""What a source type states about itself; one ``SourceBackend`` in each ``sources/TYPE.py``."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from incv3d.config.source import SourceSection
from incv3d.errors import pip_install
from incv3d.frames import Transform
from incv3d.sources.base import CameraInfo, LibraryMissing, OpenSource


@dataclass(frozen=True, slots=True)
class Library:
    """A Python library that a source type needs and incv3d does not install by itself."""

    module: str
    """Its import name."""
    install: str
    """The command that installs it."""
    used_by: str = ""
    """The module of incv3d that imports it: an unsuitable version can fail there, too."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that the library reads when it is imported, unless they are set."""

    @property
    def name(self) -> str:
        """The name of the top package."""
        return self.module.split(".")[0]

    def check(self) -> None:
        """Raise LibraryMissing if the library is not installed. It is not imported."""
        if importlib.util.find_spec(self.name) is None:
            raise LibraryMissing(f"the Python library {self.name} is missing; to install it: {self.install}")

    def load(self) -> None:
        """Import the library.

        :raises LibraryMissing: it is not installed, or its import fails.
        """
        self.check()
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)
        try:
            for module in (self.module, self.used_by):
                if module:
                    importlib.import_module(module)
        except Exception as error:
            hint = ""
            if "numpy" in str(error):
                # Debian 12 compiles its packages against NumPy 1; they fail with NumPy 2.
                hint = f" (Debian's packages need NumPy 1: {pip_install('numpy<2')})"
            raise LibraryMissing(
                f"the Python library {self.name} cannot be loaded: {error}{hint}; "
                f"to install it: {self.install}"
            ) from error


def _needs_library(section: SourceSection) -> bool:
    return True


def _check_nothing(section: SourceSection) -> None:
    """Accept every section."""


def _none_found(section: SourceSection, found: int) -> str:
    return "" if found else "no camera of this type was found"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceBackend:
    """A source type. The module that defines it must not import the type's library; `opener` does."""

    opener: Callable[[SourceSection], OpenSource]
    """Returns what opens the configured source, in the thread that captures, as often as needed."""
    library: Library | None = None
    needs_library: Callable[[SourceSection], bool] = _needs_library
    """Whether the library is needed before the source is opened."""
    check: Callable[[SourceSection], None] = _check_nothing
    """Raises :class:`SourceMisnamed` if the configured path is missing and will not appear by itself."""
    transforms: tuple[Transform, ...] = ()
    """What the camera applies by itself, at no cost; the decoder applies the others."""

    list_cameras: Callable[[], Iterable[CameraInfo]] | None = None
    """Yields the cameras of this machine, for ``incv3d cameras``; None: the type has none to list."""
    device_nodes: tuple[str, ...] = ()
    """Patterns of the files in ``/dev`` that a camera needs."""
    absence: Callable[[SourceSection, int], str] = _none_found
    """Returns why the configured camera is not there, given the number found; empty: it is there."""
    absence_fix: str = ""
    """What to do if the camera is not there."""
