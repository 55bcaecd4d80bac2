"""A folder of plain photographs becomes a data set that the reader and the doctor know."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from estimators_figure import Middle, Told, figure, photograph
from PIL import Image

from vtonlab.apis import prepare_folder
from vtonlab.datasets import DressCodeDataset, PairListDataset, VITONHDDataset
from vtonlab.doctor import diagnose
from vtonlab.estimators import Preparation
from vtonlab.estimators.folder import Photographs, prepare_photographs
from vtonlab.ops.labels import densepose_labels
from vtonlab.registry import ESTIMATORS


class OnlyRed(Told):
    """Finds a figure where the shirt is red, else nobody."""

    def __call__(self, picture):
        return super().__call__(picture) if picture[50, 48, 0] > 100 else []


def preparation(**settings) -> Preparation:
    return Preparation(keypoints=OnlyRed(figure()), matte=Middle(), **settings)


@pytest.fixture
def photos(tmp_path):
    for folder in ("person", "garment"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
    for number, name in enumerate(("anna", "ben", "cleo")):
        picture = photograph()
        picture[:6, :6] = 40 * number  # nobody twice
        Image.fromarray(picture).save(tmp_path / f"photos/person/{name}.png")
        garment = np.full((128, 96, 3), 255, np.uint8)
        garment[30:90, 20 + number : 70] = (170, 30 * number, 40)
        Image.fromarray(garment).save(tmp_path / f"photos/garment/{name}.png")
    empty = np.full((128, 96, 3), 20, np.uint8)
    Image.fromarray(empty).save(tmp_path / "photos/person/nobody.png")
    Image.fromarray(empty).save(tmp_path / "photos/garment/nobody.png")
    return tmp_path / "photos"


def test_the_reader_and_the_doctor_take_it(photos, tmp_path):
    out = tmp_path / "out"
    report = prepare_folder(photos, out, preparation(), size=(128, 96))
    assert report["people"] == ["anna", "ben", "cleo"]
    assert "nobody is seen" in report["refused"]["nobody"]
    assert json.loads((out / "report.json").read_text()) == report
    maps = ["agnostic", "mask", "garment_mask", "pose", "parse", "worn_mask", "keypoints"]
    data = VITONHDDataset(data_root=str(out), size=None, maps=maps)
    assert "all" in data.verify() and len(data) == 3
    sample = data[0]
    assert 0.02 < sample["mask"].mean() < 0.8 and sample["garment_mask"].any()
    # OpenPose's file holds four decimals of a pixel
    assert np.abs(sample["keypoints"] - figure().keypoints)[:, :2].max() < 1e-4
    assert not [f for f in diagnose(out, quiet=True).findings if f.level == "error"]
    assert len(list((out / "previews").iterdir())) == 3


def test_it_goes_on_where_it_was(photos, tmp_path):
    first, second = preparation(), preparation()
    report = prepare_folder(photos, tmp_path / "out", first, size=(128, 96))
    assert prepare_folder(photos, tmp_path / "out", second, size=(128, 96)) == report
    assert first.keypoints.calls == 3 and second.keypoints.calls == 0


def test_folders_that_do_not_fit_are_named(tmp_path, photos):
    with pytest.raises(FileNotFoundError, match="has no folder person or people or image"):
        prepare_folder(tmp_path, tmp_path / "out", preparation())
    Image.fromarray(photograph()).save(photos / "person/anna.jpg")
    with pytest.raises(ValueError, match="have one name"):
        prepare_folder(photos, tmp_path / "out", preparation())


ALL = ["agnostic", "mask", "garment_mask", "pose", "parse", "worn_mask", "keypoints"]


@pytest.fixture
def wardrobe(photos, tmp_path):
    """Three people in a garment of each category, and a table that says so."""
    (photos / "pairs.csv").write_text(
        "person,garment,category\nperson/anna.png,garment/anna.png,upper_body\n"
        "person/ben.png,garment/ben.png,1\nperson/cleo.png,garment/cleo.png,dresses\n"
        "person/anna.png,garment/ben.png,dresses\nperson/ben.png,garment/cleo.png,lower_body\n"
        "person/cleo.png,garment/anna.png,upper_body\n"
    )
    return photos


def agreed(sample):
    """Whether the mask lies where the worn garment is, and joints where the figure's are."""
    worn, mask = sample["worn_mask"].astype(bool), sample["mask"].astype(bool)
    near = np.abs(sample["keypoints"] - figure().keypoints)[:19, :2].max() < 1e-3
    return worn.any() and (mask & worn).sum() > 0.95 * worn.sum() and near


def test_dresscode(wardrobe, tmp_path):
    out = tmp_path / "out"
    for split in ("train", "test"):
        report = prepare_folder(
            wardrobe, out, preparation(), layout="dresscode", split=split, size=(128, 96)
        )
        assert len(report["people"]) == 6 and not report["refused"]
        found = diagnose(out, quiet=True).findings
        assert not [f for f in found if f.level == "error"], found
        assert ("split-missing" in {f.code for f in found}) == (split == "train")
    data = DressCodeDataset(data_root=str(out), size=None, maps=ALL)
    assert "all" in data.verify() and len(data) == 6
    assert all(agreed(data[i]) for i in range(6))
    unpaired = DressCodeDataset(data_root=str(out), split="test", size=None, setting="unpaired")
    names = [(sample["id"], sample["garment_id"]) for sample in unpaired]
    assert ("anna_0", "cleo__anna_1") in names and ("anna_0", "anna_1") not in names


def test_who_is_another_one_now_is_prepared_again(photos, tmp_path):
    """And who was refused is tried again; one place is not written by both splits."""
    people = [Photographs("anna", "upper_body", photos / "person/anna.png", None)]

    def prepare(**changes):
        some = [person._replace(**changes) for person in people]
        options = dict(layout="pairs", size=(128, 96), previews=False)
        report = prepare_photographs(some, tmp_path / "out", preparation(), **options)
        return report["people"], (tmp_path / "out/person/anna.jpg").read_bytes()

    with pytest.raises(ValueError, match="no garment has the name anna"):
        prepare()
    garment = photos / "garment/anna.png"
    names, first = prepare(garment=garment)
    assert names == ["anna"] and prepare(garment=garment)[1] == first
    names, second = prepare(garment=garment, person=photos / "person/ben.png")
    assert second != first
    with pytest.raises(ValueError, match="anna is prepared for train already"):
        prepare_photographs(people, tmp_path / "out", preparation(), layout="pairs", split="test")
    prepare_photographs(
        [people[0]._replace(name="other", garment=garment)], tmp_path / "out", preparation(),
        layout="pairs", split="test", size=(128, 96), previews=False,
    )  # fmt: skip


def test_a_table_of_pairs(wardrobe, tmp_path):
    out = tmp_path / "out"
    report = prepare_folder(wardrobe, out, preparation(), layout="pairs", size=(128, 96))
    assert report["people"] == ["anna", "ben", "cleo", "anna__ben", "ben__cleo", "cleo__anna"]
    data = PairListDataset(data_root=str(out), size=None, maps=ALL)
    assert "all" in data.verify() and len(data) == 6
    assert all(agreed(data[i]) for i in range(6))
    report = diagnose(out, quiet=True)
    assert not [f for f in report.findings if f.level == "error"], report.findings


def test_what_does_not_fit_is_said(wardrobe, tmp_path):
    with pytest.raises(ValueError, match="is for upper_body: use dresscode or pairs"):
        prepare_folder(wardrobe, tmp_path / "out", preparation(), size=(128, 96))
    table = wardrobe / "twice.csv"
    table.write_text("person,garment\n" + 3 * "person/anna.png,garment/ben.png\n")
    with pytest.raises(ValueError, match=r"line 4: anna\.png with ben\.png has the name of"):
        prepare_folder(table, tmp_path / "out", preparation())


def test_folders_of_categories(photos, tmp_path):
    for category in ("lower_body", "dresses"):
        shutil.copytree(photos, tmp_path / "kinds" / category)
    report = prepare_folder(
        tmp_path / "kinds", tmp_path / "out", preparation(), layout="pairs", size=(128, 96)
    )
    assert "ben" in report["people"] and "ben__dresses" in report["people"]
    assert set(report["refused"]) == {"nobody", "nobody__dresses"}


@pytest.mark.parametrize("labels", ["lip", "atr"])
def test_maps_of_other_programs(photos, tmp_path, labels):
    """Parse and DensePose files by the photograph's name."""
    maps = tmp_path / "maps"
    maps.mkdir()
    parse = np.zeros((128, 96), np.uint8)
    parse[30:70, 20:76] = 5 if labels == "lip" else 4  # upper clothes
    parts = np.zeros((64, 48), np.uint8)
    parts[20:40, 10:40] = 2
    for name in ("anna", "ben"):
        Image.fromarray(parse).save(maps / f"{name}_parse.png")
        np.savez(maps / f"{name}.npz", labels=parts)
    mine = dict(
        parse=dict(type="ParseFiles", folder=str(maps), labels=labels, endings=("_parse.png",)),
        densepose=dict(type="DensePoseFiles", folder=str(maps), endings=(".npz",)),
    )
    how = Preparation(keypoints=OnlyRed(figure()), matte=Middle(), **mine)
    report = prepare_folder(photos, tmp_path / "out", how, size=(128, 96))
    assert report["people"] == ["anna", "ben"] and "no map of cleo" in report["refused"]["cleo"]
    data = VITONHDDataset(data_root=str(tmp_path / "out"), size=None, maps=["parse", "pose"])
    np.testing.assert_array_equal(data[0]["parse"], np.where(parse > 0, 5, 0))
    seen = densepose_labels(data[0]["pose"])
    assert (seen == parts.repeat(2, 0).repeat(2, 1)).mean() > 0.99  # JPEG's edges


@ESTIMATORS.register_module(force=True)
class OnlyRedPreparation(Preparation):
    """For configs of the tests."""

    calls = 0

    def __init__(self) -> None:
        super().__init__(keypoints=OnlyRed(figure()), matte=Middle())

    def of_files(self, *args, **kwargs):
        type(self).calls += 1
        return super().of_files(*args, **kwargs)


def test_a_table_without_map_columns(photos):
    rows = [f"person/{name}.png,garment/{name}.png" for name in ("anna", "ben", "nobody")]
    (photos / "pairs.csv").write_text("\n".join(["person,garment", *rows]) + "\n")
    options = dict(
        data_root=str(photos), size=None, categories=["upper_body"],
        prepare=dict(type="OnlyRedPreparation"),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"1 of 3 people cannot be prepared: nobody .*nobody is"):
        PairListDataset(**options)
    before = OnlyRedPreparation.calls
    data = PairListDataset(**options, missing="skip")
    assert OnlyRedPreparation.calls == before + 1  # the one refused: the others are kept
    assert len(data) == 2
    assert set(data[0]) >= {"mask", "agnostic", "pose", "garment_mask"}
    assert 0.02 < data[0]["mask"].mean() < 0.8
    built = PairListDataset(
        **options, missing="skip", build_mask=dict(), maps=["mask", "worn_mask", "keypoints"]
    )
    assert built[0]["worn_mask"].any()
    (photos / "prepared/settings.json").write_text("{}")
    with pytest.raises(ValueError, match="were made with other settings"):
        PairListDataset(**options)


def test_maps_are_of_the_photograph_that_is_there(photos):
    """Another picture under an old name, and one name in two folders."""
    for folder, name in (("train", "anna"), ("test", "ben")):
        (photos / folder).mkdir()
        shutil.copy(photos / f"person/{name}.png", photos / folder / "001.png")
        (photos / f"{folder}.csv").write_text(
            f"person,garment\n{folder}/001.png,garment/anna.png\n"
        )
    options = dict(data_root=str(photos), size=None, categories=["upper_body"], maps=["mask"])
    options |= dict(prepare=dict(type="OnlyRedPreparation"))

    def made(folder: str) -> int:
        """How many photographs maps were made of; each data set can be read."""
        before = OnlyRedPreparation.calls
        assert PairListDataset(**options, split=folder, pairs=f"{folder}.csv")[0]["mask"].any()
        return OnlyRedPreparation.calls - before

    assert [made("train"), made("test"), made("train"), made("test")] == [1, 1, 0, 0]
    assert len(list((photos / "prepared/mask").iterdir())) == 2
    os.utime(photos / "train/001.png")  # touched, and still the same
    assert made("train") == 0
    shutil.copy(photos / "person/ben.png", photos / "train/001.png")
    assert [made("train"), made("train"), made("test")] == [1, 0, 0]


def test_the_command_with_estimators_of_a_config(wardrobe, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from tools import prepare

    config = tmp_path / "mine.py"
    config.write_text('preparation = dict(type="OnlyRedPreparation")\n')
    argv = [str(wardrobe / "pairs.csv"), "--out", str(tmp_path / "out"), "--layout", "pairs"]
    assert prepare.main([*argv, "--preparation", str(config), "--size", "128", "96"]) == 0
    assert "6 people prepared, 0 refused, 0 uncertain" in capsys.readouterr().out
    assert len(list((tmp_path / "out/previews").iterdir())) == 6
    config.write_text("preparations = 3\n")
    with pytest.raises(ValueError, match=r"mine\.py has no `preparation = dict"):
        prepare.main([*argv, "--preparation", str(config)])
    with pytest.raises(FileNotFoundError, match=r"gone\.py does not exist"):
        prepare.main([*argv, "--preparation", str(tmp_path / "gone.py")])


def test_other_settings_and_lost_files_are_prepared_again(photos, tmp_path):
    out = tmp_path / "out"
    mask, parse = (out / p for p in ("train/agnostic-mask/ben_mask.png", "train/image-parse-v3"))

    def marked(size=(128, 96), **settings) -> int:
        prepare_folder(photos, out, preparation(**settings), size=size)
        return int((np.array(Image.open(mask)) > 0).sum())

    tight = marked()
    assert marked(build_mask=dict(dilation=0.08)) > 1.2 * tight
    assert marked(size=(100, 75)) < 0.8 * tight
    (parse / "ben.png").unlink()
    marked(size=(100, 75))
    assert (parse / "ben.png").is_file()
    with pytest.raises(ValueError, match=r"in the layout vitonhd, not pairs: give another --out"):
        prepare_folder(photos, out, preparation(), layout="pairs", size=(128, 96))
    assert not (out / "pairs.csv").exists()
