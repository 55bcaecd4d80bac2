"""``as_released``: one word sets a table, a mark of converted weights says it, options win."""

import pytest
import torch

from vtonlab.engine.checkpoints.files import save_safetensors
from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.config.released import mark_folder, released_options

TEXT = """
as_released = False
model = dict(type="TryOnDiffusion", size=[8, 6], repaint_blur=100, sampler=dict(type="DDIMSampler"))
test_dataloader = dict(batch_size=1, dataset=dict(type="VITONHDDataset", maps=["mask", "pose"]))
released = {
    "model.repaint_blur": 50,
    "model.posterior": "sample",
    "model.sampler": dict(type="PLMSSampler", num_steps=7),
    "test_dataloader.dataset.maps": ["mask"],
}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.py"
    path.write_text(TEXT)
    return path


def test_the_word_applies_the_table_before_other_options(path):
    plain = load_config(path, {"model.repaint_blur": 0})
    assert plain.model.repaint_blur == 0 and "posterior" not in plain.model
    config = load_config(path, {"as_released": True, "model.posterior": "mode"})
    assert config.model.repaint_blur == 50 and config.model.posterior == "mode"
    assert config.model.sampler == dict(type="PLMSSampler", num_steps=7)
    assert config.test_dataloader.dataset.maps == ["mask"]
    assert config.as_released and "released" not in config


def test_the_config_of_a_run_is_not_changed_again(path, tmp_path):
    config = load_config(path, {"as_released": True, "model.repaint_blur": 0})
    config.dump(tmp_path / "run.py")
    again = load_config(tmp_path / "run.py")
    assert again.model.repaint_blur == 0 and again.as_released


def test_a_wrong_table_and_a_missing_one_are_named(path, tmp_path):
    path.write_text(TEXT.replace("model.posterior", "model.posteriour"))
    with pytest.raises(ValueError, match="did you mean 'posterior'"):
        load_config(path, {"as_released": True})
    bare = tmp_path / "bare.py"
    bare.write_text("as_released = False")
    with pytest.raises(ValueError, match="no table `released`"):
        load_config(bare, {"as_released": True})


def test_converted_weights_say_it_themselves(tmp_path):
    marked, plain = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_safetensors({"x": torch.zeros(1)}, marked, {"facts": {}, "as_released": True})
    save_safetensors({"x": torch.zeros(1)}, plain, {"facts": {}})
    assert released_options({"seed": 1}, checkpoint=marked) == {"seed": 1, "as_released": True}
    assert released_options({}, checkpoint=plain) == {}
    assert released_options({}, checkpoint=tmp_path / "iter_9.pth") == {}
    said = released_options({"as_released": False}, checkpoint=marked)
    assert said == {"as_released": False}
    mark_folder(tmp_path / "base")
    assert released_options({}, checkpoint=plain, pretrained=tmp_path / "base")["as_released"]
    assert released_options({"pretrained": str(tmp_path / "base")}, checkpoint=plain)["as_released"]


TABLES = [
    *("catvton/unet_vitonhd", "catvton/unet_dresscode"),
    *("leffa/unet_vitonhd", "leffa/unet_dresscode", "leffa/unet_deepfashion_pose_sdxl"),
    *("stableviton/unet_vitonhd", "stableviton/unet_vitonhd_atv", "sift_vton/unet_vitonhd"),
]


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_published_systems(name):
    """Each applies, and what comes out is a config that the strict check passes."""
    from pathlib import Path

    from vtonlab.engine.config.check import check_config

    path = Path(__file__).parents[3] / f"configs/{name}.py"
    assert load_config(path).model.get("posterior", "mode") == "mode"
    config = load_config(path, {"as_released": True})
    check_config(finalize(config, work_dir="x"))
    assert config.model.posterior == "sample" and "released" not in config
