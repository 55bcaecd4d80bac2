"""Networks are fetched once, and only the published ones are opened."""

import zipfile

import pytest

from vtonlab.estimators import weights
from vtonlab.estimators.weights import FILES


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VTONLAB_CACHE", str(tmp_path))
    return tmp_path / "estimators"


def test_missing_networks_name_the_command(cache):
    assert not weights.available()
    with pytest.raises(FileNotFoundError, match=r"python tools/get_estimators.py"):
        weights.path("selfie_segmentation.tflite")


def test_other_bytes_under_the_name_are_refused(cache):
    cache.mkdir()
    (cache / "selfie_segmentation.tflite").write_bytes(b"TFL3 of somebody else")
    with pytest.raises(ValueError, match="not the published network"):
        weights.path("selfie_segmentation.tflite")


def test_a_wheel_with_other_networks_writes_nothing(cache, tmp_path):
    wheel = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, _ in FILES.values():
            archive.writestr(member, b"something else")
    with pytest.raises(ValueError, match="not the published file"):
        weights.unpack(wheel)
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"no archive", None])
def test_what_is_no_wheel_is_said(cache, tmp_path, content):
    wheel = tmp_path / "mediapipe.whl"
    if content is not None:
        wheel.write_bytes(content)
    with pytest.raises(ValueError, match="is no wheel of mediapipe"):
        weights.unpack(wheel)


def test_the_fetched_networks_are_the_published_ones(estimator_weights):
    for name in FILES:
        assert weights.path(name).parent == estimator_weights
