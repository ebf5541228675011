"""Bind the part of TensorFlow's stable C API that is needed, through :mod:`ctypes`.

The shared libraries of an installed ``tensorflow`` wheel export it; its headers are in the wheel under
``include/tensorflow/c``. Nothing here imports the Python package ``tensorflow``.

Every handle of the library belongs to one object here, which frees it exactly once: on ``close()``, at the
end of a ``with`` block, or when the object is collected. :mod:`ctypes` releases the GIL during every call.
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
