"""Tensors: NumPy arrays on their way into and out of TensorFlow, without copies where that can be."""

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
    """One ``TF_Tensor``, owned. Make one with :meth:`lend`, :meth:`string`, or get one from a run."""

    def __init__(self, library: Library, handle: int) -> None:
        self._library = library
        self.handle = handle
        self._finalizer = weakref.finalize(self, library.TF_DeleteTensor, handle)

    @classmethod
    def lend(cls, library: Library, array: Array) -> Tensor:
        """A tensor over the memory of `array`, which stays alive for as long as TensorFlow holds it.

        Memory aligned to 64 bytes is taken as it is; any other is copied by TensorFlow, at once.

        :raises SessionError: when the array is not contiguous, or of a type without a counterpart.
        """
        if array.dtype not in CODES:
            raise SessionError(f"TensorFlow has no counterpart here of the type {array.dtype}")
        if not array.flags.c_contiguous:
            raise SessionError("only contiguous arrays can be lent to TensorFlow")
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
            raise SessionError(f"TensorFlow takes no tensor of shape {array.shape}")
        return cls(library, handle)

    @classmethod
    def string(cls, library: Library, value: bytes) -> Tensor:
        """A scalar string, such as the JPEG that ``DecodeJpeg/contents`` takes."""
        handle = library.TF_AllocateTensor(STRING, None, 0, TSTRING_BYTES)
        data = library.TF_TensorData(handle)
        library.TF_StringInit(data)
        library.TF_StringCopy(data, value, len(value))
        return cls(library, handle)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        library = self._library
        return tuple(library.TF_Dim(self.handle, i) for i in range(library.TF_NumDims(self.handle)))

    def array(self) -> Array:
        """Its elements as an array over TensorFlow's own memory, which the array keeps alive.

        :raises SessionError: when it is of a type without a counterpart.
        """
        library = self._library
        code = library.TF_TensorType(self.handle)
        if code not in DTYPES:
            raise SessionError(f"a tensor of type {code} cannot become an array")
        size_bytes = library.TF_TensorByteSize(self.handle)
        if not size_bytes:
            return np.empty(self.shape, DTYPES[code])
        memory: Any = (ctypes.c_char * size_bytes).from_address(library.TF_TensorData(self.handle))
        memory.tensor = self  # the memory is the array's base, and so keeps this tensor alive
        array: Array = np.frombuffer(memory, DTYPES[code]).reshape(self.shape)
        return array

    def bytes(self) -> bytes:
        """A scalar string's value.

        :raises SessionError: when it is anything else.
        """
        library = self._library
        if library.TF_TensorType(self.handle) != STRING or self.shape:
            raise SessionError("not a scalar string")
        data = library.TF_TensorData(self.handle)
        return ctypes.string_at(library.TF_StringGetDataPointer(data), library.TF_StringGetSize(data))

    def close(self) -> None:
        """Give it back to TensorFlow; an array over its memory must not be used afterwards."""
        self._finalizer()

    def __enter__(self) -> Tensor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Lent:
    """The arrays whose memory TensorFlow holds, each until TensorFlow says that it is done with it."""

    def __init__(self) -> None:
        self._arrays: dict[int, Array] = {}
        self._keys = itertools.count(1)
        # Kept here: a callback that is collected while C still knows it would crash the process.
        self.release = Deallocator(self._release)

    def keep(self, array: Array) -> int:
        key = next(self._keys)
        self._arrays[key] = array
        return key

    def _release(self, data: int | None, length: int, key: int) -> None:
        del self._arrays[key]

    def __len__(self) -> int:
        return len(self._arrays)


# The one piece of state of this module: C's memory is the process's, and so is the list of what it borrows.
_lent = _Lent()


def _dims(shape: Sequence[int]) -> Any:
    return (ctypes.c_int64 * len(shape))(*shape)


def lent_arrays() -> int:
    """How many arrays TensorFlow holds at the moment."""
    return len(_lent)


def aligned_empty(shape: Sequence[int], dtype: npt.DTypeLike, alignment: int = 64) -> Array:
    """An array whose memory TensorFlow takes without copying it."""
    size_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    memory = np.empty(size_bytes + alignment, np.uint8)
    start = -memory.ctypes.data % alignment
    return memory[start : start + size_bytes].view(dtype).reshape(shape)
