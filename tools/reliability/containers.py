"""Containers as strangers might write them: one honest file of each, and mutations that know its
structure.

A mutation changes what a parser believes (sizes, counts, offsets, kinds, nesting) and mends the
checksums around it, so that it is believed. Number ``n`` of a seed is the same on every machine.
"""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from reliability import pictures
from reliability.mutating import NUMBERS, chosen, overwritten, scrambled

ROOM = 1 << 24  # bytes that a planted bomb unpacks to


class Container(NamedTuple):
    """A kind of file: what it is called, an honest one, how it is changed, who reads it."""

    suffix: str
    honest: Callable[[], bytes]
    mutate: Callable[[bytes, Generator], bytes]
    read: Callable[[Path], Any]


# NumPy ------------------------------------------------------------------------------------------


def npy(rng: Generator | None = None) -> bytes:
    """An ``.npy`` of 20 x 2 numbers; with ``rng`` its header tells something else."""
    told = {
        "descr": ["'<f4'", "'|O'", "'<f8'", "'|S0'", "[('a', '<f4')]", "'<U99999999'", "1"],
        "fortran_order": ["False", "True", "1", "'x'"],
        "shape": ["(20, 2)", "(40,)", "(-1,)", "(999999999999,)", "(4294967296,) * 2", "()", "("],
    }
    values = {key: options[0] for key, options in told.items()}
    body, version, lie = np.arange(40, dtype="<f4").tobytes(), b"\1\0", 0
    if rng is not None:
        key = chosen(rng, list(told))
        values[key] = chosen(rng, [*told[key], "-" * 3000, "[" * 500, "__import__('os')", "None"])
        version = chosen(rng, [b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\xff\xff"])
        lie = chosen(rng, [0, 0, 0, 1, -1, 60_000])
    text = ", ".join(f"'{key}': {value}" for key, value in values.items())
    header = f"{{{text}, }}".ljust(117).encode() + b"\n"
    size = "<H" if version == b"\1\0" else "<I"
    claimed = struct.pack(size, max(0, min(len(header) + lie, 65535)))
    return b"\x93NUMPY" + version + claimed + header + body


def npy_changed(data: bytes, rng: Generator) -> bytes:
    return npy(rng) if rng.random() < 0.6 else scrambled(data, rng)


def npz() -> bytes:
    return zipped({"a.npy": npy(), "b.npy": npy()})


def npz_changed(data: bytes, rng: Generator) -> bytes:
    """A changed array in an honest zip, or an honest array in a changed zip."""
    if rng.random() < 0.5:
        return zip_changed(data, rng)
    names = chosen(rng, [["a.npy", "b.npy"], ["a", "a.npy"], ["../a.npy", ""], ["a.npy", "a.npy"]])
    members = [(name, npy_changed(npy(), rng)) for name in names]
    if rng.random() < 0.1:
        members.append(("zeros.npy", bytes(ROOM)))
    return zipped(members)


# archives ---------------------------------------------------------------------------------------


def zipped(members) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def zip_honest() -> bytes:
    return zipped({"one.txt": b"1" * 300, "folder/two.txt": b"2" * 40})


_ZIP_FIELDS = {  # of local header, directory line, end: where, and how many bytes
    b"PK\3\4": [(6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],
    b"PK\1\2": [(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4)],
    b"PK\5\6": [(4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
}


def zip_changed(data: bytes, rng: Generator) -> bytes:
    if rng.random() < 0.25:
        return scrambled(data, rng)
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        mark = chosen(rng, list(_ZIP_FIELDS))
        places = [n for n in range(len(out) - 4) if out[n : n + 4] == mark]
        if places:
            where, size = chosen(rng, _ZIP_FIELDS[mark])
            overwritten(out, chosen(rng, places) + where, size, rng)
    if rng.random() < 0.1:
        return bytes(out) + bytes(out)
    return bytes(out)


def tar_honest() -> bytes:
    return tarred([("00000000.person.png", b"p" * 600), ("00000000.mask.png", b"m" * 90)])


def tarred(members: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


_TAR_FIELDS = [(0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8)]


def tar_changed(data: bytes, rng: Generator) -> bytes:
    """Fields of headers with their checksums mended, and members of GNU's and pax' own kinds."""
    if rng.random() < 0.2:
        return scrambled(data, rng)
    out = bytearray(data)
    headers = [n for n in range(0, len(out) - 511, 512) if out[n + 257 : n + 262] == b"ustar"]
    for _ in range(rng.integers(1, 3)):
        at = chosen(rng, headers)
        kind = rng.integers(4)
        if kind == 0:
            out[at + 156] = chosen(rng, list(b"0123456789LKSxgXVDNM\0"))
        elif kind == 1:  # sizes: octal, in base 256, negative
            number = chosen(rng, NUMBERS)
            told = [
                b"%011o\0" % (number % 8**11),
                b"\x80" + number.to_bytes(11, "big"),
                b"\xff" * 12,
            ]
            out[at + 124 : at + 136] = chosen(rng, told)
        elif kind == 2:
            where, size = chosen(rng, _TAR_FIELDS)
            out[at + where : at + where + size] = rng.bytes(size)
        else:  # an old sparse map: four pieces, and how large it is unpacked
            out[at + 156 : at + 157] = b"S"
            out[at + 386 : at + 483] = rng.bytes(97)
            out[at + 483 : at + 495] = b"%011o\0" % (chosen(rng, NUMBERS) % 8**11)
        out[at + 148 : at + 156] = b" " * 8
        out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
    if rng.random() < 0.2:
        said = chosen(rng, [b"size=99999999999999", b"size=-5", b"GNU.sparse.size=9", b"path=\xff"])
        line = b"%d %s\n" % (len(said) + chosen(rng, [4, 3, 0, 9_999]), said)
        return pax(line) + bytes(out)
    return bytes(out)


def pax(content: bytes) -> bytes:
    info = tarfile.TarInfo("PaxHeader")
    info.type, info.size = chosen_type(content), len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content.ljust(512, b"\0")


def chosen_type(content: bytes) -> bytes:
    return tarfile.XGLTYPE if len(content) % 2 else tarfile.XHDTYPE


# safetensors ------------------------------------------------------------------------------------


def safetensors_honest() -> bytes:
    header = {
        "__metadata__": {"vtonlab": json.dumps({"iter": 3})},
        "a": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]},
        "b": {"dtype": "F16", "shape": [8], "data_offsets": [48, 64]},
    }
    return with_header(json.dumps(header).encode(), bytes(range(64)))


def with_header(header: bytes, body: bytes, lie: int = 0) -> bytes:
    return max(0, len(header) + lie).to_bytes(8, "little") + header + body


def safetensors_changed(data: bytes, rng: Generator) -> bytes:
    if rng.random() < 0.25:
        return scrambled(data, rng)
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    for _ in range(rng.integers(0, 3)):
        entry = header[chosen(rng, ["a", "b"])]
        odd = [*NUMBERS, -1, 1.5, "x", None, True, [], {}]
        kind = rng.integers(6)
        if kind == 0:
            kinds = ["F32", "I32", "F16", "I16", "BF16", "F64", "U8", "F8_E4M3", "F4", "C64", "", 7]
            entry["dtype"] = chosen(rng, kinds)
        elif kind == 1:
            entry["shape"] = [chosen(rng, odd) for _ in range(rng.integers(0, 4))]
        elif kind == 2:
            entry["data_offsets"] = [chosen(rng, odd) for _ in range(rng.integers(1, 4))]
        elif kind == 3:
            header[chosen(rng, ["", "a.b", "\u20ac", "x" * 5000])] = dict(entry)
        elif kind == 4:
            entry.pop(chosen(rng, list(entry)), None)
            entry = entry or header
        else:
            header["__metadata__"] = chosen(rng, [{}, {"vtonlab": "["}, {"vtonlab": 1}, [], "x", 3])
        if not header.get("a") or not header.get("b"):
            break
    return with_header(json.dumps(header).encode(), body, chosen(rng, [0] * 12 + [8, -8, 2**40]))


# texts ------------------------------------------------------------------------------------------

JSON_TEXT = {
    "format": 1,
    "pairs": {"p__g": {"images": ["ab", "cd"], "matches": 7}},
    "x": [1.5, None],
}
_JSON_TOKENS = (
    *("[" * 40, "[" * 100_000, '{"a":' * 30_000, "]" * 50, "1e999", "-1e999", "NaN", "Infinity"),
    *("9" * 5000, '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x"', "\ufeff", "0x10", "1_0"),
    *("tru", "null", "{", "}", ",", ":", '"', "//", "{}" * 9, "-", "1.", '{"a":1,"a":2}', "\0"),
    *(" ", "\t", " 7", "12", "1e5"),
)
YAML_TEXT = "a: 1\nb: [1, 2.5, x]\nc: {d: true, e: null}\nf:\n  - g\n  - h: 3\n"
_YAML_TOKENS = (
    *("&a [1]", "*a", "<<: *a", "!!python/object/apply:os.getcwd []", "!!python/name:os.system"),
    *("!!binary x", "!!set {a, b}", "!!omap [a: 1]", "!!timestamp x", "2001-99-99", "190:20:30"),
    *("? [a]", "? {a: b}\n: c", "!foo bar", "%YAML 9.9\n---", "--- a\n--- b", "\t", "'", "|2\n x"),
    *("[" * 3000, "{" * 3000, "- " * 3000, "0x", "0b12", "1e", ".inf", "~", "\x07", "\u2028", "@"),
    *("&a " * 50, "9" * 5000, "=", "<<: [1]", "!!int x", "!!float ''", "!!bool 3", "? " * 2000),
)


def text_changed(tokens: tuple | list) -> Callable[[bytes, Generator], bytes]:
    """Plants tokens at places where a value may stand."""

    def mutate(data: bytes, rng: Generator) -> bytes:
        if rng.random() < 0.2:
            return scrambled(data, rng)
        text = data.decode()
        for _ in range(rng.integers(1, 4)):
            edges = [n for n, mark in enumerate(text[:500]) if mark in "[]{},: \n"] or [0]
            start = chosen(rng, edges)
            end = start + int(rng.integers(0, 6)) * int(rng.integers(0, 2))
            text = text[: start + 1] + chosen(rng, tokens) + text[end + 1 :]
        return text.encode("utf-8", "surrogatepass")

    return mutate


_JSON_VALUES = (None, True, 0, -1, 7.5, 1e308, 2**70, "", "x", "\u20ac/..", [], {}, [[]], {"": 0})


def json_changed(data: bytes, rng: Generator) -> bytes:
    """Half of them stay JSON: a value of another kind, a key less, more or of another name."""
    if rng.random() < 0.5:
        return text_changed(_JSON_TOKENS)(data, rng)
    tree = json.loads(data)
    for _ in range(rng.integers(1, 4)):
        nodes = [node for node in _nests(tree) if node]
        if not nodes:
            break
        node = chosen(rng, nodes)
        key = chosen(rng, list(node) if isinstance(node, dict) else range(len(node)))
        kind = rng.integers(5)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, dict):
            node[chosen(rng, ["", "x", "0", "type", "format", "pairs"])] = node.pop(key)
        elif kind == 2 and isinstance(node, list):
            node.append(deepcopy(node[key]))
        else:
            node[key] = deepcopy(chosen(rng, _JSON_VALUES))
    return json.dumps(tree).encode()


def _nests(tree: Any) -> list:
    """Every list and dictionary of a JSON tree."""
    if not isinstance(tree, dict | list):
        return []
    inside = tree.values() if isinstance(tree, dict) else tree
    return [tree, *(node for value in inside for node in _nests(value))]


def containers() -> dict[str, Container]:
    """Name -> container, of everything that vtonlab opens and others may have written."""
    from vtonlab.utils.bounded import (
        read_json,
        read_npy,
        read_npz,
        read_tensors,
        read_yaml,
        tar_members,
        tensor_metadata,
        zip_members,
    )

    def tensors(path: Path) -> Any:
        found = read_tensors(path).items()
        plain = {k: (str(v.dtype), v.shape, v.reshape(-1).view(v.dtype).tolist()) for k, v in found}
        return plain, tensor_metadata(path)

    def yaml(path: Path) -> Any:
        return read_yaml(path.read_bytes(), path)

    found = {
        "npy": Container(".npy", npy, npy_changed, read_npy),
        "npz": Container(".npz", npz, npz_changed, read_npz),
        "zip": Container(".zip", zip_honest, zip_changed, zip_members),
        "tar": Container(".tar", tar_honest, tar_changed, tar_members),
        "safetensors": Container(".safetensors", safetensors_honest, safetensors_changed, tensors),
        "JSON": Container(".json", json.dumps(JSON_TEXT).encode, json_changed, read_json),
        "YAML": Container(".yaml", YAML_TEXT.encode, text_changed(_YAML_TOKENS), yaml),
    }
    for name, (suffix, honest, mutate) in pictures.KINDS.items():
        found[name] = Container(suffix, honest, mutate, pictures.read)
    return found
