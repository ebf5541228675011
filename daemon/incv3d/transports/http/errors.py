"""What can be wrong with serving HTTP."""

from __future__ import annotations

from incv3d.errors import Incv3dError


class HttpError(Incv3dError):
    """Nothing can be served: the address, the token or a library cannot be had."""


class HttpUnusable(HttpError):
    """A library or the token's file, which HTTP needs, is missing or unusable."""

    is_lasting = True
