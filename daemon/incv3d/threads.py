"""The threads of the daemon: what each is doing now."""

from __future__ import annotations


class Activity:
    """One thread's work, piece by piece: ``with work:`` is one, and others can see that it lasts.

    :param name: the thread's name.
    :param what: what it does, for people: ``running the Session``.
    """

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        self.what = what
        self.begun = 0
        """Pieces of work begun so far; which one it is, while there is one."""
        self.busy = False

    def __enter__(self) -> None:
        self.begun += 1
        self.busy = True

    def __exit__(self, *error: object) -> None:
        self.busy = False
