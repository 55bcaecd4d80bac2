"""Every reader on the tree that is written in its layout, and what bad trees get."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from vtonlab.datasets import (
    DeepFashionDataset,
    DressCodeDataset,
    MPVDataset,
    PairListDataset,
    VITONHDDataset,
)
from vtonlab.datasets.readers.deepfashion import category_of_name, outfit
from vtonlab.datasets.readers.layout import flat_name
from vtonlab.datasets.readers.reading import garment_on_white, read_iuv, read_keypoints
from vtonlab.ops.labels import atr_to_lip, densepose_picture, lip_to_atr
from vtonlab.structures import Correspondences
from vtonlab.structures.match_store import MatchStore
from vtonlab.structures.sample import check_sample, collate
from vtonlab.synthetic import SyntheticTryOn

SIZE = (96, 72)
MAPS = ("agnostic", "mask", "garment_mask", "worn_mask", "pose", "parse", "keypoints", "iuv")
GARMENT_MAPS = ("garment_parse", "garment_iuv", "garment_pose", "garment_keypoints")


@pytest.fixture
def tree(trees, tmp_path):
    """``tree(layout)``: a copy that may be broken."""

    def make(layout: str) -> Path:
        return Path(shutil.copytree(trees[layout], tmp_path / layout))

    return make


@pytest.fixture
def told(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr("vtonlab.datasets.readers.files.print_log", lambda m, **_: lines.append(m))
    return lines


def refusal(cls, root, **options) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        cls(data_root=str(root), **options)
    text = str(error.value)
    assert "\n" not in text and len(text) < 1200
    return text


def iou(a, b) -> float:
    return (a & b).sum() / max((a | b).sum(), 1)


class TestDressCode:
    def make(self, trees, **options):
        options = dict(size=None, maps=MAPS) | options
        return DressCodeDataset(data_root=str(trees["dresscode"]), **options)

    def test_all_categories_and_one(self, trees):
        every = self.make(trees)
        assert len(every) == 6 and {i.category for i in every.items} == set(every.categories)
        one = self.make(trees, categories=["dresses"], split="test")
        assert [i.category for i in one.items] == ["dresses"] * 2
        assert one[0]["category"] == "dresses" and one[0]["id"].endswith("_0")
        collate([check_sample(every[0]), every[5]])
        assert "all" in every.verify() and every.metainfo["categories"] == every.categories

    def test_maps_are_the_rendered_truth(self, trees):
        data = self.make(trees, categories=["lower_body"], split="test")
        truth = SyntheticTryOn(
            split="test", size=SIZE, length=2, categories=["lower_body"],
            maps=["parse", "iuv", "worn_mask", "keypoints"],
        )  # fmt: skip
        for index in range(2):
            sample, true = data[index], truth[index]
            merged = atr_to_lip(lip_to_atr(true["parse"]))
            assert np.array_equal(sample["parse"], merged)
            assert np.array_equal(sample["iuv"], true["iuv"])
            assert np.abs(sample["pose"].astype(int) - true["pose"]).mean() < 4
            joints = [0, 1, 4, 7, 9, 12]
            assert np.abs(sample["keypoints"] - true["keypoints"])[joints, :2].max() < 2e-3
            assert iou(sample["worn_mask"], true["worn_mask"]) > 0.95
            assert iou(sample["garment_mask"], true["garment_mask"]) > 0.9
            hidden = sample["mask"][sample["worn_mask"] == 1]
            assert hidden.all()  # nothing of the garment stays in sight
            assert (sample["agnostic"][sample["mask"] == 1] == 128).all()

    def test_paired_takes_the_own_garment_and_unpaired_the_lists(self, tree, told):
        root = tree("dresscode")
        unpaired = DressCodeDataset(
            data_root=str(root), split="test", setting="unpaired", size=None
        )
        assert all(p.id[:-1] != p.garment_id[:-1] for p in unpaired.pairs)
        for path in root.glob("*/train_pairs.txt"):
            people = [line.split("\t") for line in path.read_text().splitlines()]
            mixed = [f"{a}\t{b}\n" for (a, _), (_, b) in zip(people, people[::-1], strict=True)]
            path.write_text("".join(mixed))
        paired = DressCodeDataset(data_root=str(root), size=None)
        assert all(p.id[:-2] == p.garment_id[:-2] for p in paired.pairs)
        for path in root.glob("*/test_pairs_unpaired.txt"):
            shutil.copy(path.with_name("test_pairs_paired.txt"), path)
        DressCodeDataset(data_root=str(root), split="test", setting="unpaired", size=None)
        assert sum("every person with its own garment" in line for line in told) == 3

    def test_root_lists_and_a_list_of_my_own(self, tree):
        root = tree("dresscode")
        names = [p for c in DressCodeDataset.layout.categories for p in (root / c).glob("*.txt")]
        expected = DressCodeDataset(data_root=str(root), size=None).items
        for path in names:
            path.unlink()
        assert DressCodeDataset(data_root=str(root), size=None).items == expected
        lines = (root / "train_pairs.txt").read_text().splitlines()
        (root / "mine.txt").write_text("\n".join(lines[-1:]))
        mine = DressCodeDataset(data_root=str(root), size=None, pairs="mine.txt")
        assert mine.items == expected[-1:]
        (root / "bare.txt").write_text(lines[0].rpartition("\t")[0])
        assert "add a third column" in refusal(DressCodeDataset, root, pairs="bare.txt")

    def test_with_a_test_folder_and_shipped_masks(self, tree, told):
        root = tree("dresscode")
        (root / "test").mkdir()
        for category in DressCodeDataset.layout.categories:
            shutil.move(root / category, root / "test" / category)
        for path in root.glob("*.txt"):
            path.unlink()
        options = dict(split="test", categories=["dresses"], size=None, maps=("mask",))
        pairs = DressCodeDataset(data_root=str(root), **options).pairs
        masks = root / "test/dresses/agnostic_masks"
        masks.mkdir()
        for pair in pairs:
            picture = np.zeros(SIZE, np.uint8)
            picture[10:40] = 255
            Image.fromarray(picture).save(masks / f"{pair.id}.png")
        data = DressCodeDataset(data_root=str(root), **options)
        assert data[0]["mask"][10:40].all() and data[0]["mask"].sum() == 30 * SIZE[1]
        assert "made, not read: mask from parse and keypoints" in told[0] and len(told) == 1

    def test_gaps_are_named(self, tree):
        root = tree("dresscode")
        shutil.rmtree(root / "dresses")
        text = refusal(DressCodeDataset, root)
        assert "no dresses" in text and "categories=['upper_body', 'lower_body']" in text
        shutil.rmtree(root / "upper_body/label_maps")
        text = refusal(DressCodeDataset, root, categories=["upper_body"])
        assert "'parse', which 'mask' is made from" in text
        (root / "lower_body/images").rename(root / "lower_body/pictures")
        text = refusal(DressCodeDataset, root, categories=["lower_body"])
        assert "has no lower_body/images/ there" in text

    def test_painted_hair_and_bags(self, tree):
        """Hair in one red; a bag, which LIP has no label for, in the colour of the palette."""
        root = tree("dresscode")
        path = next((root / "dresses/label_maps").iterdir())
        labels = np.array(Image.open(path))
        labels[2:9, 3:7], labels[10:12, 3:7] = 16, 2
        picture = Image.fromarray(labels).convert("P")
        picture.putpalette([value for n in range(256) for value in (n, 64, 255 - n)])
        picture.save(path)
        plain, painted = (
            DressCodeDataset(data_root=str(root), size=None, maps=("pose",), paint_hair=p)
            for p in (False, True)
        )
        number = next(n for n, p in enumerate(plain.pairs) if p.id[:6] == path.name[:6])
        plain, painted = plain[number]["pose"], painted[number]["pose"]
        assert (painted[labels == 16] == (16, 64, 239)).all()
        assert (painted[labels == 2] == (254, 0, 0)).all()
        others = ~np.isin(labels, (2, 16))
        assert np.array_equal(painted[others], plain[others])

    def test_other_labels_are_refused(self, tree):
        root = tree("dresscode")
        path = next((root / "dresses/label_maps").iterdir())
        Image.fromarray(np.full(SIZE, 19, np.uint8)).save(path)
        data = DressCodeDataset(data_root=str(root), size=None, maps=("parse",))
        number = next(n for n, p in enumerate(data.pairs) if p.id[:6] == path.name[:6])
        with pytest.raises(ValueError, match="ATR labels go from 0 to 17, found 19"):
            data[number]

    @pytest.mark.real_data
    def test_the_published_sample(self, real_data):
        root = real_data / "dresscode_sample"
        keypoints = read_keypoints(root / "dresses/keypoints/052012_2.json", (1024, 768))
        assert keypoints.shape == (25, 3) and (keypoints[[2, 5, 8, 9, 12], 2] > 0.5).all()
        assert 0.3 < keypoints[8, 1] < 0.45  # the middle of the hips, in a picture of a whole body
        labels = np.array(Image.open(root / "dresses/label_maps/052012_4.png"))
        assert (atr_to_lip(labels) == 6).mean() > 0.1
        assert "dense" in refusal(DressCodeDataset, root)


class TestDeepFashion:
    def make(self, trees, **options):
        options = dict(size=None, maps=(*MAPS, *GARMENT_MAPS, "body")) | options
        return DeepFashionDataset(data_root=str(trees["deepfashion"]), **options)

    def test_person_to_person(self, trees):
        data = self.make(trees)
        sample = check_sample(data[0])
        assert len(data) == 6 and {i.category for i in data.items} == set(data.categories)
        assert outfit(sample["id"]) == outfit(sample["garment_id"]) != sample["id"]
        assert np.array_equal(
            sample["garment_pose"], densepose_picture(sample["garment_iuv"][..., 0])
        )
        worn = np.isin(sample["garment_parse"], (5, 6, 7))
        assert np.array_equal(sample["garment_mask"], worn) and 0.02 < worn.mean() < 0.6
        assert sample["mask"][sample["worn_mask"] == 1].all() and sample["mask"].mean() < 0.9
        body = sample["body"]
        assert body["vertices"].shape == body["garment_vertices"].shape
        assert set(np.unique(body["visibility"] >= 0)) == {False, True}

    def test_bodies_follow_the_picture(self, trees):
        sample, large = self.make(trees)[0], self.make(trees, size=(128, 128))[0]
        seen = sample["body"]["visibility"] >= 0
        on_body = sample["iuv"][..., 0] > 0
        assert iou(seen, on_body) > 0.98  # what the body covers is what DensePose sees
        scale = 128 / 96
        expected = sample["body"]["vertices"][:, :2] * scale + ((128 - 96) / 2, 0)
        assert np.allclose(large["body"]["vertices"][:, :2], expected, atol=1e-3)
        moved = large["body"]["visibility"] >= 0
        assert iou(moved, large["iuv"][..., 0] > 0) > 0.97

    def test_pose_transfer_generates_the_whole_picture(self, trees):
        sample = self.make(trees, task="pose_transfer")[1]
        assert sample["mask"].all() and (sample["agnostic"] == 128).all()
        assert np.array_equal(sample["garment_mask"], sample["garment_parse"] > 0)

    def test_unpaired_exchanges_garments_within_a_category(self, trees):
        data = self.make(trees, split="test", setting="unpaired")
        for item in data.items:
            assert outfit(item.pair.id) != outfit(item.pair.garment_id)
            assert category_of_name(item.pair.garment_id) == item.category

    def test_hard_pose_lists_and_names_with_folders(self, tree):
        root = tree("deepfashion")
        first, second = (root / "train.lst").read_text().split()[:2]
        images = root / "img_highres"
        paths = [path.relative_to(images).as_posix() for path in images.glob("**/*.jpg")]
        by_name = {flat_name(path): path for path in paths}
        folders = [by_name[flat_name(name)] for name in (second, first)]
        (root / "hard.csv").write_text("from,to\n" + ",".join(folders) + "\n")
        data = DeepFashionDataset(data_root=str(root), pairs="hard.csv", size=None)
        assert len(data) == 1 and "/" in data.pairs[0].id and "/" not in data[0]["id"]
        by_flat = DeepFashionDataset(data_root=str(root), size=None)[0]
        assert np.array_equal(data[0]["person"], by_flat["person"])
        shutil.rmtree(root / "img_highres")  # 3D-GCL's folders alone
        assert DeepFashionDataset(data_root=str(root), size=None).aliases

    def test_pairs_of_two_outfits_have_no_truth(self, tree):
        root = tree("deepfashion")
        names = (root / "train.lst").read_text().split()
        (root / "mixed.csv").write_text(f"from,to\n{names[0]},{names[-1]}\n")
        text = refusal(DeepFashionDataset, root, pairs="mixed.csv")
        assert "show two outfits" in text and "setting='unpaired'" in text

    def test_pickles_are_not_opened(self, tree):
        root = tree("deepfashion")
        for path in list((root / "densepose").iterdir()):
            path.write_bytes(b"\x80\x04.")
        data = DeepFashionDataset(data_root=str(root), size=None)
        with pytest.raises(ValueError, match=r"is no \.npz file with labels, uv.*pickles are not"):
            data[0]


class TestMPV:
    def make(self, trees, **options):
        options = dict(size=None, maps=MAPS) | options
        return MPVDataset(data_root=str(trees["mpv"]), **options)

    def test_each_task(self, trees):
        tried = self.make(trees)
        assert len(tried) == 3 and "cloth_front" in tried.pairs[0].garment_id
        truth = SyntheticTryOn(size=SIZE, length=3, categories=["upper_body"])[0]
        sample = check_sample(tried[0])
        assert np.array_equal(sample["iuv"], truth["iuv"])
        assert iou(sample["garment_mask"], truth["garment_mask"]) > 0.9
        options = dict(maps=(*MAPS, "garment_parse"))
        posed = self.make(trees, task="person_to_person", **options)[0]
        assert "person_half_side" in posed["garment_id"]
        assert np.array_equal(posed["garment_mask"], np.isin(posed["garment_parse"], (5, 6, 7)))
        assert self.make(trees, task="pose_transfer", **options)[0]["mask"].all()

    def test_splits_and_unpaired(self, trees):
        assert len(self.make(trees, split="test")) == 2
        for task in MPVDataset.tasks:
            data = self.make(trees, split="test", setting="unpaired", task=task, maps=("pose",))
            assert all(p.id.split("@")[0] != p.garment_id.split("@")[0] for p in data.pairs)

    def test_a_list_of_another_form(self, tree):
        root = tree("mpv")
        (root / "bad.txt").write_text("a.jpg b.jpg c.jpg\n")
        assert "train or test" in refusal(MPVDataset, root, pairs="bad.txt")
        (root / "bad.txt").write_text("../a.jpg b.jpg c.jpg train\n")
        assert "may not be read" in refusal(MPVDataset, root, pairs="bad.txt")


class TestPairList:
    def write(self, root: Path, form: str) -> str:
        rows = [
            dict(
                person=f"train/image/{i:05d}_00.jpg",
                garment=f"train/cloth/{i:05d}_00.jpg",
                category="upper_body",
                mask=f"train/agnostic-mask/{i:05d}_00_mask.png",
                garment_mask=f"train/cloth-mask/{i:05d}_00.jpg",
                pose=f"train/image-densepose/{i:05d}_00.jpg",
            )
            for i in range(3)
        ]
        if form == "csv":
            lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        else:
            lines = [json.dumps(row) for row in rows]
        (root / f"mine.{form}").write_text("\n".join(lines))
        return f"mine.{form}"

    def test_further_garments_have_matches_of_their_own(self, tree, tmp_path):
        """A second garment column: its picture, mask, and the store that extraction fills."""
        from tools.extract_matches import _requests, build_for_extraction

        root = tree("vitonhd")
        lines = ["person,garment,category,mask,garment_2,before,worn"]
        for i in range(3):
            person, other = (f"train/image/{n:05d}_00.jpg" for n in (i, (i + 1) % 3))
            mask = f"train/agnostic-mask/{i:05d}_00_mask.png"
            cloth, second = (f"train/cloth/{n:05d}_00.jpg" for n in (i, (i + 2) % 3))
            lines.append(",".join([person, cloth, "upper_body", mask, second, other, other]))
        (root / "pairs.csv").write_text("\n".join(lines))
        maps = ["mask", "garment_mask_2", "garment_2", "before", "worn"]
        options = dict(data_root=str(root), size=(40, 30), maps=maps)
        with pytest.raises(ValueError, match="needs `matches`"):
            PairListDataset(**options, matched=["garment_2"])
        matches = dict(matcher=dict(type="SIFTMatcher"), root=str(tmp_path / "matches"))
        settings = dict(type="PairListDataset", **options, matches=matches, matched=["garment_2"])
        config = Config(dict(train_dataloader=dict(dataset=settings)))
        requests = _requests(config, "mine")
        assert [request.get("garment_column") for request in requests] == [None, "garment_2"]
        points = torch.tensor([[0.5, 0.25]])
        for number, request in enumerate(requests):
            data = build_for_extraction(request)
            store = MatchStore.create(request["matches"], data.data_root, data.split, {})
            for index, pair in enumerate(data.pairs):
                found = Correspondences(points, points + 0.25 * number)
                store.write(*pair, found, data.files(index), {})
            store.finish(data.pairs, {})
            assert data.pairs[0].garment_id == ("00000_00", "00002_00")[number]
        del settings["type"]
        sample = PairListDataset(**settings)[0]
        assert sample["garment_id_2"] == "00002_00" and sample["worn"].shape == (40, 30, 3)
        assert torch.equal(sample["correspondences"].person_points, points)
        moved = sample["correspondences_2"].garment_points
        torch.testing.assert_close(moved, points + 0.25, atol=0.02, rtol=0)  # of padding
        assert sample["garment_mask_2"].any() and not np.array_equal(
            sample["garment_2"], sample["garment"]
        )

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_equals_the_reader_of_the_layout(self, tree, form):
        root = tree("vitonhd")
        options = dict(size=None, maps=("agnostic", "mask", "garment_mask", "pose"))
        mine = PairListDataset(data_root=str(root), pairs=self.write(root, form), **options)
        (root / "train/agnostic-v3.2").rename(root / "elsewhere")
        theirs = VITONHDDataset(data_root=str(root), **options)
        assert mine.pairs == theirs.pairs and "3 pairs" in mine.verify()
        for one, two in zip(mine, theirs, strict=True):
            assert one["category"] == "upper_body"
            for key in ("person", "garment", *options["maps"]):
                assert np.array_equal(one[key], two[key]), key

    def test_dressed_people_as_references(self, tree):
        """PPR10K's kind: target person, reference photograph, category, by a list."""
        root, folder = tree("deepfashion"), "Deepfashion_512_320"
        names = [name[:-4] for name in (root / "train.lst").read_text().split()]
        rows = [
            dict(
                person=f"{folder}/image/{person}.jpg",
                garment=f"{folder}/image/{reference}.jpg",
                category=category_of_name(person),
                parse=f"{folder}/parsing/{person}_label.png",
                keypoints=f"{folder}/keypoints/{person}_keypoints.json",
                garment_parse=f"{folder}/parsing/{reference}_label.png",
                iuv=f"densepose/{person}.npz",
            )
            for person, reference in zip(names[::2], names[1::2], strict=True)
        ]
        (root / "ppr.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        options = dict(data_root=str(root), size=None, task="person_to_person")
        options["maps"] = ("agnostic", "mask", "garment_mask", "pose", "garment_parse")
        mine = PairListDataset(pairs="ppr.jsonl", **options)
        theirs = DeepFashionDataset(**options)
        assert mine.items == theirs.items
        for one, two in zip(mine, theirs, strict=True):
            for key in ("person", "garment", *options["maps"]):
                assert np.array_equal(one[key], two[key]), key

    def test_splits_equal_names_and_gaps(self, tree, told):
        root = tree("vitonhd")
        (root / "a.csv").write_text(
            "person,garment,split\n"
            "train/image/00000_00.jpg,train/cloth/00000_00.jpg,train\n"
            "test/image/00003_00.jpg,train/cloth/00001_00.jpg,test\n"
            "train/image/00001_00.jpg,train/cloth/none.jpg,train\n"
        )
        options = dict(pairs="a.csv", maps=(), size=None)
        assert "names no category" in refusal(PairListDataset, root, **options)
        options["categories"] = ["upper_body"]
        text = refusal(PairListDataset, root, **options)
        assert "00001_00 with none (no garment in column garment" in text
        assert len(PairListDataset(data_root=str(root), missing="skip", **options)) == 1
        test = PairListDataset(data_root=str(root), split="test", setting="unpaired", **options)
        assert test.pairs == [("00003_00", "00001_00")]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "person,garment,split\na.jpg,b.jpg,trian\n",
                "line 2 has the split 'trian', which is none of train, val, test",
            ),
            ("person,garment\n../a.jpg,b.jpg\n", "line 2: '../a.jpg' may not be read"),
            ("person,garmnt\na.jpg,b.jpg\n", "unknown column 'garmnt'"),
            ("person,garment\na.jpg,\n", "no person or no garment"),
        ],
    )
    def test_bad_tables(self, trees, tmp_path, text, message):
        (tmp_path / "a.csv").write_text(text)
        assert message in refusal(PairListDataset, trees["vitonhd"], pairs=str(tmp_path / "a.csv"))

    def test_a_root_or_nothing(self, tmp_path):
        assert "is no folder" in refusal(PairListDataset, tmp_path / "nowhere")
        with pytest.raises(FileNotFoundError, match="needs data_root"):
            PairListDataset()


class TestSharedOptions:
    def test_train_and_validation_are_apart(self, trees):
        options = dict(data_root=str(trees["dresscode"]), size=None, holdout=2)
        train, val = DressCodeDataset(**options), DressCodeDataset(split="val", **options)
        assert len(train) == 4 and len(val) == 2 and not set(train.pairs) & set(val.pairs)
        other = DressCodeDataset(split="val", holdout_seed=3, **options)
        assert {*train.pairs, *val.pairs} >= set(other.pairs)
        assert "holdout=" in refusal(DressCodeDataset, trees["dresscode"], split="val")

    def test_leaks_are_left_out(self, tree, told):
        root = tree("vitonhd")
        lists = {"train": {"duplicates": ["00001_00.jpg"]}}
        (root / "leaks.json").write_text(json.dumps(lists))
        data = VITONHDDataset(data_root=str(root), exclude="leaks.json", size=None)
        assert [p.id for p in data.pairs] == ["00000_00", "00002_00"]
        assert any("1 of 3 pairs left out" in line for line in told)
        text = refusal(VITONHDDataset, root, exclude=dict(file="leaks.json", kinds=["leaked"]))
        assert "no 'leaked' for train" in text

    def test_masks_are_built_where_wanted(self, trees):
        root = str(trees["vitonhd"])
        shipped = VITONHDDataset(data_root=root, size=None)[0]
        built = VITONHDDataset(data_root=root, size=None, build_mask=dict())[0]
        boxed = VITONHDDataset(data_root=root, size=None, build_mask=dict(box=True))[0]
        posed = VITONHDDataset(data_root=root, size=None, build_mask=dict(densepose=True))[0]
        assert 0.4 < iou(built["mask"], shipped["mask"]) < 1
        assert (built["agnostic"][built["mask"] == 1] == 128).all()
        assert boxed["mask"][built["mask"] == 1].all() and boxed["mask"].sum() > built["mask"].sum()
        assert posed["mask"].any() and not np.array_equal(posed["mask"], built["mask"])
        assert "'dilate' is none of" in refusal(VITONHDDataset, root, build_mask=dict(dilate=1))
        assert "'hd' is none of" in refusal(VITONHDDataset, root, build_mask=dict(convention="hd"))

    def test_inverted_and_grey_mask_files(self, tree):
        root = tree("vitonhd")
        options = dict(data_root=str(root), size=None, maps=("mask", "garment_mask"))
        expected = VITONHDDataset(**options)[0]
        for path in (root / "train/agnostic-mask").iterdir():
            Image.fromarray(255 - np.array(Image.open(path))).save(path)
        with pytest.raises(ValueError, match=r"mask_files=dict\(inverted=\['mask'\]\)"):
            VITONHDDataset(**options).verify()
        turned = VITONHDDataset(**options, mask_files=dict(inverted=["mask"]))
        assert "all" in turned.verify()
        for key in options["maps"]:
            assert np.array_equal(turned[0][key], expected[key])
        for path in list((root / "train/cloth-mask").iterdir()):  # white is 31 there
            Image.fromarray(np.array(Image.open(path)) // 8).save(path.with_suffix(".png"))
            path.unlink()
        dark = VITONHDDataset(**options)[0]["garment_mask"]
        assert iou(dark, expected["garment_mask"]) > 0.99
        low = VITONHDDataset(**options, mask_files=dict(threshold=15, inverted=["mask"]))[0]
        assert low["garment_mask"][dark == 1].all() and low["garment_mask"].sum() >= dark.sum()
        text = refusal(VITONHDDataset, root, mask_files=dict(inverted=["parse"]))
        assert "'parse' is none of" in text
        assert "threshold must be" in refusal(VITONHDDataset, root, mask_files=dict(threshold=255))

    def test_aliases_are_reported(self, tree, told):
        root = tree("vitonhd")
        (root / "train/gt_cloth_warped_mask").rename(root / "train/gt_cloth_wraped_mask")
        data = VITONHDDataset(data_root=str(root), maps=("worn_mask",), size=None)
        assert data.aliases == {"gt_cloth_warped_mask": "gt_cloth_wraped_mask"}
        assert told == [f"{root}/train/gt_cloth_wraped_mask is read as gt_cloth_warped_mask/"]

    @pytest.mark.parametrize("cls", [DeepFashionDataset, DressCodeDataset, MPVDataset])
    def test_no_root_and_another_layout(self, cls, trees):
        with pytest.raises(FileNotFoundError, match="needs data_root"):
            cls()
        text = refusal(cls, trees["vitonhd"])
        assert cls.layout.title in text and "expected is" in text
        near = refusal(cls, next(iter(trees.values())).parent)
        assert "did you mean data_root=" in near

    def test_unknown_choices(self, trees):
        root = trees["dresscode"]
        assert "task 'pose_transfer'" in refusal(DressCodeDataset, root, task="pose_transfer")
        assert "categories 'shoes'" in refusal(DressCodeDataset, root, categories=["shoes"])


class TestReading:
    def test_iuv_of_either_channel_order(self, tmp_path):
        iuv = np.zeros((6, 5, 3), np.uint8)
        iuv[1:4, 1:3] = (7, 200, 90)
        for name, order in (("a.png", 1), ("b.png", -1)):
            Image.fromarray(np.ascontiguousarray(iuv[..., ::order])).save(tmp_path / name)
            assert np.array_equal(read_iuv(tmp_path / name, None, 10**6), iuv)
        np.savez(tmp_path / "c.npz", labels=iuv[..., 0] + 30, uv=np.zeros((2, 6, 5)))
        with pytest.raises(ValueError, match=r"c\.npz is no DensePose map"):
            read_iuv(tmp_path / "c.npz", None, 10**6)

    def test_keypoints_of_coco(self, tmp_path):
        points = [[10.0 * i, 5.0 * i, 0.9] for i in range(18)]
        people = [dict(pose_keypoints_2d=np.ravel(points).tolist())]
        (tmp_path / "k.json").write_text(json.dumps(dict(people=people)))
        found = read_keypoints(tmp_path / "k.json", (200, 400))
        assert found[1, :2] == pytest.approx([10.5 / 400, 5.5 / 200])
        assert found[9, :2] == pytest.approx([80.5 / 400, 40.5 / 200])  # COCO 8: right hip
        assert found[8, :2] == pytest.approx([95.5 / 400, 48 / 200])  # between the hips
        assert found[19:].sum() == 0

    def test_a_garment_before_a_light_background(self):
        picture = np.full((40, 30, 3), 250, np.uint8)
        picture[10:30, 8:22] = (200, 30, 30)
        picture[15:20, 12:16] = 251  # a white print is garment too
        mask = garment_on_white(picture)
        assert mask[10:30, 8:22].all() and mask.sum() == 20 * 14
