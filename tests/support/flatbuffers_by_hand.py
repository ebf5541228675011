"""Small LiteRT networks with random weights, made without any converter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from incv3d.models.graph.pixel_file import PixelFile

SIDE, CLASSES = 8, 4


class Network:
    """A float network that begins with the input `pixels`, ``(1, side, side, 3)``."""

    def __init__(self, side: int = SIDE) -> None:
        self._random = np.random.default_rng(3)
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._codes: list[object] = []
        self._buffers = [schema.BufferT()]
        self.side = side
        self.last = self.pixels = self._tensor("pixels", (1, side, side, 3))
        self.channels = 3

    def convolution(
        self, name: str, channels: int, weights: np.ndarray | None = None, bias: Sequence[float] = ()
    ) -> Network:
        """Add a convolution of 3 x 3 with a ReLU."""
        if weights is None:
            weights = self._random.normal(0, 0.3, (channels, 3, 3, self.channels))
        options = schema.Conv2DOptionsT()
        options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        self._layer(
            name, "CONV_2D", options, weights, bias or [0] * channels, (1, self.side, self.side, channels)
        )
        return self

    def depthwise(self, name: str) -> Network:
        """Add a depthwise convolution of 3 x 3 with a ReLU6."""
        options = schema.DepthwiseConv2DOptionsT()
        options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
        options.depthMultiplier = 1
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
        weights = self._random.normal(0, 0.3, (1, 3, 3, self.channels))
        shape = (1, self.side, self.side, self.channels)
        self._layer(name, "DEPTHWISE_CONV_2D", options, weights, [0.1] * self.channels, shape)
        return self

    def mean(self, name: str = "mean") -> Network:
        """Add a mean over the width and the height."""
        axes = self._constant(f"{name}/axes", np.array([1, 2], np.int32))
        self._operator("MEAN", schema.ReducerOptionsT(), [self.last, axes], name, (1, self.channels))
        return self

    def dense(self, name: str = "dense", classes: int = CLASSES, ignores: int | None = None) -> Network:
        """Add a dense layer, which may ignore a feature."""
        weights = self._random.normal(0, 2, (classes, self.channels))
        weights -= weights.mean(axis=1, keepdims=True)  # what is in all features tells no class
        if ignores is not None:
            weights[:, ignores] = 0
        self._layer(
            name, "FULLY_CONNECTED", schema.FullyConnectedOptionsT(), weights, [0] * classes, (1, classes)
        )
        return self

    def softmax(self, name: str = "scores") -> Network:
        """Add a softmax."""
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        self._operator("SOFTMAX", options, [self.last], name, (1, self.channels))
        return self

    def root(self, name: str = "root") -> Network:
        """Add a square root, which is not a number for what is below 0."""
        self._operator("SQRT", None, [self.last], name, (1, self.side, self.side, self.channels))
        return self

    def custom(self, name: str = "custom") -> Network:
        """Add an operation that no runtime has."""
        self._operator("CUSTOM", None, [self.last], name, (1, self.side, self.side, self.channels))
        self._codes[-1].customCode = b"Unheard"
        return self

    def write(self, path: Path) -> Path:
        """Write the flatbuffer, and return its path."""
        self._graph.inputs, self._graph.outputs = [self.pixels], [self.last]
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [self._graph], self._buffers
        model.operatorCodes = self._codes
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(builder.Output())
        return path

    def _layer(self, name, kind, options, weights, bias, shape) -> None:
        operands = [
            self.last,
            self._constant(f"{name}/weights", np.asarray(weights, np.float32)),
            self._constant(f"{name}/bias", np.asarray(bias, np.float32)),
        ]
        self._operator(kind, options, operands, name, shape)
        self.channels = shape[-1]

    def _operator(self, kind, options, inputs, name, shape) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        self._codes.append(code)
        operation = schema.OperatorT()
        operation.opcodeIndex = len(self._codes) - 1
        operation.inputs, operation.outputs = inputs, [self._tensor(name, shape)]
        if options is not None:
            kind_of_options = type(options).__name__.removesuffix("T")
            operation.builtinOptionsType = getattr(schema.BuiltinOptions, kind_of_options)
            operation.builtinOptions = options
        self._graph.operators.append(operation)
        self.last = operation.outputs[0]

    def _constant(self, name: str, value: np.ndarray) -> int:
        number = self._tensor(name, value.shape, value.dtype)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        self._buffers.append(buffer)
        self._graph.tensors[number].buffer = len(self._buffers) - 1
        return number

    def _tensor(self, name: str, shape: Sequence[int], dtype: object = np.float32) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), list(shape), 0
        tensor.type = schema.TensorType.INT32 if dtype == np.int32 else schema.TensorType.FLOAT32
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1


def classifier(side: int = SIDE) -> Network:
    """A network of every kind of layer with weights: ``(1, side, side, 3)`` to `CLASSES` probabilities."""
    network = Network(side).convolution("first", 6).depthwise("second").convolution("third", 8)
    return network.mean().dense().softmax()


def unquantizable(side: int = SIDE) -> Network:
    """A classifier with a feature so large that 8 bits leave nothing of the others, which alone decide."""
    weights = np.random.default_rng(3).normal(0, 0.3, (8, 3, 3, 3))
    weights[0] = 1e5
    network = Network(side).convolution("first", 8, weights, bias=[1e6, *[0.0] * 7])
    return network.mean().dense(ignores=0).softmax()


def random_pixels(path: Path, images: int, side: int = SIDE) -> PixelFile:
    """Write a file of random pixels, each image of a color of its own."""
    random = np.random.default_rng(5)
    pixels = PixelFile(path, (1, side, side, 3))
    for _ in range(images):
        color = random.uniform(-0.7, 0.7, (1, 1, 1, 3))
        pixels.append((color + random.uniform(-0.3, 0.3, pixels.shape)).astype(np.float32))
    return pixels
