"""SIFTMatcher: right on known geometry, moves with its pictures, works without any parsing."""

import numpy as np
import pytest
import torch

from vtonlab.matchers.sift import Features
from vtonlab.registry import MATCHERS
from vtonlab.structures import Correspondences

cv2 = pytest.importorskip("cv2")

SIZE = (512, 384)


def texture(seed=0, size=SIZE):
    """A garment-like print: coloured blobs and lines at several scales."""
    rng = np.random.default_rng(seed)
    image = np.full((*size, 3), 90, np.uint8)
    for _ in range(160):
        x, y = rng.integers(0, size[1]), rng.integers(0, size[0])
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        axes = (int(rng.integers(3, 22)), int(rng.integers(3, 14)))
        cv2.ellipse(image, (int(x), int(y)), axes, int(rng.integers(180)), 0, 360, colour, -1)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def matcher(**settings):
    return MATCHERS.build(dict(type="SIFTMatcher", **settings))


AFFINE = np.array([[0.85, 0.1, 20.0], [-0.08, 0.9, 40.0]])


@pytest.fixture(scope="module")
def pair():
    garment = texture()
    person = cv2.warpAffine(garment, AFFINE, SIZE[::-1], borderValue=(120, 110, 100))
    return person, garment


def errors(matches):
    person, garment = matches.to_pixels(SIZE, SIZE)
    garment = np.c_[garment.numpy(), np.ones(len(matches))]
    return np.linalg.norm(garment @ AFFINE.T - person.numpy(), axis=1)


def table(matches):
    return set(
        map(
            tuple,
            torch.cat([matches.person_points, matches.garment_points], 1)
            .round(decimals=3)
            .tolist(),
        )
    )


def test_matches_follow_the_known_affine(pair):
    matches = matcher()(*pair)
    assert len(matches) > 150 and (errors(matches) < 3).mean() > 0.98
    assert (matches.scores == 1).all()


def test_pictures_of_any_two_sizes(pair):
    person, garment = pair
    small, large = cv2.resize(person, (300, 400)), cv2.resize(garment, (768, 1024))
    matches = matcher()(small, large)
    assert len(matches) > 80 and (errors(matches) < 4).mean() > 0.95
    own_size = matcher(size=None, max_scale_ratio=None)(small, large)
    assert len(own_size) > 40 and (errors(own_size) < 5).mean() > 0.9


def test_same_seed_same_matches_and_settings_matter(pair):
    a, b = matcher()(*pair), matcher()(*pair)
    assert torch.equal(a.person_points, b.person_points)
    assert torch.equal(a.garment_points, b.garment_points)
    assert len(matcher(ratio=0.5)(*pair)) < len(a)
    assert len(matcher(ransac_threshold=0.2)(*pair)) < len(a)


def found_again(matches: Correspondences, pictures) -> Correspondences:
    """Those whose two ends are keypoints of ``pictures``: what the detector itself did not lose."""
    kept = torch.ones(len(matches), dtype=torch.bool)
    sizes = [x.shape[:2] for x in pictures]
    for points, image in zip(matches.to_pixels(*sizes), pictures, strict=True):
        keypoints = torch.from_numpy(Features(cv2.SIFT_create(), image).xy).float()
        kept &= torch.cdist(points.float(), keypoints).amin(1) < 0.75
    return matches.subset(kept)


def agreement(a: Correspondences, b: Correspondences, sizes, tolerance=1.0) -> float:
    """Share of ``a`` that has a partner in ``b`` within ``tolerance`` pixels on both sides."""
    (pa, ga), (pb, gb) = a.to_pixels(*sizes), b.to_pixels(*sizes)
    near = torch.cdist(pa, pb).maximum(torch.cdist(ga, gb)) < tolerance
    return near.any(1).float().mean().item()


@pytest.mark.parametrize("person", [True, False])
@pytest.mark.parametrize("garment", [True, False])
def test_flipping_pictures_flips_matches(pair, person, garment):
    """Both mirrored: the same pairs. One alone is another garment: SIFT knows no mirror image."""
    moved = [
        np.ascontiguousarray(x[:, ::-1]) if flip else x
        for x, flip in zip(pair, (person, garment), strict=True)
    ]
    straight, mirrored = matcher()(*pair), matcher()(*moved)
    back = mirrored.hflip(person, garment)
    if person != garment:
        assert len(mirrored) < 0.2 * len(straight)
        return
    again = found_again(straight.hflip(person, garment), moved).hflip(person, garment)
    assert len(again) > 0.7 * len(straight) > 100
    assert agreement(again, back, (SIZE, SIZE)) > 0.93
    again = found_again(back, pair)
    assert len(again) > 0.7 * len(back) > 100
    assert agreement(again, straight, (SIZE, SIZE)) > 0.93
    assert (errors(back) < 3).mean() > 0.98


def test_cropping_pictures_crops_matches(pair):
    top, left, h, w = 64, 48, 384, 288
    box = (left / 384, top / 512, (left + w) / 384, (top + h) / 512)
    moved = [np.ascontiguousarray(x[top : top + h, left : left + w]) for x in pair]
    sizes = ((h, w), (h, w))
    cropped = matcher(size=None)(*moved)
    expected = matcher(size=None)(*pair).crop(person=box, garment=box)
    again = found_again(expected, moved)
    assert len(again) > 0.8 * len(expected) > 60
    assert agreement(again, cropped, sizes) > 0.93
    assert agreement(cropped, expected, sizes) > 0.8  # a crop has fewer rivals: more pass Lowe


def test_report_accounts_for_every_candidate(pair):
    report = matcher().explain(*pair)
    counts = report.counts
    filters = [n for n in counts if n not in ("candidates", "matches") and "keypoints" not in n]
    assert filters == ["ratio", "angle", "scale", "colour", "duplicate", "homography", "too_few"]
    assert counts["candidates"] - sum(counts[n] for n in filters) == counts["matches"]
    assert counts["matches"] == len(report.matches)
    assert all(len(report.removed[n]) == counts[n] for n in filters)


def test_skipped_filters_are_not_in_the_report(pair):
    counts = matcher(max_angle=None, max_scale_ratio=None, colour=None).explain(*pair).counts
    assert not {"angle", "scale", "colour"} & set(counts)


def test_masks_limit_both_sides_without_parsing(pair):
    person_mask = np.zeros(SIZE, np.uint8)
    person_mask[100:300, 100:300] = 1
    garment_mask = np.zeros(SIZE, np.uint8)
    garment_mask[:, :250] = 255
    matches = matcher()(*pair, person_mask, garment_mask)
    person, garment = (x.round().long() for x in matches.to_pixels(SIZE, SIZE))
    assert len(matches) > 20 and (errors(matches) < 3).mean() > 0.98
    assert person_mask[person[:, 1], person[:, 0]].all()
    assert garment_mask[garment[:, 1], garment[:, 0]].all()


def parts_case(pair, lossless):
    from vtonlab.ops.labels import densepose_palette

    palette = densepose_palette().astype(np.uint8)
    person, garment = pair
    pose, parse = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint8)
    pose[:, 130:260], parse[:, 130:260] = palette[2], 5
    pose[:, :130], parse[:, :130] = palette[16], 22
    pose[:, 260:], parse[:, 260:] = palette[21], 21
    if not lossless:
        pose = cv2.imdecode(cv2.imencode(".jpg", pose)[1], cv2.IMREAD_COLOR)
    return person, garment, pose, parse


@pytest.mark.parametrize("lossless", [True, False])
def test_parts_match_only_their_own_part(pair, lossless):
    person, garment, pose, parse = parts_case(pair, lossless)
    matches = matcher()(person, garment, pose=pose, garment_parse=parse)
    assert len(matches) > 60
    edges = torch.tensor([130.0, 260.0])
    sides = [torch.bucketize(x[:, 0].contiguous(), edges) for x in matches.to_pixels(SIZE, SIZE)]
    far = ((matches.to_pixels(SIZE, SIZE)[1][:, :1] - edges).abs() > 3).all(1)
    assert (sides[0] == sides[1])[far].float().mean() > 0.97
    assert set(sides[0].tolist()) == {0, 1, 2}


def test_parts_stay_within_the_person_mask_and_iuv_works_too(pair):
    person, garment, _, parse = parts_case(pair, True)
    iuv = np.zeros((*SIZE, 3), np.uint8)
    iuv[:, 130:260, 0] = 2
    mask = np.zeros(SIZE, np.uint8)
    mask[:256] = 1
    points = matcher()(person, garment, mask, iuv=iuv, garment_parse=parse).person_points
    assert len(points) > 10 and points[:, 1].max() < 0.52
    assert (points[:, 0] > 0.32).all() and (points[:, 0] < 0.7).all()


def test_pose_alone_falls_back_to_one_region_and_still_matches(pair):
    person, garment, pose, _ = parts_case(pair, True)
    assert table(matcher()(person, garment, pose=pose)) == table(matcher()(person, garment))


def test_densepose_palette_has_the_published_red_values():
    from vtonlab.ops.labels import densepose_labels, densepose_palette

    red = densepose_palette()[:, 0]
    assert red[2] == 20
    assert red[[16, 18, 20, 22]].tolist() == [170, 216, 240, 251]
    assert red[[15, 17, 19, 21]].tolist() == [145, 192, 228, 252]
    rendering = densepose_palette().astype(np.uint8)[None]
    assert densepose_labels(rendering).tolist() == [list(range(25))]


@pytest.mark.parametrize("fill", [0, 255, 128])
def test_plain_pictures_give_none(fill):
    plain = np.full((*SIZE, 3), fill, np.uint8)
    assert len(matcher()(plain, plain)) == 0
    assert len(matcher()(plain, texture())) == 0 == len(matcher()(texture(), plain))
    assert matcher().explain(plain, plain).counts["matches"] == 0


def test_empty_masks_give_none(pair):
    assert len(matcher()(*pair, np.zeros(SIZE, np.uint8), np.ones(SIZE, np.uint8))) == 0


def test_small_samples_take_the_simple_checks(pair):
    report = matcher(min_ransac=10_000).explain(*pair)
    assert {"line_angle", "neighbour_person", "neighbour_garment"} <= set(report.counts)
    assert "homography" not in report.counts


def test_errors_say_what_is_wrong(pair):
    person, garment = pair
    with pytest.raises(ValueError, match="ratio"):
        matcher(ratio=1.5)
    with pytest.raises(ValueError, match="same regions"):
        matcher(person_parts={"torso": (2,)})
    with pytest.raises(ValueError, match=r"garment must be .* uint8 RGB"):
        matcher()(person, garment.astype(np.float32))
    with pytest.raises(ValueError, match="person_mask is 4x4"):
        matcher()(person, garment, np.ones((4, 4)))
    with pytest.raises(ValueError, match="CPU only"):
        matcher().to("cuda")
    with pytest.raises(TypeError, match="unknown"):
        matcher(unknown=1)


def test_inputs_are_left_alone(pair):
    before = [x.copy() for x in pair]
    matcher()(*pair)
    assert all((a == b).all() for a, b in zip(before, pair, strict=True))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "least", "share"), [("H_1_2", 400, 0.98), ("H_1_3", 500, 0.98), ("H_1_4", 40, 0.92)]
)
def test_hpatches(real_data, name, least, share):
    from PIL import Image

    folder = real_data / "hpatches_v_dogman"
    first, other = (np.array(Image.open(folder / f"{k}.ppm")) for k in (1, name[-1]))
    matches = matcher(size=None, ransac_threshold=3.0)(first, other)
    a, b = (x.numpy() for x in matches.to_pixels(first.shape[:2], other.shape[:2]))
    moved = np.c_[a, np.ones(len(a))] @ np.loadtxt(folder / name).T
    close = np.linalg.norm(moved[:, :2] / moved[:, 2:] - b, axis=1) <= 3
    assert len(matches) >= least and close.mean() >= share


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("00470_00", 15, 999),
        ("03751_00", 15, 999),
        ("06123_00", 15, 999),
        ("08348_00", 15, 999),
        ("12562_00", 15, 999),
        ("09290_00", 0, 5),
        ("11028_00", 0, 5),
    ],
)
def test_real_pairs(real_data, name, least, most):
    from PIL import Image

    folder = real_data / "sift_pairs"
    person, garment = (
        np.array(Image.open(folder / k / f"{name}.jpg")) for k in ("person", "cloth")
    )
    assert least <= len(matcher()(person, garment)) <= most
