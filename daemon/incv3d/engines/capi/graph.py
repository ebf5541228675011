"""Wrap graphs and Sessions of the C API."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_void_p
from dataclasses import dataclass
from typing import Any

from incv3d.engines.base import SessionError
from incv3d.engines.capi.library import (
    BufferStruct,
    GraphRefused,
    Library,
    OutputStruct,
    TensorFlowError,
)
from incv3d.engines.capi.tensor import NAMES, Tensor


@dataclass(frozen=True, slots=True)
class Output:
    """One output of an operation of a graph, which identifies a tensor."""

    name: str
    operation: int
    index: int
    dtype: int
    """Its ``TF_DataType``."""
    shape: tuple[int, ...] | None
    """The shape, with -1 for an unknown dimension; None if their number is unknown."""

    def struct(self) -> OutputStruct:
        """Return it as a C structure."""
        return OutputStruct(self.operation, self.index)

    def admits(self, tensor: Tensor, dtype: int) -> bool:
        """Return whether a tensor of this type and shape may be fed here."""
        shape = tensor.shape
        if dtype != self.dtype:
            return False
        return self.shape is None or (
            len(shape) == len(self.shape)
            and all(known in (-1, given) for known, given in zip(self.shape, shape, strict=True))
        )


class Graph:
    """A graph imported from a serialized GraphDef.

    :raises GraphRefused: it is not a GraphDef, or has an operation that this TensorFlow does not know.
    """

    def __init__(self, library: Library, graph_def: bytes) -> None:
        self._library = library
        self.handle = library.TF_NewGraph()
        self._finalizer = weakref.finalize(self, library.TF_DeleteGraph, self.handle)
        options = library.TF_NewImportGraphDefOptions()
        try:
            with library.buffer(graph_def) as buffer, library.status() as status:
                library.TF_GraphImportGraphDef(self.handle, buffer, options, status)
        except TensorFlowError as error:
            raise GraphRefused(error.code, str(error)) from None
        finally:
            library.TF_DeleteImportGraphDefOptions(options)

    def output(self, tensor: str) -> Output:
        """Return the output called `tensor`, such as ``softmax:0``.

        :raises SessionError: the graph has no such tensor.
        """
        name, _, number = tensor.partition(":")
        operation = self.operation(name)
        index = int(number or 0) if (number or "0").isdecimal() else -1
        if not 0 <= index < self._library.TF_OperationNumOutputs(operation):
            raise SessionError(f"the graph's operation `{name}` has no output {number}")
        struct = OutputStruct(operation, index)
        dtype = self._library.TF_OperationOutputType(struct)
        return Output(tensor, operation, index, dtype, self._shape(struct))

    def operation(self, name: str) -> int:
        """Return the handle of an operation; it lives as long as the graph.

        :raises SessionError: the graph has no such operation.
        """
        handle: int | None = self._library.TF_GraphOperationByName(self.handle, name.encode())
        if not handle:
            raise SessionError(f"the graph has no operation `{name}`")
        return handle

    def close(self) -> None:
        """Free it; its Sessions must be closed already."""
        self._finalizer()

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _shape(self, struct: OutputStruct) -> tuple[int, ...] | None:
        library = self._library
        with library.status() as status:
            count = library.TF_GraphGetTensorNumDims(self.handle, struct, status)
        if count < 0:
            return None
        dims = (ctypes.c_int64 * count)()
        with library.status() as status:
            library.TF_GraphGetTensorShape(self.handle, struct, dims, count, status)
        return tuple(dims)


class GraphSession:
    """A Session over a graph.

    :param config: a serialized ``ConfigProto``.
    :raises TensorFlowError: it cannot be created.
    """

    def __init__(self, library: Library, graph: Graph, config: bytes = b"") -> None:
        self._library = library
        self._graph = graph
        options = library.TF_NewSessionOptions()
        try:
            with library.status() as status:
                library.TF_SetConfig(options, config, len(config), status)
            with library.status() as status:
                self.handle = library.TF_NewSession(graph.handle, options, status)
        finally:
            library.TF_DeleteSessionOptions(options)
        # The finalizer holds the graph, so the graph outlives its Session whichever is collected first.
        self._finalizer = weakref.finalize(self, _delete_session, library, self.handle, graph)

    def run(
        self,
        feeds: Sequence[tuple[Output, Tensor]],
        fetches: Sequence[Output],
        targets: Sequence[int] = (),
        options: bytes | None = None,
    ) -> tuple[list[Tensor], bytes]:
        """Run the graph once.

        :param targets: operations to run for their effect.
        :param options: a serialized ``RunOptions``, to trace the run.
        :returns: the fetched tensors, and the serialized ``RunMetadata`` (empty without options).
        :raises SessionError: a feed does not fit; nothing was run.
        :raises TensorFlowError: the run fails.
        """
        library = self._library
        if not self._finalizer.alive:
            raise SessionError("the Session is closed")
        for place, tensor in feeds:
            dtype = library.TF_TensorType(tensor.handle)
            if not place.admits(tensor, dtype):
                raise SessionError(
                    f"`{place.name}` takes shape {place.shape} and type "
                    f"{NAMES.get(place.dtype, place.dtype)}, but got shape {tensor.shape} and type "
                    f"{NAMES.get(dtype, dtype)}"
                )
        fetched = (c_void_p * max(1, len(fetches)))()
        with self._tracing(options) as (run_options, metadata), library.status() as status:
            library.TF_SessionRun(
                self.handle,
                run_options,
                (OutputStruct * len(feeds))(*(place.struct() for place, _ in feeds)),
                (c_void_p * len(feeds))(*(tensor.handle for _, tensor in feeds)),
                len(feeds),
                (OutputStruct * len(fetches))(*(place.struct() for place in fetches)),
                fetched,
                len(fetches),
                (c_void_p * len(targets))(*targets),
                len(targets),
                metadata,
                status,
            )
            trace = _contents(metadata.contents) if metadata else b""
        return [Tensor(library, handle) for handle in fetched[: len(fetches)] if handle], trace

    @contextmanager
    def _tracing(self, options: bytes | None) -> Iterator[tuple[Any, Any]]:
        """Yield buffers for ``RunOptions`` and ``RunMetadata``; None without options."""
        if not options:
            yield None, None
            return
        metadata = self._library.TF_NewBuffer()
        try:
            with self._library.buffer(options) as run_options:
                yield run_options, metadata
        finally:
            self._library.TF_DeleteBuffer(metadata)

    def devices(self) -> list[tuple[str, str]]:
        """Return name and type (``CPU``, ``GPU``) of every device that TensorFlow sees."""
        library = self._library
        with library.status() as status:
            devices = library.TF_SessionListDevices(self.handle, status)
        try:
            found = []
            for index in range(library.TF_DeviceListCount(devices)):
                with library.status() as status:
                    name = library.TF_DeviceListName(devices, index, status).decode()
                with library.status() as status:
                    found.append((name, library.TF_DeviceListType(devices, index, status).decode()))
            return found
        finally:
            library.TF_DeleteDeviceList(devices)

    def close(self) -> None:
        """Free it, and the variables in it."""
        self._finalizer()

    def __enter__(self) -> GraphSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _delete_session(library: Library, handle: int, graph: Graph) -> None:
    status = library.TF_NewStatus()
    try:
        library.TF_CloseSession(handle, status)
        library.TF_DeleteSession(handle, status)
    finally:
        library.TF_DeleteStatus(status)


def _contents(buffer: BufferStruct) -> bytes:
    return ctypes.string_at(buffer.data, buffer.length) if buffer.data else b""
