"""TensorFlow's libraries, loaded while Python imports the rest."""

from __future__ import annotations

import subprocess
import sys

from incv3d.engines.capi.library import LIBRARIES

LOAD = """
import pathlib
from incv3d.engines.tensorflow_ahead import tensorflow_ahead
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", LOAD + code], capture_output=True, text=True)


def test_at_the_end_of_the_block_the_libraries_are_loaded_and_the_session_finds_them() -> None:
    done = run(
        f"""
with tensorflow_ahead():
    pass
print([name in pathlib.Path("/proc/self/maps").read_text() for name in {LIBRARIES!r}])
from incv3d.engines.capi import Library
print(Library().version[:2])
"""
    )
    assert done.stdout.splitlines() == ["[True, True]", "2."], done.stderr


def test_python_goes_on_while_they_load() -> None:
    done = run("""
import threading, time
with tensorflow_ahead():
    thread = next(each for each in threading.enumerate() if each.name == "load-ahead")
    steps = 0
    while thread.is_alive():
        steps += 1
        time.sleep(0.001)
print(steps)
""")
    assert int(done.stdout) > 20, done.stderr  # with the interpreter's lock kept it would be two or three


def test_an_error_in_the_block_is_heard_and_what_tensorflow_says_is_not() -> None:
    done = run("""
with tensorflow_ahead():
    raise SystemExit("the address is in use")
""")
    assert (done.returncode, done.stderr) == (1, "the address is in use\n")
