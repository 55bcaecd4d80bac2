"""VITON-HD is read rightly, and every fault of the data gets one sentence before training."""

import json
import os
import shutil
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vtonlab.datasets import ResumableSampler, SampleKey, VITONHDDataset
from vtonlab.datasets.base import derangement
from vtonlab.datasets.readers.pair_maps import HAIR_COLOUR
from vtonlab.registry import DATASETS
from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.match_store import MatchStore
from vtonlab.structures.sample import collate

ALL = ("agnostic", "mask", "garment_mask", "worn_mask", "pose", "parse")
MATCHES = dict(matcher=dict(type="FakeMatcher", threshold=0.5))

FILES = "vtonlab.datasets.readers.files"


def make(root, **options) -> VITONHDDataset:
    return VITONHDDataset(**{**dict(data_root=str(root), size=None), **options})


def refusal(root, **options) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        make(root, **options)
    return one_sentence(error)


def one_sentence(error) -> str:
    text = str(error.value)
    assert type(error.value) in (ValueError, FileNotFoundError)
    assert "\n" not in text and len(text) < 1200
    return text


def pixels(path, mode="RGB") -> np.ndarray:
    return np.array(Image.open(path).convert(mode))


class TestReading:
    def test_every_map_is_the_files_own(self, vitonhd):
        sample = make(vitonhd, maps=ALL)[1]
        train, name = vitonhd / "train", "00001_00"
        assert (sample["id"], sample["garment_id"], sample["index"]) == (name, name, 1)
        assert sample["category"] == "upper_body"
        assert sample["source_size"] == sample["garment_source_size"] == (64, 48)
        for key, path in dict(
            person="image", garment="cloth", agnostic="agnostic-v3.2", pose="image-densepose"
        ).items():
            assert np.array_equal(sample[key], pixels(train / path / f"{name}.jpg")), key
        for key, path in dict(
            mask=f"agnostic-mask/{name}_mask.png",
            garment_mask=f"cloth-mask/{name}.jpg",
            worn_mask=f"gt_cloth_warped_mask/{name}.jpg",
        ).items():
            assert np.array_equal(sample[key], pixels(train / path, "L") > 127), key
        assert sample["mask"][32, 24] == 1 and sample["mask"][0, 0] == 0  # 1 = to be generated
        assert np.array_equal(
            sample["parse"], np.array(Image.open(train / f"image-parse-v3/{name}.png"))
        )

    def test_only_the_maps_asked_for_are_needed_and_read(self, vitonhd):
        for folder in ("image-densepose", "image-parse-v3", "agnostic-v3.2", "agnostic-mask"):
            shutil.rmtree(vitonhd / "train" / folder)
        sample = make(vitonhd, maps=("garment_mask",))[0]
        assert {"person", "garment", "garment_mask"} <= set(sample)
        assert not {"pose", "parse", "agnostic", "mask"} & set(sample)

    def test_keypoints(self, vitonhd):
        dataset = make(vitonhd, split="test", maps=("keypoints",), size=(64, 64))
        keypoints = dataset[0]["keypoints"]
        assert (keypoints[0] == 0).all()
        # 48 of 64 columns are the picture; its middle stays the middle.
        assert keypoints[3].tolist() == pytest.approx([0.5, 0.25, 0.9])
        assert dataset.files(0)["keypoints"].suffix == ".json"

    def test_painted_hair(self, vitonhd):
        plain, painted = (
            make(vitonhd, maps=("pose", "parse"), paint_hair=p)[0] for p in (False, True)
        )
        hair = plain["parse"] == 2
        assert hair.any() and (painted["pose"][hair] == HAIR_COLOUR).all()
        assert np.array_equal(painted["pose"][~hair], plain["pose"][~hair])
        assert "parse" not in make(vitonhd, maps=("pose",), paint_hair=True)[0]

    def test_derived_maps(self, vitonhd, capsys):
        given = make(vitonhd, maps=ALL)[0]
        shutil.rmtree(vitonhd / "train/gt_cloth_warped_mask")
        shutil.rmtree(vitonhd / "train/agnostic-v3.2")
        derived = make(vitonhd, maps=("worn_mask", "agnostic"))[0]
        assert np.array_equal(derived["worn_mask"], given["worn_mask"])
        hole = given["mask"] == 1
        assert (derived["agnostic"][hole] == 128).all()
        assert np.array_equal(derived["agnostic"][~hole], given["person"][~hole])
        assert "mask" not in derived and "parse" not in derived

    @pytest.mark.parametrize(
        ("official", "alias"),
        [
            ("gt_cloth_warped_mask", "gt_cloth_wraped_mask"),
            ("agnostic-v3.2", "agnostic"),
            ("cloth-mask", "cloth_mask"),
            ("image-parse-v3", "image-parse"),
        ],
    )
    def test_folder_aliases(self, vitonhd, official, alias):
        expected = make(vitonhd, maps=ALL)[0]
        (vitonhd / "train" / official).rename(vitonhd / "train" / alias)
        sample = make(vitonhd, maps=ALL)[0]
        assert all(np.array_equal(sample[key], expected[key]) for key in ALL)

    def test_file_name_aliases(self, vitonhd):
        expected = make(vitonhd, maps=ALL)[0]
        for path in (vitonhd / "train/agnostic-mask").iterdir():
            path.rename(path.with_name(path.name.replace("_mask", "")))
        for path in list((vitonhd / "train/image").iterdir()):
            Image.open(path).save(path.with_suffix(".png"))
            path.unlink()
        sample = make(vitonhd, maps=ALL)[0]
        assert np.array_equal(sample["mask"], expected["mask"])
        assert np.array_equal(sample["person"], expected["person"])

    def test_the_same_aspect_is_resized_and_another_is_padded(self, vitonhd):
        small = make(vitonhd, maps=ALL, size=(32, 24))[0]
        native = make(vitonhd, maps=ALL)[0]
        expected = Image.fromarray(native["person"]).resize((24, 32), Image.Resampling.BICUBIC)
        assert np.array_equal(small["person"], np.array(expected))
        assert set(np.unique(small["mask"])) == {0, 1}
        assert abs(small["mask"].mean() - native["mask"].mean()) < 0.02
        assert set(np.unique(small["parse"])) <= set(np.unique(native["parse"]))
        square = make(vitonhd, maps=ALL, size=(64, 64))[0]
        assert np.array_equal(square["person"][:, 8:56], native["person"])
        assert (square["person"][:, :8] == 255).all() and (square["mask"][:, 56:] == 0).all()

    def test_a_map_of_half_the_size_is_brought_up(self, vitonhd):
        path = vitonhd / "train/image-densepose/00000_00.jpg"
        Image.open(path).resize((24, 32)).save(path)
        assert make(vitonhd, maps=("pose",))[0]["pose"].shape == (64, 48, 3)

    def test_a_batch(self, vitonhd):
        dataset = make(vitonhd, maps=ALL)
        batch = next(iter(DataLoader(dataset, batch_size=3, collate_fn=collate)))
        assert batch["person"].shape == (3, 3, 64, 48) and batch["mask"].shape == (3, 1, 64, 48)
        assert batch["id"] == ["00000_00", "00001_00", "00002_00"]

    def test_the_registry_builds_it_and_refuses_unknown_settings(self, vitonhd):
        config = dict(type="VITONHDDataset", data_root=str(vitonhd), size=(64, 48))
        assert len(DATASETS.build(config)) == 4
        with pytest.raises(TypeError, match="szie"):
            DATASETS.build({**config, "szie": 3})


class TestPairs:
    def test_paired_takes_the_own_garment_whatever_the_list_says(self, vitonhd):
        (vitonhd / "train_pairs.txt").write_text("00000_00.jpg 00001_00.jpg\n" * 2)
        dataset = make(vitonhd)
        assert [tuple(p) for p in dataset.pairs] == [("00000_00", "00000_00")]
        own = pixels(vitonhd / "train/cloth/00000_00.jpg")
        assert np.array_equal(dataset[0]["garment"], own)

    def test_unpaired_takes_the_lists_garment(self, vitonhd):
        sample = make(vitonhd, split="test", setting="unpaired")[0]
        assert (sample["id"], sample["garment_id"]) == ("10000_00", "10001_00")
        assert np.array_equal(sample["garment"], pixels(vitonhd / "test/cloth/10001_00.jpg"))
        paired = make(vitonhd, split="test")[0]
        assert paired["garment_id"] == "10000_00"
        assert np.array_equal(paired["person"], sample["person"])

    def test_unpaired_lists_of_equal_columns_warn(self, vitonhd, monkeypatch):
        told = []
        monkeypatch.setattr(
            "vtonlab.datasets.readers.files.print_log", lambda m, **k: told.append(m)
        )
        (vitonhd / "test_pairs.txt").write_text("10000_00.jpg 10000_00.jpg\n")
        make(vitonhd, split="test", setting="unpaired")
        assert len(told) == 1 and "every person with its own garment" in told[0]

    @pytest.mark.parametrize(
        "text",
        [
            "00000_00.jpg\t00001_00.jpg\n00002_00.jpg\t00003_00.jpg",
            "\ufeff00000_00.jpg,00001_00.jpg\r\n\r\n# comment\r\n00002_00.jpg, 00003_00.jpg\r\n",
            "00000_00 00001_00\n00002_00 00003_00\n",
            "00000_00.jpg\n00002_00.JPG\n",
        ],
    )
    def test_list_dialects(self, vitonhd, text):
        (vitonhd / "mine.txt").write_text(text, encoding="utf-8")
        assert [p.id for p in make(vitonhd, pairs="mine.txt").pairs] == ["00000_00", "00002_00"]
        absolute = make(vitonhd, pairs=str(vitonhd / "mine.txt"))
        assert len(absolute) == 2

    def test_no_true_picture_to_train_on(self, vitonhd):
        assert "setting='paired'" in refusal(vitonhd, setting="unpaired")


class TestRefusals:
    """What bad input gets (issue 2): each in one sentence, at construction."""

    def test_no_root(self, tmp_path):
        for root in (None, tmp_path / "nowhere"):
            with pytest.raises(FileNotFoundError) as error:
                VITONHDDataset(data_root=None if root is None else str(root))
            text = one_sentence(error)
            assert "configs/coral/dit_synthetic.py" in text and "agnostic-mask/" in text
            assert "data_root" in text and "train_pairs" in text.replace("{train,test}", "train")

    def test_wrong_layout_says_what_is_there_and_what_was_meant(self, vitonhd):
        text = refusal(vitonhd / "train")
        assert "holds agnostic-mask/" in text and f"did you mean data_root={vitonhd}?" in text
        assert f"did you mean data_root={vitonhd}?" in refusal(vitonhd.parent)
        (vitonhd.parent / "empty").mkdir()
        assert "is empty" in refusal(vitonhd.parent / "empty")

    def test_a_map_whose_folder_is_missing(self, vitonhd):
        text = refusal(vitonhd, maps=("keypoints",), missing="skip")
        assert "no folder openpose_json or openpose-json for 'keypoints'" in text

    @pytest.mark.parametrize("content", ["", "\n \n# nothing\n"])
    def test_empty_list(self, vitonhd, content):
        (vitonhd / "train_pairs.txt").write_text(content)
        assert "train_pairs.txt holds no pairs" in refusal(vitonhd)

    def test_no_list(self, vitonhd):
        (vitonhd / "train_pairs.txt").unlink()
        assert "train_pairs.txt does not exist" in refusal(vitonhd)
        assert "other.txt does not exist" in refusal(vitonhd, pairs="other.txt")

    def test_binary_list(self, vitonhd):
        (vitonhd / "train_pairs.txt").write_bytes(b"\xff\xfe\x00\x81")
        assert "is not a text file" in refusal(vitonhd)

    @pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd", "..\\x.jpg", "a\0.jpg"])
    @pytest.mark.parametrize("column", [0, 1])
    def test_names_that_leave_the_root(self, vitonhd, name, column):
        names = ["00000_00.jpg", "00000_00.jpg"]
        names[column] = name
        (vitonhd / "train_pairs.txt").write_text("00001_00.jpg\n" + " ".join(names))
        text = refusal(vitonhd, missing="skip")
        assert "train_pairs.txt, line 2" in text and "may not be read" in text

    def test_links_that_leave_the_root(self, vitonhd, tmp_path):
        outside = tmp_path / "outside.jpg"
        victim = vitonhd / "train/image/00000_00.jpg"
        shutil.move(victim, outside)
        victim.symlink_to(outside)
        text = refusal(vitonhd)
        assert "leads outside the data root" in text and "follow_links=True" in text
        assert len(make(vitonhd, follow_links=True)) == 4

    def test_linked_folders_that_leave_the_root(self, vitonhd, tmp_path):
        shutil.move(vitonhd / "train/cloth", tmp_path / "elsewhere")
        (vitonhd / "train/cloth").symlink_to(tmp_path / "elsewhere")
        assert "leads outside the data root" in refusal(vitonhd)
        assert make(vitonhd, follow_links=True)[0]["garment"].shape == (64, 48, 3)

    def test_people_without_a_mask_are_named_or_skipped(self, vitonhd, monkeypatch):
        told = []
        monkeypatch.setattr(
            "vtonlab.datasets.readers.files.print_log", lambda m, **k: told.append(m)
        )
        (vitonhd / "train/agnostic-mask/00002_00_mask.png").unlink()
        text = refusal(vitonhd)
        assert "1 of 4 pairs" in text and "00002_00 (no mask in agnostic-mask/)" in text
        assert "missing='skip'" in text and not told
        dataset = make(vitonhd, missing="skip")
        assert [p.id for p in dataset.pairs] == ["00000_00", "00001_00", "00003_00"]
        assert len(told) == 1 and "00002_00" in told[0]

    def test_five_names_and_a_count(self, vitonhd):
        with (vitonhd / "train_pairs.txt").open("a") as file:
            file.writelines(f"9999{i}_00.jpg 9999{i}_00.jpg\n" for i in range(8))
        text = refusal(vitonhd)
        assert "8 of 12 pairs" in text and "99994_00" in text and "and 3 more" in text
        assert "99995_00" not in text

    def test_nobody_left(self, vitonhd):
        for path in (vitonhd / "train/agnostic-mask").iterdir():
            path.unlink()
        assert "4 of 4 pairs" in refusal(vitonhd, missing="skip")

    def test_a_garment_of_the_list_that_does_not_exist(self, vitonhd):
        (vitonhd / "test_pairs.txt").write_text("10000_00.jpg 77777_00.jpg\n")
        text = refusal(vitonhd, split="test", setting="unpaired")
        assert "10000_00 with 77777_00 (no garment in cloth/" in text

    @pytest.mark.parametrize(
        "options",
        [dict(split="val"), dict(setting="both"), dict(missing="ignore"), dict(maps=("masks",))],
    )
    def test_unknown_choices_are_named(self, vitonhd, options):
        ((key, value),) = options.items()
        text = refusal(vitonhd, **options)
        assert key in text and (value[0] if key == "maps" else value) in text


BROKEN = {
    "truncated person": ("image/00001_00.jpg", lambda d: d[: len(d) // 2], "truncated"),
    "truncated mask": ("agnostic-mask/00001_00_mask.png", lambda d: d[:-4], "truncated"),
    "empty file": ("cloth/00001_00.jpg", lambda d: b"", r"is empty"),
    "web page": (
        "cloth/00001_00.jpg",
        lambda d: b"<html>Quota</html>",
        "is not a picture that can be read",
    ),
}


class TestDamagedPictures:
    @pytest.mark.parametrize("fault", BROKEN)
    @pytest.mark.parametrize("decode_at_most", [2000, 1])
    def test_found_before_training_and_when_read(self, vitonhd, fault, decode_at_most):
        name, damage, message = BROKEN[fault]
        path = vitonhd / "train" / name
        path.write_bytes(damage(path.read_bytes()))
        dataset = make(vitonhd)
        for act in (lambda: dataset.verify(decode_at_most), lambda: dataset[1]):
            with pytest.raises(ValueError, match=message) as error:
                act()
            text = one_sentence(error)
            assert str(path) in text and "pair" in text and "00001_00" in text
        dataset[0]

    def test_several_are_counted(self, vitonhd):
        for path in (vitonhd / "train/image").iterdir():
            path.write_bytes(b"no")
        with pytest.raises(ValueError, match="4 of 24 files cannot be used"):
            make(vitonhd).verify()

    def test_a_file_that_vanished(self, vitonhd):
        dataset = make(vitonhd)
        (vitonhd / "train/cloth/00001_00.jpg").unlink()
        with pytest.raises(FileNotFoundError, match=r"cloth/00001_00\.jpg does not exist .*pair 1"):
            dataset[1]
        with pytest.raises(ValueError, match=r"cloth/00001_00\.jpg does not exist"):
            dataset.verify()

    def test_a_grey_agnostic_picture_is_no_mask(self, vitonhd):
        train = vitonhd / "train"
        mask = train / "agnostic-mask/00001_00_mask.png"
        Image.open(train / "agnostic-v3.2/00001_00.jpg").save(mask)
        dataset = make(vitonhd)
        for act in (dataset.verify, lambda: dataset[1]):
            with pytest.raises(ValueError, match=r"00001_00_mask\.png is no mask"):
                act()

    @pytest.mark.parametrize("value", [0, 255])
    def test_empty_and_full_masks(self, vitonhd, value):
        mask = vitonhd / "train/agnostic-mask/00001_00_mask.png"
        Image.fromarray(np.full((64, 48), value, np.uint8)).save(mask)
        with pytest.raises(ValueError, match=r"marks (0|100)% .* white must be the area"):
            make(vitonhd).verify()

    def test_a_map_of_another_shape(self, vitonhd):
        path = vitonhd / "train/image-densepose/00001_00.jpg"
        Image.open(path).resize((64, 64)).save(path)
        dataset = make(vitonhd)
        for act in (dataset.verify, lambda: dataset[1]):
            with pytest.raises(ValueError, match=r"is 64x64 but its photograph 64x48"):
                act()

    def test_a_colour_label_map(self, vitonhd):
        path = vitonhd / "train/image-parse-v3/00001_00.png"
        Image.open(path).convert("RGB").save(path)
        with pytest.raises(ValueError, match="a label map must be"):
            make(vitonhd, maps=("parse",)).verify()

    @pytest.mark.parametrize(
        "text", ["{", "{}", '{"people": [{"pose_keypoints_2d": [1, 2]}]}', "[]"]
    )
    def test_bad_keypoints(self, vitonhd, text):
        (vitonhd / "test/openpose_json/10000_00_keypoints.json").write_text(text)
        dataset = make(vitonhd, split="test", maps=("keypoints",))
        for act in (dataset.verify, lambda: dataset[0]):
            with pytest.raises(ValueError, match=r"10000_00_keypoints\.json holds"):
                act()

    def test_nobody_detected(self, vitonhd):
        path = vitonhd / "test/openpose_json/10000_00_keypoints.json"
        path.write_text(json.dumps(dict(people=[])))
        assert (make(vitonhd, split="test", maps=("keypoints",))[0]["keypoints"] == 0).all()

    def test_good_data_is_reported_in_one_sentence(self, vitonhd):
        text = make(vitonhd).verify()
        assert "4 pairs, all 24 files decoded" in text
        assert "intact by header and end, 2 of them decoded" in make(vitonhd).verify(20)


class TestRandomness:
    TRANSFORMS = (
        dict(type="RandomHFlip", prob=0.5),
        dict(type="RandomAffine", shift=0.1, scale=(0.9, 1.1), rotate=5),
        dict(type="ColorJitter", brightness=0.2, hue=0.05),
    )

    def stream(self, dataset, workers: int, count: int = 12, skip: int = 0) -> list:
        sampler = ResumableSampler(dataset, seed=1)
        sampler.skip(skip)
        loader = DataLoader(
            dataset, batch_size=2, sampler=sampler, num_workers=workers, collate_fn=collate
        )
        return [
            (b["id"], b["position"].tolist(), b["person"], b["mask"])
            for b in islice(iter(loader), count // 2)
        ]

    def test_samples_do_not_depend_on_workers_or_restarts(self, vitonhd):
        dataset = make(vitonhd, transforms=self.TRANSFORMS, seed=5)
        reference = self.stream(dataset, workers=0)
        for other in (
            self.stream(dataset, workers=2),
            self.stream(dataset, workers=0, count=6)
            + self.stream(dataset, workers=1, count=6, skip=6),
        ):
            for one, two in zip(reference, other, strict=True):
                assert one[:2] == two[:2]
                assert torch.equal(one[2], two[2]) and torch.equal(one[3], two[3])

    def test_the_position_decides_and_the_seed(self, vitonhd):
        dataset = make(vitonhd, transforms=self.TRANSFORMS)
        first = dataset[SampleKey(0, 100)]
        assert first["position"] == 100 and "rng" not in first
        assert np.array_equal(first["person"], dataset[SampleKey(0, 100)]["person"])
        assert not np.array_equal(first["person"], dataset[SampleKey(0, 104)]["person"])
        other = make(vitonhd, transforms=self.TRANSFORMS, seed=1)
        assert not np.array_equal(first["person"], other[SampleKey(0, 100)]["person"])

    def test_kept_samples_are_read_once_and_equal(self, vitonhd):
        fresh = make(vitonhd, transforms=self.TRANSFORMS)
        kept = make(vitonhd, transforms=self.TRANSFORMS, keep_in_memory=True)
        for position in range(8):
            one, two = (d[SampleKey(position % 4, position)] for d in (fresh, kept))
            assert all(np.array_equal(one[k], two[k]) for k in ("person", "mask", "garment"))
        shutil.rmtree(vitonhd / "train")
        assert kept[0]["person"].shape == (64, 48, 3)

    def test_an_index_beyond_the_end(self, vitonhd):
        with pytest.raises(IndexError):
            make(vitonhd)[4]
        assert len(list(make(vitonhd))) == 4


class TestCorrespondences:
    @pytest.fixture
    def stored(self, vitonhd, tmp_path):
        """The tree, and ``matches`` of a finished store: pair i has i + 1 matches."""
        matches = {**MATCHES, "root": str(tmp_path / "matches")}
        dataset = make(vitonhd)
        store = MatchStore.create(matches, vitonhd, "train", versions={})
        for i, pair in enumerate(dataset.pairs):
            points = torch.full((i + 1, 2), 0.25)
            store.write(*pair, Correspondences(points, points + 0.5), dataset.files(i))
        store.finish(dataset.pairs, failed={})
        return vitonhd, matches

    def test_they_come_with_the_sample(self, stored):
        root, matches = stored
        dataset = make(root, matches=matches)
        assert [len(dataset[i]["correspondences"]) for i in range(4)] == [1, 2, 3, 4]
        batch = collate([dataset[0], dataset[1]])
        assert [len(c) for c in batch["correspondences"]] == [1, 2]

    def test_they_follow_padding_and_transforms(self, stored):
        root, matches = stored
        flip = [dict(type="RandomHFlip", prob=1.0)]
        found = make(root, matches=matches, size=(64, 64), transforms=flip)[0]["correspondences"]
        # x = 0.25 of 48 columns, 8 columns of padding on 64, mirrored.
        assert found.person_points[0].tolist() == pytest.approx([1 - (8 + 12) / 64, 0.25])
        assert found.garment_points[0].tolist() == pytest.approx([1 - (8 + 36) / 64, 0.75])

    def test_the_control_gives_each_pair_the_matches_of_another(self, stored):
        root, matches = stored
        dataset = make(root, matches=matches, shuffle_correspondences=True)
        counts = [len(dataset[i]["correspondences"]) for i in range(4)]
        assert sorted(counts) == [1, 2, 3, 4]
        assert all(count != i + 1 for i, count in enumerate(counts))
        again = make(root, matches=matches, shuffle_correspondences=True)
        assert counts == [len(again[i]["correspondences"]) for i in range(4)]
        assert "needs `matches`" in refusal(root, shuffle_correspondences=True)

    def test_missing_matches_name_the_command(self, vitonhd, tmp_path):
        text = refusal(vitonhd, matches={**MATCHES, "root": str(tmp_path / "none")})
        assert "python tools/extract_matches.py" in text and str(vitonhd) in text

    def test_matches_of_other_settings_or_photographs(self, stored):
        root, matches = stored
        other = {**matches, "matcher": dict(type="FakeMatcher", threshold=0.9)}
        assert "threshold" in refusal(root, matches=other)
        path = root / "train/image/00000_00.jpg"
        Image.fromarray(np.zeros((64, 48, 3), np.uint8)).save(path)
        dataset = make(root, matches=matches)
        for act in (dataset.verify, lambda: dataset[0]):
            with pytest.raises(ValueError, match=r"has changed since its matches"):
                act()

    def test_a_pair_without_matches(self, stored):
        root, matches = stored
        for folder in (root / "train").iterdir():
            for path in list(folder.glob("00000_00*")):
                shutil.copy(path, path.with_name(path.name.replace("00000", "00009")))
        with (root / "train_pairs.txt").open("a") as file:
            file.write("00009_00.jpg 00009_00.jpg\n")
        assert "1 of 5 pairs have no matches" in refusal(root, matches=matches)


@pytest.mark.parametrize("count", [2, 3, 10, 1000])
def test_a_derangement_leaves_nothing_in_place(count):
    partner = derangement(count, seed=3)
    assert sorted(partner) == list(range(count))
    assert (partner != np.arange(count)).all()
    assert np.array_equal(partner, derangement(count, seed=3))


@pytest.mark.real_data
class TestRealData:
    def test_train(self, real_data, monkeypatch):
        root = real_data / "vitonhd_mini"
        told = []
        monkeypatch.setattr(
            "vtonlab.datasets.readers.files.print_log", lambda m, **k: told.append(m)
        )
        text = refusal(root, maps=ALL)
        assert "1 of 10 pairs" in text and "00012_00 (no mask in agnostic-mask/)" in text
        assert "openpose_json" in refusal(root, maps=("keypoints",))
        dataset = make(root, maps=ALL, missing="skip", paint_hair=True)
        assert len(dataset) == 9 and "00012_00" in told[-1]
        assert "9 pairs, all 72 files decoded" in dataset.verify()
        sample = dataset[0]
        assert sample["person"].shape == (1024, 768, 3)
        assert 0.30 < sample["mask"].mean() < 0.55
        assert sample["agnostic"][sample["mask"] == 1].std() < 3
        worn, labels = sample["worn_mask"], np.isin(sample["parse"], (5, 6, 7))
        assert (worn & labels).sum() / (worn | labels).sum() > 0.99
        assert (sample["pose"][sample["parse"] == 2] == HAIR_COLOUR).all()

    def test_small_samples_and_the_recomposed_agnostic(self, real_data):
        root = real_data / "vitonhd_mini"
        options = dict(maps=ALL, missing="skip")
        large, small = (make(root, size=size, **options)[3] for size in (None, (256, 192)))
        assert small["person"].shape == (256, 192, 3)
        assert abs(large["mask"].mean() - small["mask"].mean()) < 0.003
        assert set(np.unique(small["parse"])) <= set(np.unique(large["parse"]))
        recomposed = np.where(large["mask"][..., None] == 1, 128, large["person"].astype(int))
        assert np.abs(recomposed - large["agnostic"]).mean() < 2

    def test_test_split(self, real_data):
        root = real_data / "vitonhd_mini"
        options = dict(split="test", maps=(*ALL, "keypoints"), size=(256, 192))
        paired, unpaired = make(root, **options), make(root, setting="unpaired", **options)
        assert len(paired) == len(unpaired) == 6
        assert [p.id for p in paired.pairs] == [p.garment_id for p in paired.pairs]
        assert all(p.id != p.garment_id for p in unpaired.pairs)
        sample = unpaired[0]
        assert (sample["id"], sample["garment_id"]) == ("00006_00", "00008_00")
        assert np.array_equal(sample["garment"], paired[1]["garment"])
        neck, hips = sample["keypoints"][1], sample["keypoints"][8]
        assert neck[2] > 0.5 and 0.2 < neck[1] < 0.45 and neck[1] < hips[1]
        assert 0.4 < neck[0] < 0.6

    def test_every_picture_is_intact(self, real_data):
        root = real_data / "vitonhd_mini"
        for options in (dict(split="test"), dict(missing="skip")):
            assert "files" in make(root, **options).verify(decode_at_most=5)


def test_reading_needs_no_writable_folder(vitonhd):
    """Data sets are often mounted read-only."""
    for folder, _, _ in os.walk(vitonhd):
        os.chmod(folder, 0o555)
    try:
        assert make(vitonhd, maps=ALL)[0]["person"].shape == (64, 48, 3)
    finally:
        for folder, _, _ in os.walk(vitonhd):
            os.chmod(folder, 0o755)
