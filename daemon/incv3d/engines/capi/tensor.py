"""Pass NumPy arrays to and from TensorFlow, without copies where possible."""

from __future__ import annotations

import ctypes
import itertools
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from incv3d.engines.base import SessionError
from incv3d.engines.capi.library import Deallocator, Library

Array = npt.NDArray[Any]

STRING = 7
DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    4: np.dtype(np.uint8),
    6: np.dtype(np.int8),
    9: np.dtype(np.int64),
    10: np.dtype(np.bool_),
    19: np.dtype(np.float16),
}
"""``TF_DataType`` to NumPy's type (tensorflow/c/tf_datatype.h)."""
NAMES = {code: dtype.name for code, dtype in DTYPES.items()} | {STRING: "string", 14: "bfloat16"}
CODES = {dtype: code for code, dtype in DTYPES.items()}
TSTRING_BYTES = 24
"""``sizeof(TF_TString)`` on 64-bit machines (tensorflow/c/tf_tstring.h)."""


class Tensor:
    """An owned ``TF_Tensor``. Create one with :meth:`lend` or :meth:`string`, or get one from a run."""

    def __init__(self, library: Library, handle: int) -> None:
        self._library = library
        self.handle = handle
        self._finalizer = weakref.finalize(self, library.TF_DeleteTensor, handle)

    @classmethod
    def lend(cls, library: Library, array: Array) -> Tensor:
        """Return a tensor over the memory of `array`, which is kept alive as long as TensorFlow uses it.

        TensorFlow uses memory aligned to 64 bytes in place, and copies any other at once.

        :raises SessionError: the array is not contiguous, or its type is not supported.
        """
        if array.dtype not in CODES:
            raise SessionError(f"arrays of type {array.dtype} cannot be passed to TensorFlow")
        if not array.flags.c_contiguous:
            raise SessionError("only contiguous arrays can be passed to TensorFlow")
        key = _lent.keep(array)
        handle = library.TF_NewTensor(
            CODES[array.dtype],
            _dims(array.shape),
            array.ndim,
            array.ctypes.data if array.size else None,
            array.nbytes,
            _lent.release,
            key,
        )
        if not handle:
            _lent.release(None, 0, key)
            raise SessionError(f"TensorFlow rejects tensors of shape {array.shape}")
        return cls(library, handle)

    @classmethod
    def string(cls, library: Library, value: bytes) -> Tensor:
        """Return a scalar string, such as the JPEG for ``DecodeJpeg/contents``."""
        handle = library.TF_AllocateTensor(STRING, None, 0, TSTRING_BYTES)
        data = library.TF_TensorData(handle)
        library.TF_StringInit(data)
        library.TF_StringCopy(data, value, len(value))
        return cls(library, handle)

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions."""
        library = self._library
        return tuple(library.TF_Dim(self.handle, i) for i in range(library.TF_NumDims(self.handle)))

    def array(self) -> Array:
        """Return its elements as an array over TensorFlow's own memory, which the array keeps alive.

        :raises SessionError: its type is not supported.
        """
        library = self._library
        code = library.TF_TensorType(self.handle)
        if code not in DTYPES:
            raise SessionError(f"tensors of type {code} cannot be converted to arrays")
        size_bytes = library.TF_TensorByteSize(self.handle)
        if not size_bytes:
            return np.empty(self.shape, DTYPES[code])
        memory: Any = (ctypes.c_char * size_bytes).from_address(library.TF_TensorData(self.handle))
        memory.tensor = self  # as the array's base, the memory keeps this tensor alive
        array: Array = np.frombuffer(memory, DTYPES[code]).reshape(self.shape)
        return array

    def bytes(self) -> bytes:
        """Return the value of a scalar string.

        :raises SessionError: it is not a scalar string.
        """
        library = self._library
        if library.TF_TensorType(self.handle) != STRING or self.shape:
            raise SessionError("not a scalar string")
        data = library.TF_TensorData(self.handle)
        return ctypes.string_at(library.TF_StringGetDataPointer(data), library.TF_StringGetSize(data))

    def close(self) -> None:
        """Free it; an array over its memory must not be used afterwards."""
        self._finalizer()

    def __enter__(self) -> Tensor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Lent:
    """The arrays whose memory TensorFlow uses, each until TensorFlow releases it."""

    def __init__(self) -> None:
        self._arrays: dict[int, Array] = {}
        self._keys = itertools.count(1)
        # Kept here: if the callback were collected while C still uses it, the process would crash.
        self.release = Deallocator(self._release)

    def keep(self, array: Array) -> int:
        key = next(self._keys)
        self._arrays[key] = array
        return key

    def _release(self, data: int | None, length: int, key: int) -> None:
        del self._arrays[key]

    def __len__(self) -> int:
        return len(self._arrays)


# The only module state: C's memory belongs to the process, and so does the list of what it borrows.
_lent = _Lent()


def _dims(shape: Sequence[int]) -> Any:
    return (ctypes.c_int64 * len(shape))(*shape)


def lent_arrays() -> int:
    """Return the number of arrays that TensorFlow uses at the moment."""
    return len(_lent)


def aligned_empty(shape: Sequence[int], dtype: npt.DTypeLike, alignment: int = 64) -> Array:
    """Return an array whose memory TensorFlow uses without copying it."""
    size_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    memory = np.empty(size_bytes + alignment, np.uint8)
    start = -memory.ctypes.data % alignment
    return memory[start : start + size_bytes].view(dtype).reshape(shape)
