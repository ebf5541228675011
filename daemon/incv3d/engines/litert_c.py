"""Bind the part of LiteRT's C API that runs a network with packed weights, through :mod:`ctypes`.

``libLiteRt.so`` of an installed ``ai-edge-litert`` exports it. The package's Python classes for the same
purpose first load its library for GPUs. That takes memory, and it ends the process on a Raspberry Pi 3 or 4,
because the library was compiled for later processors. Here only the processor is registered.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from incv3d.engines.base import SessionError

LIBRARY = "libLiteRt.so"

# From litert_common.h, litert_environment_options.h, litert_any.h, litert_logging.h, litert_tensor_buffer.h
CPU = 1
AUTO_REGISTER_ACCELERATORS, MIN_LOGGER_SEVERITY = 24, 25
INTEGER = 2
ERROR = 3
READ, WRITE = 0, 1
RANK_BITS = 0x7F
MAX_RANK = 8

CPU_OPTIONS = b"xnnpack"
"""Identifies the options for the processor, which are TOML (litert_cpu_options.cc)."""


class NotMappable(SessionError):
    """The network cannot run with packed weights in a file."""


class AnyStruct(ctypes.Structure):
    """``LiteRtAny``, as an integer."""

    _fields_ = (("type", c_int), ("integer", c_int64))


class OptionStruct(ctypes.Structure):
    """``LiteRtEnvOption``: one option of an environment."""

    _fields_ = (("tag", c_int), ("value", AnyStruct))


class TensorTypeStruct(ctypes.Structure):
    """``LiteRtRankedTensorType``: the type of a tensor's elements, and its shape."""

    _fields_ = (
        ("element", c_int),
        ("rank", c_uint32),
        ("dimensions", c_int32 * MAX_RANK),
        ("strides", c_uint32 * MAX_RANK),
    )


Handle = c_void_p
HandleOut = POINTER(c_void_p)
Free = ctypes.CFUNCTYPE(None, c_void_p)
_keep = Free(lambda address: None)
"""For memory that Python owns."""

PROTOTYPES: dict[str, tuple[Any, ...]] = {
    # name: arguments; each returns a status. From litert/c/litert_*.h of LiteRT 2.2 and 2.3.
    "LiteRtCreateEnvironment": (c_int, POINTER(OptionStruct), HandleOut),
    "LiteRtCreateModelFromFile": (Handle, c_char_p, HandleOut),
    "LiteRtGetNumModelSignatures": (Handle, POINTER(c_size_t)),
    "LiteRtGetModelSignature": (Handle, c_size_t, HandleOut),
    "LiteRtGetNumSignatureOutputs": (Handle, POINTER(c_size_t)),
    "LiteRtGetSignatureInputTensorByIndex": (Handle, c_size_t, HandleOut),
    "LiteRtGetSignatureOutputTensorByIndex": (Handle, c_size_t, HandleOut),
    "LiteRtGetTensorIndex": (Handle, POINTER(c_uint32)),
    "LiteRtGetRankedTensorType": (Handle, POINTER(TensorTypeStruct)),
    "LiteRtCreateOptions": (HandleOut,),
    "LiteRtSetOptionsHardwareAccelerators": (Handle, c_int),
    "LiteRtCreateOpaqueOptions": (c_char_p, c_void_p, Free, HandleOut),
    "LiteRtAddOpaqueOptions": (Handle, Handle),
    "LiteRtCreateCompiledModel": (Handle, Handle, Handle, HandleOut),
    "LiteRtGetCompiledModelInputBufferRequirements": (Handle, c_size_t, c_size_t, HandleOut),
    "LiteRtGetCompiledModelOutputBufferRequirements": (Handle, c_size_t, c_size_t, HandleOut),
    "LiteRtCreateManagedTensorBufferFromRequirements": (
        Handle, POINTER(TensorTypeStruct), Handle, HandleOut,
    ),
    "LiteRtLockTensorBuffer": (Handle, HandleOut, c_int),
    "LiteRtUnlockTensorBuffer": (Handle,),
    "LiteRtRunCompiledModel": (Handle, c_size_t, c_size_t, HandleOut, c_size_t, HandleOut),
}  # fmt: skip
DESTRUCTORS = {
    "Environment": "LiteRtDestroyEnvironment",
    "Model": "LiteRtDestroyModel",
    "Options": "LiteRtDestroyOptions",
    "CompiledModel": "LiteRtDestroyCompiledModel",
    "TensorBuffer": "LiteRtDestroyTensorBuffer",
}
Functions = dict[str, Callable[..., None]]


class MappedNetwork:
    """A flatbuffer with a single input, compiled for the processor; XNNPACK maps its weights from a file.

    :param weights: XNNPACK's file; if it does not exist, XNNPACK creates it, and aborts the process if the
        disk is full.
    :param outputs: the indices of the wanted outputs among the flatbuffer's tensors.
    :raises NotMappable: the library is missing or is another, or the network has several signatures.
    :raises SessionError: LiteRT cannot run the network so.
    """

    def __init__(self, file: Path, weights: Path, threads: int, outputs: Sequence[int]) -> None:
        self._call = _load_functions()
        self._handles: list[tuple[str, c_void_p]] = []
        self.close = weakref.finalize(self, _destroy, self._call, self._handles)
        registered = OptionStruct(AUTO_REGISTER_ACCELERATORS, AnyStruct(INTEGER, CPU))
        logged = OptionStruct(MIN_LOGGER_SEVERITY, AnyStruct(INTEGER, ERROR))
        options = (OptionStruct * 2)(registered, logged)
        environment = self._make("Environment", "LiteRtCreateEnvironment", len(options), options)
        model = self._make("Model", "LiteRtCreateModelFromFile", environment, os.fsencode(file))
        signature = self._only_signature(model)
        self._compiled = self._make(
            "CompiledModel", "LiteRtCreateCompiledModel", environment, model, self._options(weights, threads)
        )
        fed = self._get("LiteRtGetSignatureInputTensorByIndex", signature, 0)
        required = self._get("LiteRtGetCompiledModelInputBufferRequirements", self._compiled, 0, 0)
        self._fed = (Handle * 1)(self._buffer(environment, fed, required))
        count = c_size_t()
        self._call["LiteRtGetNumSignatureOutputs"](signature, byref(count))
        self._fetched = (Handle * count.value)()
        found: dict[int, tuple[int, tuple[int, ...]]] = {}
        for number in range(count.value):
            tensor = self._get("LiteRtGetSignatureOutputTensorByIndex", signature, number)
            required = self._get("LiteRtGetCompiledModelOutputBufferRequirements", self._compiled, 0, number)
            self._fetched[number] = self._buffer(environment, tensor, required)
            index = c_uint32()
            self._call["LiteRtGetTensorIndex"](tensor, byref(index))
            found[index.value] = number, _shape(self._type(tensor))
        if any(each not in found for each in outputs):
            raise NotMappable("its signature does not have the output")
        self._wanted = [found[each][0] for each in outputs]
        self.shapes = [found[each][1] for each in outputs]

    def run(self, values: npt.NDArray[Any], types: Sequence[npt.DTypeLike]) -> list[npt.NDArray[Any]]:
        """Run it once.

        :param values: the input, contiguous, of the network's type and shape.
        :param types: the types of the wanted outputs.
        :raises SessionError: LiteRT reports a failure.
        """
        self._copy(self._fed[0], values, WRITE)
        arguments = self._compiled, 0, 1, self._fed, len(self._fetched), self._fetched
        self._call["LiteRtRunCompiledModel"](*arguments)
        found = [np.empty(shape, dtype) for shape, dtype in zip(self.shapes, types, strict=True)]
        for number, each in zip(self._wanted, found, strict=True):
            self._copy(self._fetched[number], each, READ)
        return found

    def _copy(self, buffer: int | None, values: npt.NDArray[Any], mode: int) -> None:
        """Write `values` to a buffer, or read them from it."""
        address = Handle()
        self._call["LiteRtLockTensorBuffer"](buffer, byref(address), mode)
        there, here = address.value or 0, values.ctypes.data
        ctypes.memmove(*((there, here) if mode == WRITE else (here, there)), values.nbytes)
        self._call["LiteRtUnlockTensorBuffer"](buffer)

    def _only_signature(self, model: c_void_p) -> c_void_p:
        count = c_size_t()
        self._call["LiteRtGetNumModelSignatures"](model, byref(count))
        if count.value > 1:
            raise NotMappable("it has several signatures")
        return self._get("LiteRtGetModelSignature", model, 0)

    def _options(self, weights: Path, threads: int) -> c_void_p:
        if "\n" in str(weights):
            raise NotMappable(f"LiteRT does not take a path with a line break: {str(weights)!r}")
        # LiteRT takes the path as it is, without escapes.
        toml = b'num_threads = %d\nweight_cache_file_path = "%s"\n' % (threads, os.fsencode(weights))
        self._toml = ctypes.create_string_buffer(toml)
        options = self._make("Options", "LiteRtCreateOptions")
        self._call["LiteRtSetOptionsHardwareAccelerators"](options, CPU)
        address = ctypes.addressof(self._toml)
        cpu = self._get("LiteRtCreateOpaqueOptions", CPU_OPTIONS, address, _keep)
        self._call["LiteRtAddOpaqueOptions"](options, cpu)
        return options

    def _buffer(self, environment: c_void_p, tensor: c_void_p, required: c_void_p) -> c_void_p:
        create = "LiteRtCreateManagedTensorBufferFromRequirements"
        return self._make("TensorBuffer", create, environment, byref(self._type(tensor)), required)

    def _type(self, tensor: c_void_p) -> TensorTypeStruct:
        found = TensorTypeStruct()
        self._call["LiteRtGetRankedTensorType"](tensor, byref(found))
        return found

    def _make(self, kind: str, create: str, *arguments: Any) -> c_void_p:
        """Return a new object, which is destroyed at the end."""
        handle = self._get(create, *arguments)
        self._handles.append((DESTRUCTORS[kind], handle))
        return handle

    def _get(self, function: str, *arguments: Any) -> c_void_p:
        handle = Handle()
        self._call[function](*arguments, byref(handle))
        return handle


def _shape(tensor_type: TensorTypeStruct) -> tuple[int, ...]:
    return tuple(tensor_type.dimensions[: tensor_type.rank & RANK_BITS])


def _destroy(functions: Functions, handles: list[tuple[str, c_void_p]]) -> None:
    while handles:
        destructor, handle = handles.pop()
        functions[destructor](handle)


def _load_functions() -> Functions:
    """Return LiteRT's functions by name. Each raises :class:`SessionError` if its status is not 0.

    :raises NotMappable: the library is missing, or lacks one of them.
    """
    import ai_edge_litert

    path = Path(ai_edge_litert.__file__ or "").with_name(LIBRARY)
    try:
        library = ctypes.CDLL(str(path))
        functions: Functions = {}
        for name, arguments in PROTOTYPES.items():
            function = functions[name] = getattr(library, name)
            function.argtypes, function.restype, function.errcheck = arguments, c_int, _check
        for name in DESTRUCTORS.values():
            function = functions[name] = getattr(library, name)
            function.argtypes, function.restype = (Handle,), None
    except (OSError, AttributeError) as error:
        raise NotMappable(f"{path}: {error}") from None
    return functions


def _check(status: int, function: Any, arguments: tuple[Any, ...]) -> None:
    if status:
        raise SessionError(f"LiteRT: {function.__name__} failed with status {status}")
