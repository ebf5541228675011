"""A small binding to TensorFlow's stable C API, through :mod:`ctypes`.

The shared libraries of an installed ``tensorflow`` wheel export it; its headers lie in the wheel under
``include/tensorflow/c``. Nothing here imports the Python package ``tensorflow``.

Every handle of the library belongs to one object here, which gives it back exactly once: on ``close()``, at
the end of a ``with`` block, or when it is collected. :mod:`ctypes` lets go of the interpreter lock during
every call.
"""

from incv3d.engines.capi.graph import Graph, GraphSession, Output
from incv3d.engines.capi.library import GraphRefused, Library, LibraryMissing, TensorFlowError
from incv3d.engines.capi.tensor import Tensor

__all__ = [
    "Graph",
    "GraphRefused",
    "GraphSession",
    "Library",
    "LibraryMissing",
    "Output",
    "Tensor",
    "TensorFlowError",
]
