"""Base class of the sections of the configuration."""

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the configuration file. Unknown keys are errors: a typing error never selects a default.

    A check in ``__post_init__`` raises ValueError with ``KEY: what is wrong``.
    """
