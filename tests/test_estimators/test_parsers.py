"""Human parsers of transformers: a random network that the test saves, labels made LIP's."""

import numpy as np
import pytest

from vtonlab.registry import ESTIMATORS


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    import torch
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    config = SegformerConfig(
        num_labels=18, depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8], decoder_hidden_size=8,
        num_attention_heads=[1, 1, 1, 1],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("parser")
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    return folder


def parser(saved, **settings):
    settings = dict(type="TransformersParser", model=str(saved), size=(64, 64)) | settings
    return ESTIMATORS.build(settings)


def test_labels_are_mapped_pixel_by_pixel(saved):
    picture = np.random.default_rng(0).integers(0, 256, (96, 72, 3), np.uint8)
    plain = parser(saved, labels={i: i for i in range(18)})(picture)
    assert plain.shape == (96, 72) and plain.dtype == np.uint8 and len(np.unique(plain)) > 1
    mapped = parser(saved, labels="segformer_clothes")(picture)
    for theirs, ours in ((4, 5), (7, 6), (9, 18), (16, 0)):
        assert (mapped[plain == theirs] == ours).all()


def test_numbers_that_are_left_out_are_background(saved):
    picture = np.random.default_rng(0).integers(0, 256, (96, 72, 3), np.uint8)
    assert set(np.unique(parser(saved, labels={0: 0, 4: 5})(picture))) <= {0, 5}


def test_bad_settings_are_one_sentence(saved, tmp_path):
    picture = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="labels 'coco' is none of lip, atr"):
        parser(saved, labels="coco")
    with pytest.raises(ValueError, match="0 to 19"):
        parser(saved, labels={0: 25})
    with pytest.raises(ValueError, match="has 18 labels, but label 19"):
        parser(saved, labels="lip")(picture)
    with pytest.raises(FileNotFoundError, match=r"human parser .* cannot be loaded"):
        parser(tmp_path)(picture)
