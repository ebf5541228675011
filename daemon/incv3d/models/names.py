"""Name models: of the store, and taught ones."""

from __future__ import annotations

import re

from incv3d.models.entry import ModelError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
UNFINISHED = ".unfinished-"
"""How names of folders begin that a killed process may leave."""


def check_name(name: str) -> str:
    """Return `name` if it is a valid name for a model.

    :raises ModelError: it is not.
    """
    if not NAME.fullmatch(name):
        raise ModelError(
            f"`{name}` is not a valid model name: use up to 64 lower-case letters, digits, '.', '_' and '-'"
        )
    return name
