"""What visitors send: read, unpacked and kept inside their folder, or refused in one sentence."""

import base64
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtonlab.studio.intake import Sent, in_memory, photograph, received, unpack
from vtonlab.studio.masks import canvas, painted
from vtonlab.studio.settings import Settings
from vtonlab.utils.bounded import FileError

LIMITS = Settings(upload_bytes=200_000, pixels=40_000, side=64, files=4)


def png(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(array).save(data, "PNG")
    return data.getvalue()


def sent(folder: Path, **files: bytes) -> list[Sent]:
    found = []
    for name, data in files.items():
        name = name.replace("__", "/").replace("_", ".")
        path = folder / name.replace("/", "-")
        path.write_bytes(data)
        found.append(Sent(name, path))
    return found


def zipped(folder: Path, **members: bytes) -> Sent:
    path = folder / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return Sent("set.zip", path)


def test_a_photograph_comes_at_the_working_size_and_a_larger_one_is_refused(tmp_path):
    (tmp_path / "anna.png").write_bytes(png(np.zeros((128, 96, 3), np.uint8)))
    assert photograph(tmp_path / "anna.png", LIMITS).shape == (64, 48, 3)
    (tmp_path / "wall.png").write_bytes(png(np.zeros((300, 300, 3), np.uint8)))
    with pytest.raises(FileError, match=r"^wall\.png has 300x300 pixels") as told:
        photograph(tmp_path / "wall.png", LIMITS)
    assert str(tmp_path) not in str(told.value)
    with pytest.raises(FileError, match="is too large"):
        in_memory(tmp_path / "wall.png", 10)


def test_only_what_was_uploaded_is_received(tmp_path):
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / "a.jpg").write_bytes(b"a")
    (tmp_path / "secret").write_bytes(b"s")
    (uploads / "link").symlink_to(tmp_path / "secret")
    good = dict(name="x/a.jpg", path=str(uploads / "a.jpg"))
    assert received([good], uploads)[0].name == "x/a.jpg"
    assert received(None, uploads) == []
    hostile = (str(tmp_path / "secret"), str(uploads / "../secret"), str(uploads / "link"))
    for path in (*hostile, "/etc/passwd", str(uploads), "http://localhost/"):
        with pytest.raises(FileError, match="was not uploaded here"):
            received([dict(name="b", path=path)], uploads)
    for value in ([1], [{}], [dict(name=1, path="a")], "text", dict(path="a")):
        with pytest.raises(FileError, match="cannot be read"):
            received(value, uploads)


def test_a_folder_and_a_zip_are_the_same_folder(tmp_path):
    inside = {"viton/image/a.jpg": b"a", "viton/cloth/a.jpg": b"b"}
    for number, files in enumerate(
        (
            sent(tmp_path, viton__image__a_jpg=b"a", viton__cloth__a_jpg=b"b"),
            [zipped(tmp_path, **inside)],
        )
    ):
        target = tmp_path / f"out{number}"
        target.mkdir()
        root = unpack(files, target, LIMITS)
        assert root == target / "viton"
        found = {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*.jpg")}
        assert found == inside


@pytest.mark.parametrize(
    "name", ["../a", "/etc/a", "a/../../b", "..\\a", "C:\\a", "a\0b", "x" * 300, ""]
)
def test_no_name_leaves_the_folder(name, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "file").write_bytes(b"a")
    with pytest.raises(FileError, match=r"lies outside|cannot be unpacked"):
        unpack([Sent(name, tmp_path / "file")], tmp_path / "out", LIMITS)
    assert {p.name for p in tmp_path.iterdir()} == {"out", "file"}
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_archives_are_counted_unpacked(tmp_path):
    (tmp_path / "out").mkdir()
    bomb = zipped(tmp_path, a=bytes(5_000_000))
    assert bomb.path.stat().st_size < 10_000
    with pytest.raises(FileError, match="claims 5000000 bytes"):
        unpack([bomb], tmp_path / "out", LIMITS)
    many = zipped(tmp_path, **{str(n): b"" for n in range(5)})
    with pytest.raises(FileError, match="holds 5 files"):
        unpack([many], tmp_path / "out", LIMITS)
    with pytest.raises(FileError, match="one zip at a time"):
        unpack([many, many], tmp_path / "out", LIMITS)
    with pytest.raises(FileError, match="nothing was uploaded"):
        unpack([], tmp_path / "out", LIMITS)
    assert not list((tmp_path / "out").iterdir())


def uri(layer: np.ndarray) -> dict:
    return dict(painted="data:image/png;base64," + base64.b64encode(png(layer)).decode())


def test_opacity_is_what_was_painted_whatever_its_colour():
    layer = np.zeros((8, 6, 4), np.uint8)
    layer[2:5, 1:4] = (255, 255, 255, 150)  # half clear, as brushes are
    layer[2:5, 4] = (0, 0, 0, 60)  # the soft edge of a stroke
    layer[6] = (9, 9, 9, 0)  # a colour that nobody sees
    mask = painted(uri(layer), (8, 6), 1000)
    assert mask.sum() == 9 and mask[2:5, 1:4].all()
    assert painted(uri(layer), (16, 12), 1000).sum() == 36
    assert painted(uri(np.full((8, 6, 4), 255, np.uint8)), (8, 6), 1000).all()
    assert not painted(uri(np.zeros((8, 6, 4), np.uint8)), (8, 6), 1000).any()


def test_an_area_that_was_left_alone_is_the_one_that_was_made():
    shown = canvas(np.zeros((8, 6, 3), np.uint8), np.ones((8, 6), np.uint8))
    assert painted(shown, (8, 6), 1000) is None and painted(None, (8, 6), 1000) is None
    assert canvas(None, None) is None
    for value in ("javascript:1", "data:image/png;base64,%%%", 7):
        with pytest.raises(FileError, match="painted area"):
            painted(dict(painted=value), (8, 6), 1000)
    with pytest.raises(FileError, match="40x40 pixels"):
        painted(uri(np.zeros((40, 40, 4), np.uint8)), (8, 6), 1000)
