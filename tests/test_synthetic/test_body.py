"""The body asset and the garments cut from it."""

import numpy as np
import pytest

from vtonlab.synthetic.body import ASSET, draw_shape, load_body
from vtonlab.synthetic.clipping import clip
from vtonlab.synthetic.garments import (
    ALL_KINDS,
    KINDS,
    build_mesh,
    draw_garment,
    flat_frame,
)
from vtonlab.synthetic.poses import draw_pose


def test_asset_is_small_credited_and_sane():
    assert ASSET.stat().st_size < 3_000_000
    assert "CC0" in ASSET.with_name("CREDITS.md").read_text()
    model = load_body()
    np.testing.assert_allclose(model.weights.sum(1), 1, atol=1e-5)
    height = np.ptp(model.part("body", model.vertices)[:, 1])
    assert 1.5 < height < 1.9
    assert model.joints.shape == (24, 3) and model.shape_names[0] == "gender"


def test_body_is_symmetric_in_place_shape_and_weights():
    model = load_body()
    mirror = model.data["body_mirror"]
    flip = np.array([-1, 1, 1])
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    vertices = model.part("body", model.vertices)
    np.testing.assert_allclose(vertices[mirror] * flip, vertices, atol=1e-5)
    body = model.meshes["body"].rows
    np.testing.assert_allclose(
        model.shapes[:, body][:, mirror] * flip, model.shapes[:, body], atol=1e-3
    )
    left_right = [
        0,
        2,
        1,
        3,
        5,
        4,
        6,
        8,
        7,
        9,
        11,
        10,
        12,
        14,
        13,
        15,
        17,
        16,
        19,
        18,
        21,
        20,
        23,
        22,
    ]
    weights = model.weights[body]
    assert np.abs(weights[mirror][:, left_right] - weights).max() < 0.05  # four joints, in 1/255
    faces = {tuple(sorted(f)) for f in model.meshes["body"].faces}
    assert {tuple(sorted(f)) for f in mirror[model.meshes["body"].faces]} == faces


def test_shape_parameters_do_what_they_are_called():
    model = load_body()

    def measures(name, value):
        parameters = np.zeros(len(model.shape_names))
        parameters[model.shape_names.index(name)] = value
        vertices, joints = model.shape(parameters)
        body = model.part("body", vertices)
        template = model.part("body", model.vertices)
        belly = (np.abs(template[:, 1] - 0.2) < 0.05) & (np.abs(template[:, 0]) < 0.2)
        leg = np.linalg.norm(joints[1] - joints[7])
        arm = np.linalg.norm(joints[16] - joints[18]) + np.linalg.norm(joints[18] - joints[20])
        return np.ptp(body[:, 1]), np.ptp(body[belly, 2]), leg, arm

    for name, index in (("height", 0), ("weight", 1), ("leg_length", 2), ("arm_length", 3)):
        assert measures(name, 0.5)[index] > 1.02 * measures(name, -0.5)[index], name


def test_poses_are_rotations_and_keep_bone_lengths():
    model = load_body()
    for seed in range(6):
        rng = np.random.default_rng(seed)
        _, joints = model.shape(draw_shape(rng))
        rotations, _ = draw_pose(rng, seed / 5, joints)
        np.testing.assert_allclose(
            np.einsum("jab,jcb->jac", rotations, rotations),
            np.repeat(np.eye(3)[None], 24, 0),
            atol=1e-6,
        )
        posed = model.pose(joints, rotations).joints
        for a, b in ((1, 4), (4, 7), (16, 18), (18, 20), (9, 12)):
            np.testing.assert_allclose(
                np.linalg.norm(posed[a] - posed[b]),
                np.linalg.norm(joints[a] - joints[b]),
                rtol=1e-4,
            )


def test_clipping_cuts_where_the_scalar_is_zero():
    n = 12
    x, y = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
    vertices = np.stack([x.ravel(), y.ravel()], 1)
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]).reshape(-1, 3)
    keep = 0.613 * np.ones(n * n) - vertices @ [0.8, 0.5]
    cut = clip(faces, keep)
    points = cut.apply(vertices)
    assert (cut.apply(keep[:, None]) > -1e-9).all()
    t = points[cut.faces]
    u, v = t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]
    area = (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2
    assert (area > -1e-12).all()  # winding kept
    fine = (np.arange(2000) + 0.5) / 2000
    expected = np.clip((0.613 - 0.8 * fine) / 0.5, 0, 1).mean()
    assert abs(area.sum() - expected) < 1e-4
    whole = clip(faces, np.ones(n * n))
    assert len(whole.faces) == len(faces)
    assert len(clip(faces, -np.ones(n * n)).faces) == 0


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_flat_layouts_are_one_to_one(kind):
    category = next(c for c, kinds in KINDS.items() if kind in kinds)
    for seed in range(3):
        mesh = build_mesh(draw_garment(np.random.default_rng(seed), category, kind))
        frame = flat_frame(mesh, 64 / 48)
        flat = frame(mesh.flat).astype(np.float64) * [480, 640]
        front = mesh.front[mesh.faces[:, 0]]
        assert (mesh.front[mesh.faces] == front[:, None]).all()  # a face lies in one half
        assert (flat[mesh.front] > 0).all() and (flat[mesh.front] < [480, 640]).all()
        for skirt in (False, True):
            faces = mesh.faces[front & (mesh.skirt == skirt)]
            if not len(faces):
                continue
            u, v = flat[faces[:, 1]] - flat[faces[:, 0]], flat[faces[:, 2]] - flat[faces[:, 0]]
            area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
            assert (area < 1e-6).mean() > 0.999  # no fold: all faces turn the same way
            assert _overlap(flat, faces) < 0.002


def _overlap(flat, faces):
    """Share of the layout's area that is covered twice, counted on pixel centres."""
    count = np.zeros((640, 480), int)
    for corners in flat[faces]:
        low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        x, y = np.meshgrid(
            np.arange(low[0], high[0] + 1) + 0.5, np.arange(low[1], high[1] + 1) + 0.5
        )
        inside = np.ones(x.shape, bool)
        (ax, ay), (bx, by), (cx, cy) = corners
        turn = np.sign((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
        for (px, py), (qx, qy) in zip(corners, np.roll(corners, -1, 0), strict=True):
            inside &= turn * ((qx - px) * (y - py) - (qy - py) * (x - px)) > 1e-7
        rows, columns = np.nonzero(inside)
        rows, columns = rows + low[1], columns + low[0]
        ok = (rows < 640) & (columns < 480)
        np.add.at(count, (rows[ok], columns[ok]), 1)
    return (count > 1).sum() / (count > 0).sum()
