"""Make a small quantized ``.tflite`` without TensorFlow."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

UINT8, INT32 = schema.TensorType.UINT8, schema.TensorType.INT32
OPERATORS = schema.BuiltinOperator


def bytes_network(outputs: int, side: int = 224, best: int = 0) -> bytes:
    """Return a network of uint8 with the tensors of Coral's: mean color, dense layer, softmax.

    Red gives the class `best`, black the last class, which is the background.
    """
    weights = np.full((outputs, 3), 128, np.uint8)
    weights[best] = (255, 64, 64)
    bias = np.zeros(outputs, np.int32)
    bias[-1] = 12 * 2048
    model = schema.ModelT()
    model.version, model.description = 3, b"tiny"
    model.buffers = [schema.BufferT() for _ in range(4)]
    model.buffers[1].data, model.buffers[2].data = weights.ravel(), np.frombuffer(bias.tobytes(), np.uint8)
    model.buffers[3].data = np.frombuffer(np.int32([-1, 3]).tobytes(), np.uint8)
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor(b"map/TensorArrayStack/TensorArrayGatherV3", [1, side, side, 3], UINT8, 1 / 128, 128),
        _tensor(b"mean", [1, 1, 1, 3], UINT8, 1 / 128, 128),
        _tensor(b"weights", [outputs, 3], UINT8, 1 / 16, 128, 1),
        _tensor(b"bias", [outputs], INT32, 1 / 2048, 0, 2),
        _tensor(b"logits", [1, outputs], UINT8, 1 / 8, 128),
        _tensor(b"prediction", [1, outputs], UINT8, 1 / 256, 0),
        _tensor(b"flat", [1, 3], UINT8, 1 / 128, 128),
        _tensor(b"shape", [2], INT32, 0, 0, 3),
    ]
    pool = schema.Pool2DOptionsT()
    pool.filterHeight = pool.filterWidth = side
    pool.strideH = pool.strideW = side
    pool.padding = schema.Padding.VALID
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    options = schema.BuiltinOptions
    graph.operators = [
        _operator(0, [0], [1], options.Pool2DOptions, pool),
        _operator(1, [1, 7], [6], options.ReshapeOptions, schema.ReshapeOptionsT()),
        _operator(2, [6, 2, 3], [4], options.FullyConnectedOptions, schema.FullyConnectedOptionsT()),
        _operator(3, [4], [5], options.SoftmaxOptions, softmax),
    ]
    graph.inputs, graph.outputs = np.int32([0]), np.int32([5])
    model.subgraphs = [graph]
    model.operatorCodes = [
        _code(each)
        for each in (
            OPERATORS.AVERAGE_POOL_2D, OPERATORS.RESHAPE, OPERATORS.FULLY_CONNECTED, OPERATORS.SOFTMAX
        )
    ]  # fmt: skip
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _tensor(name: bytes, shape: list[int], type_: int, scale: float, zero_point: int, buffer: int = 0) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, np.int32(shape), type_, buffer
    if scale:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.float32([scale])
        tensor.quantization.zeroPoint = np.int64([zero_point])
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int], kind: int, options: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.builtinOptionsType, operator.builtinOptions = code, kind, options
    operator.inputs, operator.outputs = np.int32(inputs), np.int32(outputs)
    return operator


def _code(operator: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = operator
    code.version = 1
    return code
