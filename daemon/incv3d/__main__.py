"""``python -m incv3d`` is the command ``incv3d``.

Python itself imports a few of its modules from the current folder before this is run. The command imports
nothing from there, nor does ``python -P -m incv3d``.
"""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # the current folder, ahead of every library

from incv3d.cli import main

main()
