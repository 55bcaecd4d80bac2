"""Containers by strangers: wrong claims, sparse members, thousands of mutations, little memory."""

import io
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from vtonlab.datasets.readers.shards import tarred, untar
from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.match_store import MatchStore
from vtonlab.utils.bounded import read_json, read_npz, tar_members

TIMES = pytest.mark.parametrize("times", [200, pytest.param(5000, marks=pytest.mark.slow)])
LIMIT = 64 * 2**20  # of Python's and numpy's memory; what is read is a few kB


def npz(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return stream.getvalue()


def npy(shape: str, dtype: str = "<f4", data: bytes = b"") -> bytes:
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


def saved(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_what_numpy_writes_is_read():
    arrays = {
        "a": np.arange(12, dtype=np.float32).reshape(3, 4),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "s": np.array([b"ab"], dtype="S32"),
        "none": np.zeros((0, 2)),
        "one": np.array(3),
    }
    found = read_npz(saved(**arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].flags.writeable


@pytest.mark.parametrize(
    "member",
    [
        npy("(1000000000000,)"),
        npy("(4294967296, 4294967296)"),
        npy("(-1,)"),
        npy("(1,)", "|O", b"\x80\x04."),
        npy("(1000000000,)", "|S0"),
        npy("(1, 'a')"),
        npy("__import__('os')"),
        npy("(" * 200),
        b"\x93NUMPY\x09\x00",
        b"",
    ],
    ids=str,
)
def test_wrong_claims_of_arrays_are_refused(member):
    with pytest.raises(ValueError):
        read_npz(npz(a=member))


def test_packed_zeros_cost_no_memory():
    data = npz(a=npy("(16777216,)", "|u1", bytes(2**24)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="limit"):
        read_npz(data, max_bytes=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data) < 2**20 and peak < 2**20


def sparse_tar(size: int) -> bytes:
    """An old GNU sparse member: nothing stored, ``size`` zeros claimed."""
    info = tarfile.TarInfo("00000000.person.png")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:482] = bytes(96)
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def test_s5_a_sparse_member_is_refused():
    tracemalloc.start()
    with pytest.raises(ValueError, match="shard-0"):
        untar(sparse_tar(3 * 2**30), "shard-0")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_deep_json_is_a_sentence():
    with pytest.raises(ValueError, match="deeply"):
        read_json("[" * 200_000)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut, repeated or exchanged, and fields set to what parsers mistrust."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(out)))
        kind = rng.integers(6)
        if kind == 0:
            out[place] = rng.integers(256)
        elif kind == 1:
            out[place : place + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80"])
        elif kind == 2:
            out[place] ^= 1 << int(rng.integers(8))
        elif kind == 3:
            out = out[:place] or out
        elif kind == 4:
            out[place:place] = out[place : place + 64]
        else:
            digits = [i for i, c in enumerate(out) if chr(c).isdigit()]
            if digits:
                out[int(rng.choice(digits))] = ord(rng.choice(list("0123456789-")))
    return bytes(out)


def fuzzed(data: bytes, read, times: int) -> dict[str, int]:
    """Verdicts over fixed mutations: read, or refused as ``ValueError``; others escape."""
    rng = np.random.default_rng(0)
    counts = {"read": 0, "named": 0}
    tracemalloc.start()
    for _ in range(times):
        try:
            read(mutated(data, rng))
            counts["read"] += 1
        except ValueError:
            counts["named"] += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < LIMIT, peak
    return counts


@TIMES
def test_mutations_of_npz_and_tar_are_named_or_harmless(times):
    arrays = saved(a=np.arange(40, dtype=np.float32).reshape(20, 2), b=np.array([b"x"], "S32"))
    assert fuzzed(arrays, read_npz, times)["named"] > times // 2
    packed = npz(a=npy("(500,)", "|u1", bytes(500)))
    assert fuzzed(packed, read_npz, times)["named"] > times // 2
    archive = tarred([("00000000.person.png", b"p" * 600), ("00000000.mask.png", b"m" * 90)])
    assert sum(fuzzed(archive, lambda data: list(tar_members(data)), times).values()) == times
    assert sum(fuzzed(archive, lambda data: untar(data, "x"), times).values()) == times


@TIMES
def test_s7_mutations_of_a_match_store_are_named_or_equal(times, tmp_path):
    matches = {"matcher": {"type": "SIFTMatcher"}, "root": str(tmp_path / "matches")}
    store = MatchStore.create(matches, tmp_path, "train", {})
    points = np.linspace(0, 1, 12, dtype=np.float32).reshape(6, 2)
    matched = dict(person_points=points, garment_points=points, scores=points[:, 0] + 0.1)
    store.write("p", "g", Correspondences.from_dict(matched))
    path = store.path("p", "g")
    whole = store.read("p", "g").to_dict()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        found = store.read("p", "g").to_dict()
        assert all(np.array_equal(found[name], whole[name]) for name in whole)

    data = path.read_bytes()
    assert fuzzed(data, read, times)["named"] > times // 2
