"""PNG, JPEG, WebP and AVIF files, and mutations of their chunks, segments and boxes."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image
from reliability.mutating import chosen, overwritten, scrambled

ROOM = 1 << 24  # bytes that a planted bomb unpacks to


def honest(kind: str, **options: Any) -> Callable[[], bytes]:
    """Maker of a small picture of a kind."""

    def make() -> bytes:
        values = np.add.outer(np.arange(24) * 7, np.arange(32) * 3) % 256
        planes = np.stack([values, values[::-1], values[:, ::-1]], -1).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(planes).save(stream, kind, **options)
        return stream.getvalue()

    return make


def read(path: Path) -> Any:
    """Everything that vtonlab may want of a picture."""
    from vtonlab.utils.bounded import FileError
    from vtonlab.utils.images import inspect_image, read_image, read_mask

    found = [read_image(path)]
    for look in (
        read_mask,
        lambda p: read_image(p, "labels"),
        lambda p: inspect_image(p, deep=True),
    ):
        try:
            found.append(look(path))
        except FileError as error:
            if str(path) not in str(error):
                raise AssertionError(f"an error that names no file: {error}") from error
    return found


# chunks: PNG and WebP -----------------------------------------------------------------------------


def png_changed(data: bytes, rng: Generator) -> bytes:
    if rng.random() < 0.2:
        return scrambled(data, rng)
    chunks, at = [], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append([data[at + 4 : at + 8], data[at + 8 : at + 8 + size]])
        at += 12 + size
    for _ in range(rng.integers(1, 4)):
        _change_chunks(chunks, _PNG_PLANTED, rng, "big")
    out = data[:8]
    for kind, body in chunks:
        lie = chosen(rng, [0] * 30 + [1, -1, 2**31 - 9])
        checksum = zlib.crc32(kind + body) ^ (rng.random() < 0.03)
        out += (
            max(0, len(body) + lie).to_bytes(4, "big") + kind + body + struct.pack(">I", checksum)
        )
    return out


_BOMB = zlib.compress(bytes(ROOM), 9)
_EXIF = b"MM\0*\0\0\0\x08\0\2\1\x12\0\3\0\0\0\1\0\6\0\0\x87\x69\0\4\0\0\0\1\0\0\0\x08\0\0\0\0"
_PNG_PLANTED = [
    (b"zTXt", b"k\0\0" + _BOMB), (b"iCCP", b"k\0\0" + _BOMB), (b"iTXt", b"k\0\1\0\0\0" + _BOMB),
    (b"IDAT", _BOMB), (b"eXIf", _EXIF), (b"tRNS", b"\0" * 300), (b"PLTE", b"\0\1\2" * 400),
    (b"acTL", b"\xff" * 8), (b"fcTL", b"\xff" * 26), (b"fdAT", b"\0" * 9), (b"sRGB", b""),
    (b"gAMA", b"\0" * 4), (b"IEND", b""), (b"IHDR", b"\0\0\xff\xff\0\0\xff\xff\x10\6\0\0\1"),
]  # fmt: skip


def _change_chunks(chunks: list, planted: list, rng: Generator, order: str) -> None:
    place, kind = int(rng.integers(len(chunks))), rng.integers(6)
    if kind == 0 and len(chunks) > 1:
        del chunks[place]
    elif kind == 1:
        chunks.insert(int(rng.integers(len(chunks) + 1)), list(chunks[place]))
    elif kind == 2:
        chunks.insert(int(rng.integers(len(chunks) + 1)), list(chosen(rng, planted)))
    elif kind == 3 and chunks[place][1]:
        chunks[place][1] = scrambled(chunks[place][1], rng)
    elif kind == 4:
        chunks[place][0] = chosen(rng, planted)[0]
    else:  # a field of the header
        body = bytearray(chunks[0][1])
        overwritten(body, int(rng.integers(max(1, len(body)))), chosen(rng, [1, 2, 4]), rng, order)
        chunks[0][1] = bytes(body)


_WEBP_PLANTED = [
    (b"VP8X", b"\x3f\0\0\0\xff\xff\xff\xff\xff\xff"), (b"VP8X", b"\x10\0\0\0\x1f\0\0\x17\0\0"),
    (b"ANIM", b"\0" * 6), (b"ANMF", b"\xff" * 24), (b"ALPH", b"\1" + b"\xff" * 30),
    (b"ICCP", b"\0" * 200), (b"EXIF", _EXIF), (b"XMP ", b"<x/>"), (b"VP8L", b"/\xff\xff\xff\xff\0"),
    (b"VP8 ", b"\0\0\0\x9d\1*\xff\x3f\xff\x3f" + b"\0" * 20),
]  # fmt: skip


def webp_changed(data: bytes, rng: Generator) -> bytes:
    if rng.random() < 0.2:
        return scrambled(data, rng)
    chunks, at = [], 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append([data[at : at + 4], data[at + 8 : at + 8 + size]])
        at += 8 + size + size % 2
    for _ in range(rng.integers(1, 4)):
        _change_chunks(chunks, _WEBP_PLANTED, rng, "little")
    out = b"WEBP"
    for kind, body in chunks:
        lie = chosen(rng, [0] * 30 + [1, -1, 2**31 - 9])
        size = max(0, len(body) + lie)
        out += kind + size.to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
    lie = chosen(rng, [0] * 8 + [-4, 4, 2**31 - 9])
    return b"RIFF" + max(0, len(out) + lie).to_bytes(4, "little") + out


# segments: JPEG -----------------------------------------------------------------------------------

_JPEG_PLANTED = [
    (0xE1, b"Exif\0\0" + _EXIF), (0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    (0xE2, b"ICC_PROFILE\0\1\2x"),
    (0xEE, b"Adobe\0d\0\0\0\0\2"), (0xDD, b"\0\1"), (0xC4, b"\0" + b"\xff" * 16), (0xFE, b"x" * 99),
    (0xC0, b"\x08\xff\xff\xff\xff\3\1\x22\0\2\x11\1\3\x11\1"), (0xDB, b"\x10" + b"\0" * 128),
    (0xE2, b"MPF\0II*\0\x08\0\0\0\0\0"),
]  # fmt: skip


def jpeg_changed(data: bytes, rng: Generator) -> bytes:
    if rng.random() < 0.2:
        return scrambled(data, rng)
    segments, at = [], 2
    while data[at + 1] != 0xDA:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append([data[at + 1], data[at + 4 : at + 2 + size]])
        at += 2 + size
    scan = data[at:]
    for _ in range(rng.integers(1, 4)):
        place, kind = int(rng.integers(len(segments))), rng.integers(6)
        if kind == 0:
            scan = scrambled(scan, rng)
        elif kind == 1:
            segments[place][0] = chosen(rng, [0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xCB, 0xDB, 0xE0])
        elif kind == 2:
            _resize_frame(segments, rng)
        else:
            _change_chunks(segments, _JPEG_PLANTED, rng, "big")
    out = data[:2]
    for marker, body in segments:
        lie = chosen(rng, [0] * 30 + [1, -1, 60_000])
        size = max(0, min(len(body) + 2 + lie, 65535))
        out += bytes([0xFF, marker]) + size.to_bytes(2, "big") + body
    return out + scan


def _resize_frame(segments: list, rng: Generator) -> None:
    for segment in segments:
        if segment[0] in (0xC0, 0xC1, 0xC2):
            body = bytearray(segment[1])
            overwritten(body, chosen(rng, [1, 3]), 2, rng, "big")
            segment[1] = bytes(body)


# boxes: AVIF --------------------------------------------------------------------------------------

_INSIDE = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iinf": 6, b"dinf": 0, b"moov": 0, b"iref": 4}


def boxes(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[int, int, bytes]]:
    """Place, size and kind of every box, with those inside."""
    found, end = [], len(data) if end is None else end
    while start + 8 <= end:
        size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        if size < 8:
            break
        found.append((start, size, kind))
        if kind in _INSIDE:
            found += boxes(data, start + 8 + _INSIDE[kind], start + size)
        start += size
    return found


def avif_changed(data: bytes, rng: Generator) -> bytes:
    if rng.random() < 0.2:
        return scrambled(data, rng)
    out = bytearray(data)
    known = boxes(data)
    for _ in range(rng.integers(1, 4)):
        at, size, _ = chosen(rng, known)
        kind = rng.integers(6)
        if kind == 0:
            overwritten(out, at, 4, rng, "big")
        elif kind == 1:
            out[at + 4 : at + 8] = chosen(rng, known)[2]
        elif kind == 2:  # width and height
            places = [place for place, _, name in known if name == b"ispe"]
            overwritten(out, chosen(rng, places) + chosen(rng, [12, 16]), 4, rng, "big")
        elif kind == 3:
            overwritten(out, at + 8 + int(rng.integers(max(1, size - 8))), 4, rng, "big")
        elif kind == 4:
            overwritten(out, at + 8 + int(rng.integers(max(1, size - 8))), 1, rng, "big")
        elif rng.random() < 0.5:
            out[at : at + size] = b""
            known = boxes(bytes(out)) or [(0, 8, b"free")]
        else:
            out[at:at] = out[at : at + size]
            known = boxes(bytes(out))
        if not any(name == b"ispe" for *_, name in known):
            break
    return bytes(out)


KINDS = {
    "PNG": (".png", honest("PNG"), png_changed),
    "JPEG": (".jpg", honest("JPEG", quality=90), jpeg_changed),
    "WebP": (".webp", honest("WEBP", quality=90), webp_changed),
    "WebP, lossless": (".webp", honest("WEBP", lossless=True), webp_changed),
    "AVIF": (".avif", honest("AVIF", quality=80), avif_changed),
}
