"""Inspect a user's LiteRT flatbuffer: its input, its output and its metadata.

Runs in the child process of :mod:`incv3d.models.graph.freeze`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from incv3d.config.preprocessing import Normalisation
from incv3d.engines.base import FEATURES, SessionSpec
from incv3d.engines.litert import LiteRTSession
from incv3d.errors import one_line
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.features import mark_features
from incv3d.models.graph.freeze_job import FreezeJob, NetworkFacts, choose, input_shape, trial_run
from incv3d.models.normalisation import IntegerRange, choose_normalisation, from_integers, from_quantised
from incv3d.models.tflite_metadata import Metadata, read_metadata

PASSING = {
    schema.BuiltinOperator.RESHAPE,
    schema.BuiltinOperator.SQUEEZE,
    schema.BuiltinOperator.QUANTIZE,
    schema.BuiltinOperator.DEQUANTIZE,
}
"""Operations that do not change the meaning of an output."""
READ, ASSIGN = schema.BuiltinOperator.READ_VARIABLE, schema.BuiltinOperator.ASSIGN_VARIABLE
Details = dict[str, Any]
"""The Interpreter's description of one tensor."""


def import_flatbuffer(job: FreezeJob) -> NetworkFacts:
    """Try the flatbuffer, copy it with its features as an output, and return the facts about it.

    :raises ModelError: it is damaged, ambiguous, or not an image classifier.
    """
    try:
        interpreter = Interpreter(job.file)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        fed = _detail(inputs, choose(job, "input", [each["name"] for each in inputs]))
        names = [each["name"] for each in outputs if each["name"] != FEATURES]
        fetched = _detail(outputs, choose(job, "output", names))
        shape = input_shape(job, fed["name"], [int(side) for side in fed["shape_signature"]])
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{job.file}: LiteRT cannot load it: {one_line(error)}") from None
    data = Path(job.file).read_bytes()
    check_variables(job.file, data)
    metadata = Metadata()
    if job.needs_labels or not job.says_pixels:
        places = (_place(inputs, fed["name"]), _place(outputs, fetched["name"]))
        metadata = read_metadata(Path(job.file), data, *places, job.needs_labels)
    held = integer_range(fed)
    declared = _declared(metadata, held)
    normalisation = choose_normalisation(
        job.file,
        job.pixel_range,
        job.mean,
        job.std,
        declared,
        held,
        shape.channels,
        key=job.mean_from,
    )
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
    count, scores = trial_run(job, LiteRTSession(spec).run, shape, normalisation, linear)
    shutil.copyfile(job.file, job.network)
    mark_features(Path(job.network), fetched["name"])
    return NetworkFacts(
        input=fed["name"],
        output=fetched["name"],
        width=shape.width,
        height=shape.height,
        layout=shape.layout,
        outputs=count,
        scores=scores,
        channels=shape.channels,
        normalisation=normalisation,
        labels=metadata.labels,
        labels_name=metadata.labels_name,
    )


def check_variables(file: str, data: bytes) -> None:
    """Raise ModelError if the network reads variables that nothing in its file sets.

    TensorFlow's converter silently writes such a file if it does not freeze a function's variables. LiteRT
    then computes with uninitialized memory, and the labels differ from start to start.
    """
    model = schema.Model.GetRootAsModel(data, 0)
    operations = {_operation(model.OperatorCodes(each)) for each in range(model.OperatorCodesLength())}
    if READ in operations and ASSIGN not in operations:
        raise ModelError(
            f"{file}: its weights are not in the file: it reads variables that are never set; convert the "
            f"network again, with TFLiteConverter.from_keras_model or from_saved_model"
        )


def _operation(code: schema.OperatorCode) -> int:
    # Old files keep small codes in a separate field.
    return int(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))


def is_linear(data: bytes, output: int) -> bool:
    """Return whether tensor number `output` comes from a dense layer without an activation after it."""
    model = schema.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    makers = {
        int(made): operator
        for operator in map(graph.Operators, range(graph.OperatorsLength()))
        for made in map(operator.Outputs, range(operator.OutputsLength()))
    }
    while output in makers:
        maker = makers.pop(output)  # pop, because a damaged file can have a cycle
        operation = _operation(model.OperatorCodes(maker.OpcodeIndex()))
        if operation not in PASSING or not maker.InputsLength():
            return bool(operation == schema.BuiltinOperator.FULLY_CONNECTED)
        output = int(maker.Inputs(0))
    return False


def integer_range(detail: Details) -> IntegerRange | None:
    """Return the range of an integer input; None for floats."""
    dtype: np.dtype[Any] = np.dtype(detail["dtype"])
    if dtype.kind not in "iu":
        return None
    scale, zero_point = detail["quantization"]
    limits, step = np.iinfo(dtype), float(scale) or 1.0
    return IntegerRange(
        low=float((int(limits.min) - zero_point) * step),
        high=float((int(limits.max) - zero_point) * step),
        step=step,
        dtype=dtype.name,
        quantised=bool(scale),
    )


def _declared(metadata: Metadata, held: IntegerRange | None) -> Normalisation | None:
    """Return the normalization from the metadata or, if the input cannot hold it, from the quantization."""
    if metadata.normalisation and (held is None or held.takes(metadata.normalisation)):
        return metadata.normalisation
    if held is None:
        return None
    return from_quantised(held) if held.quantised else from_integers(held.dtype)


def _detail(details: list[Details], name: str) -> Details:
    return details[_place(details, name)]


def _place(details: list[Details], name: str) -> int:
    return [each["name"] for each in details].index(name)
