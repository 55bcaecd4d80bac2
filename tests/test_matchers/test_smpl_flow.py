"""Mesh flow: closed forms for planes, METHODS.md 5.4's invariants, and the rendered truth."""

import numpy as np
import pytest
import torch

from vtonlab.matchers.smpl_flow import SMPLFlowMatcher, _wholly_inside
from vtonlab.ops.mesh_flow import FOUND, HIDDEN, mesh_flow, screen_barycentric
from vtonlab.ops.rasterize import rasterize
from vtonlab.registry import MATCHERS

SIZE = (48, 40)


def sheet(shift=(0.0, 0.0), scale=1.0):
    """A flat lattice facing the camera: vertices (V, 3), faces, left-right partners."""
    n = 9
    y, x = np.mgrid[0:n, 0:n]
    xy = np.stack([x, y], -1).reshape(-1, 2) / (n - 1) * [24, 30] * scale + [8, 9] + shift
    vertices = np.c_[xy, np.full(len(xy), 5.0)]
    a = (y[:-1, :-1] * n + x[:-1, :-1]).ravel()
    faces = np.concatenate([np.c_[a, a + 1, a + n], np.c_[a + 1, a + n + 1, a + n]])
    mirror = (y * n + (n - 1 - x)).ravel()
    return vertices, faces, mirror


def centres(size=SIZE):
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    return np.stack([x, y], -1) + 0.5


def seen(vertices, faces):
    return rasterize(vertices, faces, SIZE).face


def test_barycentric_reproduces_the_point():
    rng = np.random.default_rng(0)
    corners, points = rng.uniform(0, 9, (50, 3, 2)), rng.uniform(0, 9, (50, 2))
    weights = screen_barycentric(points, corners)
    assert np.allclose((weights[..., None] * corners).sum(1), points)
    assert np.allclose(weights.sum(1), 1)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.25, -4.5)])
@pytest.mark.parametrize("dims", [2, 3])
def test_same_mesh_is_identity_and_translation_a_constant_offset(shift, dims):
    vertices, faces, _ = sheet()
    moved, _, _ = sheet(shift)
    flow, status = mesh_flow(
        vertices[:, :dims], moved[:, :dims], faces, seen(vertices, faces), seen(moved, faces)
    )
    found = status == FOUND
    assert found.sum() > 600
    assert np.allclose(flow[found], (centres() + shift)[found], atol=1e-4)


def test_depth_makes_a_tilted_plane_exact():
    """A big slanted quad seen by two cameras: the homography of the plane is the truth."""
    focal, corners = 40.0, np.array([[-2, -2, 6], [2, -2, 10], [2, 2, 10], [-2, 2, 6.0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])

    def project(points):
        return np.c_[points[:, :2] / points[:, 2:] * focal + [20, 24], points[:, 2]]

    person, garment = project(corners), project(corners + np.array([0.5, 0.2, 2]))
    flow, status = mesh_flow(person, garment, faces, seen(person, faces), seen(garment, faces))
    rows = []
    for (x, y), (u, v) in zip(person[:, :2], garment[:, :2], strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y, -u], [0, 0, 0, x, y, 1, -v * x, -v * y, -v]]
    homography = np.linalg.svd(np.array(rows))[2][-1].reshape(3, 3)
    truth = np.concatenate([centres(), np.ones((*SIZE, 1))], -1) @ homography.T
    truth = truth[..., :2] / truth[..., 2:]
    found = status == FOUND
    assert found.sum() > 50 and np.abs(flow[found] - truth[found]).max() < 1e-3
    published, _ = mesh_flow(
        person[:, :2], garment[:, :2], faces, seen(person, faces), seen(garment, faces)
    )
    assert np.abs(published[found] - truth[found]).max() > 0.05  # 2-D barycentrics only come near


def test_hidden_faces_and_the_symmetric_fallback():
    vertices, faces, mirror = sheet()
    seen_garment = seen(vertices, faces)
    seen_garment[:, 20:] = -1  # the garment picture shows the left half only
    plain, status = mesh_flow(vertices, vertices, faces, seen(vertices, faces), seen_garment)
    both, fallback = mesh_flow(
        vertices, vertices, faces, seen(vertices, faces), seen_garment, mirror
    )
    hidden = status == HIDDEN
    assert hidden.sum() > 100 and (fallback[hidden] == FOUND).mean() > 0.9
    assert (fallback[~hidden] == status[~hidden]).all()  # it touches only hidden pixels
    assert np.array_equal(both[~hidden], plain[~hidden])
    taken = hidden & (fallback == FOUND)
    mirrored = centres() * [-1, 1] + [40, 0]  # the sheet spans x = 8..32
    assert np.allclose(both[taken], mirrored[taken], atol=1e-4)


def test_matcher_gives_correspondences_inside_both_masks():
    vertices, faces, mirror = sheet()
    moved, _, _ = sheet((2.0, 1.0))
    matcher = MATCHERS.build(dict(type="SMPLFlowMatcher", faces=faces, mirror=mirror, stride=2))
    picture = np.zeros((*SIZE, 3), np.uint8)
    garment_mask = np.zeros(SIZE, np.uint8)
    garment_mask[:30] = 1
    person_mask = np.zeros(SIZE, np.uint8)
    person_mask[:, :25] = 1
    body = dict(vertices=vertices, garment_vertices=moved)
    report = matcher.explain(picture, picture, person_mask, garment_mask, body=body)
    person, garment = (x.numpy() + 0.5 for x in report.matches.to_pixels(SIZE, SIZE))
    assert len(report.matches) > 30
    assert np.allclose(garment - person, [2, 1], atol=1e-3)
    assert garment[:, 1].max() <= 30 and person[:, 0].max() <= 25
    counts = report.counts
    assert (
        counts["candidates"]
        - sum(counts[n] for n in ("hidden", "garment_mask", "person_mask", "stride"))
        == counts["matches"]
    )


def test_wholly_inside_is_the_floor_of_a_bilinear_sample():
    mask = (np.random.default_rng(0).random((12, 10)) > 0.3).astype(np.uint8)
    flow = np.random.default_rng(1).uniform(0.6, 9.4, (20, 20, 2)).astype(np.float32)
    grid = torch.from_numpy(flow) / torch.tensor([10.0, 12.0]) * 2 - 1
    values = torch.nn.functional.grid_sample(
        torch.from_numpy(mask).double()[None, None], grid.double()[None], align_corners=False
    )[0, 0]
    assert (_wholly_inside(mask, flow) == (values.numpy() > 1 - 1e-6)).all()


def test_rendered_bodies_agree_with_their_truth():
    """Body pixels of a rendered person map to the same surface point of the second view."""
    load_body = pytest.importorskip("vtonlab.datasets.synthetic.body").load_body
    from vtonlab.datasets.synthetic.dataset import SyntheticTryOn

    body, size = load_body().meshes["body"], (128, 96)
    matcher = SMPLFlowMatcher(faces=body.faces)
    data = SyntheticTryOn(
        size=size, length=3, setting="person_to_person", with_body=True, hardness=(0, 0.3)
    )
    for sample in (data[i] for i in range(3)):
        given = sample["body"]
        field, status = matcher.flow(given, size, size)
        found = status == FOUND
        # independent: surface point by rasterised barycentrics, projected by the other view
        fragments = rasterize(given["vertices"].astype(np.float64), body.faces, size)
        corners = body.faces[fragments.face[found]]
        other = given["garment_vertices"].astype(np.float64)[corners]
        depth = given["vertices"].astype(np.float64)[corners][..., 2]
        surface = fragments.barycentric[found].astype(np.float64)
        weight = surface * other[..., 2]
        truth = (weight[..., None] * other[..., :2]).sum(1) / weight.sum(1, keepdims=True)
        error = np.linalg.norm(field.flow.numpy()[found] * [size[1], size[0]] - truth, axis=1)
        inside = field.visible.numpy()[found]
        assert inside.sum() > 300 and error[inside].max() < 0.5 and depth.min() > 0


def test_errors_say_what_is_missing(tmp_path):
    vertices, faces, _ = sheet()
    picture = np.zeros((*SIZE, 3), np.uint8)
    with pytest.raises(FileNotFoundError, match="licensed"):
        SMPLFlowMatcher(faces=str(tmp_path / "smpl_faces.npy"))
    with pytest.raises(ValueError, match="with_body=True"):
        SMPLFlowMatcher(faces=faces)(picture, picture)
    with pytest.raises(ValueError, match="garment_vertices"):
        SMPLFlowMatcher(faces=faces)(picture, picture, body=dict(vertices=vertices))
    with pytest.raises(ValueError, match="needs depths"):
        SMPLFlowMatcher(faces=faces)(
            picture, picture, body=dict(vertices=vertices[:, :2], garment_vertices=vertices)
        )
    np.save(tmp_path / "faces.npy", faces)
    assert (SMPLFlowMatcher(faces=str(tmp_path / "faces.npy")).faces == faces).all()
