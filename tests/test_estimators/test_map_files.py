"""DensePose's and parsers' files in every form that they come in."""

import pickle

import numpy as np
import pytest
from estimators_figure import photograph
from PIL import Image

from vtonlab.estimators import Preparation, PreparationError
from vtonlab.estimators.map_files import DensePoseFiles, ParseFiles, fitted_labels, read_parts
from vtonlab.ops.labels import densepose_picture


@pytest.fixture(scope="module")
def parts():
    labels = np.zeros((64, 48), np.uint8)
    for part in range(1, 25):
        row, column = divmod(part - 1, 4)
        labels[10 * row + 2 : 10 * row + 10, 11 * column + 2 : 11 * column + 12] = part
    return labels


def iuv(parts):
    rng = np.random.default_rng(0)
    uv = rng.integers(0, 256, (*parts.shape, 2), np.uint8) * (parts > 0)[..., None]
    return np.concatenate([parts[..., None], uv], -1)


@pytest.mark.parametrize(
    "name, write",
    [
        ("a_IUV.png", lambda p, path: Image.fromarray(iuv(p)).save(path)),
        ("a_IUV.png", lambda p, path: Image.fromarray(iuv(p)[..., ::-1]).save(path)),  # OpenCV's
        ("a.png", lambda p, path: Image.fromarray(p).save(path)),
        ("a.png", lambda p, path: Image.fromarray(densepose_picture(p)).save(path)),
        ("a.npy", lambda p, path: np.save(path, p.astype(np.int64))),
        ("a.npy", lambda p, path: np.save(path, np.moveaxis(iuv(p), -1, 0))),
        ("a.npy", lambda p, path: np.save(path, iuv(p))),
        ("a.npz", lambda p, path: np.savez(path, labels=p, uv=np.zeros((2, *p.shape)))),
    ],
)
def test_each_form_gives_the_parts(parts, tmp_path, name, write):
    write(parts, tmp_path / name)
    files = DensePoseFiles(folder=str(tmp_path))
    np.testing.assert_array_equal(files.read(files.find("a")), parts)


def test_a_palette_of_any_colours_over_the_numbers(parts, tmp_path):
    image = Image.fromarray(parts)
    image.putpalette(np.random.default_rng(0).integers(100, 256, 768, np.uint8).tobytes())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_parts(tmp_path / "a.png"), parts)


def test_a_lossy_rendering(parts, tmp_path):
    large = parts.repeat(4, 0).repeat(4, 1)
    Image.fromarray(densepose_picture(large)).save(tmp_path / "a.jpg", quality=95)
    assert (read_parts(tmp_path / "a.jpg") == large).mean() > 0.95  # but for the blocks' edges


def test_a_pickle_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Trap()))
    files = DensePoseFiles(folder=str(tmp_path))
    with pytest.raises(ValueError, match=r"a\.pkl is a pickle, which can run any code.*\.npz"):
        files.read(files.find("a"))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "name, array, said",
    [
        ("a.npy", np.zeros((64, 48)), "shows nobody"),
        ("a.npy", np.full((64, 48), 25), "parts up to 25"),
        ("a.npy", np.ones(5), r"holds float64 \(5,\)"),
        ("a.png", np.random.default_rng(0).integers(30, 256, (64, 48, 3), np.uint8), "neither"),
    ],
)
def test_what_is_no_densepose_is_said(tmp_path, name, array, said):
    if name.endswith("npy"):
        np.save(tmp_path / name, array)
    else:
        Image.fromarray(array).save(tmp_path / name)
    with pytest.raises(ValueError, match=rf"a\.\w+ .*{said}"):
        read_parts(tmp_path / name)
    np.savez(tmp_path / "b.npz", parts=np.ones((4, 4)))
    with pytest.raises(ValueError, match="has no array 'labels', but parts"):
        read_parts(tmp_path / "b.npz")


def test_files_are_found_by_name_and_fit_their_photograph(parts, tmp_path):
    np.save(tmp_path / "anna.npy", parts)
    prepare = Preparation(densepose=dict(type="DensePoseFiles", folder=str(tmp_path)))
    pose = prepare(photograph(), maps=["pose"], name="anna").pose
    np.testing.assert_array_equal(pose, densepose_picture(parts.repeat(2, 0).repeat(2, 1)))
    with pytest.raises(PreparationError, match="has no map of ben"):
        prepare(photograph(), maps=["pose"], name="ben")
    with pytest.raises(ValueError, match="finds its files by the photograph's name"):
        prepare(photograph(), maps=["pose"])
    with pytest.raises(ValueError, match="64x48, its photograph 128x128: it is of another"):
        fitted_labels(parts, (128, 128), tmp_path / "anna.npy")


def test_labels_of_a_parser(tmp_path):
    Image.fromarray(np.full((8, 8), 18, np.uint8)).save(tmp_path / "a.png")
    assert (ParseFiles(folder=str(tmp_path)).read(tmp_path / "a.png") == 18).all()
    with pytest.raises(ValueError, match="holds label 18, but ATR ends at 17"):
        ParseFiles(folder=str(tmp_path), labels="atr").read(tmp_path / "a.png")
    with pytest.raises(ValueError, match="neither 'lip' nor 'atr'"):
        ParseFiles(folder=str(tmp_path), labels="coco")
