"""Read the weights in a PyTorch ``.pth`` file without PyTorch.

The format, written by ``torch.save`` before version 1.6, is a sequence of five pickles: a magic number, the
format's version, the writer's byte order and sizes, the object itself, and the list of its storages. Then
follow, for each storage, the number of its elements (int64) and the elements. In the object's pickle a tensor
is a call of ``torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, …)`` whose storage is a
persistent id ``("storage", type, key, device, elements, …)``.

A pickle may name any function of any module, so this unpickler knows three names and rejects all others: it
yields nothing but tensors. A pickle may still request any amount of memory (one damaged byte in a memo's
index is enough), so a file is read only if its checksum is known.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from incv3d.models.entry import ModelError

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    elements: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, stride: Any, *_: object) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


class _OnlyTensors(pickle.Unpickler):
    """An unpickler to which no other classes or functions exist."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"it uses {module}.{name}, which no tensor needs")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, elements = pid[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError("an unknown kind of reference")
        return _Storage(str(key), dtype, int(elements))


def read_pth(path: Path, sha256: str) -> dict[str, Array]:
    """Return the tensors of a state dictionary, by name.

    :param sha256: checksum of the whole file, in hexadecimal.
    :raises ModelError: the file cannot be read, has another format, or contains anything but tensors.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ModelError(f"{path}: damaged: its SHA-256 is {found} instead of {sha256}")
    try:
        return _parse(data)
    except (pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ModelError(f"{path}: not the weights of a PyTorch model: {error}") from None
    except (EOFError, MemoryError, OverflowError, ImportError, RecursionError, AssertionError) as error:
        raise ModelError(f"{path}: damaged: {error}") from None


def _parse(data: bytes) -> dict[str, Array]:
    stream = io.BytesIO(data)
    if _OnlyTensors(stream).load() != MAGIC or _OnlyTensors(stream).load() != VERSION:
        raise ValueError("wrong first bytes")
    system = _OnlyTensors(stream).load()
    if not system["little_endian"]:
        raise ValueError("written on a big-endian machine")
    named = _OnlyTensors(stream).load()
    keys = _OnlyTensors(stream).load()
    if not isinstance(named, dict) or not all(isinstance(tensor, _Tensor) for tensor in named.values()):
        raise ValueError("it contains more than tensors")
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in named.values()}
    storages = {str(key): _read_storage(data, stream, dtypes[str(key)]) for key in keys}
    return {str(name): _view(tensor, storages[tensor.storage.key]) for name, tensor in named.items()}


def _read_storage(data: bytes, stream: io.BytesIO, dtype: np.dtype[Any]) -> Array:
    elements = int.from_bytes(stream.read(8), "little", signed=True)
    start = stream.tell()
    if elements < 0 or start + elements * dtype.itemsize > len(data):
        raise ValueError("it is truncated")
    stream.seek(elements * dtype.itemsize, io.SEEK_CUR)
    return np.frombuffer(data, dtype, elements, start)


def _view(tensor: _Tensor, storage: Array) -> Array:
    dimensions = list(zip(tensor.shape, tensor.stride, strict=True))
    if tensor.offset < 0 or any(side < 1 or stride < 0 for side, stride in dimensions):
        raise ValueError("a tensor with an impossible shape")
    last = tensor.offset + sum((side - 1) * stride for side, stride in dimensions)
    if last >= len(storage):
        raise ValueError("a tensor larger than its storage")
    strides = tuple(stride * storage.itemsize for stride in tensor.stride)
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False)
