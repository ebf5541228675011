"""Explanations of PyYAML's error messages."""

from __future__ import annotations

import re

ADVICE = {
    r"mapping values are not allowed": "look at the indentation; a value with `: ` in it stands in quotes",
    r"cannot start any token": "indent with blanks; a value that begins with @, ` or % stands in quotes",
    r"unexpected end of stream": "a quote or a bracket is not closed",
    r"expected alphabetic or numeric": "a value that begins with * or & stands in quotes",
    r"expected <block end>": "look at the indentation, and at what follows a closing quote or bracket",
    r"expected ',' or": "a bracket is not closed, or a comma is missing",
    r"could not find expected ':'": "a key and its value need a `: ` between them",
}  # fmt: skip
"""Keyed by patterns of PyYAML's messages."""


def explained(problem: str | None) -> str:
    """Return PyYAML's message and what to do about it."""
    said = problem or "it cannot be read"
    advice = next((each for pattern, each in ADVICE.items() if re.search(pattern, said)), "")
    return f"{said} ({advice})" if advice else said
