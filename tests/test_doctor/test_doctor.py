"""The doctor: every way to break a set gets its own finding, and an intact set gets none."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtonlab.datasets import VITONHDDataset
from vtonlab.doctor import CATALOGUE, diagnose, show
from vtonlab.doctor.duplicates import near_equal
from vtonlab.doctor.findings import LEVELS, Report
from vtonlab.synthetic.writer import Settings, write_dataset
from vtonlab.synthetic.writer_layouts import build_layout

sys.path.insert(0, str(Path(__file__).parents[1]))
from broken_vitonhd import ALL, BREAKS, map_file
from small_vitonhd import write_tree


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Four people to train on and two to test, rendered once; tests damage copies."""
    return write_tree(tmp_path_factory.mktemp("doctor") / "data", 6)


@pytest.fixture
def tree(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "data"))


@pytest.fixture(scope="module")
def usual(written) -> set:
    """What is said about the intact tree."""
    report = diagnose(written)
    assert report.exit_code == 0
    assert {finding.code for finding in report.findings} == {"mask-not-binary"}
    return {(finding.code, finding.place) for finding in report.findings}


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def refusal(root: Path, options: dict) -> str:
    """What the reader says when it is built and looks at all files; "" if nothing."""
    maps = ("agnostic", "mask", "garment_mask", "pose") if options else ALL
    try:
        dataset = VITONHDDataset(data_root=str(root), size=None, maps=maps, **options)
        dataset.verify()
        for index in range(len(dataset)):
            dataset[index]
    except (ValueError, FileNotFoundError) as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


def test_there_are_enough_ways():
    assert len(BREAKS) >= 25
    assert len({way.code for way in BREAKS.values()}) >= 40


@pytest.mark.parametrize("name", BREAKS)
def test_every_break_has_its_finding_and_nothing_else_is_said(tree, usual, name):
    way = BREAKS[name]
    way.act(tree)
    report = diagnose(tree / way.root)
    new = [f for f in report.findings if (f.code, f.place) not in usual]
    hits = [f for f in new if f.code == way.code]
    texts = [text for f in hits for text in (f.place, f.detail, *f.paths)]
    assert any(way.where in text for text in texts), [f.as_dict() for f in new]
    assert {f.code for f in new} <= {way.code, *way.also}, [f.as_dict() for f in new]
    text = show(report)
    assert way.code in text and CATALOGUE[way.code][2].split()[0] in text
    assert report.exit_code == {"error": 2, "warning": 1, "note": 0}[new_level(new)]
    json.dumps(report.as_dict())
    told = refusal(tree / way.root, way.options)
    assert way.reader in told if way.reader else told == ""


def new_level(findings: list) -> str:
    return min((finding.level for finding in findings), key=LEVELS.index)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads everything")
def test_a_folder_that_may_not_be_read(tree):
    os.chmod(tree / "train/image-densepose", 0)
    try:
        assert "unreadable-folder" in codes(diagnose(tree))
    finally:
        os.chmod(tree / "train/image-densepose", 0o755)


class TestBounds:
    def test_damage_in_the_middle_needs_deep(self, tree):
        """Beyond ``people``, headers and ends are read; with ``deep`` every pixel is."""
        path = map_file(tree, "image-parse-v3", 3)
        data = path.read_bytes()
        path.write_bytes(data[:-60] + b"\x55" * 30 + data[-30:])
        assert "damaged" not in codes(diagnose(tree, people=1))
        assert "damaged" in codes(diagnose(tree, deep=True))
        assert diagnose(tree, people=1).looked["people"] == 1

    def test_a_bomb_is_refused_by_its_header_also_when_deep(self, tree):
        BREAKS["a decompression bomb"].act(tree)
        for deep in (False, True):
            found = [f for f in diagnose(tree, deep=deep).findings if f.code == "oversized"]
            assert "has 20000x20000 pixels" in found[0].paths[0]

    def test_the_limit_is_a_setting(self, tree):
        assert "oversized" in codes(diagnose(tree, max_pixels=1000))

    def test_threads_do_not_change_what_is_found(self, tree):
        for name in ("a truncated mask", "an empty file", "a mask of half the size"):
            BREAKS[name].act(tree)
        one, many = (diagnose(tree, threads=n).as_dict() for n in (1, 8))
        assert one["findings"] == many["findings"] and one["leak"] == many["leak"]


class TestLists:
    def test_written_lists_leave_out_what_cannot_be_used(self, tree, tmp_path):
        """The reader then takes them without a word."""
        BREAKS["a truncated photograph"].act(tree)
        BREAKS["a list of strangers"].act(tree)
        map_file(tree, "cloth", 2).unlink()
        out = tmp_path / "lists"
        diagnose(tree, fix_lists=out)
        dataset = VITONHDDataset(
            data_root=str(tree), size=None, maps=("mask",), pairs=str(out / "train_pairs.txt")
        )
        assert [pair.id for pair in dataset.pairs] == ["00000_00", "00003_00"]
        dataset.verify()
        options = dict(split="test", setting="unpaired", pairs=str(out / "test_pairs.txt"))
        test = VITONHDDataset(data_root=str(tree), size=None, maps=("mask",), **options)
        assert len(test) == 2 and all(p.id != p.garment_id for p in test.pairs)

    def test_written_lists_leave_out_who_lacks_a_map(self, tree, tmp_path):
        """As the finding's way out says; a map that nobody has is none."""
        map_file(tree, "image-parse-v3", 1).unlink()
        shutil.rmtree(tree / "train/gt_cloth_warped_mask")
        diagnose(tree, fix_lists=tmp_path)
        lines = (tmp_path / "train_pairs.txt").read_text().splitlines()
        assert lines == [f"0000{i}_00.jpg 0000{i}_00.jpg" for i in (0, 2, 3)]

    def test_without_garments_no_list_is_written(self, tree, tmp_path):
        for split in ("train", "test"):
            shutil.rmtree(tree / split / "cloth")
        report = diagnose(tree, fix_lists=tmp_path / "lists")
        assert "folder-required" in codes(report) and not list((tmp_path / "lists").iterdir())

    def test_sets_without_own_garments_are_told_at_once(self, tmp_path, monkeypatch):
        """Not once every picture was decoded, in place of the report."""
        settings = Settings("mpv", 3, (64, 48))
        write_dataset(build_layout(settings), settings, tmp_path / "data")
        monkeypatch.setattr(sys.modules["vtonlab.doctor.diagnose"], "_headers", None)
        with pytest.raises(ValueError, match="cannot know who wears what in"):
            diagnose(tmp_path / "data", fix_lists=tmp_path / "lists")

    def test_lists_from_nothing(self, tree, tmp_path):
        for split in ("train", "test"):
            (tree / f"{split}_pairs.txt").unlink()
        diagnose(tree, fix_lists=tmp_path)
        lines = (tmp_path / "train_pairs.txt").read_text().splitlines()
        assert lines == [f"0000{i}_00.jpg 0000{i}_00.jpg" for i in range(4)]

    @pytest.mark.parametrize("form", ["json", "txt"])
    def test_a_given_list_of_duplicates(self, tree, tmp_path, form):
        path = tmp_path / f"known.{form}"
        known = {"train": {"duplicates": ["00001_00.jpg", "99999_00.jpg"]}, "test": {"leaked": []}}
        path.write_text(json.dumps(known) if form == "json" else "00001_00.jpg\n99999_00.jpg\n")
        report = diagnose(tree, known=path)
        (found,) = (f for f in report.findings if f.code == "known-list")
        assert found.place == "train" and found.paths == ["00001_00"]


class TestKinds:
    @pytest.mark.parametrize("layout", ["dresscode", "deepfashion", "mpv"])
    def test_other_layouts_are_recognised_and_whole(self, tmp_path, layout):
        settings = Settings(layout, 9, (64, 48))
        write_dataset(build_layout(settings), settings, tmp_path / "data")
        report = diagnose(tmp_path / "data")
        assert report.kind == layout and report.exit_code == 0, show(report)

    def test_dress_code_lists_are_written_with_categories(self, tmp_path):
        settings = Settings("dresscode", 9, (64, 48))
        root = tmp_path / "data"
        write_dataset(build_layout(settings), settings, root)
        (root / "lower_body/label_maps").rename(root / "lower_body/label_mpas")
        report = diagnose(root, fix_lists=tmp_path / "lists")
        assert {f.place for f in report.findings if f.code == "folder-misspelt"} == {
            "lower_body/label_mpas"
        }
        lines = (tmp_path / "lists/train_pairs.txt").read_text().splitlines()
        assert {line.split("\t")[2] for line in lines} == {"0", "1", "2"}

    def test_a_table_of_pairs(self, tree):
        own = tree / "own"
        own.mkdir()
        shutil.copyfile(map_file(tree, "image", 0), own / "anna.jpg")
        shutil.copyfile(map_file(tree, "cloth", 0), own / "dress.jpg")
        rows = [
            "person,garment,category",
            "anna.jpg,dress.jpg,dresses",
            "anna.jpg,gone.jpg,dresses",
            "../../etc/passwd,dress.jpg,dresses",
            "anna.jpg,dress.jpg,hats",
        ]
        (own / "pairs.csv").write_text("\n".join(rows))
        report = diagnose(own)
        assert report.kind == "pair_list"
        assert codes(report) == {"list-entries-without-files", "list-hostile", "list-unreadable"}
        told = [path for finding in report.findings for path in finding.paths]
        assert any("gone.jpg" in text for text in told)
        assert any("line 4" in text and "passwd" in text for text in told)
        assert any("line 5" in text and "hats" in text for text in told)

    def test_nothing_to_recognise(self, tmp_path):
        (tmp_path / "holiday").mkdir()
        with pytest.raises(ValueError, match=r"holds holiday/.* VITON-HD: train/image/"):
            diagnose(tmp_path)
        with pytest.raises(FileNotFoundError, match="does not exist"):
            diagnose(tmp_path / "nowhere")
        with pytest.raises(ValueError, match="vitonhd, dresscode"):
            diagnose(tmp_path, kind="viton")

    def test_a_type_that_is_asked_for_is_not_guessed(self, tree):
        with pytest.raises(ValueError, match="Dress Code"):
            diagnose(tree, kind="dresscode")


def test_near_duplicates_are_told_from_likenesses():
    """JPEG noise of one grey level is the same picture; a small print is not."""
    rng = np.random.default_rng(0)
    one = rng.integers(0, 255, (48, 36, 3)).astype(np.uint8)
    noisy = np.clip(one + rng.integers(-1, 2, one.shape), 0, 255).astype(np.uint8)
    other = one.copy()
    other[20:30, 10:25] = 128
    found = list(near_equal({Path("a"): one, Path("b"): noisy, Path("c"): other}))
    assert found == [(Path("a"), Path("b"))]


@pytest.mark.real_data
class TestRealData:
    def test_vitonhd_mini(self, real_data):
        """Every defect that its README lists, and nothing else."""
        report = diagnose(real_data / "vitonhd_mini")
        found = {(f.code, f.place, f.count) for f in report.findings}
        assert found == {
            ("missing-files", "train/agnostic-mask", 1),
            ("folder-missing", "train/openpose_json", 1),
            ("mask-leak", "test/agnostic-mask", 1),
            ("folder-alias", "train/gt_cloth_wraped_mask", 1),
            ("mask-not-binary", "train/gt_cloth_wraped_mask", 10),
            ("mask-not-binary", "train/cloth-mask", 10),
            ("mask-not-binary", "test/cloth-mask", 6),
        }
        paths = {f.code: f.paths for f in report.findings}
        assert paths["missing-files"] == ["00012_00"]
        assert "00006_00_mask.png: 0.54%" in paths["mask-leak"][0]
        assert report.exit_code == 1
        assert report.leak["people"] == 15 and report.leak["zero"] == 14
        assert report.leak["worst"][0]["person"] == "test/00006_00"

    def test_deep_finds_the_same(self, real_data):
        root = real_data / "vitonhd_mini"
        one, deep = (diagnose(root, deep=d).as_dict()["findings"] for d in (False, True))
        assert one == deep

    def test_dress_code_sample(self, real_data):
        report = diagnose(real_data / "dresscode_sample")
        assert report.kind == "dresscode" and report.exit_code == 2
        assert report.people == dict(upper_body=1, lower_body=2, dresses=1)
        assert codes(report) == {"list-missing", "no-garments", "folder-missing", "orphan-files"}
        orphans = {p for f in report.findings if f.code == "orphan-files" for p in f.paths}
        assert orphans == {
            f"{category}/{folder}"
            for category, name in (("upper_body", "048466"), ("dresses", "051994"))
            for folder in (f"label_maps/{name}_4.png", f"keypoints/{name}_2.json")
        }

    def test_different_garments_and_people_are_no_duplicates(self, real_data):
        """23 garments, some of them plain shirts on white; scaled and encoded again they are."""
        from vtonlab.doctor.duplicates import thumbnail

        files = sorted(real_data.glob("*/*/cloth/*")) + sorted(real_data.glob("sift_pairs/*/*"))
        small = {path: thumbnail(path, 10**7) for path in files}
        assert len(small) > 25 and list(near_equal(small)) == []
        again = {}
        for path in files:
            picture = Image.open(path)
            scaled = picture.resize((picture.width // 2, picture.height // 2))
            again[path.with_suffix(".again")] = np.array(
                scaled.resize((36, 48), Image.Resampling.BILINEAR)
            )
        pairs = list(near_equal({**small, **again}))
        assert {one.with_suffix("") for one, _ in pairs} == {p.with_suffix("") for p in files}
