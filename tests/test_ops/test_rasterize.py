"""The rasteriser against closed forms and against a plain z-buffer in float64."""

import numpy as np
import pytest

from vtonlab.ops.rasterize import interpolate, rasterize, visible_faces


def z_buffer(points, faces, size):
    """Oracle: for every pixel centre the nearest face, its perspective-correct barycentrics and
    depth.
    """
    h, w = size
    face = np.full((h, w), -1)
    bary, depth = np.zeros((h, w, 3)), np.full((h, w), np.inf)
    for index, corners in enumerate(points[faces]):
        low = np.floor(corners[:, :2].min(0) - 1).astype(int).clip(0)
        high = np.ceil(corners[:, :2].max(0) + 1).astype(int)
        xs, ys = np.arange(low[0], min(high[0], w)), np.arange(low[1], min(high[1], h))
        if not len(xs) or not len(ys):
            continue
        px, py = np.meshgrid(xs + 0.5, ys + 0.5)
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-12:
            continue
        u = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
        v = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
        flat = np.stack([u, v, 1 - u - v], -1)
        inverse = flat / np.array([az, bz, cz])
        z = 1 / np.where(inverse.sum(-1) == 0, 1, inverse.sum(-1))
        block = (slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1))
        nearer = (flat >= 0).all(-1) & (z < depth[block])
        face[block][nearer] = index
        depth[block][nearer] = z[nearer]
        bary[block][nearer] = (inverse * z[..., None])[nearer]
    return face, bary, depth


def sphere(rings=24, columns=36):
    theta = np.linspace(0, np.pi, rings + 1)[:, None]
    phi = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    x = np.sin(theta) * np.cos(phi)
    y = np.cos(theta) * np.ones_like(phi)
    vertices = np.stack([x, y, np.sin(theta) * np.sin(phi)], -1).reshape(-1, 3)
    faces = []
    for r in range(rings):
        for c in range(columns):
            a, b = r * columns + c, r * columns + (c + 1) % columns
            faces += [(a, b, a + columns), (b, b + columns, a + columns)]
    return vertices, np.array(faces)


def project(vertices, focal, centre, distance):
    z = vertices[:, 2] + distance
    return np.stack([*(focal * vertices[:, :2].T / z + np.array(centre)[:, None]), z], 1)


def test_slanted_plane_has_the_depth_and_barycentrics_of_the_closed_form():
    size, focal = (60, 80), 90.0
    corners = np.array([[-1.0, -0.8, 0.6], [1.1, -0.7, -0.5], [0.1, 0.9, 0.2]])
    points = project(corners, focal, (40, 30), 3.0)
    fragments = rasterize(points, np.array([[0, 1, 2]]), size)
    world = corners + np.array([0, 0, 3.0])
    normal = np.cross(world[1] - world[0], world[2] - world[0])
    y, x = np.nonzero(fragments.covered)
    rays = np.stack([(x + 0.5 - 40) / focal, (y + 0.5 - 30) / focal, np.ones(len(x))], 1)
    hit = rays * ((normal @ world[0]) / (rays @ normal))[:, None]
    bary = np.linalg.solve(world.T[None], hit[..., None])[..., 0]  # hit = sum of bary * corner
    assert len(x) > 900
    np.testing.assert_allclose(fragments.depth[fragments.covered], hit[:, 2], atol=1e-4)
    np.testing.assert_allclose(fragments.barycentric[fragments.covered], bary, atol=1e-4)


def test_coverage_of_a_triangle_is_that_of_its_pixel_centres():
    points = np.array([[2.0, 1.0, 2.0], [28.3, 5.2, 2.0], [9.1, 26.7, 2.0]])
    fragments = rasterize(points, np.array([[0, 1, 2]]), (30, 30))
    face, _, _ = z_buffer(points, np.array([[0, 1, 2]]), (30, 30))
    assert (fragments.covered == (face >= 0)).mean() > 0.998


def test_sphere_depth_is_the_closed_form_up_to_its_facets():
    vertices, faces = sphere(60, 90)
    fragments = rasterize(project(vertices, 100.0, (50, 50), 4.0), faces, (100, 100))
    y, x = np.mgrid[:100, :100] + 0.5
    rays = np.stack([(x - 50) / 100, (y - 50) / 100, np.ones_like(x)], -1)
    a, b, c = (rays**2).sum(-1), -2 * 4.0 * rays[..., 2], 15.0
    root = b * b - 4 * a * c
    depth = (-b - np.sqrt(np.clip(root, 0, None))) / (2 * a)
    well_inside = fragments.covered & (root > 2.0)
    sagitta = 1 - np.cos(np.pi / 60)  # of the coarsest facet
    error = fragments.depth[well_inside] - depth[well_inside]
    assert error.min() > -1e-3 and error.max() < 3 * sagitta


@pytest.mark.parametrize("seed", [0, 1])
def test_matches_the_z_buffer_on_tangled_meshes(seed):
    rng = np.random.default_rng(seed)
    vertices, faces = sphere(16, 24)
    turned = vertices @ np.linalg.qr(rng.normal(size=(3, 3)))[0] * 0.8
    both = np.concatenate([turned, turned[:, [1, 2, 0]] * 0.7 + [0.5, 0.2, -0.3]])
    faces = np.concatenate([faces, faces + len(vertices)])
    points = project(both, 130.0, (61, 52), 3.5)  # a principal point off the middle
    size = (110, 120)
    fragments = rasterize(points, faces, size)
    face, bary, depth = z_buffer(points, faces, size)
    # away from edges: well inside the oracle's triangle, or far from the mesh
    inner = (bary.min(-1) > 0.02) & (face >= 0)
    assert inner.sum() > 2500
    assert (fragments.face[inner] == face[inner]).mean() > 0.999
    same = inner & (fragments.face == face)
    assert np.abs(fragments.barycentric - bary)[same].max() < 1e-4
    assert np.abs(fragments.depth[same] - depth[same]).max() < 1e-4
    assert (fragments.covered == (face >= 0)).mean() > 0.998


def test_attributes_follow_the_barycentrics_and_unseen_faces_are_known():
    points = np.array([[0.0, 0, 1], [20, 0, 1], [0, 20, 1], [0, 0, 2], [20, 0, 2], [0, 20, 2]])
    faces = np.array([[0, 1, 2], [3, 4, 5]])  # the second lies wholly behind the first
    fragments = rasterize(points, faces, (20, 20))
    values = interpolate(fragments, faces, points[:, :2])
    y, x = np.nonzero(fragments.covered)
    np.testing.assert_allclose(values, np.stack([x + 0.5, y + 0.5], 1), atol=1e-3)
    assert visible_faces(fragments, 2).tolist() == [True, False]


def test_empty_mesh_and_bad_input():
    fragments = rasterize(np.zeros((0, 3)), np.zeros((0, 3), int), (4, 5))
    assert fragments.face.shape == (4, 5) and not fragments.covered.any()
    with pytest.raises(ValueError, match="depth must be positive"):
        rasterize(np.array([[0.0, 0, -1], [1, 0, 1], [0, 1, 1]]), np.array([[0, 1, 2]]), (4, 4))
    with pytest.raises(ValueError, match="index 3 points"):
        rasterize(np.ones((3, 3)), np.array([[0, 1, 3]]), (4, 4))
