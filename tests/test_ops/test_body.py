"""Kinematics, skinning and the camera against formulas written out here."""

import cv2
import numpy as np
import pytest

from vtonlab.ops.body import (
    PARENTS,
    Camera,
    axis_rotation,
    blend_transforms,
    joint_transforms,
    local_rotations,
    orbit_camera,
    rotation_between,
    rotation_vector,
    skin,
)


def random_rotations(rng, count, angle=2.0):
    return np.stack([cv2.Rodrigues(rng.uniform(-1, 1, 3) * angle)[0] for _ in range(count)])


def test_axis_rotations_follow_the_right_hand():
    np.testing.assert_allclose(axis_rotation("z", 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(axis_rotation("x", 90) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(axis_rotation("y", 90) @ [0, 0, 1], [1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_rotation_between_turns_one_direction_into_the_other_by_the_smallest_angle(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=3) * 3, rng.normal(size=3)
    matrix = rotation_between(a, b)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(matrix @ a / np.linalg.norm(a), b / np.linalg.norm(b), atol=1e-9)
    angle = np.linalg.norm(cv2.Rodrigues(matrix)[0])
    cos = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert abs(angle - np.arccos(cos)) < 1e-6
    opposite = rotation_between(a, -a)
    np.testing.assert_allclose(opposite @ a, -a, atol=1e-9)
    assert abs(np.linalg.det(opposite) - 1) < 1e-9


def test_rotation_vectors_are_those_of_opencv():
    rng = np.random.default_rng(5)
    vectors = rng.uniform(-1, 1, (6, 3))
    matrices = np.stack([cv2.Rodrigues(v)[0] for v in vectors])
    np.testing.assert_allclose(rotation_vector(matrices), vectors, atol=1e-8)
    assert rotation_vector(np.eye(3)[None]).tolist() == [[0, 0, 0]]


def test_forward_kinematics_by_walking_the_chain_with_local_rotations():
    rng = np.random.default_rng(2)
    joints, world = rng.normal(size=(24, 3)), random_rotations(rng, 24)
    local = local_rotations(world)
    chain = []
    for joint, parent in enumerate(PARENTS):
        step = np.eye(4)
        step[:3, :3] = local[joint]
        step[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        chain.append(step if parent < 0 else chain[parent] @ step)
    transforms, posed = joint_transforms(joints, world)
    np.testing.assert_allclose(posed, [c[:3, 3] for c in chain], atol=1e-9)
    point = rng.normal(size=3)
    for joint in (0, 7, 21):
        expected = chain[joint] @ np.append(point - joints[joint], 1)
        got = transforms[joint] @ np.append(point, 1)
        np.testing.assert_allclose(got, expected[:3], atol=1e-9)


def test_skinning_is_the_weighted_sum_of_the_moved_points():
    rng = np.random.default_rng(3)
    joints, world = rng.normal(size=(24, 3)), random_rotations(rng, 24)
    weights = rng.dirichlet(np.ones(24), 10)
    vertices = rng.normal(size=(10, 3))
    transforms, _ = joint_transforms(joints, world)
    moved = np.einsum("jab,vb->vja", transforms[:, :, :3], vertices) + transforms[None, :, :, 3]
    expected = (weights[:, :, None] * moved).sum(1)
    np.testing.assert_allclose(skin(vertices, blend_transforms(weights, transforms)), expected)
    still, _ = joint_transforms(joints, np.repeat(np.eye(3)[None], 24, 0))
    np.testing.assert_allclose(skin(vertices, blend_transforms(weights, still)), vertices)


def test_camera_projects_like_opencv_and_looks_at_its_target():
    camera = orbit_camera(np.array([0.1, 0.3, 0.0]), 3.0, 10.0, 500.0, (60.0, 80.0))
    points = np.random.default_rng(4).uniform(-0.4, 0.4, (20, 3))
    matrix = np.array([[500.0, 0, 60], [0, 500, 80], [0, 0, 1]])
    shift = -camera.rotation @ camera.position
    expected = cv2.projectPoints(points, cv2.Rodrigues(camera.rotation)[0], shift, matrix, None)[0]
    np.testing.assert_allclose(camera.project(points)[:, :2], expected[:, 0], atol=1e-6)
    target = camera.project(np.array([[0.1, 0.3, 0.0]]))[0]
    np.testing.assert_allclose(target, [60, 80, 3], atol=1e-9)
    assert camera.position[1] > 0.3  # ten degrees above the horizon
    larger = camera.scaled(3).project(points)
    np.testing.assert_allclose(larger[:, :2], 3 * camera.project(points)[:, :2])


def test_a_body_that_faces_the_camera_shows_its_left_at_the_right():
    camera = orbit_camera(np.zeros(3), 2.0, 0.0, 100.0, (50.0, 50.0))
    left, up = camera.project(np.array([[0.2, 0, 0], [0, 0.2, 0]]))
    assert left[0] > 50 and up[1] < 50
    assert isinstance(camera, Camera)
