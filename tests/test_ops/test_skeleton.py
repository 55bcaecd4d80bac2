import numpy as np

from vtonlab.ops.skeleton import BODY_25_BONES, COCO_18, draw_skeleton


def test_joints_are_drawn_where_they_are_and_only_when_known():
    keypoints = np.zeros((25, 3))
    keypoints[4] = (0.25, 0.75, 0.9)
    page = draw_skeleton(keypoints, 80, 40)
    y, x = np.nonzero(page.max(-1))
    assert abs(x.mean() - 9.5) < 0.5 and abs(y.mean() - 59.5) < 0.5
    assert draw_skeleton(np.zeros((25, 3)), 8, 8).max() == 0


def test_bones_need_both_ends_and_images_stay():
    keypoints = np.zeros((25, 3))
    keypoints[[2, 3]] = [(0.1, 0.5, 1), (0.9, 0.5, 1)]
    image = np.full((64, 64, 3), 7, np.uint8)
    page = draw_skeleton(keypoints, 64, 64, image)
    assert (page[30:34, 32] != 7).any() and (image == 7).all()
    assert len(COCO_18) == 18 and max(max(bone) for bone in BODY_25_BONES) == 24
