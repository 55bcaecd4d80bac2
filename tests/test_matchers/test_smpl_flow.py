"""Mesh flow: closed forms for planes, METHODS.md 5.4's invariants, and the rendered truth."""

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from vtonlab.matchers.smpl_body import ARRAYS, project, read_smpl
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


@pytest.mark.parametrize("side", ["person_mask", "garment_mask"])
def test_masks_of_another_size_are_told_apart(side):
    """A garment mask twice as large was read at the wrong places."""
    vertices, faces, _ = sheet()
    matcher, picture = SMPLFlowMatcher(faces=faces), np.zeros((*SIZE, 3), np.uint8)
    body = dict(vertices=vertices, garment_vertices=vertices)
    mask = np.ones((SIZE[0] * 2, SIZE[1] * 2), np.uint8)
    with pytest.raises(ValueError, match=f"{side} is 96x80 but its picture 48x40"):
        matcher.explain(picture, picture, body=body, **{side: mask})


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
    from vtonlab.synthetic.dataset import SyntheticTryOn

    size = (128, 96)
    matcher = SMPLFlowMatcher(faces="synthetic")
    faces = matcher.faces
    data = SyntheticTryOn(
        size=size, length=3, setting="person_to_person", with_body=True, hardness=(0, 0.3)
    )
    for sample in (data[i] for i in range(3)):
        given = sample["body"]
        field, status = matcher.flow(given, size, size)
        found = status == FOUND
        # independent: surface point by rasterised barycentrics, projected by the other view
        fragments = rasterize(given["vertices"].astype(np.float64), faces, size)
        corners = faces[fragments.face[found]]
        other = given["garment_vertices"].astype(np.float64)[corners]
        surface = fragments.barycentric[found].astype(np.float64)
        weight = surface * other[..., 2]
        truth = (weight[..., None] * other[..., :2]).sum(1) / weight.sum(1, keepdims=True)
        error = np.linalg.norm(field.flow.numpy()[found] * [size[1], size[0]] - truth, axis=1)
        inside = field.visible.numpy()[found]
        assert inside.sum() > 300 and error[inside].max() < 0.5


@pytest.mark.parametrize("size", [(128, 96), pytest.param((512, 384), marks=pytest.mark.slow)])
def test_dressed_surface_reaches_the_true_flow(size, monkeypatch):
    """Given the surface that is seen, clothes included, the flow is SyntheticTryOn's own."""
    from vtonlab.synthetic import dataset, person_to_person

    drawn = []

    def record(*args):
        drawn.append(render(*args))
        return drawn[-1]

    render = dataset.render
    for module in (dataset, person_to_person):
        monkeypatch.setattr(module, "render", record)
    data = dataset.SyntheticTryOn(
        size=size, length=3, setting="person_to_person", hardness=(0, 0.5), maps=["flow"]
    )
    for index in range(3):
        drawn.clear()
        truth = data[index]["flow"]
        person, garment = drawn
        dressed = {
            "vertices": person.surface.points,
            "visibility": person.fragments.face,
            "garment_vertices": garment.surface.points,
            "garment_visibility": garment.fragments.face,
        }
        field, _ = SMPLFlowMatcher(faces=person.surface.faces).flow(dressed, size, size)
        both = (truth.visible & field.visible).numpy()
        error = (truth.flow - field.flow).numpy()[both] * [size[1], size[0]]
        assert np.linalg.norm(error, axis=1).max() < 0.5
        assert both.sum() > 0.85 * truth.visible.sum() > 300


# bodies from parameters -------------------------------------------------------------------------


def smpl_arrays():
    """SyntheticTryOn's body as the arrays of an SMPL model file."""
    from vtonlab.ops.body import PARENTS
    from vtonlab.synthetic.body import load_body

    model = load_body()
    rows = model.meshes["body"].rows
    template, shapes = model.vertices[rows], model.shapes[:, rows]
    # joints as a linear function of vertices that also follows every shape
    known = np.concatenate([template[None], shapes]).transpose(0, 2, 1).reshape(-1, len(template))
    joints = np.concatenate([model.joints[None], model.joint_shapes]).transpose(0, 2, 1)
    regressor = np.linalg.lstsq(known, joints.reshape(-1, 24), rcond=None)[0].T
    return {
        "v_template": template,
        "shapedirs": shapes.transpose(1, 2, 0),
        "posedirs": np.zeros((len(template), 3, 207)),
        "J_regressor": regressor,
        "weights": model.weights[rows],
        "kintree_table": np.array([PARENTS, range(24)]).astype(np.uint32),
        "f": model.faces.astype(np.uint32),
    }


@pytest.fixture(scope="module")
def smpl_file(tmp_path_factory):
    pytest.importorskip("smplx")
    path = tmp_path_factory.mktemp("smpl") / "SMPL_FAKE.npz"
    np.savez(path, **smpl_arrays())
    return path


def posed(seed, size):
    """A body by our own skinning and camera, and the same as SMPL parameters."""
    from vtonlab.ops.body import local_rotations, orbit_camera, rotation_vector
    from vtonlab.synthetic.body import draw_shape, load_body
    from vtonlab.synthetic.poses import draw_pose

    model, rng = load_body(), np.random.default_rng(seed)
    shape = draw_shape(np.random.default_rng(7))
    rest, joints = model.shape(shape)
    rotations, _ = draw_pose(rng, 0.3, joints)
    rows = model.meshes["body"].rows
    focal = 2.0 * size[0]
    camera = orbit_camera(joints[0], 4.0, 0.0, focal, (size[1] / 2, size[0] / 2))
    projected = camera.project(model.pose(joints, rotations).points(rest[rows], rows))
    turned = camera.rotation @ rotations
    local = local_rotations(turned)
    shift = camera.rotation @ (joints[0] - camera.position) - joints[0]
    return projected, dict(
        shape=shape, pose=rotation_vector(local), camera=np.array([focal, *shift])
    )


def test_smpl_parameters_give_the_flow_of_their_vertices(smpl_file):
    size = (128, 96)
    (person, first), (garment, second) = posed(0, size), posed(1, size)
    matcher = SMPLFlowMatcher(model=smpl_file, mirror="synthetic", stride=1)
    body = {**first, **{f"garment_{k}": v for k, v in second.items()}}
    assert np.abs(matcher._vertices(body, "", size) - person).max() < 1e-2
    field, _ = matcher.flow(body, size, size)
    vertices = dict(vertices=person, garment_vertices=garment)
    plain = SMPLFlowMatcher(faces="synthetic", mirror="synthetic", stride=1)
    truth, _ = plain.flow(vertices, size, size)
    both = (truth.visible & field.visible).numpy()
    error = (truth.flow - field.flow).numpy()[both] * [size[1], size[0]]
    assert both.sum() > 0.98 * truth.visible.sum() > 500
    assert np.linalg.norm(error, axis=1).max() < 0.5
    picture = np.zeros((*size, 3), np.uint8)
    assert len(matcher(picture, picture, body=body)) == int(field.visible.sum())


def test_versions_follow_the_mesh_and_the_model(smpl_file, tmp_path):
    arrays = smpl_arrays()
    arrays["v_template"] = arrays["v_template"] * 1.01
    np.savez(tmp_path / "taller.npz", **arrays)
    seen = [
        SMPLFlowMatcher(faces="synthetic"),
        SMPLFlowMatcher(faces="synthetic", mirror="synthetic"),
        SMPLFlowMatcher(model=smpl_file),
        SMPLFlowMatcher(model=tmp_path / "taller.npz"),
    ]
    assert len({matcher.versions["mesh"] for matcher in seen}) == 4
    assert "smplx" in seen[2].versions


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_downloaded_pickles_are_read_without_chumpy(tmp_path, monkeypatch, protocol):
    """Chumpy arrays, plain and selected, and SciPy's sparse ones, as SMPL's own files hold them."""
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(0)
    arrays = dict.fromkeys(ARRAYS) | {
        "v_template": rng.random((5, 3)),
        "shapedirs": rng.random((5, 3, 2)),
        "J_regressor": np.eye(2, 5),
    }
    arrays = {name: rng.random(3) if value is None else value for name, value in arrays.items()}
    chumpy = types.ModuleType("chumpy.ch")
    for name in ("Ch", "Select"):
        kind = type(name, (), {"__module__": "chumpy.ch"})
        setattr(chumpy, name, kind)
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", chumpy)
    plain, whole, chosen = chumpy.Ch(), chumpy.Ch(), chumpy.Select()
    plain.x, whole.x = arrays["v_template"], np.arange(60.0)
    chosen.a, chosen.idxs, chosen.preferred_shape = whole, np.arange(30) + 7, (5, 3, 2)
    stored = arrays | {
        "v_template": plain,
        "shapedirs": chosen,
        "J_regressor": sparse.csc_matrix(arrays["J_regressor"]),
    }
    path = tmp_path / "SMPL.pkl"
    path.write_bytes(pickle.dumps(stored, protocol=protocol))
    found = read_smpl(path, "test")
    arrays["shapedirs"] = (np.arange(30.0) + 7).reshape(5, 3, 2)
    assert all(np.array_equal(found[name], arrays[name]) for name in ARRAYS)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"f": Evil()}))
    with pytest.raises(ValueError, match="wants to run"):
        read_smpl(tmp_path / "evil.pkl", "test")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(FileNotFoundError, match="accept the licence"):
        read_smpl(tmp_path / "none.pkl", "test")
    np.savez(tmp_path / "other.npz", f=np.zeros(3))
    with pytest.raises(ValueError, match="v_template"):
        read_smpl(tmp_path / "other.npz", "test")


def test_projection_is_a_pinhole():
    points = project(np.array([[0.0, 0, 0], [1, 2, 0]]), np.array([100, 0.5, 0, 4]), (40, 60))
    assert np.allclose(points, [[30 + 12.5, 20, 4], [30 + 37.5, 70, 4]])


def test_errors_say_what_is_missing(tmp_path):
    vertices, faces, _ = sheet()
    picture = np.zeros((*SIZE, 3), np.uint8)
    for both in ({}, dict(faces=faces, model="SMPL_NEUTRAL.pkl")):
        with pytest.raises(ValueError, match="one of the two"):
            SMPLFlowMatcher(**both)
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
