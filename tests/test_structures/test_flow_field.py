"""FlowField: an affine flow is known in closed form after every transform."""

import numpy as np
import pytest
import torch

from vtonlab.structures import Correspondences, FlowField, unit_affine
from vtonlab.structures.correspondences import apply_affine, cell_centres

TRUE = torch.tensor([[0.5, 0.1, 0.15], [-0.05, 0.6, 0.2]], dtype=torch.float64)


def affine_field(size=(24, 16), matrix=TRUE):
    h, w = size
    flow = apply_affine(cell_centres(size), matrix).reshape(h, w, 2)
    visible = torch.zeros(size, dtype=torch.bool)
    visible[2:-2, 3:-1] = True
    return FlowField(flow, visible)


def compose(outer, inner):
    full = [torch.eye(3, dtype=torch.float64) for _ in range(2)]
    for f, m in zip(full, (outer, inner), strict=True):
        f[:2] = torch.as_tensor(m)[:2]
    return (full[0] @ full[1])[:2]


def assert_follows(field, matrix, atol=1e-5):
    expected = apply_affine(cell_centres(field.size), matrix).reshape(*field.size, 2)
    assert field.visible.sum() > 20
    assert_close(field.flow[field.visible], expected[field.visible], 1.0 / min(field.size), atol)


def assert_close(found, expected, pixel, atol=1e-5):
    """Exact inside; within one pixel at the rim, where the nearest pixel answers."""
    error = (found - expected).abs().amax(-1)
    assert (error <= atol).float().mean() > 0.75 and error.max() <= pixel


def test_sample_is_exact_on_an_affine_flow():
    field = affine_field((48, 32))
    points = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    target, seen = field.sample(points)
    assert seen.all() and torch.allclose(target, apply_affine(points, TRUE), atol=1e-6)
    target, seen = field.sample(torch.tensor([[0.01, 0.01], [1.2, 0.5]]))
    assert not seen.any() and (target == 0).all()


def test_sample_does_not_blend_across_an_occlusion():
    flow = torch.full((8, 8, 2), 0.1)
    flow[:, 4:] = 0.9
    target, _ = FlowField(flow, torch.ones(8, 8)).sample(torch.rand(100, 2))
    assert (
        torch.isclose(target, torch.tensor(0.1))
        .logical_or(torch.isclose(target, torch.tensor(0.9)))
        .all()
    )


def test_hflip_commutes_with_its_correspondences():
    field = affine_field()
    for sides in ({}, {"garment": False}, {"person": False}):
        a = field.hflip(**sides).to_correspondences()
        b = field.to_correspondences().hflip(**sides)
        key = lambda c: np.round(torch.cat([c.person_points, c.garment_points], 1).numpy(), 5)  # noqa: E731
        assert sorted(map(tuple, key(a))) == sorted(map(tuple, key(b)))


def test_affine_and_crop_and_resize_compose():
    field = affine_field((96, 64))
    move = torch.tensor([[1.2, 0.1, -0.1], [0.05, 0.9, 0.0]], dtype=torch.float64)
    full = torch.eye(3, dtype=torch.float64)
    full[:2] = move
    assert_follows(field.affine(person=move), compose(TRUE, torch.linalg.inv(full)))
    assert_follows(field.affine(garment=move), compose(move, TRUE))
    box = (0.25, 0.25, 0.75, 0.75)
    cropped = field.crop(person=box)
    assert cropped.size == (48, 32)
    half = np.array([[0.5, 0, 0.25], [0, 0.5, 0.25]])
    assert_follows(cropped, compose(TRUE, half))
    assert_follows(field.resize((48, 32)), TRUE)
    assert_follows(field.resize((100, 40)), TRUE)
    assert torch.equal(field.resize(field.size).visible, field.visible)


def test_pixel_affine_agrees_with_correspondences():
    field = affine_field((96, 64))
    pixel = unit_affine(np.array([[0.8, 0.1, 5.0], [-0.1, 0.9, 8.0]]), (96, 64), (96, 64))
    moved = field.affine(person=pixel)
    sparse = field.to_correspondences(stride=7).affine(person=pixel)
    target, seen = moved.sample(sparse.person_points)
    assert seen.float().mean() > 0.8
    assert_close(target[seen], sparse.garment_points[seen], 1 / 64)


def test_what_leaves_the_garment_becomes_invisible():
    field = affine_field()
    shift = torch.tensor([[1.0, 0, 0.5], [0, 1, 0]])
    moved = field.affine(garment=shift)
    assert moved.visible.sum() < field.visible.sum()
    assert (moved.flow[~moved.visible] == 0).all()


def test_to_grid_and_to_correspondences():
    field = affine_field((48, 32))
    target, valid = field.to_grid((12, 8))
    assert target.shape == (96, 2) and 0 < valid.sum() < 96
    assert_close(target[valid], apply_affine(cell_centres((12, 8)), TRUE)[valid], 1 / 32)
    assert len(field.to_correspondences()) == field.visible.sum()
    assert isinstance(field.to_correspondences(stride=4), Correspondences)
    assert len(field.to_correspondences(stride=4)) < field.visible.sum() / 12


def test_to_correspondences_and_back():
    field = affine_field()
    again = FlowField.from_correspondences(field.to_correspondences(), field.size)
    assert torch.equal(again.visible, field.visible)
    assert torch.allclose(again.flow, field.flow, atol=1e-6)
    assert not FlowField.from_correspondences(Correspondences.empty(), (4, 4)).visible.any()


def test_dict_round_trip_and_errors():
    field = affine_field()
    again = FlowField.from_dict(field.to_dict())
    assert torch.equal(again.flow, field.flow) and torch.equal(again.visible, field.visible)
    with pytest.raises(ValueError, match="visible"):
        FlowField.from_dict({"flow": field.flow})
    with pytest.raises(ValueError, match=r"\(h, w, 2\)"):
        FlowField(torch.zeros(4, 4), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="absolute"):
        FlowField(torch.full((4, 4, 2), 1.5), torch.ones(4, 4))
