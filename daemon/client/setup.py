"""Packaging of the client alone: ``pip install daemon/client`` gives ``incv3d.client``, on any system.

It needs pyzmq and msgspec, and neither TensorFlow nor NumPy. The daemon's own package has the same modules,
so an environment takes one of the two.
"""

import ast
import re
from pathlib import Path

from setuptools import setup

PACKAGE = Path(__file__).resolve().parent.parent / "incv3d"
VERSION = re.search(r'__version__ = "([^"]+)"', (PACKAGE / "__init__.py").read_text("utf-8"))
assert VERSION, "incv3d/__init__.py names no version"


def imported(module: str, found: dict[str, None]) -> dict[str, None]:
    """Add `module`, its packages, and all modules of ours that it imports, directly or not, to `found`."""
    path = PACKAGE.parent / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    name = f"{module}.__init__" if path.is_dir() else module
    if name in found or not file.is_file():
        return found
    found[name] = None
    if "." in module:
        imported(module.rpartition(".")[0], found)
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "incv3d":
            imported(node.module, found)
            for alias in node.names:
                imported(f"{node.module}.{alias.name}", found)
    return found


setup(
    name="incv3d-client",
    version=VERSION.group(1),
    description="Sends pictures to an incv3d daemon and gets their labels",
    license="Apache-2.0",
    package_dir={"incv3d": "../incv3d"},
    py_modules=list(imported("incv3d.client", {})),
    python_requires=">=3.11",
    install_requires=["pyzmq>=26", "msgspec>=0.19"],
)
