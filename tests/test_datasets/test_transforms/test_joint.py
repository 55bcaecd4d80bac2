"""Everything moves together: the one property that supervision by correspondence stands on."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vtonlab.datasets.readers.reading import Canvas
from vtonlab.datasets.transforms.colour import ColorJitter
from vtonlab.datasets.transforms.joint import (
    PHOTOS,
    DilateMask,
    Pack,
    RandomAffine,
    RandomHFlip,
    Resize,
    hflip,
    move,
)
from vtonlab.registry import TRANSFORMS
from vtonlab.structures.correspondences import apply_affine, unit_affine
from vtonlab.structures.sample import (
    GARMENT_MAPS,
    IUV_MAPS,
    KEYPOINTS,
    LABEL_MAPS,
    MASKS,
    PICTURES,
    check_sample,
    owner,
    truths,
)

MAPS = (*PICTURES, *MASKS, *LABEL_MAPS)
MIRROR = torch.tensor([[-1.0, 0, 1], [0, 1, 0]])
SHIFTED = np.array([[0.97, 0.05, 1.4], [-0.05, 0.97, 2.1]])


def transformed(name: str, sample: dict) -> tuple[dict, torch.Tensor, torch.Tensor]:
    """The moved sample and, derived by hand, where points of person and garment went."""
    still = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    h, w = sample["person"].shape[:2]
    if name == "hflip":
        return hflip(sample), MIRROR, MIRROR
    if name == "resize":
        return Resize(size=(96, 72))(sample), still, still
    if name == "pad":
        # 48x36 on 96x96: 96x72 in the middle, 12 columns of padding on either side.
        padded = torch.tensor([[72 / 96, 0, 12 / 96], [0, 1, 0]])
        return Resize(size=(96, 96))(sample), padded, padded
    # A pixel index i has its centre at (i + 0.5) / n.
    a, t = SHIFTED[:, :2], SHIFTED[:, 2]
    n = np.array([w, h])
    linear = a * n[None, :] / n[:, None]
    offset = (a @ np.array([-0.5, -0.5]) + t + 0.5) / n
    unit = torch.from_numpy(np.concatenate([linear, offset[:, None]], 1))
    if name == "person":
        return move(sample, SHIFTED, target="person"), unit, still
    return move(sample, SHIFTED, target="garment"), still, unit


NAMES = ["hflip", "resize", "pad", "person", "garment"]


@pytest.mark.parametrize("name", NAMES)
def test_transform_then_sample_equals_sample_then_transform(full_sample, name):
    sample = full_sample()
    moved, person, garment = transformed(name, sample)
    points = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    before, seen = sample["flow"].sample(points)
    after, still_seen = moved["flow"].sample(apply_affine(points, person))
    both = seen & still_seen
    assert both.float().mean() > 0.9
    assert (after - apply_affine(before, garment))[both].abs().max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_matches_keep_lying_on_the_flow(full_sample, name):
    moved, person, _ = transformed(name, full_sample())
    matches = moved["correspondences"]
    assert len(matches) > 30
    inner = ((matches.person_points - 0.5).abs() < 0.35).all(1)
    target, seen = moved["flow"].sample(matches.person_points[inner])
    assert (target - matches.garment_points[inner])[seen].abs().max() < 1e-4
    original = full_sample()["correspondences"]
    expected = apply_affine(original.person_points, person)
    distance = (matches.person_points[:, None] - expected).abs().amax(-1).min(1).values
    assert distance.max() < 1e-6


def where(role: str, name: str, person: torch.Tensor, garment: torch.Tensor) -> torch.Tensor:
    """What a transform does to a picture: a shift moves the one that it names, of all others."""
    if role in ("person", "garment"):
        return person if role == "person" else garment
    still = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    return still if name in ("person", "garment") else person


@pytest.mark.parametrize("name", NAMES)
def test_pixels_move_as_points_do(full_sample, name):
    """A mark of one label drawn at a point is found, after the transform, where the point went."""
    sample = full_sample(size=(96, 72))
    for key in MAPS:
        sample[key] = np.zeros_like(sample[key])
        sample[key][39:42, 29:32] = 1 if key in (*MASKS, *LABEL_MAPS, *IUV_MAPS) else 255
    for key in KEYPOINTS:
        sample[key][:] = (30.5 / 72, 40.5 / 96, 1)
    centre = torch.tensor([[30.5 / 72, 40.5 / 96]])
    moved, person, garment = transformed(name, sample)
    size = moved["person"].shape[:2]
    for key in MAPS:
        if key.endswith("pose"):  # its colours are mirrored by meaning, tested elsewhere
            continue
        picture = moved[key].reshape(*size, -1)[..., 0].astype(float)
        if key in PHOTOS:  # drop the white padding
            rows, columns = slice(10, -10), slice(16, -16)
            keep = np.zeros_like(picture)
            keep[rows, columns] = picture[rows, columns]
            picture = np.where(keep > 100, keep, 0)
        y, x = np.nonzero(picture > 0)
        weight = picture[y, x]
        found = np.array([(x + 0.5) @ weight / size[1], (y + 0.5) @ weight / size[0]])
        found /= weight.sum()
        expected = apply_affine(centre, where(owner(key), name, person, garment))[0]
        assert np.abs(found - expected.numpy()).max() < 0.6 / min(size), key
    for key in KEYPOINTS:
        expected = apply_affine(centre, garment if key in GARMENT_MAPS else person)[0].numpy()
        assert np.abs(moved[key][1, :2] - expected).max() < 1e-5


@pytest.mark.parametrize(
    "transform",
    [
        ColorJitter(brightness=0.5, hue=0.2),
        DilateMask(size=0.1),
        Pack(keys=["flow", "correspondences", "keypoints"]),
    ],
)
def test_what_moves_no_pixel_moves_no_point(full_sample, transform):
    sample = full_sample()
    moved = transform(sample)
    for key in ("flow", "correspondences", "keypoints"):
        assert moved[key] is sample[key]


def test_flip_twice_is_identity_for_every_map(full_sample):
    sample = full_sample()
    twice = hflip(hflip(sample))
    for key in (*MAPS, *KEYPOINTS):
        assert np.allclose(twice[key], sample[key], atol=1e-6), key
    for name in ("person_points", "garment_points"):
        assert torch.allclose(
            getattr(twice["correspondences"], name), getattr(sample["correspondences"], name)
        )
    assert torch.allclose(twice["flow"].flow, sample["flow"].flow, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_matches_of_every_reference_follow_its_picture(full_sample, name):
    sample = full_sample()
    moved, person, garment = transformed(name, sample)
    points = torch.rand(300, 2, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    assert [key for key, role in truths(moved) if role == "worn"] == [
        "correspondences_worn", "flow_worn",
    ]  # fmt: skip
    for key, role in truths(moved):
        if key.startswith("flow"):
            before, seen = sample[key].sample(points)
            after, still_seen = moved[key].sample(apply_affine(points, person))
            expected = apply_affine(before, where(role, name, person, garment))
            assert (after - expected)[seen & still_seen].abs().max() < 1e-4, key


@settings(max_examples=25, deadline=None)
@given(
    turn=st.floats(-30, 30),
    factor=st.floats(0.7, 1.4),
    dx=st.floats(-0.2, 0.2),
    dy=st.floats(-0.2, 0.2),
    target=st.sampled_from(["person", "garment"]),
)
def test_any_affine_commutes_with_sampling(turn, factor, dx, dy, target):
    from vtonlab.structures.flow_field import FlowField

    h, w = 48, 36
    y, x = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
    flow = FlowField(
        torch.from_numpy(np.stack([0.2 + 0.5 * x, 0.2 + 0.5 * y], -1)), torch.ones(h, w).bool()
    )
    blank = np.zeros((h, w, 3), np.uint8)
    sample = dict(person=blank, garment=blank, flow=flow)
    angle = np.deg2rad(turn)
    matrix = factor * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = np.array([(w - 1) / 2, (h - 1) / 2])
    matrix = np.concatenate([matrix, (centre - matrix @ centre + [dx * w, dy * h])[:, None]], 1)
    moved = move(sample, matrix, target=target)
    points = torch.rand(200, 2) * 0.5 + 0.25
    before, _ = flow.sample(points)
    unit = unit_affine(matrix, (h, w), (h, w))
    where = apply_affine(points, unit) if target == "person" else points
    expected = before if target == "person" else apply_affine(before, unit)
    margin = 2.0 / w
    inside = ((where > margin) & (where < 1 - margin)).all(1)
    inside &= ((expected > margin) & (expected < 1 - margin)).all(1)
    after, seen = moved["flow"].sample(where)
    smooth = inside & seen & _all_neighbours_visible(moved["flow"], where)
    assert (after - expected)[smooth].abs().max() < 1e-4 if smooth.any() else True


def _all_neighbours_visible(flow, points: torch.Tensor) -> torch.Tensor:
    from vtonlab.structures.correspondences import bilinear_cells

    return flow.visible.reshape(-1)[bilinear_cells(points, flow.size)[0]].all(1)


def test_samples_keep_the_contract(full_sample):
    transforms = [
        RandomHFlip(prob=1.0),
        RandomAffine(target="person", shift=0.2, scale=(0.8, 1.2), rotate=20),
        RandomAffine(target="garment", shift=0.2, scale=(0.8, 1.2), rotate=20),
        ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
        Resize(size=(40, 40)),
    ]
    for seed in range(5):
        sample = full_sample(seed)
        untouched = {key: sample[key].copy() for key in MAPS}
        moved = sample
        for transform in transforms:
            moved = check_sample(transform(moved))
        assert moved["person"].shape == (40, 40, 3) and moved["flow"].size == (40, 40)
        assert set(np.unique(moved["parse"])) <= set(range(20))
        for key, value in untouched.items():
            assert np.array_equal(sample[key], value), f"{key} was changed in place"


def test_random_numbers_come_from_the_sample_alone(full_sample):
    transform = RandomAffine(shift=0.3, rotate=20)
    state = np.random.get_state()[1].copy()
    one, other = (transform(full_sample(3))["person"] for _ in range(2))
    assert np.array_equal(one, other)
    assert np.array_equal(np.random.get_state()[1], state)
    assert not np.array_equal(one, transform(full_sample(4))["person"])


def test_probabilities_are_met(full_sample):
    sample, flip = full_sample(), RandomHFlip(prob=0.3)
    flips = sum(flip(sample) is not sample for _ in range(1000))
    assert 240 < flips < 360
    assert RandomHFlip(prob=0.0)(sample) is sample
    assert RandomAffine(prob=0.0, shift=0.5)(sample) is sample


def test_padding_is_white_for_photographs_and_nothing_for_maps(full_sample):
    sample = full_sample()
    sample["mask"][:] = 1
    padded = Resize(size=(96, 96))(sample)
    for key in ("person", "garment", "agnostic", "target"):
        assert (padded[key][:, :12] == 255).all() and (padded[key][:, -12:] == 255).all()
    for key in ("mask", "parse", "pose", "iuv", "worn_mask", "garment_mask"):
        assert (padded[key][:, :12] == 0).all()
    assert (padded["mask"][:, 12:-12] == 1).all()


@pytest.mark.parametrize("size", [(96, 96), (40, 72), (48, 36), (24, 18)])
def test_undo_puts_a_picture_back(size):
    y, x = np.mgrid[:48, :36]
    picture = np.stack([5 * y, 7 * x, 3 * y + 2 * x], -1).astype(np.uint8)
    canvas = Canvas((48, 36), size)
    back = canvas.undo(canvas.photo(picture))
    assert back.shape == picture.shape
    inner = np.abs(back.astype(int) - picture)[4:-4, 4:-4]
    assert inner.max() <= (0 if size == (48, 36) else 4)


class TestBody:
    @pytest.fixture
    def sample(self, full_sample):
        """A body whose faces are seen at its vertices: one face per vertex, drawn as 3x3 pixels."""
        sample = full_sample(size=(96, 72))
        rng = np.random.default_rng(0)
        body = {}
        for side in ("", "garment_"):
            vertices = np.zeros((6, 3), np.float32)
            vertices[:, 0] = rng.permutation(6) * 8 + 16.5
            vertices[:, 1] = np.arange(6) * 11 + 20.5
            seen = np.full((96, 72), -1, np.int64)
            for face, (x, y, _) in enumerate(vertices.astype(int)):
                seen[y - 1 : y + 2, x - 1 : x + 2] = face
            body |= {f"{side}vertices": vertices, f"{side}visibility": seen}
        sample["body"] = body
        return sample

    @pytest.mark.parametrize("name", ["resize", "pad", "person", "garment"])
    def test_faces_stay_where_their_vertices_are(self, sample, name):
        if name in ("resize", "pad"):
            moved = Resize(size=(192, 144) if name == "resize" else (144, 144))(sample)
        else:
            moved = move(sample, SHIFTED, target=name)
        for side in ("", "garment_"):
            seen = moved["body"][f"{side}visibility"]
            assert seen.shape == moved["person"].shape[:2]
            for face, (x, y, _) in enumerate(moved["body"][f"{side}vertices"]):
                assert seen[int(y), int(x)] == face
                rows, columns = np.nonzero(seen == face)
                centre = (columns.mean() + 0.5, rows.mean() + 0.5)
                assert np.abs(np.array(centre) - (x, y)).max() < 0.8
        untouched = "garment_vertices" if name == "person" else "vertices"
        if name in ("person", "garment"):
            assert moved["body"][untouched] is sample["body"][untouched]

    def test_mirroring_is_refused(self, sample):
        with pytest.raises(ValueError, match="cannot mirror the `body` map"):
            hflip(sample)


class TestDilateMask:
    def test_mask_and_hole_grow_by_the_radius(self, full_sample):
        sample = full_sample()
        sample["mask"][:] = 0
        sample["mask"][20:28, 14:22] = 1
        sample["agnostic"][sample["mask"] == 1] = 128
        moved = DilateMask(size=4 / 48)(sample)
        rows, columns = np.nonzero(moved["mask"])
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 31, 10, 25)
        assert (moved["agnostic"][moved["mask"] == 1] == 128).all()
        still = moved["mask"] == 0
        assert np.array_equal(moved["agnostic"][still], sample["agnostic"][still])
        assert moved["mask"][16, 10] == 0  # a disc, not a square
        assert np.array_equal(DilateMask(size=0.0)(sample)["mask"], sample["mask"])

    def test_ranges_are_drawn(self, full_sample):
        grown = []
        for seed in range(6):
            sample = full_sample(seed)
            sample["mask"][:] = 0
            sample["mask"][24, 18] = 1
            grown.append(DilateMask(size=(0.05, 0.3))(sample)["mask"].sum())
        assert len(set(grown)) > 3 and min(grown) >= 12

    def test_mistakes(self, full_sample):
        sample = full_sample()
        del sample["mask"]
        with pytest.raises(ValueError, match="DilateMask needs the sample's `mask`"):
            DilateMask(size=0.1)(sample)
        with pytest.raises(ValueError, match="share of the height, not 5"):
            DilateMask(size=5)


class TestPack:
    def test_only_what_is_named_travels(self, full_sample):
        packed = Pack(keys=["mask", "agnostic"])(full_sample())
        assert {"mask", "agnostic", "person", "garment", "id", "category"} <= set(packed)
        assert not {"parse", "iuv", "flow", "target", "garment_mask"} & set(packed)
        check_sample(packed)

    def test_what_is_missing_is_named(self, full_sample):
        with pytest.raises(ValueError, match="no 'poes', only"):
            Pack(keys=["poes"])(full_sample())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(type="ColorJitter", hue=(0.2, 0.1)), "least, most"),
        (dict(type="RandomHFlip", prob=1.5), r"prob must lie in \[0, 1\], not 1.5"),
        (dict(type="RandomAffine", target="mask"), "person or garment, not 'mask'"),
        (dict(type="RandomAffine", scale=(1.2, 0.8)), "smallest, largest"),
        (dict(type="RandomAffine", shfit=0.1), "shfit"),
    ],
)
def test_wrong_settings_are_named(config, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TRANSFORMS.build(config)
