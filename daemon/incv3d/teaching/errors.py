"""Define the exceptions of this room."""

from __future__ import annotations

from incv3d.errors import Incv3dError


class TeachingError(Incv3dError):
    """Teaching cannot do what was asked; nothing was lost or replaced."""


class UnusableSet(TeachingError):
    """Nothing can be taught by this teaching set, until a person changes it."""

    is_lasting = True
