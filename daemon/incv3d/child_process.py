"""Start child processes. No other module of the program starts any.

Python children get ``-P``: by default ``python -m`` puts the current folder first on its path, and would run
a ``tensorflow.py`` or ``json.py`` left there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, TypeVar

import msgspec

import incv3d
from incv3d.errors import Incv3dError

Stream = int | IO[bytes] | None
Message = TypeVar("Message")
PR_SET_PDEATHSIG = 1
"""Of Linux's prctl."""
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


def start(
    words: Sequence[str],
    environ: Mapping[str, str],
    *,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    cwd: str | None = None,
    start_new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program.

    :param words: its path and its arguments.
    :param environ: its whole environment.
    """
    return subprocess.Popen(
        words,
        env=environ,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        start_new_session=start_new_session,
    )


def python_words(*words: str, python: str | Path = sys.executable) -> list[str]:
    """Return the command line of a Python child: ``-m MODULE``, or ``-c CODE``, and arguments."""
    return [str(python), "-P", *words]


def python_environ(
    environ: Mapping[str, str] | None = None, settings: Mapping[str, str] = NO_SETTINGS
) -> dict[str, str]:
    """Return the environment of a Python child, in which it finds the packages that this process has found.

    :param environ: the environment to start from; None: this process's own.
    :param settings: variables to add.
    """
    environ = os.environ if environ is None else environ
    # Children of a child must avoid the current folder, too.
    own = {"PYTHONPATH": os.pathsep.join(_path(environ)), "PYTHONSAFEPATH": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**environ, **own, **settings}


def start_python(
    words: Sequence[str],
    settings: Mapping[str, str] = NO_SETTINGS,
    *,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    start_new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start this Python.

    :param words: ``-m MODULE``, or ``-c CODE``, and arguments.
    :param settings: environment variables to add to this process's own.
    """
    return start(
        python_words(*words),
        python_environ(None, settings),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=start_new_session,
    )


def _is_current_folder(entry: str) -> bool:
    """Return whether an entry of ``sys.path`` means the current folder."""
    try:
        return not entry or Path(entry).samefile(".")
    except OSError:
        return False  # the entry is missing, or the current folder was removed


def _path(environ: Mapping[str, str]) -> Iterable[str]:
    """Return the path of `environ` and ``sys.path`` without the current folder, and this program's folder."""
    program = str(Path(incv3d.__file__).parent.parent)
    found = [*environ.get("PYTHONPATH", "").split(os.pathsep), *sys.path]
    others = dict.fromkeys(each for each in found if each != program and not _is_current_folder(each))
    return (*others, program)


def encode(message: msgspec.Struct) -> str:
    """Return a message to or from a child as one line of JSON; paths become strings."""
    return msgspec.json.encode(message, enc_hook=str).decode()


def decode(line: str | bytes, kind: type[Message]) -> Message:
    """Return the message that :func:`encode` wrote.

    :raises msgspec.ValidationError: it is another one.
    """

    def path(kind: type, value: Any) -> Any:
        return Path(value) if kind is Path else value

    return msgspec.json.decode(line, type=kind, dec_hook=path)


def bound_words(module: str, *arguments: str) -> list[str]:
    """Return the arguments of :func:`start_python` for a module that ends when this thread does.

    The kernel kills it then, even if this process was killed itself.
    """
    return ["-m", __name__, str(os.getpid()), module, *arguments]


def _run_bound(parent: int, module: str, arguments: Sequence[str]) -> None:
    """Run a module as the main program, until the thread that started this process ends."""
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) or os.getppid() != parent:
        sys.exit("the program that started this one has ended")
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


@contextlib.contextmanager
def report_failures() -> Iterator[None]:
    """End a child whose block fails with status 1 and one line on standard error, which its parent reads."""
    try:
        yield
    except Incv3dError as failure:
        sys.exit(str(failure))
    except OSError as failure:
        what = f"{failure.filename}:" if failure.filename else "the store"
        sys.exit(f"{what} cannot be written: {failure.strerror}")
    except MemoryError:
        sys.exit("out of memory")


if __name__ == "__main__":
    _run_bound(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
