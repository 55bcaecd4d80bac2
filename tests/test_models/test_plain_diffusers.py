"""What training exports, in pipelines of diffusers that know nothing of vtonlab: same seed, same
picture.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from flux_folder import save_tiny_flux, save_tiny_sd3
from test_flux_real_layout import CONFIG, SIZE, tiny_config

from vtonlab.backbones.export import export_backbone
from vtonlab.engine.running.training import train


@pytest.fixture(scope="module")
def flux(tmp_path_factory) -> Path:
    return save_tiny_flux(tmp_path_factory.mktemp("flux"))


def train_tiny(name: str, weights: Path, work_dir: Path):
    """A shipped config for two steps so large that pictures change; many small files."""
    config = tiny_config(weights, work_dir, CONFIG.with_name(f"{name}.py"))
    config.optim_wrapper.update(type="FiniteOptimWrapper")
    config.optim_wrapper.pop("dtype")
    config.pop("sharding", None)  # one process
    config.optim_wrapper.optimizer.lr = 0.02
    config.param_scheduler = None
    config.visualizer.vis_backends = []
    config.log_level = "ERROR"
    config.custom_hooks = [dict(type="DiffusersExportHook", max_shard_size=20_000)]
    return train(config)


def fill_picture(pipeline, seed: int = 0) -> np.ndarray:
    """One picture of FLUX.1-Fill's own pipeline, (H, W, 3) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    mask = np.zeros(SIZE, np.uint8)
    mask[16:48, 8:40] = 255
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    from PIL import Image

    return pipeline(
        prompt="a person in a shirt",
        image=Image.fromarray(picture),
        mask_image=Image.fromarray(mask),
        height=SIZE[0],
        width=SIZE[1],
        num_inference_steps=2,
        guidance_scale=30.0,
        max_sequence_length=16,
        generator=generator,
        output_type="np",
    ).images[0]


def pipeline_with(weights: Path, transformer=None):
    from diffusers import FluxFillPipeline

    given = {} if transformer is None else {"transformer": transformer}
    pipeline = FluxFillPipeline.from_pretrained(weights, **given)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def full(flux, tmp_path_factory):
    return train_tiny("dit_vitonhd_full", flux, tmp_path_factory.mktemp("full"))


@pytest.mark.parametrize("files", ["one", "several"])
def test_full_weights_draw_the_trained_model_s_picture(full, flux, files, tmp_path):
    from diffusers import FluxTransformer2DModel

    folder = Path(full.work_dir) / "export/transformer"
    if files == "one":
        state = full.part_weights("backbone", frozen=True)
        folder = export_backbone(full.bare_model.backbone, tmp_path, state)
    count = len(list(folder.glob("*.safetensors")))
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    assert (count == 1) == (files == "one") == (not index.exists())
    assert json.loads((folder / "config.json").read_text())["_class_name"].startswith("Flux")
    loaded = FluxTransformer2DModel.from_pretrained(folder)
    expected = fill_picture(pipeline_with(flux, full.bare_model.backbone.eval()))
    picture = fill_picture(pipeline_with(flux, loaded))
    assert np.abs(picture - expected).max() < 1e-5
    assert np.abs(picture - fill_picture(pipeline_with(flux))).max() > 1e-3  # it was trained
    assert not np.array_equal(fill_picture(pipeline_with(flux, loaded), seed=1), picture)


def test_lora_draws_the_trained_model_s_picture(flux, tmp_path):
    runner = train_tiny("dit_vitonhd", flux, tmp_path)
    expected = fill_picture(pipeline_with(flux, runner.bare_model.backbone.eval()))
    pipeline = pipeline_with(flux)
    before = fill_picture(pipeline)
    pipeline.load_lora_weights(tmp_path / "run/export")
    picture = fill_picture(pipeline)
    assert np.abs(picture - expected).max() < 1e-5
    assert np.abs(picture - before).max() > 1e-3


def test_partly_trained_sd3_loads_whole(tmp_path):
    """Attention and the widened patch embedding trained; what was frozen is in the files too.

    (diffusers' own SD3 pipeline has no canvas to feed the new channels with.)
    """
    from diffusers import SD3Transformer2DModel

    runner = train_tiny("sd3_vitonhd", save_tiny_sd3(tmp_path / "sd3"), tmp_path)
    backbone = runner.bare_model.backbone.eval()
    loaded = SD3Transformer2DModel.from_pretrained(tmp_path / "run/export/transformer").eval()
    assert loaded.config.in_channels == backbone.config.in_channels > 4
    torch.manual_seed(0)
    inputs = dict(
        hidden_states=torch.randn(1, loaded.config.in_channels, 8, 8),
        encoder_hidden_states=torch.randn(1, 5, 48),
        pooled_projections=torch.randn(1, 24),
        timestep=torch.tensor([500.0]),
        return_dict=False,
    )
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs)[0], backbone(**inputs)[0])


def test_other_precisions_in_the_file(full, tmp_path):
    from diffusers import FluxTransformer2DModel

    backbone = full.bare_model.backbone
    folder = export_backbone(backbone, tmp_path, dtype="bfloat16")
    loaded = FluxTransformer2DModel.from_pretrained(folder, torch_dtype="auto").state_dict()
    own = backbone.state_dict()
    assert all(torch.equal(v.float(), own[k].bfloat16().float()) for k, v in loaded.items())
    with pytest.raises(ValueError, match="choose one of float32"):
        export_backbone(backbone, tmp_path, dtype="int8")
