"""Find and load TensorFlow's shared libraries, and declare the prototypes of the functions used."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_ubyte, c_void_p
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from incv3d.engines.base import SessionError
from incv3d.engines.page_release import release_clean_pages

LIBRARIES = ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")
"""The libraries in load order: the second needs the first."""

LOG_LEVEL = ("TF_CPP_MIN_LOG_LEVEL", "3")
"""TensorFlow reads this once while it loads; nobody needs its INFO lines here."""
LONGEST_MESSAGE = 400

Handle = c_void_p
Deallocator = ctypes.CFUNCTYPE(None, c_void_p, c_size_t, c_void_p)


class OutputStruct(ctypes.Structure):
    """``TF_Output``: one output of one operation."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


class BufferStruct(ctypes.Structure):
    """``TF_Buffer``: bytes owned by one side."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))


Outputs = POINTER(OutputStruct)
Handles = POINTER(c_void_p)
Buffer = POINTER(BufferStruct)

PROTOTYPES: dict[str, tuple[Any, ...]] = {
    # name: result, arguments; from tensorflow/c/c_api.h, tf_status.h, tf_tensor.h, tf_buffer.h, tf_tstring.h
    "TF_Version": (c_char_p,),
    "TF_NewStatus": (Handle,),
    "TF_DeleteStatus": (None, Handle),
    "TF_GetCode": (c_int, Handle),
    "TF_Message": (c_char_p, Handle),
    "TF_NewBuffer": (Buffer,),
    "TF_NewBufferFromString": (Buffer, c_char_p, c_size_t),
    "TF_DeleteBuffer": (None, Buffer),
    "TF_NewGraph": (Handle,),
    "TF_DeleteGraph": (None, Handle),
    "TF_NewImportGraphDefOptions": (Handle,),
    "TF_DeleteImportGraphDefOptions": (None, Handle),
    "TF_GraphImportGraphDef": (None, Handle, Buffer, Handle, Handle),
    "TF_GraphOperationByName": (Handle, Handle, c_char_p),
    "TF_OperationNumOutputs": (c_int, Handle),
    "TF_OperationOutputType": (c_int, OutputStruct),
    "TF_GraphGetTensorNumDims": (c_int, Handle, OutputStruct, Handle),
    "TF_GraphGetTensorShape": (None, Handle, OutputStruct, POINTER(c_int64), c_int, Handle),
    "TF_NewSessionOptions": (Handle,),
    "TF_DeleteSessionOptions": (None, Handle),
    "TF_SetConfig": (None, Handle, c_char_p, c_size_t, Handle),
    "TF_NewSession": (Handle, Handle, Handle, Handle),
    "TF_CloseSession": (None, Handle, Handle),
    "TF_DeleteSession": (None, Handle, Handle),
    "TF_SessionListDevices": (Handle, Handle, Handle),
    "TF_DeviceListCount": (c_int, Handle),
    "TF_DeviceListName": (c_char_p, Handle, c_int, Handle),
    "TF_DeviceListType": (c_char_p, Handle, c_int, Handle),
    "TF_DeleteDeviceList": (None, Handle),
    "TF_SessionRun": (
        None, Handle, Buffer, Outputs, Handles, c_int, Outputs, Handles, c_int, Handles, c_int, Buffer,
        Handle,
    ),
    "TF_NewTensor": (Handle, c_int, POINTER(c_int64), c_int, c_void_p, c_size_t, Deallocator, c_void_p),
    "TF_AllocateTensor": (Handle, c_int, POINTER(c_int64), c_int, c_size_t),
    "TF_DeleteTensor": (None, Handle),
    "TF_TensorType": (c_int, Handle),
    "TF_NumDims": (c_int, Handle),
    "TF_Dim": (c_int64, Handle, c_int),
    "TF_TensorByteSize": (c_size_t, Handle),
    "TF_TensorData": (c_void_p, Handle),
    "TF_StringInit": (None, c_void_p),
    "TF_StringCopy": (None, c_void_p, c_char_p, c_size_t),
    "TF_StringGetDataPointer": (POINTER(c_ubyte), c_void_p),
    "TF_StringGetSize": (c_size_t, c_void_p),
    "TF_StringDealloc": (None, c_void_p),
}  # fmt: skip

QUICK = frozenset((
    "TF_NewStatus", "TF_DeleteStatus", "TF_GetCode", "TF_Message", "TF_TensorType", "TF_NumDims", "TF_Dim",
    "TF_TensorByteSize", "TF_TensorData",
))  # fmt: skip
"""Functions that are called for every run and return at once, whatever the size of a tensor: the GIL is kept
for them. Released for each, it would often be held by the decoding thread when it is needed again."""


class LibraryMissing(SessionError):
    """The C API is not available: there is no wheel, or it has another layout or lacks a symbol."""


class TensorFlowError(SessionError):
    """TensorFlow reports a failure.

    :ivar code: the ``TF_Code``, 3 for an invalid argument, 5 for not found.
    """

    def __init__(self, code: int, message: str) -> None:
        text = " ".join(message.split())
        super().__init__(text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…")
        self.code = code


class GraphRefused(TensorFlowError):
    """TensorFlow cannot import a graph: it is damaged, or has operations that this TensorFlow lacks."""


class Library:
    """TensorFlow's loaded libraries, with their functions as attributes of the same names.

    :param directory: folder of the libraries; None: the installed package ``tensorflow``.
    :raises LibraryMissing: they are missing, cannot be loaded, or lack a function.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = (directory or find_libraries()).resolve()
        os.environ.setdefault(*LOG_LEVEL)
        try:
            # Without RTLD_GLOBAL: its symbols in the global scope would crash NumPy's own extensions.
            loaded = {
                kind: [kind(str(self.directory / name), ctypes.RTLD_LOCAL) for name in LIBRARIES]
                for kind in (ctypes.CDLL, ctypes.PyDLL)
            }
        except OSError as error:
            raise LibraryMissing(f"TensorFlow's libraries cannot be loaded: {error}") from None
        for name, (result, *arguments) in PROTOTYPES.items():
            libraries = loaded[ctypes.PyDLL if name in QUICK else ctypes.CDLL]
            found = next((function for each in libraries if (function := getattr(each, name, None))), None)
            if found is None:
                raise LibraryMissing(f"TensorFlow's libraries in {self.directory} lack the function {name}")
            found.restype, found.argtypes = result, arguments
            setattr(self, name, found)
        self.version: str = self.TF_Version().decode()
        release_clean_pages(self.directory)

    def __getattr__(self, name: str) -> Any:
        # Only reached for names that were not loaded; declared so that functions type-check.
        raise AttributeError(name)

    @contextmanager
    def status(self) -> Iterator[Handle]:
        """Yield a status for one call, and raise its failure at the end of the block.

        :raises TensorFlowError: the call failed.
        """
        status = self.TF_NewStatus()
        try:
            yield status
            code = self.TF_GetCode(status)
            if code:
                raise TensorFlowError(code, self.TF_Message(status).decode("utf-8", "replace"))
        finally:
            self.TF_DeleteStatus(status)

    @contextmanager
    def buffer(self, data: bytes) -> Iterator[Any]:
        """Yield `data` as a ``TF_Buffer``, valid during the block."""
        buffer = self.TF_NewBufferFromString(data, len(data))
        try:
            yield buffer
        finally:
            self.TF_DeleteBuffer(buffer)


def find_libraries() -> Path:
    """Return the folder of the installed package ``tensorflow``, without importing it.

    :raises LibraryMissing: the package is not installed.
    """
    spec = find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise LibraryMissing("the package tensorflow is not installed")
    return Path(next(iter(spec.submodule_search_locations)))
