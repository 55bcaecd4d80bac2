"""LightGlueMatcher with tiny random weights: finds a picture in itself, obeys masks."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
transformers = pytest.importorskip("transformers")
cv2 = pytest.importorskip("cv2")

from projects.lightglue_matcher import LightGlueMatcher  # noqa: E402
from vtonlab.registry import MATCHERS  # noqa: E402

SIZE = (96, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    detector = transformers.SuperPointConfig(
        encoder_hidden_sizes=(8, 8, 16, 16),
        decoder_hidden_size=16,
        descriptor_decoder_dim=16,
        keypoint_threshold=0.0,
        max_keypoints=64,
        initializer_range=0.2,
    )
    config = transformers.LightGlueConfig(
        keypoint_detector_config=detector,
        descriptor_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        filter_threshold=0.0,
        initializer_range=0.2,
    )
    path = tmp_path_factory.mktemp("lightglue")
    transformers.LightGlueForKeypointMatching(config).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def picture():
    noise = np.random.default_rng(0).integers(0, 256, (24, 16, 3)).astype(np.uint8)
    return cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def test_a_picture_matches_itself_where_it_lies(folder, picture):
    matcher = MATCHERS.build(
        dict(type="LightGlueMatcher", model=folder, size=SIZE, min_score=0.0)
    ).to("cpu")
    report = matcher.explain(picture, picture)
    same = (report.matches.person_points - report.matches.garment_points).abs().amax(1) < 1e-6
    assert len(report.matches) > 5 and same.float().mean() > 0.8
    assert report.counts["matches"] == len(report.matches)
    half = np.zeros(SIZE, np.uint8)
    half[:, :32] = 1
    left = (report.matches.person_points[:, 0] < 0.5).sum()
    assert len(matcher(picture, picture, half)) == left
    assert len(matcher(picture, picture, None, half)) == left


def test_missing_weights_are_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="local folder"):
        LightGlueMatcher(model=str(tmp_path / "nothing")).to("cpu")
