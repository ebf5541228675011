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
    """`module` and the modules of the package that it imports, however indirectly."""
    if module in found:
        return found
    found[module] = None
    tree = ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "incv3d":
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("incv3d."):
            names = [node.module.removeprefix("incv3d.")]
        else:
            continue
        for name in names:
            if (PACKAGE / f"{name}.py").is_file():
                imported(name, found)
    return found


setup(
    name="incv3d-client",
    version=VERSION.group(1),
    description="Sends pictures to an incv3d daemon and gets their labels",
    license="Apache-2.0",
    package_dir={"incv3d": "../incv3d"},
    py_modules=["incv3d.__init__", *(f"incv3d.{module}" for module in imported("client", {}))],
    python_requires=">=3.11",
    install_requires=["pyzmq>=26", "msgspec>=0.19"],
)
