"""What can be wrong with serving HTTP."""

from __future__ import annotations

from incv3d.errors import Incv3dError


class HttpError(Incv3dError):
    """Nothing can be served: the address, the token or a library cannot be had."""


class HttpUnusable(HttpError):
    """What HTTP needs is not there: a library, or a token in its file."""

    is_lasting = True
