"""A folder of plain photographs becomes a data set that the reader and the doctor know."""

import json

import numpy as np
import pytest
from estimators_figure import Middle, Told, figure, photograph
from PIL import Image

from vtonlab.datasets import PairListDataset, VITONHDDataset
from vtonlab.doctor import diagnose
from vtonlab.estimators import Preparation
from vtonlab.estimators.folder import prepare_folder
from vtonlab.registry import ESTIMATORS


class OnlyRed(Told):
    """Finds a figure where the shirt is red, else nobody."""

    def __call__(self, picture):
        return super().__call__(picture) if picture[50, 48, 0] > 100 else []


def preparation() -> Preparation:
    return Preparation(keypoints=OnlyRed(figure()), matte=Middle())


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
