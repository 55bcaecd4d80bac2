"""Names, lists and masks as people bring them: each is read, or told in a sentence that helps."""

import unicodedata

import numpy as np
import pytest
from mmengine.logging import MMLogger
from PIL import Image

from vtonlab.datasets import PairListDataset
from vtonlab.datasets.readers.lists import read_pairs, read_records
from vtonlab.datasets.readers.reading import MaskFiles, mask_of

SIZE = (40, 30)


@pytest.fixture
def told(monkeypatch):
    """What was logged as a warning."""
    said = []
    monkeypatch.setattr(
        "vtonlab.datasets.readers.files.print_log",
        lambda text, level=20, **_: said.append(text) if level >= 30 else None,
    )
    monkeypatch.setattr(
        "vtonlab.datasets.readers.reading.print_log", lambda text, **_: said.append(text)
    )
    MMLogger.get_current_instance()
    return said


def picture(path, value=90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), value, np.uint8)).save(path)


def mask(path, marked=True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    plane = np.zeros(SIZE, np.uint8)
    plane[15:30, 8:20] = 255 * marked
    Image.fromarray(plane).save(path)


def table(root, text: str, name="pairs.csv", encoding="utf-8") -> None:
    (root / name).write_bytes(text.encode(encoding))


def dataset(root, **settings) -> PairListDataset:
    settings = dict(categories=["upper_body"], maps=["mask"], size=SIZE) | settings
    return PairListDataset(data_root=str(root), **settings)


# names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed, stored", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_of_a_mac_are_the_same_name(tmp_path, listed, stored):
    name = "Zoë"
    for folder in ("people", "shop"):
        picture(tmp_path / folder / f"{unicodedata.normalize(stored, name)}.jpg")
    mask(tmp_path / "masks" / f"{unicodedata.normalize(stored, name)}.png")
    wanted = unicodedata.normalize(listed, name)
    table(
        tmp_path,
        f"person,garment,mask\npeople/{wanted}.jpg,shop/{wanted}.jpg,masks/{wanted}.png\n",
    )
    assert dataset(tmp_path)[0]["mask"].sum() == 15 * 12


def test_accents_in_the_folders_of_a_layout(tmp_path, trees):
    from vtonlab.datasets.readers.layout import Place, scan

    picture(tmp_path / "image" / (unicodedata.normalize("NFD", "Zoë") + ".JPG"))
    folder = scan(tmp_path, Place(("image",)), tmp_path)
    found = folder.find(Place(("image",)), unicodedata.normalize("NFC", "Zoë"))
    assert found is not None and found.is_file()


def test_one_name_in_two_formats_is_told(tmp_path, told):
    from small_vitonhd import write_tree

    from vtonlab.datasets import VITONHDDataset

    root = write_tree(tmp_path / "data")
    first = sorted((root / "train/image").iterdir())[0]
    Image.open(first).save(first.with_suffix(".png"))
    (root / "train/image" / f"._{first.name}").write_bytes(b"a Mac's notes")
    VITONHDDataset(data_root=str(root), size=(64, 48))
    (text,) = [t for t in told if "pictures twice" in t]
    assert f"{first.stem}.jpg is read, {first.stem}.png is not" in text


# lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_lists_of_excel_and_notepad(tmp_path, encoding):
    table(tmp_path, "a.jpg b.jpg\nc.jpg d.jpg\n", "pairs.txt", encoding)
    assert read_pairs(tmp_path / "pairs.txt") == [("a", "b"), ("c", "d")]


def test_utf_16_without_its_mark_is_named(tmp_path):
    table(tmp_path, "a.jpg b.jpg\n", "pairs.txt", "utf-16-le")
    with pytest.raises(ValueError, match="is not a text file in UTF-8"):
        read_pairs(tmp_path / "pairs.txt")


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.txt"])
def test_semicolons_separate(tmp_path, name):
    table(tmp_path, "person;garment;category\na b.jpg;c,d.jpg;upper_body\n", name)
    (record,) = read_records(tmp_path / name)
    assert record["person"] == "a b.jpg" and record["garment"] == "c,d.jpg"


def test_names_with_blanks_between_blanks_suggest_tabs(tmp_path):
    table(tmp_path, "anna.jpg dress.jpg\nred dress.jpg blue.jpg\n", "pairs.txt")
    with pytest.raises(ValueError, match=r"line 2 has 'red' before .*need tabs"):
        read_pairs(tmp_path / "pairs.txt")
    table(tmp_path, "red dress.jpg\tblue.jpg\n", "tabs.txt")
    assert read_pairs(tmp_path / "tabs.txt") == [("red dress", "blue")]


def rows(tmp_path, pairs) -> None:
    lines = ["person,garment,mask"]
    for person, garment in pairs:
        picture(tmp_path / "people" / person)
        picture(tmp_path / "shop" / garment)
        mask(tmp_path / "masks/m.png")
        lines.append(f"people/{person},shop/{garment},masks/m.png")
    table(tmp_path, "\n".join(lines) + "\n")


ROTATED = {
    "same names": [("a.jpg", "b.jpg"), ("b.jpg", "c.jpg"), ("c.jpg", "a.jpg")],
    "endings": [("a_person.jpg", "b_shirt.jpg"), ("b_person.jpg", "a_shirt.jpg")],
}
IN_PLACE = {
    "same names": [("a.jpg", "a.jpg"), ("b.jpg", "b.jpg")],
    "endings": [("a_person.jpg", "a_shirt.jpg"), ("b_person.jpg", "b_shirt.jpg")],
    "names of nobody": [("a.jpg", "dress1.jpg"), ("b.jpg", "dress2.jpg")],
    "one row": [("a.jpg", "b.jpg")],
}


@pytest.mark.parametrize("kind", ROTATED)
def test_a_rotated_list_is_told(tmp_path, told, kind):
    from vtonlab.doctor import diagnose

    rows(tmp_path, ROTATED[kind])
    dataset(tmp_path)
    assert any("have another row's person's" in text for text in told)
    assert "list-rotated" in {f.code for f in diagnose(tmp_path, quiet=True).findings}
    told.clear()
    dataset(tmp_path, split="test", setting="unpaired")
    assert not told


@pytest.mark.parametrize("kind", IN_PLACE)
def test_other_lists_are_not(tmp_path, told, kind):
    rows(tmp_path, IN_PLACE[kind])
    dataset(tmp_path)
    assert not told


def test_maps_without_columns_speak_of_columns(tmp_path):
    picture(tmp_path / "a.jpg")
    table(tmp_path, "person,garment\na.jpg,a.jpg\n")
    with pytest.raises(FileNotFoundError, match=r"has no column 'parse'") as error:
        dataset(tmp_path)
    assert "folder" not in str(error.value) and "prepare=" in str(error.value)


# masks ----------------------------------------------------------------------------------------

FAULTS = {
    "empty": (np.zeros(SIZE, np.uint8), "black all over"),
    "full": (np.ones(SIZE, np.uint8), "white all over"),
    "inverted": (None, "white all around and black within"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_masks_that_hide_nothing_or_all_are_told_once_and_refused_by_strict(tmp_path, told, fault):
    plane, said = FAULTS[fault]
    if plane is None:
        plane = np.ones(SIZE, np.uint8)
        plane[15:30, 8:20] = 0
    picture(tmp_path / "a.jpg")
    Image.fromarray(plane * 255).save(tmp_path / "m.png")
    table(tmp_path, "person,garment,mask\na.jpg,a.jpg,m.png\n")
    data = dataset(tmp_path)
    data[0], data[0]
    (text,) = [t for t in told if "m.png" in t]
    assert said in text
    with pytest.raises(ValueError, match=said):
        dataset(tmp_path, mask_files=dict(strict=True))[0]


def test_strict_does_not_change_what_masks_are():
    assert MaskFiles(strict=True).meaning == MaskFiles().meaning


@pytest.mark.parametrize("blur", [1, 2, 3])
def test_small_masks_with_soft_edges_are_masks(tmp_path, blur):
    import cv2

    plane = np.zeros((256, 192), np.uint8)
    plane[60:200, 40:150] = 255
    for x in range(45, 150, 15):  # fingers: much edge
        plane[200:240, x : x + 8] = 255
    feathered = cv2.GaussianBlur(plane, (0, 0), blur)
    soft = cv2.resize(feathered, (96, 128), interpolation=cv2.INTER_AREA)
    half = cv2.resize(plane, (96, 128), interpolation=cv2.INTER_AREA)
    found = mask_of(soft, tmp_path / "m.png")
    # blurring rounds fingers off, half sizes keep areas: all but the edges agree
    edge = (np.abs(soft.astype(int) - 128) < 120) | (np.abs(half.astype(int) - 128) < 120)
    assert np.array_equal(found[~edge], (half > 127)[~edge])


def test_grey_pictures_are_no_masks(tmp_path):
    rng = np.random.default_rng(0)
    agnostic = np.full((128, 96), 255, np.uint8)
    agnostic[30:100, 20:70] = 128
    photo = np.clip(rng.normal(128, 50, (128, 96)), 0, 255).astype(np.uint8)
    ramp = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (128, 1))
    for plane in (agnostic, photo, ramp):
        with pytest.raises(ValueError, match="is no mask"):
            mask_of(plane, tmp_path / "m.png")
