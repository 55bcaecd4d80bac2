"""The same mutations, read through what uses the files: valid JSON may still say nonsense."""

import io
import json
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from reliability.containers import Container, json_changed, tarred, zip_changed
from reliability.mutating import chosen, scrambled


def saved(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def arrays_changed(data: bytes, rng: Generator) -> bytes:
    """Arrays of other shapes, types and values, under other names or missing, in a sound file."""
    if rng.random() < 0.3:
        return zip_changed(data, rng) if rng.random() < 0.5 else scrambled(data, rng)
    with np.load(io.BytesIO(data)) as stored:
        arrays = dict(stored)
    for _ in range(rng.integers(1, 3)):
        name = chosen(rng, list(arrays)) if arrays else ""
        array = arrays.pop(name, np.zeros(1))
        kind = rng.integers(8)
        if kind == 0:
            continue
        if kind == 1:
            array = array.reshape(-1)[: int(rng.integers(0, 5))]
        elif kind == 2:
            array = np.array(["text", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")])
        elif kind in (3, 4) and array.dtype.kind in "SU":
            array = np.zeros(0)
        elif kind == 3:
            array = array.astype(np.float64) * chosen(rng, [np.nan, np.inf, -1e30, 1e30, 0])
        elif kind == 4:
            array = array.astype(chosen(rng, ["S4", "?", "c16", "u1", "i8"]))
        elif kind == 5:
            array = array[None]
        elif kind == 6:
            array = np.array(7)
        arrays[chosen(rng, [name, name, name, "other"])] = array
    return saved(**arrays)


def table_changed(data: bytes, rng: Generator) -> bytes:
    """Fields and lines of a table of text."""
    if rng.random() < 0.3:
        return scrambled(data, rng)
    lines = data.decode().split("\n")
    odd = ("", "x", "nan", "1e999", '"', "\0", "\ufeff", "a,b,c,d,e,f,g", "../../x", "\u2028", "-1")
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(lines)))
        kind = rng.integers(4)
        if kind == 0:
            del lines[place]
        elif kind == 1:
            lines.insert(place, chosen(rng, odd))
        else:
            fields = lines[place].split(",")
            fields[int(rng.integers(len(fields)))] = chosen(rng, [*odd, "y" * 200_000])
            lines[place] = ",".join(fields)
        if not lines:
            break
    return "\n".join(lines).encode()


def consumers() -> dict[str, Container]:
    """Name -> what is read, how it is changed, and by whom it is used."""
    return {
        **stores(),
        **results(),
        **lists(),
        **maps(),
        **shards(),
        **checkpoints(),
    }


def beside(path: Path, name: str, data: bytes) -> Path:
    """A folder of its own where the file ``path`` lies under its right name."""
    folder = path.parent / "consumer"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / Path(name).parent).mkdir(parents=True)
    (folder / name).write_bytes(data)
    return folder


def stores() -> dict[str, Container]:
    from reliability.writes import PAIRS, close_store, match_store, write_matches

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for number in (0, 1):
            write_matches(folder, number)
        close_store(folder)
        store = match_store(folder)
        manifest = (store.directory / "manifest.json").read_bytes()
        pair = store.path(*PAIRS[0]).read_bytes()

    from vtonlab.structures.match_store import MatchStore
    from vtonlab.structures.pair_store import pair_key

    def read_manifest(path: Path) -> Any:
        folder = beside(path, "manifest.json", path.read_bytes())
        store = MatchStore(folder)
        store.check({"matcher": {"type": "SIFTMatcher"}, "versions": {"opencv": "5"}})
        store.check_complete()
        store.check_pairs(PAIRS)
        return store.manifest

    def read_pair(path: Path) -> Any:
        folder = beside(path, f"pairs/{pair_key(*PAIRS[0])}.npz", path.read_bytes())
        (folder / "manifest.json").write_bytes(manifest)
        store = MatchStore(folder)
        found = store.read(*PAIRS[0]).to_dict()
        return {k: np.asarray(v) for k, v in found.items()}, store.report(*PAIRS[0])

    return {
        "manifest of a match store": Container(
            ".json", lambda: manifest, json_changed, read_manifest
        ),
        "pair of a match store": Container(".npz", lambda: pair, arrays_changed, read_pair),
    }


def results() -> dict[str, Container]:
    from reliability.judging import planted_results

    from vtonlab.evaluation.report.attention import read_attention
    from vtonlab.evaluation.report.curves import read_curves
    from vtonlab.evaluation.report.side_files import read_study, study_table
    from vtonlab.evaluation.results import read_results

    with tempfile.TemporaryDirectory() as made:
        planted_results(Path(made))
        facts = (Path(made) / "results.json").read_bytes()
        rows = (Path(made) / "per_image.csv").read_bytes()
        drawn = {path.name: path.read_bytes() for path in Path(made).glob("*.png")}
    attention = saved(
        maps=np.full((1, 4, 6), 1 / 6, np.float32),
        mass=np.ones((1, 4), np.float32),
        layers=np.array(["a"]),
        query_grid=np.array([2, 2]),
        key_grid=np.array([2, 3]),
        sigma=np.array(0.5),
    )
    study = {
        "answers": 3, "raters": 2, "win_rates": {"a": {"mean": 0.5, "ci95": [0.1, 0.9]}},
        "criteria": {},
    }  # fmt: skip
    scalars = b'{"loss": 0.5, "iter": 1}\n{"loss": 0.25, "iter": 2, "step": 2}\n'

    def read_facts(path: Path) -> Any:
        folder = beside(path, "results.json", path.read_bytes())
        (folder / "per_image.csv").write_bytes(rows)
        return read_results(folder).facts

    def read_rows(path: Path) -> Any:
        folder = beside(path, "per_image.csv", path.read_bytes())
        (folder / "results.json").write_bytes(facts)
        return [{k: str(v) for k, v in row.items()} for row in read_results(folder).rows]

    def read_lines(path: Path) -> Any:
        return read_curves(beside(path, "run/vis_data/scalars.json", path.read_bytes()))

    shown = {
        **json.loads(facts),
        "metrics": {"l1": 0.5},
        "directions": {"l1": "down"},
        "intervals": {"l1": [0.4, 0.6]},
        "by_category": {"dresses": {"l1": 0.5}},
        "not_computed": {"fid": "no weights"},
        "protocol": {"line": "x at 1x1", "name": "x"},
        "run": {"command": "python tools/test.py", "date": "2026", "seconds": 1.0},
        "seeds": {"pictures": 0},
        "versions": {"torch": "2"},
        "weights": {"lpips": {"sha256": "ab", "official": True}},
    }
    judge = {
        "model": "m", "repeats": 3, "answered": 4,
        "criteria": {"fit_and_pose": {"mean": 3.0, "ci95": [2, 4]}},
        "per_pair": {"p0__g0": {"fit_and_pose": 3.0}},
    }  # fmt: skip

    def report(name: str) -> Callable[[Path], Any]:
        def read(path: Path) -> Any:
            from vtonlab.evaluation.report.page import Story, write_page
            from vtonlab.evaluation.report.systems import collect

            folder = beside(path, name, path.read_bytes())
            others = {"results.json": json.dumps(shown).encode(), "per_image.csv": rows}
            for other, data in others.items():
                if other != name:
                    (folder / other).write_bytes(data)
            for picture, data in drawn.items():
                (folder / picture).write_bytes(data)
            write_page(folder / "report.html", collect([folder]), Story())
            return (folder / "report.html").read_bytes()

        return read

    return {
        "report on results.json": Container(
            ".json", json.dumps(shown).encode, json_changed, report("results.json")
        ),
        "report on judge.json": Container(
            ".json", json.dumps(judge).encode, json_changed, report("judge.json")
        ),
        "results.json": Container(".json", lambda: facts, json_changed, read_facts),
        "per_image.csv": Container(".csv", lambda: rows, table_changed, read_rows),
        "saved attention": Container(
            ".npz", lambda: attention, arrays_changed, lambda path: vars(read_attention(path))
        ),
        "study.json": Container(
            ".json", json.dumps(study).encode, json_changed, lambda p: study_table(read_study(p))
        ),
        "scalars.json": Container(".json", lambda: scalars, lines_changed, read_lines),
    }


def lines_changed(data: bytes, rng: Generator) -> bytes:
    """One line of JSON lines changed."""
    lines = data.split(b"\n")
    place = int(rng.integers(len(lines) - 1))
    lines[place] = json_changed(lines[place], rng).replace(b"\n", b" ")
    return b"\n".join(lines)


def lists() -> dict[str, Container]:
    from vtonlab.datasets.readers.lists import read_exclusions, read_pairs, read_records

    table = b"person,garment,category\na.jpg,b.jpg,upper\nc d.jpg,e.jpg,1\n"
    lines = b'{"person": "a.jpg", "garment": "b.jpg"}\n{"person": "c.jpg", "garment": "d.jpg"}\n'
    exclusions = json.dumps({"test": {"leaked": ["a.jpg"], "duplicates": ["b.jpg", "c.jpg"]}})
    return {
        "pair list": Container(".csv", lambda: table, table_changed, read_pairs),
        "table of pairs": Container(".csv", lambda: table, table_changed, read_records),
        "JSON lines of pairs": Container(".jsonl", lambda: lines, lines_changed, read_records),
        "list of exclusions": Container(
            ".json", exclusions.encode, json_changed, lambda p: sorted(read_exclusions(p, "test"))
        ),
    }


def maps() -> dict[str, Container]:
    from vtonlab.datasets.readers.reading import read_body, read_iuv, read_keypoints
    from vtonlab.matchers.smpl_body import ARRAYS, read_smpl
    from vtonlab.matchers.smpl_flow import _table
    from vtonlab.utils.array_pickles import read_array_pickle

    person = {"people": [{"pose_keypoints_2d": [float(n) for n in range(75)]}]}
    iuv = saved(labels=np.ones((4, 3), np.uint8), uv=np.full((2, 4, 3), 0.5, np.float32))
    body = saved(pred_vertices_img=np.ones((5, 3)), visibility=np.zeros((4, 3), np.int32))
    smpl = saved(**{name: np.ones((3, 3)) for name in ARRAYS})
    return {
        "keypoints": Container(
            ".json", json.dumps(person).encode, json_changed, lambda p: read_keypoints(p, (8, 6))
        ),
        "DensePose": Container(
            ".npz", lambda: iuv, arrays_changed, lambda path: read_iuv(path, None, 10**6)
        ),
        "projected body": Container(".npz", lambda: body, arrays_changed, read_body),
        "SMPL model": Container(
            ".npz", lambda: smpl, arrays_changed, lambda path: read_smpl(path, "SMPLBody")
        ),
        "pickle of arrays": Container(".pkl", _pickle, _pickle_changed, read_array_pickle),
        "faces": Container(".npy", _faces, _faces_changed, lambda path: _table("faces", path)),
    }


def _pickle() -> bytes:
    return pickle.dumps({"a": np.arange(12.0).reshape(3, 4), "b": [1, "x", None]}, protocol=2)


def _pickle_changed(data: bytes, rng: Generator) -> bytes:
    """Bytes changed, and steps planted that take memory, call functions or nest."""
    if rng.random() < 0.5:
        return scrambled(data, rng)
    places = (b"r\xff\xff\xff\x7f", b"r\x00\x00\x00\x04", b"p999999999\n")
    calls = (
        b"cos\nsystem\n",
        b"cnumpy\nload\n",
        b"cnumpy\nndarray\n(J\xff\xff\xff\x7ftR",
        b"R",
        b"b",
    )
    sizes = (b"X\xff\xff\xff\x7f", b"\x8a\xff" + b"\x7f" * 255, b"(" * 5000, b"]" * 99, b"\x80\x05")
    planted = (*places, *calls, *sizes, b"0", b"Q", b"c__builtin__\nobject\n")
    place = int(rng.integers(2, len(data)))
    return data[:place] + chosen(rng, planted) + data[place:]


def _faces() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.arange(12).reshape(4, 3))
    return stream.getvalue()


def _faces_changed(data: bytes, rng: Generator) -> bytes:
    from reliability.containers import npy_changed

    return npy_changed(data, rng)


def shards() -> dict[str, Container]:
    from vtonlab.datasets.readers.shards import INDEX, ShardDataset, unpack_matches, untar
    from vtonlab.utils.bounded import MemoryFile

    index = {
        "format": 1,
        "facts": {
            "metainfo": {}, "files": ["person", "garment"], "made": [], "task": "try_on",
            "labels": "lip", "build_mask": None, "mask_files": {}, "matches": None,
        },
        "shards": [
            {"name": "000000.tar", "bytes": 2048, "samples": 1,
             "places": [["p", "g", "upper_body", 0, 2048, 7]]},
        ],
    }  # fmt: skip
    sample = tarred([("00000000.person.jpg", b"p" * 99), ("00000000.garment.jpg", b"g" * 99)])
    matches = saved(
        person_points=np.full((3, 2), 0.5, np.float32),
        garment_points=np.full((3, 2), 0.5, np.float32),
        scores=np.ones(3, np.float32),
    )

    def read_index(path: Path) -> Any:
        folder = beside(path, f"train/{INDEX}", path.read_bytes())
        data = ShardDataset(data_root=str(folder), split="train", size=None, maps=())
        return [tuple(map(str, item)) for item in data.items], data.metainfo

    def read_sample(path: Path) -> Any:
        return {name: file.data for name, file in untar(path.read_bytes(), str(path)).items()}

    def read_matches(path: Path) -> Any:
        found = unpack_matches(MemoryFile(str(path), path.read_bytes())).to_dict()
        return {k: np.asarray(v) for k, v in found.items()}

    from reliability.containers import tar_changed

    return {
        "index of shards": Container(".json", json.dumps(index).encode, json_changed, read_index),
        "sample of a shard": Container(".tar", lambda: sample, tar_changed, read_sample),
        "matches of a shard": Container(".npz", lambda: matches, arrays_changed, read_matches),
    }


def checkpoints() -> dict[str, Container]:
    import torch

    from vtonlab.engine.checkpoints.files import (
        find_problem,
        read_checkpoint,
        read_meta,
        save_checkpoint_file,
    )

    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "iter_1.pth"
        save_checkpoint_file({"state_dict": {"w": torch.ones(4)}, "meta": {"iter": 1}}, path)
        whole = path.read_bytes()
        manifest = Path(f"{path}.json").read_bytes()

    def read_weights(path: Path) -> Any:
        found = read_checkpoint(path)
        return {k: repr(v) for k, v in found.items()}

    def judge_manifest(path: Path) -> Any:
        folder = beside(path, "iter_1.pth.json", path.read_bytes())
        (folder / "iter_1.pth").write_bytes(whole)
        return find_problem(folder / "iter_1.pth")

    def read_released(path: Path) -> Any:
        return read_meta(path)

    from reliability.containers import safetensors_changed, safetensors_honest

    return {
        "checkpoint (.pth)": Container(".pth", lambda: whole, pth_changed, read_weights),
        "manifest of a checkpoint": Container(
            ".json", lambda: manifest, lines_changed, judge_manifest
        ),
        "checkpoint (.safetensors)": Container(
            ".safetensors", safetensors_honest, safetensors_changed, read_released
        ),
    }


def pth_changed(data: bytes, rng: Generator) -> bytes:
    """The zip around it, or bytes of its pickle and tensors in a sound zip."""
    import zipfile

    if rng.random() < 0.4:
        return zip_changed(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = chosen(rng, list(members))
    if members[name]:
        members[name] = scrambled(members[name], rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()
