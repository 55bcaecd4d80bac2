"""Containers by strangers: wrong claims, sparse members, thousands of mutations, little memory."""

import io
import json
import sys
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # the package `reliability`
from reliability.mutating import scrambled

from vtonlab.datasets.readers.shards import tarred, untar
from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.match_store import MatchStore
from vtonlab.utils.array_pickles import read_array_pickle
from vtonlab.utils.bounded import (
    NUMBER,
    WORD,
    FileError,
    MemoryFile,
    PickledClassesError,
    check_form,
    naming,
    parse_json,
    read_json,
    read_json_lines,
    read_npy,
    read_npz,
    read_tensors,
    read_torch,
    read_yaml,
    tar_members,
    zip_members,
)
from vtonlab.utils.journal import append, mend

TIMES = pytest.mark.parametrize("times", [200, pytest.param(5000, marks=pytest.mark.slow)])


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


def with_header(header: dict, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def named(data: bytes) -> MemoryFile:
    return MemoryFile("shard.tar:a.npz", data)


def test_what_numpy_writes_is_read():
    arrays = {
        "a": np.arange(12, dtype=np.float32).reshape(3, 4),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "s": np.array([b"ab"], dtype="S32"),
        "none": np.zeros((0, 2)),
        "one": np.array(3),
    }
    found = read_npz(named(saved(**arrays)))
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
        npy("-" * 3900 + "1"),
        b"\x93NUMPY\x09\x00",
        b"",
    ],
    ids=str,
)
def test_wrong_claims_of_arrays_are_refused(member):
    with pytest.raises(FileError, match=r"^shard\.tar:a\.npz: "):
        read_npz(named(npz(a=member)))
    with pytest.raises(FileError, match=r"^shard\.tar:a\.npz: "):
        read_npy(named(member))


def test_packed_zeros_cost_no_memory():
    data = npz(a=npy("(16777216,)", "|u1", bytes(2**24)))
    tracemalloc.start()
    with pytest.raises(FileError, match="limit"):
        read_npz(named(data), max_bytes=2**20)
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 200_000, "nested too deeply"),
        ("[" * 65 + "]" * 65, "nested too deeply"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested too deeply"),
        ("[" + "[]," * 6_000_000 + "[]]", "would take .* MiB of memory"),
        ('"\\ud800"', "surrogates not allowed"),
        ("9" * 5000, "Exceeds the limit"),
        ('{"a": tru}', "Expecting value"),
        (b"\xff\xfe\x00", "decode"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_json_is_refused_before_it_takes_memory(text, said):
    tracemalloc.start()
    with pytest.raises(FileError, match=f"(?s)^answer: .*{said}"):
        parse_json(text, "answer")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26


def test_json_at_the_limit_of_depth_is_read():
    assert parse_json("[" * 64 + "]" * 64, "x") and parse_json(b"\xef\xbb\xbf[1]", "x") == [1]


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "!!python/object/apply:os.getcwd []",
        "[" * 5000,
        "{a: [",
        "a: !!timestamp x",
        "2001-99-99",
        "x" * 2_000_000,
    ],
    ids=lambda text: text[:12],
)
def test_yaml_that_does_more_than_say_values_is_refused(text):
    with pytest.raises(FileError, match=r"^--cfg-options a: "):
        read_yaml(text, "--cfg-options a")


def test_yaml_values_are_read():
    assert read_yaml("{a: 1, b: [x, 2.5, null]}", "x") == {"a": 1, "b": ["x", 2.5, None]}


def test_journals_forgive_a_cut_last_line_alone(tmp_path):
    path = tmp_path / "journal.jsonl"
    for number in range(3):
        append(path, {"n": number})
    whole = path.read_bytes()
    assert [entry["n"] for _, entry in read_json_lines(path)] == [0, 1, 2]
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        held = [entry["n"] for _, entry in read_json_lines(path)]
        mend(path)
        append(path, {"n": 9})
        assert [entry["n"] for _, entry in read_json_lines(path, damaged="none")] == [*held, 9]
    path.write_bytes(b'{"n": 1}\n{"n": \n{"n": 3}\n')
    with pytest.raises(FileError, match=r"journal\.jsonl, line 2: Expecting value"):
        list(read_json_lines(path))
    assert [line for line, _ in read_json_lines(path, damaged="any")] == [1, 3]


def test_zip_members_are_counted_unpacked(tmp_path):
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"x" * 100)
    with pytest.raises(FileError, match="packed in a way"):
        zip_members(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(2**22))
        archive.writestr("b", b"b")
    assert zip_members(path, ["b"], max_bytes=2**20) == {"b": b"b"}
    with pytest.raises(FileError, match=r"claims 4194304 bytes, the limit is 1048576"):
        zip_members(path, ["a"], max_bytes=2**20)
    with pytest.raises(FileError, match="holds no c"):
        zip_members(path, ["c"])


def test_a_negative_size_does_not_read_a_tar_for_ever():
    data = bytearray(tarred([("a.b", b"x" * 600)]) + bytes(1024))
    data[124:136] = b"\xff" * 12  # -1, in base 256
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    with pytest.raises(FileError, match=r"shard-0: a\.b claims -1 bytes"):
        tar_members(MemoryFile("shard-0", bytes(data)))


def test_a_packed_checkpoint_is_refused_before_it_is_unpacked(tmp_path):
    import torch

    path = tmp_path / "w.pth"
    torch.save({"w": torch.zeros(2**20)}, path)
    assert read_torch(path)["w"].shape == (2**20,)
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    with pytest.raises(FileError, match=r"packed\.pth: it claims \d+ bytes"):
        read_torch(packed)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"<html>404 Not Found", "it is no checkpoint, it begins with b'<html>404"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"PK\x03\x04 half of a file", "its end is missing"),
    ],
)
def test_what_is_no_checkpoint_is_not_called_a_pickle(tmp_path, content, said):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(FileError, match=rf"x\.pth: .*{said}") as raised:
        read_torch(tmp_path / "x.pth")
    assert not isinstance(raised.value, PickledClassesError)


@pytest.mark.parametrize("zipped", [True, False])
def test_both_forms_of_torch_are_read(tmp_path, zipped):
    import torch

    torch.save({"w": torch.ones(2)}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    assert read_torch(tmp_path / "x.pth")["w"].tolist() == [1, 1]


def test_pickled_classes_are_an_error_of_their_own(tmp_path):
    import pickle

    (tmp_path / "x.pth").write_bytes(pickle.dumps(Counter))
    with pytest.raises(PickledClassesError, match=r"x\.pth: it holds pickled classes"):
        read_torch(tmp_path / "x.pth")


class Counter:
    """A class that no file of weights needs."""


def test_tensors_claim_what_is_there(tmp_path):
    path = tmp_path / "w.safetensors"
    for entry, said in [
        ({"dtype": "F32", "shape": [10**9], "data_offsets": [0, 16]}, "claims"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [0, 160]}, "claims"),
        ({"dtype": "F32", "shape": [4], "data_offsets": [8, 0]}, "claims"),
        ({"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}, "no shape"),
        ({"dtype": "F32", "data_offsets": [0, 16]}, "shape"),
        ({"dtype": "X9", "shape": [4], "data_offsets": [0, 16]}, "X9"),
    ]:
        path.write_bytes(with_header({"a": entry}, bytes(16)))
        with pytest.raises(FileError, match=rf"w\.safetensors: .*{said}"):
            read_tensors(path)
    path.write_bytes((2**40).to_bytes(8, "little"))
    with pytest.raises(FileError, match="its header claims"):
        read_tensors(path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_tensors(tmp_path / "none.safetensors")


def test_what_is_no_file_has_no_end_and_is_not_read(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", tmp_path):
        with pytest.raises(FileError, match="it is no file"):
            read_json(path)
    (tmp_path / "large.json").write_bytes(b"[" + b" " * 2000 + b"]")
    with pytest.raises(FileError, match="larger than 1000 bytes"):
        read_json(tmp_path / "large.json", 1000)


def test_errors_survive_a_loader_and_memory_is_not_the_files_fault():
    import pickle

    error = pickle.loads(pickle.dumps(FileError("a.npz: cut", "cut")))
    assert (str(error), error.reason) == ("a.npz: cut", "cut")
    with pytest.raises(MemoryError), naming("x"):
        raise MemoryError


@TIMES
def test_s7_mutations_of_a_match_store_are_named_or_equal(times, tmp_path):
    matches = {"matcher": {"type": "SIFTMatcher"}, "root": str(tmp_path / "matches")}
    store = MatchStore.create(matches, tmp_path, "train", {})
    points = np.linspace(0, 1, 12, dtype=np.float32).reshape(6, 2)
    matched = dict(person_points=points, garment_points=points, scores=points[:, 0] + 0.1)
    store.write("p", "g", Correspondences.from_dict(matched))
    path = store.path("p", "g")
    whole, data = store.read("p", "g").to_dict(), path.read_bytes()
    named = 0
    for number in range(times):
        path.write_bytes(scrambled(data, np.random.default_rng(number)))
        try:
            found = store.read("p", "g").to_dict()
            assert all(np.array_equal(found[name], whole[name]) for name in whole)
        except FileError as error:
            assert str(path) in str(error)
            named += 1
    assert named > times // 2


@pytest.mark.parametrize(
    "steps",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # kept at place 2 147 483 647: Python makes a list so long
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\xff\xff\xff\x7ftU\x01btR.",
        b"cnumpy\nndarray\n((J\xff\xff\xff\x7fJ\xff\xff\xff\x7fttR.",
        b"cos\nmkdir\n(X\x01\0\0\0atR.",
    ],
    ids=["place", "begun", "shape", "call"],
)
def test_a_pickle_of_arrays_takes_no_more_than_it_holds(steps, tmp_path):
    (tmp_path / "a.pkl").write_bytes(steps)
    tracemalloc.start()
    with pytest.raises(FileError, match=r"a\.pkl is no pickle of NumPy arrays"):
        read_array_pickle(tmp_path / "a.pkl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_the_form_of_a_json_tree():
    form = {"name!": str, "l1": (None, NUMBER), "ci": (NUMBER, NUMBER), "rows": [{...: WORD}]}
    check_form(
        {"name": "x", "l1": None, "ci": [1, 2.5], "rows": [{"a": 1, "b": "c"}], "y": []}, form
    )
    for odd, said in [
        ([], r"it is \[\]"),
        ({}, "it lacks 'name'"),
        ({"name": 3}, "it.name is 3"),
        ({"name": "x", "l1": True}, "it.l1 is True"),
        ({"name": "x", "ci": [1]}, "it.ci has 1 entries, not 2"),
        ({"name": "x", "rows": [{}, {"a": []}]}, r"it.rows\[1\].a is \[\]"),
    ]:
        with pytest.raises(ValueError, match=f"^{said}$"):
            check_form(odd, form)
