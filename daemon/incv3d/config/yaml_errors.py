"""Explanations of PyYAML's error messages."""

from __future__ import annotations

import re

ADVICE = {
    r"mapping values are not allowed": "check the indentation; put a value that contains `: ` in quotes",
    r"cannot start any token": "indent with spaces; put a value that begins with @, ` or % in quotes",
    r"unexpected end of stream": "a quote or a bracket is not closed",
    r"expected alphabetic or numeric": "put a value that begins with * or & in quotes",
    r"expected <block end>": "check the indentation, and what follows a closing quote or bracket",
    r"expected ',' or": "a bracket is not closed, or a comma is missing",
    r"could not find expected ':'": "write `: ` between a key and its value",
}  # fmt: skip
"""Keyed by patterns of PyYAML's messages."""


def explained(problem: str | None) -> str:
    """Return PyYAML's message and what to do about it."""
    said = problem or "it cannot be read"
    advice = next((each for pattern, each in ADVICE.items() if re.search(pattern, said)), "")
    return f"{said} ({advice})" if advice else said
