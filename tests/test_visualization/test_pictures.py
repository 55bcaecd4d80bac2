"""Pictures of samples, correspondences, flows and attention: values where they can be told."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from vtonlab.structures import Correspondences, FlowField
from vtonlab.visualization import (
    contact_sheet,
    distinct_colors,
    draw_attention,
    draw_attention_flow,
    draw_correspondences,
    draw_flow,
    draw_places,
    draw_sample,
    fit,
    flow_colors,
    flow_wheel,
    grid,
    heat_colors,
    label_colors,
    mark,
    overlay_heat,
    position_chart,
    position_colors,
    sample_tiles,
    save_png,
    tile,
    tint,
    to_picture,
    warp_garment,
)


@pytest.fixture
def sample() -> dict:
    """A cloth of smooth colours, shrunk by two thirds and moved onto a grey person."""
    rng = np.random.default_rng(0)
    garment = cv2.resize(rng.integers(0, 255, (8, 6, 3), dtype=np.uint8), (48, 64))
    person = np.full((64, 48, 3), 120, np.uint8)
    visible = np.zeros((64, 48), bool)
    visible[16:48, 12:36] = True
    y, x = np.mgrid[:64, :48].astype(np.float32) + 0.5
    flow = np.stack([(x - 12) / 24, (y - 16) / 32], -1).clip(0, 1)
    keypoints = np.zeros((25, 3), np.float32)
    keypoints[:8] = np.c_[np.linspace(0.2, 0.8, 8), np.linspace(0.1, 0.9, 8), np.ones(8)]
    field = FlowField(torch.from_numpy(flow), torch.from_numpy(visible))
    mask = visible.astype(np.uint8)
    return dict(
        id="a", garment_id="b", category="upper_body", index=0, position=0,
        person=person, garment=garment, agnostic=person, mask=mask, worn_mask=mask,
        garment_mask=np.ones((64, 48), np.uint8), pose=person, iuv=person, target=person,
        parse=mask * 5, keypoints=keypoints, flow=field,
        correspondences=field.to_correspondences(4),
    )  # fmt: skip


def test_a_page_shows_every_map(sample):
    captions = [text.split(" (")[0] for _, text in sample_tiles(sample)]
    maps = set(sample) - {"id", "garment_id", "category", "index", "position", "correspondences"}
    assert maps <= set(captions)
    page = draw_sample(sample, height=64)
    assert page.dtype == np.uint8 and page.ndim == 3
    bare = {k: sample[k] for k in ("id", "garment_id", "category", "person", "garment")}
    assert draw_sample(bare, height=64).shape[0] < page.shape[0]
    sample["correspondences"] = Correspondences.empty()
    draw_sample(sample, height=64)


def test_contact_sheet_names_what_is_missing(sample):
    sheet = contact_sheet([sample] * 3, ("person", "flow"), height=32, per_row=2)
    assert sheet.shape == (2 * (32 + 22 + 10) + 10, 2 * (48 + 10) + 10, 3)
    with pytest.raises(ValueError, match="has no 'depth'"):
        contact_sheet([sample], ("depth",))


def test_warped_garment_is_the_garment_where_visible(sample):
    warped = warp_garment(sample["garment"], sample["flow"], sample["person"])
    expected = cv2.resize(sample["garment"], (24, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(warped[16:48, 12:36].astype(int) - expected).mean() < 3
    assert (warped[:16] == 120).all()


def test_flow_colours_match_their_key(sample):
    flow = draw_flow(sample["flow"])
    key = draw_places(sample["garment"], sample["garment_mask"])
    point, _ = sample["flow"].sample(torch.tensor([[30.5 / 48, 40.5 / 64]]))
    x, y = (point[0].numpy() * (48, 64)).astype(int)
    assert np.abs(flow[40, 30].astype(int) - key[y, x]).max() <= 8
    assert (flow[0, 0] == 40).all()
    assert len(np.unique(position_chart(20, 20).reshape(-1, 3), axis=0)) == 400


def test_position_colours_at_the_corners():
    corners = position_colors(np.array([[0, 0], [0, 1.0]]))
    assert corners.tolist() == [[235, 64, 72], [62, 92, 222]]


def test_flow_wheel_directions():
    offset = np.array([[[1.0, 0], [-1, 0], [0, 0], [np.nan, 0]]])
    right, left, still, unknown = flow_colors(offset)[0].tolist()
    assert right == [255, 0, 0] and left == [0, 255, 255]
    assert still == [255, 255, 255] and unknown == [128, 128, 128]
    assert (flow_wheel(16)[0, 0] == 255).all()


def test_correspondence_lines_join_their_points():
    person, garment = np.zeros((100, 100, 3), np.uint8), np.zeros((50, 100, 3), np.uint8)
    one = Correspondences(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, 0.5]]))
    page = draw_correspondences(person, garment, one, height=100)
    assert page.shape == (100, 100 + 8 + 200, 3)
    for x in (50, 208):
        assert page[46:54, x - 4 : x + 4].max() > 100  # dots at both ends
    assert page[48:52, 80].max() > 100 and page[:40, :100].max() == 0
    assert draw_correspondences(person, garment, Correspondences.empty()).shape[0] == 384


def test_heat_overlay_keeps_cold_places():
    image = np.full((32, 24, 3), 200, np.uint8)
    heat = np.zeros((4, 3))
    heat[1, 2] = 0.7
    over = overlay_heat(image, heat, smooth=False)
    assert (over[24:] == 200).all() and (over[8:16, 16:] != 200).any(-1).all()
    assert heat_colors(heat)[1, 2].argmax() == 0  # the most is red
    assert (overlay_heat(image, np.zeros((4, 3))) == 200).all()


def test_attention_page(sample):
    probs = np.eye(12)
    page = draw_attention(
        sample["person"], sample["garment"], probs, (4, 3), (4, 3),
        truth=sample["correspondences"], count=3, height=64,
    )  # fmt: skip
    assert page.shape == (64 + 22 + 12, 4 * (48 + 6) + 6, 3)
    with pytest.raises(ValueError, match="does not fit"):
        draw_attention(sample["person"], sample["garment"], probs, (4, 4), (4, 3))
    dark = draw_attention_flow(np.zeros((12, 2)), (4, 3), np.arange(12) > 0)
    assert (dark[0, 0] == 40).all() and dark[0, 1].tolist() == [235, 64, 72]


def test_marks_lie_where_asked():
    image = np.zeros((80, 80, 3), np.uint8)
    for shape in ("ring", "dot", "cross"):
        y, x = np.nonzero(mark(image, (0.25, 0.75), (255, 0, 0), shape)[..., 0])
        assert abs(x.mean() - 19.5) < 0.6 and abs(y.mean() - 59.5) < 0.6
    with pytest.raises(ValueError, match="ring, dot or cross"):
        mark(image, (0, 0), (0, 0, 0), "square")


def test_pages_refuse_what_they_cannot_show():
    with pytest.raises(ValueError, match="uint8"):
        to_picture(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="one size"):
        grid([np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)], 2)
    with pytest.raises(ValueError, match="differ in size"):
        tint(np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4)))


def test_fit_keeps_aspect_and_tint_keeps_the_rest():
    page = fit(np.zeros((10, 20, 3), np.uint8), 40, 40)
    assert (page[10:30] == 0).all() and (page[:10] > 200).all()
    tinted = tint(np.full((8, 8, 3), 90, np.uint8), np.eye(8))
    assert (tinted[np.eye(8) == 0] == 90).all() and (tinted[np.eye(8) == 1] != 90).any()
    assert tile(page, "a caption far too long for this", 30, 30).shape == (52, 30, 3)


def test_label_colours_and_distinct_colours():
    assert label_colors(np.array([[5, 200]])).tolist() == [[[254, 85, 0], [255, 255, 255]]]
    assert len(np.unique(distinct_colors(12), axis=0)) == 12


def test_png_round_trip(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    save_png(tmp_path / "new" / "a.png", image)
    assert np.array_equal(np.array(Image.open(tmp_path / "new" / "a.png")), image)
