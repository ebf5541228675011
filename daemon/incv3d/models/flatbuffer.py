"""A LiteRT flatbuffer of the user's: what it takes and gives, and what its own metadata say of it.

Runs in the process of :mod:`incv3d.models.freezing`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from incv3d.models.entry import ModelError
from incv3d.models.freezing import FreezeJob, NetworkFacts, choose, input_shape, one_line, try_out
from incv3d.models.normalisation import (
    Held,
    Normalisation,
    choose_normalisation,
    of_integers,
    of_quantised,
)
from incv3d.models.tflite_metadata import Metadata, read_metadata
from incv3d.sessions.base import SessionSpec
from incv3d.sessions.litert import LiteRTSession

PASSING = {
    schema.BuiltinOperator.RESHAPE,
    schema.BuiltinOperator.SQUEEZE,
    schema.BuiltinOperator.QUANTIZE,
    schema.BuiltinOperator.DEQUANTIZE,
}
"""Operations that change nothing about what an output means."""
Details = dict[str, Any]
"""What the Interpreter says of one tensor."""


def take_flatbuffer(job: FreezeJob) -> NetworkFacts:
    """Try the flatbuffer out, copy it, and return what was found.

    :raises ModelError: it is damaged, ambiguous, or no classifier of pictures.
    """
    try:
        interpreter = Interpreter(job.file)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        fed = _detail(inputs, choose(job, "input", [each["name"] for each in inputs]))
        fetched = _detail(outputs, choose(job, "output", [each["name"] for each in outputs]))
        shape = input_shape(job, fed["name"], [int(side) for side in fed["shape_signature"]])
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{job.file}: LiteRT cannot take it: {one_line(error)}") from None
    data = Path(job.file).read_bytes()
    metadata = Metadata()
    if job.needs_labels or not job.says_pixels:
        places = (_place(inputs, fed["name"]), _place(outputs, fetched["name"]))
        metadata = read_metadata(Path(job.file), data, *places, job.needs_labels)
    held = held_by(fed)
    told = _told(metadata, held)
    taken = choose_normalisation(job.file, job.pixel_range, job.mean, job.std, told, held, shape.channels)
    spec = SessionSpec(
        file=Path(job.file),
        format="tflite",
        input=fed["name"],
        output=fetched["name"],
        height=shape.height,
        width=shape.width,
        threads=1,
        layout=shape.layout,
        channels=shape.channels,
    )
    linear = is_linear(data, fetched["index"])
    count, scores = try_out(job, LiteRTSession(spec).run, shape, taken, linear)
    shutil.copyfile(job.file, job.network)
    return NetworkFacts(
        input=fed["name"],
        output=fetched["name"],
        width=shape.width,
        height=shape.height,
        layout=shape.layout,
        outputs=count,
        scores=scores,
        channels=shape.channels,
        pixel_range=told.pixel_range if told else None,
        normalisation=taken,
        labels=metadata.labels,
        labels_name=metadata.labels_name,
    )


def is_linear(data: bytes, output: int) -> bool:
    """Whether the operation that gives the tensor number `output` is that of a plain layer."""
    model = schema.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    makers = {
        int(made): operator
        for operator in map(graph.Operators, range(graph.OperatorsLength()))
        for made in operator.OutputsAsNumpy()
    }
    while output in makers:
        code = model.OperatorCodes(makers[output].OpcodeIndex())
        # Old files have their small codes in a field of their own.
        operation = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if operation not in PASSING:
            return bool(operation == schema.BuiltinOperator.FULLY_CONNECTED)
        output = int(makers[output].InputsAsNumpy()[0])
    return False


def held_by(detail: Details) -> Held | None:
    """Return what an input of integers can hold; None: it takes floats."""
    dtype: np.dtype[Any] = np.dtype(detail["dtype"])
    if dtype.kind not in "iu":
        return None
    scale, zero_point = detail["quantization"]
    limits, step = np.iinfo(dtype), float(scale) or 1.0
    return Held(
        low=float((int(limits.min) - zero_point) * step),
        high=float((int(limits.max) - zero_point) * step),
        step=step,
        dtype=dtype.name,
        quantised=bool(scale),
    )


def _told(metadata: Metadata, held: Held | None) -> Normalisation | None:
    """What the file says of its pixels: its metadata, unless its input cannot hold that; else its input."""
    if metadata.normalisation and (held is None or held.takes(metadata.normalisation)):
        return metadata.normalisation
    if held is None:
        return None
    return of_quantised(held) if held.quantised else of_integers(held)


def _detail(details: list[Details], name: str) -> Details:
    return details[_place(details, name)]


def _place(details: list[Details], name: str) -> int:
    return [each["name"] for each in details].index(name)
