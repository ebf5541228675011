"""Track what each thread of the daemon is doing."""

from __future__ import annotations


class Activity:
    """The current activity of a thread: ``with activity:`` is one piece of work, whose duration others can
    see.

    :param name: the thread's name.
    :param what: its activity, for people: ``running the Session``.
    """

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        self.what = what
        self.begun = 0
        """Number of pieces of work begun so far."""
        self.busy = False

    def __enter__(self) -> None:
        self.begun += 1
        self.busy = True

    def __exit__(self, *error: object) -> None:
        self.busy = False
