"""ONNX files written byte by byte (protocol buffers), because the package `onnx` is not needed."""

import struct

import numpy as np

FLOAT, INT64 = 1, 7


def _varint(value: int) -> bytes:
    out = b""
    value &= (1 << 64) - 1
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def tensor(name: str, array: np.ndarray) -> bytes:
    """A TensorProto."""
    kind = {np.dtype("float32"): FLOAT, np.dtype("int64"): INT64}[array.dtype]
    dims = b"".join(_number(1, n) for n in array.shape)
    return dims + _number(2, kind) + _bytes(8, name) + _bytes(9, array.tobytes())


def _attribute(name: str, value) -> bytes:
    if isinstance(value, int):
        return _bytes(1, name) + _number(3, value) + _number(20, 2)
    if isinstance(value, float):
        return _bytes(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, 1)
    if isinstance(value, str):
        return _bytes(1, name) + _bytes(4, value) + _number(20, 3)
    return _bytes(1, name) + b"".join(_number(8, v) for v in value) + _number(20, 7)


def node(kind: str, inputs, outputs, **attributes) -> bytes:
    """A NodeProto."""
    parts = [_bytes(1, name) for name in inputs] + [_bytes(2, name) for name in outputs]
    parts += [_bytes(3, f"{kind}_{outputs[0]}"), _bytes(4, kind)]
    return b"".join(parts + [_bytes(5, _attribute(k, v)) for k, v in attributes.items()])


def _value(name: str, shape) -> bytes:
    dims = b"".join(_bytes(1, _number(1, n)) for n in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, FLOAT) + _bytes(2, dims)))


def model(nodes, tensors, inputs: dict, outputs: dict) -> bytes:
    """A ModelProto of opset 11; inputs and outputs are name -> shape."""
    graph = b"".join(_bytes(1, n) for n in nodes) + _bytes(2, "graph")
    graph += b"".join(_bytes(5, t) for t in tensors)
    graph += b"".join(_bytes(11, _value(*item)) for item in inputs.items())
    graph += b"".join(_bytes(12, _value(*item)) for item in outputs.items())
    return _number(1, 6) + _bytes(8, _number(2, 11)) + _bytes(7, graph)
