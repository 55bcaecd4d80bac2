"""The tables of settings of published programs: they fit their configs, and do what they say."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "tools/convert"))
import gcl3d

from vtonlab.conditioners.prompts import TEMPLATES
from vtonlab.engine.config.load import finalize, load_config

ROOT = Path(__file__).parents[3]


def released(name: str):
    config = load_config(ROOT / "configs" / name, {"as_released": True, "pretrained": "somewhere"})
    finalize(config, launcher="none")
    return config


@pytest.mark.parametrize("name", ["vitonhd", "vitonhd_attn", "vitonhd_24gb", "dresscode", "p2p"])
def test_coral(name):
    model = released(f"coral/dit_{name}.py").model
    assert model.conditioner.pose_tokens == "free" and model.decode == "whole"
    assert model.posterior == "sample" and model.blend_rounding == "truncate"
    assert model.data_preprocessor.agnostic == "masked_person"
    prompt = model.conditioner.prompt
    assert prompt.path == "somewhere" and "prompts" not in prompt
    expected = str if name.startswith("vitonhd") else dict
    assert isinstance(TEMPLATES[prompt.template], expected)


@pytest.mark.parametrize("name", ["klein/dit", "qwen_edit/dit", "coral/sd3"])
def test_backbones_without_published_weights_have_no_table(name):
    with pytest.raises(ValueError, match="no table `released`"):
        load_config(ROOT / f"configs/{name}_vitonhd.py", {"as_released": True})


def test_both_stages_of_3d_gcl_are_what_the_converter_builds():
    first = released("gcl3d/warp_deepfashion.py").model
    second = released("gcl3d/tryon_deepfashion.py").model
    for model in (first, second.warping):
        for key in ("network", "refinement", "label_scale", "arithmetic"):
            wanted = gcl3d.WARPING[key]
            if isinstance(wanted, dict):
                wanted, found = dict(wanted), dict(model[key])
                assert {k: found[k] for k in wanted} == wanted
            else:
                assert model[key] == wanted
    assert second.generator == gcl3d.GENERATOR and second.discriminator.stem == 1
    assert (second.retained, second.pose, tuple(second.columns)) == ("parse", "iuv", (96, 416))
