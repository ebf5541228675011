"""``python -m incv3d`` is the command ``incv3d``."""

from incv3d.cli import main

main()
