"""Answer commands in a worker process; :class:`incv3d.tools.workers.process.WorkerProcess` starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn, Protocol

import msgspec

from incv3d.child_process import encode
from incv3d.errors import Incv3dError, one_line
from incv3d.tools.workers.protocol import ErrorReply


class Worker(Protocol):
    """What a worker process has opened."""

    @property
    def commands(self) -> Mapping[str, Callable[..., msgspec.Struct]]:
        """The functions that answer commands, by name; they take the words after the name."""

    def opened(self) -> msgspec.Struct:
        """Return the first reply."""


def serve(open_worker: Callable[[], Worker]) -> NoReturn:
    """Open a worker, reply that it is open, then answer each line of standard input; exit at its end.

    Replies go to standard output, which is closed to everything else: libraries may print to it.
    """
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def reply(message: msgspec.Struct) -> None:
        replies.write(encode(message) + "\n")

    try:
        worker = open_worker()
        reply(worker.opened())
        for line in sys.stdin:
            name, *words = line.split()
            reply(worker.commands[name](*words))
    except (Incv3dError, OSError, ValueError) as error:
        reply(ErrorReply(failed=one_line(error)))
    except MemoryError:
        reply(ErrorReply(failed="too little memory"))
    sys.stderr.flush()
    # Skip the interpreter's cleanup: it takes time, and libraries may crash in it.
    os._exit(0)
