"""Base class of the sections of the configuration."""

from __future__ import annotations

import msgspec

MIB = 1024 * 1024


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the configuration file. Unknown keys are errors: a typing error never selects a default.

    A check in ``__post_init__`` raises ValueError with ``KEY: what is wrong``.
    """


def default_of(field: msgspec.structs.FieldInfo) -> object:
    """Return the value of a key that is not set."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
