"""3D-GCL's own data tree, as its authors ship it, made readable; the pictures are rendered."""

import importlib.util
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from vtonlab.datasets.readers.deepfashion import DeepFashionDataset
from vtonlab.synthetic.writer import Settings, write_dataset
from vtonlab.synthetic.writer_layouts import build_layout

ROOT = Path(__file__).parents[2]
SIZE = (96, 72)
MAPS = ["iuv", "garment_iuv", "body", "parse", "mask", "agnostic", "garment_mask"]


@pytest.fixture(scope="module")
def tool():
    place = ROOT / "tools/convert/gcl3d_data.py"
    spec = importlib.util.spec_from_file_location("gcl3d_data", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A tree in our own form, to compare with."""
    root = tmp_path_factory.mktemp("ours") / "set"
    settings = Settings(layout="deepfashion", count=9, size=SIZE, seed=3)
    write_dataset(build_layout(settings), settings, root)
    return root


@pytest.fixture
def authors(rendered, tmp_path):
    """The same as the authors ship it: one folder, crops in pickles, depths, odd visibility."""
    tree = tmp_path / "data" / "Deepfashion_512_320"
    shutil.copytree(rendered / "Deepfashion_512_320", tree)
    for split in ("train", "test"):
        shutil.copy(rendered / f"{split}_psw512.csv", tree)
    for kind in ("densepose", "smpl"):
        (tree / kind).mkdir()
        for file in sorted((rendered / kind).glob("fashion*.npz")):
            arrays = dict(np.load(file))
            made = crop(arrays) if kind == "densepose" else theirs(arrays)
            (tree / kind / f"{file.stem}.pkl").write_bytes(pickle.dumps(made, protocol=4))
    return tree


def crop(arrays):
    rows, columns = np.nonzero(arrays["labels"])
    top, left = rows.min(), columns.min()
    place = slice(top, rows.max() + 1), slice(left, columns.max() + 1)
    corner = np.float32([left + 0.4, top + 0.3, columns.max() + 1, rows.max() + 1])
    return dict(
        scores=np.float32(0.99),
        pred_boxes_XYXY=corner,
        pred_densepose_label=arrays["labels"][place].astype(np.int64),
        pred_densepose_uv=arrays["uv"][:, place[0], place[1]],
    )


def theirs(arrays):
    seen = arrays["visibility"].astype(np.float64)
    empty = np.argwhere(seen > 1e9)
    seen[tuple(empty[0])], seen[tuple(empty[1])] = 4294901760, 13777
    vertices = arrays["pred_vertices_img"]
    depth = np.linspace(-70, 70, len(vertices), dtype=np.float32)[:, None]
    return dict(
        pred_vertices_img=np.concatenate([vertices[:, :2], depth], 1),
        visibility=seen.astype(np.uint32),
        pred_camera=np.float32([1, 0, 0]),
    )


def run(tool, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gcl3d_data.py", *map(str, arguments)])
    return tool.main()


@pytest.mark.parametrize("above", [True, False])
def test_the_tree_is_read_as_it_is(tool, monkeypatch, rendered, authors, capsys, above):
    root = authors.parent if above else authors
    assert run(tool, monkeypatch, root) == 0
    assert "densepose: 18 pickles, 18 made, 0 already there, 0 refused" in capsys.readouterr().out
    settings = dict(size=SIZE, split="test", task="person_to_person", maps=MAPS)
    found = DeepFashionDataset(data_root=str(root), **settings)[0]
    expected = DeepFashionDataset(data_root=str(rendered), **settings)[0]
    assert found["id"] == expected["id"]
    for key in ("person", "garment", "iuv", "garment_iuv", "parse", "garment_mask"):
        np.testing.assert_array_equal(found[key], expected[key])
    for key, value in expected["body"].items():
        np.testing.assert_array_equal(found["body"][key], value)
        assert "vertices" not in key or value.shape[1] == 2
    assert run(tool, monkeypatch, root) == 0
    assert "smpl: 18 pickles, 0 made, 18 already there" in capsys.readouterr().out


def test_pickles_that_run_code_or_do_not_fit_are_refused(tool, monkeypatch, authors, capsys):
    class Evil:
        def __reduce__(self):
            return (Path(authors / "ran").touch, ())

    files = sorted((authors / "densepose").glob("*.pkl"))
    files[0].write_bytes(pickle.dumps(dict(pred_boxes_XYXY=Evil())))
    outside = pickle.loads(files[1].read_bytes()) | dict(pred_boxes_XYXY=np.float32([60, 0, 9, 9]))
    files[1].write_bytes(pickle.dumps(outside))
    files[2].write_bytes(files[2].read_bytes()[:100])
    (authors / "image" / f"{files[3].stem}.jpg").unlink()
    assert run(tool, monkeypatch, authors) == 1
    said = capsys.readouterr().out
    assert "18 pickles, 14 made, 0 already there, 4 refused" in said
    for reason in ("wants to run", "leaves the photograph", "no pickle of NumPy", "no photograph"):
        assert reason in said
    assert not (authors / "ran").exists()


def test_another_folder_is_one_sentence(tool, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="no image/ in"):
        run(tool, monkeypatch, tmp_path)
