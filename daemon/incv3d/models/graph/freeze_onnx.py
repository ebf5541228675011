"""Inspect a user's ONNX network: its input, its output, and the pixels that it expects.

Runs in the child process of :mod:`incv3d.models.graph.freeze`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from incv3d.config.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalisation,
    from_mean_and_std,
    from_range,
)
from incv3d.engines.base import FEATURES, SessionError, SessionSpec
from incv3d.engines.onnx import INPUT_TYPES, OUTPUT_TYPES, OnnxSession, open_network
from incv3d.engines.quiet_stderr import quiet_stderr
from incv3d.models.entry import ModelError
from incv3d.models.graph.freeze_job import FreezeJob, NetworkFacts, Shape, choose, input_shape, trial_run
from incv3d.models.graph.usual_ranges import Floats, Range, infer_range
from incv3d.models.normalisation import (
    IntegerRange,
    choose_normalisation,
    from_integers,
    from_quantised,
)
from incv3d.models.onnx_features import mark_features
from incv3d.models.onnx_file import OnnxStructure, read_structure
from incv3d.models.onnx_merge import save_merged

PASSING = {
    "Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze", "Unsqueeze",
}  # fmt: skip
"""Operations that do not change the meaning of a tensor."""
LINEAR = {"Add", "Conv", "Gemm", "MatMul", "QGemm", "QLinearAdd", "QLinearConv", "QLinearMatMul"}
ARITHMETIC = {"Add", "Sub", "Mul", "Div"}
ASSUMED = (
    "assumed, not declared by the network; to change it, set custom.preset, pixel_range, or mean and std; "
    "torchvision's"
)
LONGEST_NAMES = 1 << 20
"""Characters."""
KEEPING = {"Cast", "Identity", "Transpose"}
"""Operations that do not change the values of pixels."""
LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}


def import_onnx(job: FreezeJob) -> NetworkFacts:
    """Write the network with all its weights to one file, try it, and return the facts about it.

    Its features become an output of the file.

    :raises ModelError: it is damaged, ambiguous, or not an image classifier.
    :raises SessionError: ONNX Runtime is missing, or cannot run it.
    """
    structure = read_structure(Path(job.file))
    save_merged(Path(job.file), structure, Path(job.network))
    with quiet_stderr():
        described = open_network(Path(job.file), threads=1)
    fed, fetched, shape = _describe(job, described.get_inputs(), described.get_outputs())
    names = own_names(described.get_modelmeta().custom_metadata_map)
    del described  # its memory
    mark_features(Path(job.network), fed.name, fetched.name)
    held = _quantised_range(structure, fed.name)
    declared = from_quantised(held) if held else _declared(structure, fed)
    normalisation = choose_normalisation(
        job.file,
        job.pixel_range,
        job.mean,
        job.std,
        declared,
        held,
        shape.channels,
        _assumed(shape),
        job.mean_from,
    )
    spec = SessionSpec(
        file=Path(job.network),
        format="onnx",
        input=fed.name,
        output=fetched.name,
        height=shape.height,
        width=shape.width,
        threads=1,
        layout=shape.layout,
        channels=shape.channels,
    )
    try:
        with quiet_stderr():
            session = OnnxSession(spec)
    except SessionError as error:
        raise ModelError(str(error).replace(job.network, job.file)) from None
    count, scores = trial_run(job, session.run, shape, normalisation, is_linear(structure, fetched.name))
    return NetworkFacts(
        input=fed.name,
        output=fetched.name,
        width=shape.width,
        height=shape.height,
        layout=shape.layout,
        outputs=count,
        scores=scores,
        channels=shape.channels,
        normalisation=normalisation,
        labels=msgspec.json.encode(names) if job.needs_labels and len(names) == count else b"",
        labels_name="metadata `names`",
    )


def own_names(metadata: Mapping[str, str]) -> list[str]:
    """Return the names of the classes in a file of Ultralytics: ``{0: 'cat', 1: 'dog'}``; or none."""
    text = metadata.get("names", "")[:LONGEST_NAMES]
    try:
        named = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    if isinstance(named, dict) and set(named) == set(range(len(named))):
        named = [named[index] for index in range(len(named))]
    is_list = isinstance(named, list) and all(isinstance(each, str) and each.strip() for each in named)
    return named if is_list else []


def _describe(job: FreezeJob, inputs: list[Any], outputs: list[Any]) -> tuple[Any, Any, Shape]:
    """Return the library's descriptions of the input and the output, and the shape of the input."""
    if len(inputs) != 1:
        raise ModelError(
            f"{job.file}: the network has {len(inputs)} inputs ({_listed(inputs)}), but must have one"
        )
    fed = _named(inputs, choose(job, "input", [each.name for each in inputs]))
    if fed.type not in INPUT_TYPES:
        raise ModelError(f"{job.file}: its input {_listed([fed])} is not an image")
    scores = [each.name for each in outputs if each.type in OUTPUT_TYPES and each.name != FEATURES]
    if not scores:
        raise ModelError(
            f"{job.file}: none of its outputs is a float per class: {_listed(outputs)}; export it "
            f"without the operations after the scores"
        )
    fetched = _named(outputs, choose(job, "output", scores))
    sides = [side if isinstance(side, int) else None for side in fed.shape or ()]
    if job.layout == "auto" and len(sides) == 4 and sides[1] is sides[3] is None:
        job = msgspec.structs.replace(job, layout="nchw")  # as PyTorch exports it
    return fed, fetched, input_shape(job, fed.name, sides)


def _listed(nodes: list[Any]) -> str:
    return ", ".join(f"`{node.name}` {node.type}" for node in nodes[:12]) or "none"


def _named(nodes: list[Any], name: str) -> Any:
    return next(node for node in nodes if node.name == name)


def _assumed(shape: Shape) -> Normalisation | None:
    """Return the normalization to assume for a float input that declares none; None: the usual one."""
    if shape.layout == "nchw" and shape.channels == 3:
        return from_mean_and_std(IMAGENET_MEAN, IMAGENET_STD, ASSUMED)
    return None


def _declared(structure: OnnxStructure, fed: Any) -> Normalisation | None:
    """Return the normalization that the input's type or the network's first operations imply; None: none."""
    dtype = fed.type.removeprefix("tensor(").removesuffix(")")
    pixel_range = _range_of_first_operations(structure, fed.name)
    if pixel_range:
        return from_range(*pixel_range, "its first layers")
    return from_integers(dtype) if "int" in dtype else None


def _range_of_first_operations(structure: OnnxStructure, fed: str) -> Range | None:
    """Return the pixel range that the arithmetic at the start of a network expects; None: unknown."""
    scale, offset = np.ones(1), np.zeros(1)
    tensor, seen = fed, set()
    while tensor not in seen:
        seen.add(tensor)  # a damaged file can have a cycle
        users = structure.users_of(tensor)
        if len(users) != 1 or users[0].op not in ARITHMETIC | KEEPING:
            break
        if users[0].op in ARITHMETIC:
            others = [structure.floats.get(each) for each in users[0].inputs if each != tensor]
            is_first = users[0].inputs[0] == tensor
            if len(others) != 1 or others[0] is None or not (is_first or users[0].op in ("Add", "Mul")):
                return None
            scale, offset = _applied(users[0].op, scale, offset, np.asarray(others[0], np.float64))
        tensor = users[0].outputs[0]
    return infer_range(scale, offset)


def _applied(operation: str, scale: Floats, offset: Floats, number: Floats) -> tuple[Floats, Floats]:
    """Return ``scale`` and ``offset`` of ``pixel * scale + offset`` after one more operation."""
    if operation == "Mul":
        return scale * number, offset * number
    if operation == "Div":
        return scale / number, offset / number
    return scale, offset + number if operation == "Add" else offset - number


def _quantised_range(structure: OnnxStructure, fed: str) -> IntegerRange | None:
    """Return the range of the integers to which the network's first operation quantizes pixels, or None."""
    first = next((node for node in structure.users_of(fed) if node.op == "QuantizeLinear"), None)
    if first is None or len(first.inputs) < 2:
        return None
    zero_point = first.inputs[2] if len(first.inputs) > 2 else ""
    step = structure.floats.get(first.inputs[1], ())
    dtype, zero = structure.integers.get(zero_point, ("uint8", 0))
    if len(step) != 1 or not step[0] > 0:
        return None
    low, high = ((end - zero) * step[0] for end in LIMITS[dtype])
    return IntegerRange(low=low, high=high, step=step[0], dtype=dtype, quantised=True)


def is_linear(structure: OnnxStructure, output: str) -> bool:
    """Return whether `output` comes from a plain layer without an activation after it."""
    seen = set()
    while (maker := structure.maker_of(output)) and output not in seen:
        seen.add(output)  # a damaged file can have a cycle
        if maker.op not in PASSING or not maker.inputs:
            return maker.op in LINEAR
        output = maker.inputs[0]
    return False
