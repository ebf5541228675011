"""Small GraphDefs made by hand, as bytes: no TensorFlow is needed to make them."""

from __future__ import annotations

FLOAT, INT32, UINT8, STRING = 1, 3, 4, 7


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def attribute(key: str, value: bytes) -> bytes:
    return field(5, field(1, key.encode()) + field(2, value))


def dtype(key: str, code: int = FLOAT) -> bytes:
    return attribute(key, field(6, code))


def shape(*sides: int) -> bytes:
    return attribute("shape", field(7, b"".join(field(2, field(1, side)) for side in sides)))


def node(name: str, op: str, *inputs: str, attributes: bytes = b"") -> bytes:
    body = (
        field(1, name.encode()) + field(2, op.encode()) + b"".join(field(3, each.encode()) for each in inputs)
    )
    return field(1, body + attributes)


def placeholder(name: str, *sides: int, code: int = FLOAT) -> bytes:
    return node(name, "Placeholder", attributes=dtype("dtype", code) + shape(*sides))


def relu(name: str, source: str) -> bytes:
    return node(name, "Relu", source, attributes=dtype("T"))


def integers(key: str, *values: int) -> bytes:
    packed = b"".join(varint(value) for value in values)
    return attribute(key, field(1, field(3, packed)))


def constant(name: str, *values: int) -> bytes:
    """A constant of int32: one number, or a list of several."""
    dims = b"" if len(values) == 1 else field(2, field(2, field(1, len(values))))
    tensor = field(1, INT32) + dims + field(7, b"".join(varint(value) for value in values))
    return node(name, "Const", attributes=dtype("dtype", INT32) + attribute("value", field(8, tensor)))


def of_2015(scores: bytes, side: int = 299) -> bytes:
    """A graph that decodes and resizes a JPEG as Google's does; `scores` are its nodes from ``Mul`` on."""
    cast = dtype("SrcT", UINT8) + dtype("DstT")
    return (
        placeholder("DecodeJpeg/contents", code=STRING)
        + node(
            "DecodeJpeg", "DecodeJpeg", "DecodeJpeg/contents", attributes=attribute("channels", field(3, 3))
        )
        + node("Cast", "Cast", "DecodeJpeg", attributes=cast)
        + constant("first", 0)
        + node("ExpandDims", "ExpandDims", "Cast", "first", attributes=dtype("T") + dtype("Tdim", INT32))
        + constant("size", side, side)
        + node("Mul", "ResizeBilinear", "ExpandDims", "size", attributes=dtype("T"))
        + scores
    )


def strongest_channel(side: int) -> bytes:
    """A classifier of three classes, red, green and blue: ``pixels`` in, ``scores`` out."""
    window = integers("ksize", 1, side, side, 1) + integers("strides", 1, side, side, 1)
    pool = dtype("T") + window + attribute("padding", field(2, b"VALID"))
    return (
        placeholder("pixels", 1, side, side, 3)
        + node("mean", "AvgPool", "pixels", attributes=pool)
        + node("flat", "Squeeze", "mean", attributes=dtype("T") + integers("squeeze_dims", 1, 2))
        + node("scores", "Softmax", "flat", attributes=dtype("T"))
    )
