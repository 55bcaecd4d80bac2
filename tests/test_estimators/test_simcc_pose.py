"""Pose networks in ONNX: tiny ones that the test writes, whose answers are known."""

import numpy as np
import onnx_bytes as ob
import pytest
from estimators_figure import FIGURE

from vtonlab.estimators.base import MatteEstimator
from vtonlab.estimators.simcc_pose import BODIES, MEAN, STD, SimCCPose, body_25, pieces
from vtonlab.estimators.yolox import decode

COCO = {parts[0]: joint for joint, parts in BODIES[17].items() if len(parts) == 1}
SIZE = (192, 144)  # of the picture, with room around the figure
INPUT = (64, 48)  # of the network


class Inner(MatteEstimator):
    """The person is the inner part of the picture."""

    def __call__(self, picture, person=None):
        height, width = picture.shape[:2]
        matte = np.zeros((height, width), np.float32)
        matte[height * 3 // 16 : height * 13 // 16, width // 4 : width * 3 // 4] = 1
        return matte


def place(joint: int) -> np.ndarray:
    """Where a joint of the figure is: x, y in [0, 1]."""
    return 0.5 + 0.6 * (np.array(FIGURE[joint]) - 0.5)


def directions(count: int) -> np.ndarray:
    """(count, 3) evenly over the sphere."""
    z = 1 - (np.arange(count) + 0.5) * 2 / count
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    r = np.sqrt(1 - z**2)
    return np.stack([r * np.cos(turn), r * np.sin(turn), z], 1)


def colours() -> np.ndarray:
    """(17, 3) uint8: one for each joint, all as far from the networks' mean colour."""
    return np.rint(MEAN + np.array(STD) * 1.5 * directions(17)).astype(np.uint8)


def dotted(size=SIZE) -> np.ndarray:
    """Before the mean colour, a dot at each joint of the figure, in the joint's colour."""
    picture = np.empty((*size, 3), np.uint8)
    picture[...] = np.rint(MEAN)
    for number, colour in enumerate(colours()):
        x, y = place(COCO[number]) * size[::-1]
        picture[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3] = colour
    return picture


@pytest.fixture(scope="module")
def pose_file(tmp_path_factory):
    """A network whose heat map of each joint is how near a pixel's colour is to the joint's; its
    maxima over rows and columns, two places a pixel.
    """
    height, width = INPUT
    weight = (0.6 * directions(17)).astype(np.float32)[:, :, None, None]
    scales = np.float32([1, 1, 2, 2])
    nodes = [
        ob.node("Conv", ["input", "weight"], ["heat"], kernel_shape=[1, 1]),
        ob.node("Resize", ["heat", "roi", "scales"], ["fine"], mode="nearest"),
        ob.node("ReduceMax", ["fine"], ["simcc_y"], axes=[3], keepdims=0),
        ob.node("ReduceMax", ["fine"], ["simcc_x"], axes=[2], keepdims=0),
    ]
    tensors = [
        ob.tensor("weight", weight), ob.tensor("scales", scales),
        ob.tensor("roi", np.zeros(0, np.float32)),
    ]  # fmt: skip
    outputs = {"simcc_y": (1, 17, 2 * height), "simcc_x": (1, 17, 2 * width)}
    data = ob.model(nodes, tensors, {"input": (1, 3, height, width)}, outputs)
    path = tmp_path_factory.mktemp("onnx") / "pose.onnx"
    path.write_bytes(data)
    return path


def expected(picture: np.ndarray, box) -> np.ndarray:
    """(17, 3) by another way: the crop sampled point by point, all in float64."""
    height, width = INPUT
    (left, top, right, bottom), aspect = box, width / height
    wide, tall = 1.25 * (right - left), 1.25 * (bottom - top)
    wide, tall = max(wide, tall * aspect), max(tall, wide / aspect)
    x0, y0 = (left + right - wide) / 2, (top + bottom - tall) / 2
    found = np.zeros((17, 3))
    x = x0 + np.arange(width) * wide / width  # in which pixel i is at i
    y = y0 + np.arange(height) * tall / height
    crop = np.zeros((height, width, 3))
    for i, v in enumerate(y):
        for j, u in enumerate(x):
            a, b = int(np.floor(v)), int(np.floor(u))
            for di, wi in ((0, 1 - (v - a)), (1, v - a)):
                for dj, wj in ((0, 1 - (u - b)), (1, u - b)):
                    if 0 <= a + di < picture.shape[0] and 0 <= b + dj < picture.shape[1]:
                        crop[i, j] += wi * wj * picture[a + di, b + dj]
    heat = (crop - MEAN) / STD @ (0.6 * directions(17)).T
    for k in range(17):
        rows, columns = heat[..., k].max(1), heat[..., k].max(0)
        found[k, 0] = (x0 + columns.argmax() * wide / width + 0.5) / picture.shape[1]
        found[k, 1] = (y0 + rows.argmax() * tall / height + 0.5) / picture.shape[0]
        found[k, 2] = min(rows.max(), columns.max(), 1)
    return found


def test_the_figure_is_found(pose_file):
    picture = dotted()
    pose = SimCCPose(model=pose_file, size=INPUT, matte=Inner())
    (person,) = pose(picture)
    [box] = pieces(Inner()(picture))
    truth = body_25(expected(picture, box).astype(np.float32))
    known = truth[:, 2] > 0
    assert known.sum() == 19 and (person.keypoints[:, 2] > 0).sum() == 19
    # a joint's row and column are whole places; two next to each other may be equally likely
    step = 1.25 * (box[3] - box[1]) / INPUT[0] / min(SIZE) * 1.01
    assert np.abs(person.keypoints - truth)[known, :2].max() <= step
    # OpenCV's warp rounds its weights to 1/32 of at most 255 levels; the network's weight is 0.6
    assert np.abs(person.keypoints - truth)[known, 2].max() <= 0.6 * 255 / 32 / min(STD) * 3
    for joint in FIGURE:  # half a dot and half a place
        assert np.abs(person.keypoints[joint, :2] - place(joint)).max() < 5 / min(SIZE), joint
    assert person.score > 0.8
    assert (person.mouth[:, 2] > 0).all() and not person.hands.any()
    assert person.mouth[0, 0] > person.mouth[1, 0]  # the left corner is at the picture's right


def detector_bytes(raw: np.ndarray, side: int) -> bytes:
    """A network that always answers ``raw``."""
    nodes = [
        ob.node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        ob.node("Mul", ["mean", "zero"], ["nothing"]),
        ob.node("Add", ["raw", "nothing"], ["output"]),
    ]
    tensors = [ob.tensor("zero", np.zeros(1, np.float32)), ob.tensor("raw", raw[None])]
    shape = {"output": (1, *raw.shape)}
    return ob.model(nodes, tensors, {"input": (1, 3, side, side)}, shape)


def test_a_detector_says_where_people_are(pose_file, tmp_path):
    """Two boxes of one person and one of nobody; in the picture's pixels by hand."""
    side = 64  # a third of the picture's height
    cells = [(x, y, s) for s in (8, 16, 32) for y in range(side // s) for x in range(side // s)]
    raw = np.full((len(cells), 6), -9, np.float32)
    raw[:, 4:] = 0.01
    # the figure's box is 36, 36, 108, 156 in the picture: 12, 12, 36, 52 here
    k = cells.index((1, 2, 16))
    raw[k] = (24 / 16 - 1, 32 / 16 - 2, np.log(24 / 16), np.log(40 / 16), 0.9, 0.9)
    raw[k + 1] = (24 / 16 - 2, 32 / 16 - 2, np.log(22 / 16), np.log(40 / 16), 0.8, 0.9)
    boxes, scores = decode(raw, side)
    np.testing.assert_allclose(boxes[k], (12, 12, 36, 52), rtol=1e-6)
    np.testing.assert_allclose(scores[k], 0.81, rtol=1e-6)
    (tmp_path / "detector.onnx").write_bytes(detector_bytes(raw, side))
    pose = SimCCPose(
        model=pose_file, size=INPUT, detector=tmp_path / "detector.onnx", detector_size=side
    )
    picture = dotted()
    people = pose(picture)
    assert len(people) == 1
    truth = body_25(expected(picture, (36, 36, 108, 156)).astype(np.float32))
    step = 1.25 * 120 / INPUT[0] / min(SIZE) * 1.01
    assert np.abs(people[0].keypoints - truth)[:, :2].max() <= step
    with pytest.raises(ValueError, match=r"not that of YOLOX for 32x32 pixels, \(21, 5"):
        decode(raw, 32)


def test_hands_and_feet_of_the_whole_body():
    joints = np.zeros((133, 3), np.float32)
    joints[:] = (0.5, 0.5, 0.9)
    joints[17] = (0.1, 0.9, 0.8)  # the left big toe
    joints[[5, 6]] = [(0.6, 0.3, 0.9), (0.4, 0.2, 0.7)]
    keypoints = body_25(joints)
    np.testing.assert_allclose(keypoints[19], (0.1, 0.9, 0.8))
    np.testing.assert_allclose(keypoints[1], (0.5, 0.25, 0.7))
    joints[6, 2] = 0
    assert body_25(joints)[1, 2] == 0  # half a neck is none


def test_nobody_and_nonsense_are_one_sentence(pose_file, tmp_path):
    grey = np.full((*SIZE, 3), 128, np.uint8)
    assert SimCCPose(model=pose_file, size=INPUT, matte=Inner())(grey) == []
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx does not exist"):
        SimCCPose(model=tmp_path / "gone.onnx", matte=Inner())(grey)
    (tmp_path / "no.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"no\.onnx: "):
        SimCCPose(model=tmp_path / "no.onnx", matte=Inner())(grey)
    raw = np.zeros((84, 6), np.float32)
    (tmp_path / "other.onnx").write_bytes(detector_bytes(raw, 64))
    with pytest.raises(ValueError, match=r"gives \(1, 84, 6\) for 64x64 pixels; needed are two"):
        SimCCPose(model=tmp_path / "other.onnx", size=(64, 64), matte=Inner())(grey)
