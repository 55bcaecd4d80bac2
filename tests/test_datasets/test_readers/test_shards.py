"""Training from shards is training from files; what is cut short is named, counted, survived."""

import importlib.util
import json
import shutil
import sys
import tarfile
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vtonlab.datasets import DressCodeDataset, ResumableSampler, SampleKey, VITONHDDataset
from vtonlab.datasets.readers.shards import ShardDataset, ShardSampler
from vtonlab.registry import DATA_SAMPLERS, DATASETS
from vtonlab.structures.sample import collate

sys.path.insert(0, str(Path(__file__).parents[2]))
from small_vitonhd import write_matches, write_tree

ROOT = Path(__file__).parents[3]
MAPS = ("agnostic", "mask", "garment_mask", "worn_mask", "pose", "parse", "keypoints")
FLIP = [dict(type="RandomHFlip"), dict(type="RandomAffine", shift=0.1)]


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_shards", ROOT / "tools/make_shards.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> tuple[Path, dict]:
    """Six people to train on and two to test, with matches."""
    folder = tmp_path_factory.mktemp("shards")
    root = write_tree(folder / "data", 8, (64, 48))
    matches = dict(matcher=dict(type="FakeMatcher", threshold=0.5), root=str(folder / "matches"))
    write_matches(matches, root)
    return root, matches


def from_files(data, **options) -> VITONHDDataset:
    root, matches = data
    given = dict(data_root=str(root), size=(64, 64), maps=MAPS, matches=matches)
    return VITONHDDataset(**{**given, **options})


def from_shards(root, data, **options) -> ShardDataset:
    given = dict(data_root=str(root), size=(64, 64), maps=MAPS, matches=data[1])
    return ShardDataset(**{**given, **options})


@pytest.fixture(scope="module")
def written(make, data, tmp_path_factory) -> Path:
    """Shards of about two people each; tests damage copies."""
    out = tmp_path_factory.mktemp("written")
    assert make.write_set(from_files(data), data[1], out / "train", 40_000, "error") == []
    assert len(list((out / "train").glob("*.tar"))) >= 3
    return out


@pytest.fixture
def shards(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "shards"))


def assert_equal(one: dict, two: dict) -> None:
    assert one.keys() == two.keys()
    for key, value in one.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == two[key].dtype and np.array_equal(value, two[key]), key
        elif key == "correspondences":
            for a, b in zip(value.to_dict().values(), two[key].to_dict().values(), strict=True):
                assert np.array_equal(a, b)
        else:
            assert value == two[key], key


class TestEquality:
    @pytest.mark.parametrize("options", [{}, dict(transforms=FLIP, seed=3), dict(size=None)])
    def test_every_sample_is_that_of_the_files(self, data, written, options):
        files, shards = from_files(data, **options), from_shards(written, data, **options)
        assert len(files) == len(shards) and files.pairs == shards.pairs
        assert files.metainfo == shards.metainfo
        for index in range(len(files)):
            key = SampleKey(index, 100 + index)
            assert_equal(files[key], shards[key])

    def test_the_control_too(self, data, written):
        files = from_files(data, shuffle_correspondences=True, seed=1)
        shards = from_shards(written, data, shuffle_correspondences=True, seed=1)
        for index in range(len(files)):
            assert_equal(files[index], shards[index])

    def test_maps_that_are_made_need_no_files_of_their_own(self, make, data, tmp_path):
        tree = Path(shutil.copytree(data[0], tmp_path / "data"))
        for folder in ("gt_cloth_warped_mask", "agnostic-v3.2"):
            shutil.rmtree(tree / "train" / folder)
        options = dict(maps=("worn_mask", "agnostic", "mask"), matches=None)
        files = from_files((tree, None), **options)
        make.write_set(files, None, tmp_path / "out/train", 10**6, "error")
        shards = from_shards(tmp_path / "out", data, **options)
        assert set(shards.members(0)) == {"json", "person", "garment", "mask", "parse"}
        for index in range(len(files)):
            assert_equal(files[index], shards[index])

    def test_categories_whose_folders_differ(self, make, tmp_path):
        """One ships masks, the others' are made: each sample from the files that it has."""
        root = write_tree(tmp_path / "data", 12, (64, 48), "dresscode")
        options = dict(data_root=str(root), size=(64, 64), maps=("agnostic", "mask"))
        kinds = [item.category for item in DressCodeDataset(**options).items]
        masks = root / kinds[0] / "agnostic_masks"
        masks.mkdir()
        for path in (root / kinds[0] / "images").glob("*_0.jpg"):
            halves = np.repeat([0, 255], 32).astype(np.uint8)[:, None] * np.ones((1, 48), np.uint8)
            Image.fromarray(halves).save(masks / f"{path.stem}.png")
        files = DressCodeDataset(**options)
        assert len(set(kinds)) > 1
        make.write_set(files, None, tmp_path / "out/train", 10**6, "error")
        shards = ShardDataset(**{**options, "data_root": str(tmp_path / "out")})
        assert {"person", "mask"} == set(shards.members(0)) - {"json", "garment"}
        for index in range(len(files)):
            assert_equal(files[index], shards[index])
        with pytest.raises(ValueError, match="holds no parse"):  # of the first category
            ShardDataset(data_root=str(tmp_path / "out"), maps=("parse",))

    def test_settings_of_mask_files_are_kept(self, make, data, tmp_path):
        options = dict(mask_files=dict(threshold=60, inverted=["garment_mask"]), matches=None)
        files = from_files(data, **options)
        make.write_set(files, None, tmp_path / "train", 10**6, "error")
        assert_equal(files[1], from_shards(tmp_path, data, matches=None)[1])

    def test_any_workers_restarts_and_urls(self, data, written):
        """The same batches from files, from shards, with workers, after a skip, from a URL."""
        import fsspec

        memory = fsspec.filesystem("memory")
        for path in (written / "train").iterdir():
            memory.pipe(f"/there/train/{path.name}", path.read_bytes())

        def batches(dataset, workers=0, skip=0, count=6):
            sampler = ResumableSampler(dataset, seed=1)
            sampler.skip(2 * skip)
            loader = DataLoader(
                dataset, batch_size=2, sampler=sampler, num_workers=workers, collate_fn=collate
            )
            return list(islice(iter(loader), count))

        reference = batches(from_files(data, transforms=FLIP))
        shards = from_shards(written, data, transforms=FLIP)
        url = from_shards("memory://there", data, transforms=FLIP)
        for other in (
            batches(shards),
            batches(shards, workers=2),
            batches(shards, count=2) + batches(shards, skip=2, count=4),
            batches(url),
        ):
            for one, two in zip(reference, other, strict=True):
                assert one["id"] == two["id"]
                assert all(torch.equal(one[k], two[k]) for k in ("person", "mask", "position"))
        assert "decoded" in url.verify()

    def test_the_registry_builds_them(self, data, written):
        config = dict(type="ShardDataset", data_root=str(written), size=(64, 48), maps=["mask"])
        dataset = DATASETS.build(config)
        sampler = DATA_SAMPLERS.build(dict(type="ShardSampler", dataset=dataset, mix=2))
        assert len(list(islice(sampler, 5))) == 5


class TestFormat:
    def test_any_tar_reader_reads_them(self, data, written):
        """Keys up to the first dot, the files byte for byte, people in the order of the list."""
        dataset, found = from_files(data), {}
        for path in sorted((written / "train").glob("*.tar")):
            with tarfile.open(path) as archive:
                for member in archive:
                    key, _, kind = member.name.partition(".")
                    found.setdefault(key, {})[kind] = archive.extractfile(member).read()
        assert sorted(found) == [f"{i:08d}" for i in range(len(dataset))]
        for index, sample in enumerate(found.values()):
            assert json.loads(sample["json"])["id"] == dataset.pairs[index].id
            for name, path in dataset.files(index).items():
                assert sample[f"{name}{path.suffix}"] == path.read_bytes()

    def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(
        self, make, data, written, tmp_path, monkeypatch
    ):
        out, write = tmp_path / "train", make.write_shard
        calls = []

        def failing(*args):
            calls.append(args)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return write(*args)

        monkeypatch.setattr(make, "write_shard", failing)
        with pytest.raises(KeyboardInterrupt):
            make.write_set(from_files(data), data[1], out, 40_000, "error")
        assert not (out / "index.json").exists() and len(list(out.glob("*.tar"))) == 1
        calls[:] = [None] * 2
        make.write_set(from_files(data), data[1], out, 40_000, "error")
        total = len(list(out.glob("*.tar")))
        assert len(calls) == 2 + total - 1  # the first was not written again
        for path in (written / "train").iterdir():
            assert path.read_bytes() == (out / path.name).read_bytes()

    def test_files_that_changed_since_are_written_anew(
        self, make, data, tmp_path, capsys, monkeypatch
    ):
        tree = Path(shutil.copytree(data[0], tmp_path / "data"))
        out, written, write = tmp_path / "out/train", [], make.write_shard
        monkeypatch.setattr(make, "write_shard", lambda *a: written.append(a[0].name) or write(*a))

        def run():
            written.clear()
            capsys.readouterr()
            make.write_set(from_files((tree, None), matches=None), None, out, 40_000, "error")
            return capsys.readouterr().out

        run()
        count = len(written)
        assert count >= 3 and not run().count("written again") and written == []
        mask = tree / "train/agnostic-mask/00002_00_mask.png"
        Image.fromarray(255 - np.array(Image.open(mask))).save(mask)
        assert "000001.tar is written again" in run() and written == ["000001.tar"]
        files = from_files((tree, None), matches=None)
        shards = from_shards(tmp_path / "out", data, matches=None)
        for index in range(len(files)):
            assert_equal(files[index], shards[index])
        for path in (tree / "train/image").iterdir():  # far smaller: fewer shards
            Image.fromarray(np.full((64, 48, 3), 90, np.uint8)).save(path, quality=5)
        run()
        left = len(list(out.glob("*.tar")))
        assert left == len(json.loads((out / "index.json").read_text())["shards"]) < count
        assert len(list(out.iterdir())) == 2 * left + 1
        assert (from_shards(tmp_path / "out", data, matches=None)[5]["person"] < 120).any()

    def test_another_set_is_not_mixed_in(self, make, data, shards):
        with pytest.raises(ValueError, match="another data set, list or setting"):
            make.write_set(from_files(data, maps=("mask",)), data[1], shards / "train", 40_000, "x")


class TestDamage:
    def cut(self, shards: Path, bytes_left: float = 0.6) -> Path:
        path = sorted((shards / "train").glob("*.tar"))[1]
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * bytes_left)])
        return path

    def test_a_truncated_shard_is_refused_by_name(self, data, shards):
        path = self.cut(shards)
        dataset = from_shards(shards, data)
        with pytest.raises(ValueError, match=rf"{path} is truncated: .* 1 of 2 samples lost"):
            dataset.verify()
        with pytest.raises(ValueError, match=rf"{path} \(sample 3, 00003_00\) is truncated"):
            dataset[3]
        dataset[2]

    def test_or_survived_counted_and_named(self, data, shards, monkeypatch):
        told = []
        monkeypatch.setattr("vtonlab.datasets.base.print_log", lambda text, **k: told.append(text))
        path = self.cut(shards)
        dataset = from_shards(shards, data, damaged="skip")
        assert f"{path} is truncated" in dataset.verify()
        ids = [dataset[i]["id"] for i in range(6)]
        assert ids == ["00000_00", "00001_00", "00002_00", "00004_00", "00004_00", "00005_00"]
        dataset[3]
        assert len(told) == 1 and "number 1" in told[0] and str(path) in told[0]

    def test_flipped_bits_and_a_missing_shard(self, data, shards):
        first, second = sorted((shards / "train").glob("*.tar"))[:2]
        content = bytearray(first.read_bytes())
        content[len(content) // 3] ^= 8
        first.write_bytes(bytes(content))
        second.unlink()
        dataset = from_shards(shards, data)
        with pytest.raises(ValueError, match="cannot be read"):
            dataset.verify()
        with pytest.raises(FileNotFoundError, match=r"000001\.tar does not exist"):
            dataset[2]
        faults = 0
        for index in range(2):
            try:
                dataset[index]
            except ValueError as error:
                faults += "its checksum differs" in str(error)
        assert faults == 1

    def test_too_much_damage_is_refused(self, data, shards):
        for path in (shards / "train").glob("*.tar"):
            path.write_bytes(b"")
        with pytest.raises(ValueError, match="every sample is damaged"):
            from_shards(shards, data, damaged="skip")[0]

    @pytest.mark.parametrize("damaged", ["error", "skip"])
    def test_a_truncated_picture_when_writing(self, make, data, tmp_path, damaged):
        tree = Path(shutil.copytree(data[0], tmp_path / "data"))
        path = tree / "train/image/00002_00.jpg"
        path.write_bytes(path.read_bytes()[:-300])
        files = from_files((tree, None), matches=None)
        out = tmp_path / "out/train"
        if damaged == "error":
            with pytest.raises(ValueError, match=r"00002_00\.jpg is truncated"):
                files.verify()
            return
        (told,) = make.write_set(files, None, out, 10**6, "skip")
        assert str(path) in told
        assert len(from_shards(tmp_path / "out", data, matches=None)) == 5
        assert json.loads((out / "index.json").read_text())["left_out"] == [told]
        shutil.copy(data[0] / "train/image/00002_00.jpg", path)  # repaired
        files = from_files((tree, None), matches=None)
        assert make.write_set(files, None, out, 10**6, "skip") == []
        assert_equal(files[2], from_shards(tmp_path / "out", data, matches=None)[2])

    def test_a_truncated_picture_among_files(self, data, tmp_path):
        """The file readers have the same setting."""
        tree = Path(shutil.copytree(data[0], tmp_path / "data"))
        path = tree / "train/image/00002_00.jpg"
        path.write_bytes(path.read_bytes()[:-300])
        files = from_files((tree, None), matches=None, damaged="skip")
        assert str(path) in files.verify()
        assert files[2]["id"] == "00003_00" and files[2]["index"] == 2


class TestRefusals:
    def refusal(self, *args, **options) -> str:
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            from_shards(*args, **options)
        assert "\n" not in str(error.value)
        return str(error.value)

    def test_one_sentence_each(self, data, shards, tmp_path):
        assert "tools/make_shards.py" in self.refusal(tmp_path / "nowhere", data)
        assert "test_unpaired" in self.refusal(shards, data, split="test", setting="unpaired")
        assert "holds no iuv" in self.refusal(shards, data, maps=("iuv",))
        other = dict(matcher=dict(type="FakeMatcher", threshold=0.9))
        assert "threshold" in self.refusal(shards, data, matches=other)
        assert "needs `matches`" in self.refusal(
            shards, data, matches=None, shuffle_correspondences=True
        )
        assert "damaged" in self.refusal(shards, data, damaged="ignore")
        with pytest.raises(FileNotFoundError, match="needs data_root"):
            ShardDataset()
        assert "cannot be read" in self.refusal("nosuchprotocol://bucket", data)
        index = shards / "train/index.json"
        text = index.read_text()
        index.write_text(text[: len(text) // 2])
        assert "cannot be read" in self.refusal(shards, data)
        index.write_text(text.replace("000000.tar", "../../secret"))
        assert "climbs" in self.refusal(shards, data)

    def test_a_set_that_is_not_read_from_files(self, make):
        with pytest.raises(ValueError, match="SyntheticTryOn, which is not read from files"):
            make.load_datasets(
                str(ROOT / "configs/coral/dit_synthetic.py"), {}, ["train_dataloader"]
            )


class TestShardSampler:
    def sampler(self, data, written, rank=0, world=1, **options) -> ShardSampler:
        sampler = ShardSampler(from_shards(written, data), **options)
        sampler.rank, sampler.world_size = rank, world
        return sampler

    def test_epochs_are_permutations_near_together(self, data, written):
        sampler = self.sampler(data, written, mix=1)
        keys = list(islice(sampler, 18))
        orders = [[k.index for k in keys[n : n + 6]] for n in (0, 6, 12)]
        assert all(sorted(order) == list(range(6)) for order in orders)
        assert len({tuple(order) for order in orders}) > 1
        shard_of = [place.shard for place in sampler_places(data, written)]
        for order in orders:
            visited = [shard_of[index] for index in order]
            changes = sum(a != b for a, b in pairwise(visited))
            assert changes == len(set(shard_of)) - 1

    def test_ranks_and_restarts(self, data, written):
        whole = list(islice(self.sampler(data, written, seed=4), 24))
        ranks = [list(islice(self.sampler(data, written, r, 2, seed=4), 12)) for r in (0, 1)]
        assert [key for pair in zip(*ranks, strict=True) for key in pair] == whole
        again = self.sampler(data, written, seed=4)
        again.skip(10)
        assert list(islice(again, 14)) == whole[10:]
        assert [k.position for k in whole] == list(range(24))


def sampler_places(data, written):
    return from_shards(written, data).places
