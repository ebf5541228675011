"""How many threads ``incv3d teach`` uses for arithmetic."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys
from incv3d.cli.teach import teach
assert "numpy" not in sys.modules, "it would not see the setting"
try:
    teach.main(["/nonexistent"], standalone_mode=False)
except Exception as error:
    print(type(error).__name__, os.environ["OPENBLAS_NUM_THREADS"], "numpy" in sys.modules)
"""


def test_numpy_is_told_to_use_one_thread_before_it_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "UnusableSet 1 True\n"
