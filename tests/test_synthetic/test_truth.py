"""The flow of SyntheticTryOn, proved without its renderer: rays, corners and projected vertices."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from vtonlab.synthetic import SyntheticTryOn
from vtonlab.synthetic.body import load_body
from vtonlab.synthetic.outfit import draw_flat
from vtonlab.synthetic.person_to_person import flow_between
from vtonlab.synthetic.render import FIRST_GARMENT, render
from vtonlab.synthetic.scene import draw_companions, draw_person

SIZE = (192, 144)


def scene(index, setting="paired", size=SIZE, hardness=None, category=None, factor=1, framing=0.0):
    """One scene with everything a test needs to look behind the pictures."""
    rng = [np.random.default_rng([7, index, k]) for k in range(6)]
    category = category or ("upper_body", "lower_body", "dresses")[index % 3]
    hardness = (index % 9) / 8 if hardness is None else hardness
    flat = draw_flat(rng[0], category, size, factor, "train")
    outfit = [flat.worn, *draw_companions(rng[1], flat.worn.mesh.garment, size, factor, "train")]
    person = draw_person(rng[2], rng[3], hardness, category, size, framing)
    backdrop = np.full((size[0] * factor, size[1] * factor, 3), 200, np.uint8)
    picture = render(person, outfit, backdrop, size, factor)
    if setting == "person_to_person":
        other = draw_person(np.random.default_rng([7, index, 2]), rng[4], hardness, category, size)
        return picture, render(other, outfit, backdrop, size, factor), flat
    return picture, person, flat


def triangles_in_camera(picture, person):
    """(F, 3, 3) corners in camera axes, undoing the projection: what the camera has before it."""
    points, camera = picture.surface.points.astype(np.float64), person.camera
    xy = (points[:, :2] - np.array(camera.centre)) / camera.focal * points[:, 2:]
    return np.concatenate([xy, points[:, 2:]], 1)[picture.surface.faces]


def first_hits(triangles, rays):
    """Moeller and Trumbore: nearest face and its barycentrics for each ray from the origin."""
    a, ab, ac = (
        triangles[:, 0],
        triangles[:, 1] - triangles[:, 0],
        triangles[:, 2] - triangles[:, 0],
    )
    best = np.full(len(rays), np.inf)
    face, bary = np.full(len(rays), -1), np.zeros((len(rays), 3))
    q = np.cross(-a, ab)
    for i, ray in enumerate(rays):
        p = np.cross(ray, ac)
        det = (ab * p).sum(1)
        det = np.where(np.abs(det) < 1e-15, np.nan, det)
        u, v, t = (-a * p).sum(1) / det, q @ ray / det, (ac * q).sum(1) / det
        with np.errstate(invalid="ignore"):
            hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        if hit.any():
            k = np.flatnonzero(hit)[t[hit].argmin()]
            best[i], face[i], bary[i] = t[k], k, (1 - u[k] - v[k], u[k], v[k])
    return face, bary, best


def check_by_rays(index, count=40):
    """Random points of the garment mesh: seen by ray casting, and where the flow sends their pixel.

    Returns pixel errors of points seen, and how many points were seen but not marked visible.
    """
    picture, person, flat = scene(index)
    h, w = SIZE
    mesh = flat.worn.mesh
    rng = np.random.default_rng([8, index])
    first = np.flatnonzero(picture.surface.parts == FIRST_GARMENT)[0]
    triangles = triangles_in_camera(picture, person)
    # the worn garment again, by a loop over joints with the asset's own weights
    model, rest = load_body(), person.vertices[mesh.rows] + mesh.offsets
    transforms = _transforms(model, person)
    posed = sum(
        model.weights[mesh.rows, j, None] * (rest @ transforms[j][:, :3].T + transforms[j][:, 3])
        for j in range(24)
    )
    posed = posed[mesh.cut.first] * (1 - mesh.cut.share) + posed[mesh.cut.second] * mesh.cut.share
    front = np.flatnonzero(mesh.front[mesh.faces[:, 0]])
    area = posed[mesh.faces[front]]
    area = np.linalg.norm(np.cross(area[:, 1] - area[:, 0], area[:, 2] - area[:, 0]), axis=1)
    errors, missed, seen = [], 0, 0
    for _ in range(4):
        chosen = rng.choice(front, count, p=area / area.sum())
        weights = rng.dirichlet(np.ones(3), count)
        world = (posed[mesh.faces[chosen]] * weights[:, :, None]).sum(1)
        expected = (flat.worn.frame(mesh.flat)[mesh.faces[chosen]] * weights[:, :, None]).sum(1)
        view = (world - person.camera.position) @ person.camera.rotation.T
        place = view[:, :2] / view[:, 2:] * person.camera.focal + np.array(person.camera.centre)
        inside = (place > 1).all(1) & (place < np.array([w - 1, h - 1])).all(1)
        rays = view[inside] / view[inside, 2:]
        face, _, _ = first_hits(triangles, rays)
        hit = face == first + chosen[inside]
        outwards = _faces_camera(triangles[first + chosen[inside]])
        good = hit & outwards
        place, expected = place[inside][good], expected[inside][good]
        error, smooth = _flow_error(picture, place, expected)
        errors += list(error[smooth])
        seen += len(place)
        missed += int((~picture.visible[place[:, 1].astype(int), place[:, 0].astype(int)]).sum())
        if seen > count:
            break
    return errors, missed, seen


def _transforms(model, person):
    from vtonlab.ops.body import joint_transforms

    joints = model.joints + np.tensordot(person.shape, model.joint_shapes, 1)
    return joint_transforms(joints, person.rotations)[0]


def _faces_camera(triangles):
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    return (normal * triangles[:, 0]).sum(1) < 0


def _flow_error(picture, place, expected):
    """Garment pixels between the bilinear flow at ``place`` and ``expected``, where four pixels
    share one surface.
    """
    h, w = SIZE
    low = np.floor(place - 0.5).astype(int)
    part = place - 0.5 - low
    total, ok = 0, np.ones(len(place), bool)
    values = []
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = low[:, 0] + dx, low[:, 1] + dy
            weight = np.where(dx, part[:, 0], 1 - part[:, 0]) * np.where(
                dy, part[:, 1], 1 - part[:, 1]
            )
            total = total + picture.flow[y, x] * weight[:, None]
            values.append(picture.flow[y, x])
            ok &= picture.visible[y, x]
    if not len(place):
        return np.zeros(0), ok
    spread = np.ptp(np.stack(values), axis=0) * np.array([w, h])
    ok &= spread.max(1) < 3  # a step between two surfaces is no place to interpolate
    return np.abs((total - expected) * np.array([w, h])).max(1), ok


def summarize(indices):
    errors, missed, seen = [], 0, 0
    for index in indices:
        e, m, s = check_by_rays(index)
        errors, missed, seen = errors + e, missed + m, seen + s
    return np.array(errors), missed / max(seen, 1), seen


def test_flow_agrees_with_rays_to_half_a_pixel():
    errors, missed, seen = summarize(range(12))
    assert seen > 400
    assert (errors < 0.5).mean() >= 0.995, np.percentile(errors, [50, 99, 99.5, 100])
    assert missed < 0.06  # the last pixel of an outline


@pytest.mark.slow
def test_flow_agrees_with_rays_on_200_samples_of_every_hardness():
    errors, missed, seen = summarize(range(200))
    assert seen > 5000
    assert (errors < 0.5).mean() >= 0.995, np.percentile(errors, [50, 99, 99.5, 100])
    assert missed < 0.06


@pytest.mark.parametrize(("index", "framing"), [(0, 0), (1, 0), (2, 0), (14, 0), (0, 1), (2, 1)])
def test_every_pixel_ray_finds_the_place_its_flow_names(index, framing):
    picture, person, flat = scene(index, hardness=0.4, framing=framing)
    h, w = SIZE
    rng = np.random.default_rng(index)
    y, x = np.nonzero(picture.visible)
    pick = rng.choice(len(x), 60, replace=False)
    x, y = x[pick], y[pick]
    rays = np.stack([x + 0.5, y + 0.5], 1) - np.array(person.camera.centre)
    rays = np.concatenate([rays / person.camera.focal, np.ones((len(x), 1))], 1)
    face, bary, depth = first_hits(triangles_in_camera(picture, person), rays)
    mesh = flat.worn.mesh
    start = np.flatnonzero(picture.surface.parts == FIRST_GARMENT)[0]
    same = (face >= start) & (face < start + len(mesh.faces))
    corners = flat.worn.frame(mesh.flat)[mesh.faces[np.where(same, face - start, 0)]]
    expected = (corners * bary[:, :, None]).sum(1)
    error = np.abs(expected - picture.flow[y, x]) * np.array([w, h])
    good = same & (error.max(1) < 0.05)
    assert good.mean() > 0.98  # a ray along an edge may go either way
    np.testing.assert_allclose(depth[good], picture.fragments.depth[y, x][good], atol=1e-3)


def saddles(picture, minimum=8.0):
    """Sub-pixel checkerboard corners: strong corners around which light and dark alternate four
    times.
    """
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    corners = cv2.goodFeaturesToTrack(gray, 400, 0.15, minimum)
    corners = cv2.cornerSubPix(
        gray, corners, (3, 3), (-1, -1), (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 40, 0.01)
    )[:, 0]
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    ring = corners[:, None] + 4.0 * np.stack([np.cos(angles), np.sin(angles)], -1)
    values = cv2.remap(gray, ring.astype(np.float32), None, cv2.INTER_LINEAR).astype(float)
    light = values > (values.max(1) + values.min(1))[:, None] / 2
    changes = (light != np.roll(light, 1, 1)).sum(1)
    strong = np.ptp(values, axis=1) > 60
    return corners[(changes == 4) & strong] + 0.5  # pixel centres at i + 0.5


@pytest.mark.parametrize(
    ("index", "category"), [(3, "upper_body"), (4, "lower_body"), (5, "dresses")]
)
def test_checkerboard_corners_on_flat_and_worn_pictures_correspond(index, category):
    size = (512, 384)
    rng = np.random.default_rng([9, index])
    flat = draw_flat(rng, category, size, 1, "train")
    y, x = np.mgrid[: size[0], : size[1]] // 24
    board = np.where((x + y) % 2, 235, 25).astype(np.uint8)
    cloth = replace(
        flat.worn.cloth,
        front=np.repeat(board[..., None], 3, 2),
        folds=np.ones((4, 4), np.float32),
        trim_width=-1.0,
    )
    worn = replace(flat.worn, cloth=cloth)
    person = draw_person(
        np.random.default_rng([1, index]), np.random.default_rng([2, index]), 0.1, category, size
    )
    bright = replace(person.look, ambient=0.95)
    person = replace(person, look=bright)
    backdrop = np.full((size[0] * 3, size[1] * 3, 3), 200, np.uint8)
    picture = render(person, [worn], backdrop, size, 3)
    flat_corners = np.stack(
        np.meshgrid(np.arange(24, 384, 24), np.arange(24, 512, 24)), -1
    ).reshape(-1, 2)
    found = saddles(np.repeat(board[..., None], 3, 2))
    nearest = np.linalg.norm(found[:, None] - flat_corners[None], axis=2).min(1)
    assert len(found) > 200 and np.median(nearest) < 0.3  # OpenCV finds the flat corners
    corners = saddles(picture.rgb, 5.0)
    cells = corners.astype(int)
    seen = (
        cv2.erode(picture.visible.astype(np.uint8), np.ones((9, 9)))[cells[:, 1], cells[:, 0]] > 0
    )
    corners = corners[seen]
    flow = cv2.remap(
        picture.flow, (corners - 0.5).astype(np.float32)[None], None, cv2.INTER_LINEAR
    )[0]
    places = flow * np.array([size[1], size[0]])
    distance = np.linalg.norm(places[:, None] - flat_corners[None], axis=2).min(1)
    assert len(corners) >= 12
    assert (distance < 1.5).mean() >= 0.95, np.sort(distance)[-5:]
    assert np.median(distance) < 0.6


def flow_from_projected_vertices(face_map, target, source, faces, source_visible):
    """METHODS 5.4 for every pixel: 2-D barycentrics in the target, the same face's vertices in the
    source.
    """
    h, w = face_map.shape
    flow, status = np.zeros((h, w, 2)), np.full((h, w), 2)
    for y, x in zip(*np.nonzero(face_map >= 0), strict=True):
        a, b, c = target[faces[face_map[y, x]], :2]
        p = np.array([x + 0.5, y + 0.5])
        v0, v1, v2 = b - a, c - a, p - a
        d00, d01, d11, d20, d21 = v0 @ v0, v0 @ v1, v1 @ v1, v2 @ v0, v2 @ v1
        area = d00 * d11 - d01 * d01
        if abs(area) < 1e-9:
            continue
        v, u = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
        flow[y, x] = np.array([1 - u - v, v, u]) @ source[faces[face_map[y, x]], :2]
        status[y, x] = 0 if face_map[y, x] in source_visible else 1
    return flow, status


@pytest.mark.parametrize("index", [0, 1, 2, 9])
def test_person_to_person_flow_agrees_with_projected_vertices(index):
    picture, other, flat = scene(index, "person_to_person", hardness=0.3)
    h, w = SIZE
    flow, visible = flow_between(picture, other, flat.worn.mesh)
    pieces = []
    for drawn in (picture, other):
        start = np.flatnonzero(drawn.surface.parts == FIRST_GARMENT)[0]
        face = np.where(drawn.part == FIRST_GARMENT, drawn.fragments.face - start, -1)
        first = drawn.surface.faces[start].min() - flat.worn.mesh.faces[0].min()
        pieces.append((face, drawn.surface.points[first:]))
    (face, target), (source_face, source) = pieces
    expected, status = flow_from_projected_vertices(
        face, target, source, flat.worn.mesh.faces, set(np.unique(source_face))
    )
    jointly = visible & (status == 0)
    assert jointly.sum() > 300
    error = np.abs(flow * np.array([w, h]) - expected)[jointly].max(1)
    assert (error < 0.5).mean() > 0.995, np.sort(error)[-5:]
    # and what is called visible is garment there: its colour is the garment's part
    place = (flow[visible] * np.array([w, h])).astype(int)
    assert (other.part[place[:, 1], place[:, 0]] == FIRST_GARMENT).all()


def test_person_to_person_flow_carries_the_picture():
    data = SyntheticTryOn(setting="person_to_person", size=(96, 72), length=6, hardness=(0, 0.2))
    for i in range(4):
        sample = data[i]
        flow, visible = sample["flow"].flow.numpy(), sample["flow"].visible.numpy()
        maps = (flow * np.array([72, 96]) - 0.5).astype(np.float32)
        warped = cv2.remap(sample["garment"], maps, None, cv2.INTER_LINEAR)
        inner = cv2.erode(visible.astype(np.uint8), np.ones((3, 3))) > 0
        error = np.abs(warped.astype(float) - sample["person"])[inner].mean()
        others = np.abs(data[i + 1]["person"].astype(float) - sample["person"])[inner].mean()
        assert error < 26 and error < 0.7 * others
