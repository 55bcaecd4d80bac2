"""Written layouts: every file is what the sample says, and the real reader reads it back."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from vtonlab.datasets.readers.vitonhd import VITONHDDataset
from vtonlab.ops.labels import LIP_PALETTE, lip_to_atr
from vtonlab.synthetic import writer_files as encode
from vtonlab.synthetic.dataset import SyntheticTryOn
from vtonlab.synthetic.writer import Settings, write_dataset
from vtonlab.synthetic.writer_layouts import build_layout

SIZE = (96, 72)


def write(root: Path, **changes) -> Path:
    settings = Settings(**{"layout": "vitonhd", "count": 4, "size": SIZE, "seed": 3, **changes})
    write_dataset(build_layout(settings), settings, root)
    return root


@pytest.fixture(scope="module")
def vitonhd(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("written") / "vitonhd")


@pytest.fixture(scope="module")
def samples() -> SyntheticTryOn:
    return SyntheticTryOn(split="train", size=SIZE, length=2, seed=3, categories=("upper_body",))


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_every_folder_and_list_of_vitonhd(vitonhd):
    both = {
        "image/{}.jpg", "cloth/{}.jpg", "cloth-mask/{}.jpg", "agnostic-v3.2/{}.jpg",
        "agnostic-mask/{}_mask.png", "image-densepose/{}.jpg", "image-parse-v3/{}.png",
        "image-parse-agnostic-v3.2/{}.png", "openpose_img/{}_rendered.png",
        "openpose_json/{}_keypoints.json",
    }  # fmt: skip
    expected = {
        f"{s}/{p.format(n)}" for p in both for s, n in (("test", "00002_00"), ("train", "00001_00"))
    }
    expected |= {f"train/gt_cloth_warped_mask/{n}_00.jpg" for n in ("00000", "00001")}
    expected |= {"train_pairs.txt", "test_pairs.txt", "synthetic.json"}
    found = set(tree(vitonhd))
    assert expected <= found and len(found) == 11 * 2 + 10 * 2 + 3
    assert (vitonhd / "train_pairs.txt").read_text().split() == ["00000_00.jpg"] * 2 + [
        "00001_00.jpg"
    ] * 2
    assert (vitonhd / "test_pairs.txt").read_text() == (
        "00002_00.jpg 00003_00.jpg\n00003_00.jpg 00002_00.jpg\n"
    )


def test_the_reader_reads_what_was_drawn(vitonhd, samples):
    maps = ("agnostic", "mask", "garment_mask", "pose", "parse", "worn_mask", "keypoints")
    read = VITONHDDataset(data_root=str(vitonhd), split="train", size=None, maps=maps)
    assert len(read) == 2
    read.verify()
    for index in range(2):
        drawn, found = samples[index], read[index]
        for key in ("mask", "garment_mask", "worn_mask"):
            assert (drawn[key] != found[key]).mean() < 0.002, (
                key
            )  # JPEG moves an edge here or there
        assert np.array_equal(drawn["mask"], found["mask"])
        assert np.array_equal(drawn["parse"], found["parse"])
        np.testing.assert_allclose(drawn["keypoints"], found["keypoints"], atol=2e-5)
        for key in ("person", "garment", "agnostic", "pose"):
            gap = np.abs(drawn[key].astype(int) - found[key])
            assert gap.mean() < 8, (key, gap.mean())


def test_agnostic_parse_hides_what_is_generated(vitonhd, samples):
    parse = Image.open(vitonhd / "train/image-parse-agnostic-v3.2/00000_00.png")
    assert parse.mode == "P" and parse.getpalette()[:60] == LIP_PALETTE.reshape(-1).tolist()
    hidden, drawn = np.array(parse), samples[0]
    assert (hidden[drawn["mask"] == 1] == 0).all()
    assert np.array_equal(hidden[drawn["mask"] == 0], drawn["parse"][drawn["mask"] == 0])
    rendered = np.array(Image.open(vitonhd / "train/openpose_img/00000_00_rendered.png"))
    nose = samples[0]["keypoints"][1]
    assert rendered[int(nose[1] * SIZE[0]), int(nose[0] * SIZE[1])].max() > 50


def test_coco_masks_decode_to_the_masks(tmp_path, samples):
    root = write(tmp_path / "coco", masks="coco")
    assert not list(root.rglob("*_mask.png"))
    for folder, name, key in (
        ("agnostic-mask", "00001_00_mask", "mask"),
        ("cloth-mask", "00001_00", "garment_mask"),
    ):
        code = json.loads((root / "train" / folder / f"{name}.json").read_text())
        assert np.array_equal(coco.decode(code), samples[1][key])
    from pycocotools.coco import COCO

    whole = COCO(root / "train" / "agnostic-mask.json")
    (annotation,) = whole.loadAnns(whole.getAnnIds(imgIds=[2]))
    assert whole.loadImgs([2])[0]["file_name"] == "image/00001_00.jpg"
    assert np.array_equal(whole.annToMask(annotation), samples[1]["mask"])
    assert annotation["area"] == samples[1]["mask"].sum()


def test_resuming_writes_only_what_is_missing(vitonhd, tmp_path):
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(vitonhd, root)
    before = tree(root)
    (root / "train/image-parse-v3/00001_00.png").unlink()
    (root / "test_pairs.txt").write_text("damaged")
    (root / "train/image/.tmp-999999999-00000_00.jpg").write_bytes(b"half")
    settings = Settings("vitonhd", 4, SIZE, 3)
    calls = []
    done = write_dataset(
        build_layout(settings), settings, root, progress=lambda *state: calls.append(state)
    )
    assert (done.written, done.found) == (1, 3) and calls == [(3, 3, 4), (4, 3, 4)]
    assert tree(root) == before


def test_other_settings_and_foreign_folders_are_refused(vitonhd, tmp_path):
    with pytest.raises(ValueError, match=r"seed 3 \(now 4\)"):
        write(vitonhd, seed=4)
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ValueError, match="not empty"):
        write(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(count=2), "too small"),
        (dict(size=(16, 16)), "too small"),
        (dict(masks="rle"), "none of png, coco"),
        (dict(split="val"), "none of train, test, both"),
        (dict(seed=-1), "negative"),
        (dict(layout="shhq"), "none of vitonhd"),
        (dict(layout="dresscode", count=8), "at least 9"),
        (dict(layout="dresscode", count=9, masks="coco"), "ships no mask"),
    ],
)
def test_unusable_settings_name_themselves(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "new", **changes)
    assert not (tmp_path / "new").exists()


def test_dresscode_layout(tmp_path):
    root = write(tmp_path / "dc", layout="dresscode", count=9)
    files = tree(root)
    assert len(files) == 9 * 8 + 3 * 3 + 3 + 1
    assert "dresses/label_maps/000007_4.png" in files
    drawn = SyntheticTryOn(split="test", size=SIZE, length=2, seed=3, categories=("lower_body",))[0]
    lower = root / "lower_body"
    labels = np.array(Image.open(lower / "label_maps/000004_4.png"))
    assert np.array_equal(labels, lip_to_atr(drawn["parse"])) and {5, 6} & set(labels.flat)
    assert np.array_equal(np.array(Image.open(lower / "dense/000004_5.png")), drawn["iuv"][..., 0])
    uv = np.load(lower / "dense/000004_5_uv.npz")["uv"]
    assert uv.shape == (2, *SIZE) and uv.dtype == np.float32 and 0 < uv.max() <= 1
    points = np.array(json.loads((lower / "keypoints/000004_2.json").read_text())["keypoints"])
    right_hip = drawn["keypoints"][9]
    assert points.shape == (18, 4) and points[8, 3] == 8
    np.testing.assert_allclose(points[8, :2], right_hip[:2] * (384, 512) - 0.5, atol=0.01)
    unpaired = (root / "test_pairs_unpaired.txt").read_text().splitlines()
    assert "000004_0.jpg\t000005_1.jpg\t1" in unpaired and len(unpaired) == 6
    assert (lower / "train_pairs.txt").read_text() == "000003_0.jpg\t000003_1.jpg\n"


def test_deepfashion_layout(tmp_path):
    root = write(tmp_path / "df", layout="deepfashion", count=9)
    pairs = [line.split(",") for line in (root / "test_psw512.csv").read_text().splitlines()]
    assert pairs[0] == ["from", "to"] and len(pairs) == 7
    second, first = (name.removesuffix(".jpg") for name in pairs[1])
    assert first == "fashionWOMENTees_Tanksid0000000201_1front"
    assert len((root / "train.lst").read_text().splitlines()) == 6
    both = SyntheticTryOn(
        split="test", size=SIZE, length=2, seed=3, categories=("upper_body",),
        setting="person_to_person", with_body=True,
    )[0]  # fmt: skip
    for name, person in ((first, both["person"]), (second, both["garment"])):
        picture = np.array(Image.open(root / "Deepfashion_512_320" / "image" / f"{name}.jpg"))
        assert np.abs(picture.astype(int) - person).mean() < 8
    body = np.load(root / "smpl" / f"{second}.npz")
    faces = np.load(root / "smpl" / "smpl_faces.npy")
    mirror = np.load(root / "smpl" / "vertices_symm_idxs.npy")
    moved = both["body"]["garment_vertices"] - np.float32([0.5, 0.5, 0])  # pixel i is at i there
    np.testing.assert_array_equal(body["pred_vertices_img"], moved)
    seen = body["visibility"] != np.iinfo(np.uint32).max
    assert 0.05 < seen.mean() < 0.9 and body["visibility"][seen].max() < len(faces)
    assert np.array_equal(mirror[mirror], np.arange(len(mirror)))
    dense = np.load(root / "densepose" / f"{first}.npz")
    assert np.array_equal(dense["labels"], both["iuv"][..., 0]) and dense["uv"].shape == (2, *SIZE)
    parse = np.array(Image.open(root / "Deepfashion_512_320/parsing" / f"{first}_label.png"))
    assert np.array_equal(parse, both["parse"])
    whole = root / "img_highres/WOMEN/Tees_Tanks/id_00000002/01_1_front.jpg"
    flat = root / "Deepfashion_512_320" / "image" / f"{first}.jpg"
    assert whole.read_bytes() == flat.read_bytes()


def test_encoders_are_deterministic_and_exact():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (20, 16, 3), dtype=np.uint8)
    mask = (rng.random((20, 16)) < 0.4).astype(np.uint8)
    assert encode.jpeg(image) == encode.jpeg(image.copy())
    assert encode.npz({"a": image}) == encode.npz({"a": image})
    assert np.array_equal(coco.decode(encode.run_length(mask)), mask)
    assert encode.lines([("a", "b"), ("c", "d")]) == b"a b\nc d\n"


def test_keypoints_not_seen_are_zero():
    keypoints = np.zeros((25, 3), np.float32)
    keypoints[4] = (0.5, 0.25, 0.8)
    person = json.loads(encode.openpose_json(keypoints, 100, 200))["people"][0]
    values = np.array(person["pose_keypoints_2d"]).reshape(25, 3)
    np.testing.assert_allclose(values[4], (99.5, 24.5, 0.8), atol=1e-3)
    assert (np.delete(values, 4, 0) == 0).all()
