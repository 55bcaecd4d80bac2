"""``configs/coral/dit_vitonhd.py`` the whole way with tiny weights in the real folder layout."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from flux_folder import save_tiny_flux
from small_data import without_validation

from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.training import train
from vtonlab.registry import MODELS

CONFIG = Path(__file__).parents[2] / "configs/coral/dit_vitonhd.py"
SIZE = (64, 48)


@pytest.fixture(scope="module")
def flux(tmp_path_factory) -> Path:
    return save_tiny_flux(tmp_path_factory.mktemp("flux"))


def tiny_config(flux: Path, work_dir: Path, path: Path | str = CONFIG, dtype: str = "float32"):
    """The shipped config; only sizes, paths and the data set differ."""
    config = load_config(path)
    config.pretrained = str(flux)
    config.model.update(size=SIZE)
    if config.model.lora:
        config.model.lora.rank = 4
    config.model.backbone.dtype = config.model.codec.dtype = dtype
    config.model.conditioner.prompt.update(
        cache_dir=str(work_dir / "prompts"), max_length=16, dtype="float32"
    )
    layers = ["transformer_blocks.1.attn"]
    for loss in config.model.attention_losses.values():
        loss.update(layers=layers, t_max=None, start_iter=0, warmup_iters=0)
    config.model.probe.layers = layers
    config.model.sampler.num_steps = 2
    categories = list(config.model.categories)
    dataset = dict(type="SyntheticTryOn", size=SIZE, length=4, categories=categories)
    config.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    config.train_dataloader["dataset"] = dataset
    config.test_dataloader["num_workers"] = 0
    config.test_dataloader["dataset"] = dict(dataset, split="test", length=2)
    config.train_cfg.max_iters = 2
    config.optim_wrapper.accumulative_counts = 1
    config.default_hooks.checkpoint.interval = 2
    return finalize(without_validation(config), work_dir=str(work_dir / "run"))


@pytest.fixture(scope="module")
def trained(flux, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("work")
    return train(tiny_config(flux, work_dir)), work_dir


def test_only_lora_trained_and_saved(trained):
    runner, work_dir = trained
    model = runner.bare_model
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert names and all("lora" in name for name in names)
    saved = torch.load(work_dir / "run/iter_2.pth", weights_only=True)
    assert set(saved["state_dict"]) == set(names)
    moved = [name for name in names if "lora_B" in name and saved["state_dict"][name].abs().sum()]
    assert moved  # lora_B starts at zero


def test_prompts_are_encoded_once(trained, flux, monkeypatch):
    from vtonlab.conditioners import CachedPrompt

    _, work_dir = trained
    assert len(list((work_dir / "prompts").glob("*.safetensors"))) == 1

    def never(self):
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(CachedPrompt, "_encode", never)
    MODELS.build(tiny_config(flux, work_dir).model.to_dict())


def test_prompt_embeddings_are_the_pipelines(trained, flux):
    from diffusers import FluxPipeline

    runner, _ = trained
    prompt = runner.bare_model.conditioner.prompt
    pipeline = FluxPipeline.from_pretrained(flux)
    tokens, pooled, _ = pipeline.encode_prompt(
        prompt=prompt.prompts[""], prompt_2=None, max_sequence_length=16
    )
    ours = prompt(["upper_body"])
    torch.testing.assert_close(ours[0], tokens)
    torch.testing.assert_close(ours[1], pooled)


def test_plain_diffusers_loads_the_lora(trained, flux):
    """The exported file in a fresh FluxPipeline gives the trained transformer's output."""
    from diffusers import FluxPipeline

    runner, work_dir = trained
    backbone = runner.bare_model.backbone.eval()
    pipeline = FluxPipeline.from_pretrained(flux)
    inputs = dict(
        hidden_states=torch.randn(1, 12, 288),
        encoder_hidden_states=torch.randn(1, 3, 24),
        pooled_projections=torch.randn(1, 20),
        timestep=torch.tensor([0.5]),
        img_ids=torch.zeros(12, 3),
        txt_ids=torch.zeros(3, 3),
        guidance=torch.tensor([30.0]),
        return_dict=False,
    )
    with torch.no_grad():
        ours, plain = backbone(**inputs)[0], pipeline.transformer(**inputs)[0]
        pipeline.load_lora_weights(work_dir / "run/export")
        theirs = pipeline.transformer(**inputs)[0]
    torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(plain, ours, atol=1e-7)


def test_same_picture_for_the_same_seed(trained, flux):
    """A model built anew from the folder and the checkpoint draws what the trained one draws."""
    runner, work_dir = trained
    config = tiny_config(flux, work_dir)
    again = MODELS.build(config.model.to_dict()).eval()
    saved = torch.load(work_dir / "run/iter_2.pth", weights_only=True)
    again.load_state_dict(saved["state_dict"], strict=True)
    batch = next(iter(runner.build_dataloader(config.test_dataloader)))
    model = runner.bare_model.eval()
    first, second = (m.predict(m.data_preprocessor(batch))[0]["image"] for m in (model, again))
    assert np.array_equal(first, second)
    again.seed += 1
    third = again.predict(again.data_preprocessor(batch))[0]["image"]
    assert not np.array_equal(first, third)


def test_a_picture_is_its_pair_s_whatever_the_batch(trained):
    """Guidance 30, dynamic shift, VAE: alone, in a batch, and in the other order."""
    from vtonlab.structures.sample import collate

    model = trained[0].bare_model.eval()
    data = trained[0].build_dataloader(trained[0].cfg.test_dataloader).dataset
    samples = [data[0], data[1]]

    def drawn(*places: int) -> dict[str, np.ndarray]:
        batch = model.data_preprocessor(collate([samples[place] for place in places]))
        return {result["id"]: result["image"].astype(int) for result in model.predict(batch)}

    together = drawn(0, 1)
    for again in (drawn(1, 0), drawn(0) | drawn(1)):
        assert again.keys() == together.keys()
        for name, picture in together.items():
            assert np.abs(picture - again[name]).max() <= 1  # rounded to eight bits
    first, second = together.values()
    assert np.abs(first - second).mean() > 1


def test_latents_are_the_vaes(trained):
    """(mode - shift) * scale, and back (METHODS.md 1.2)."""
    model = trained[0].bare_model
    pictures = torch.rand(1, 3, *SIZE) * 2 - 1
    with torch.no_grad():
        expected = (model.codec.encode(pictures).latent_dist.mode() - 0.11) * 0.36
        torch.testing.assert_close(model.encode(pictures), expected)
        decoded = model.codec.decode(expected / 0.36 + 0.11).sample
        torch.testing.assert_close(model.decode(expected), decoded)


def test_missing_weights_are_one_sentence(tmp_path):
    config = tiny_config(tmp_path / "nowhere", tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        MODELS.build(config.model.to_dict())
    text = str(caught.value)
    assert "\n" not in text and "nowhere" in text and "hf auth login" in text


@pytest.mark.parametrize("name", ["dit_vitonhd", "dit_vitonhd_attn"])
def test_bfloat16_weights_train_in_float32_and_draw(name, flux, tmp_path):
    """As shipped: a bfloat16 base, whatever trains in float32, pictures without a wrapper."""
    path = CONFIG.with_name(f"{name}.py")
    runner = train(tiny_config(flux, tmp_path, path, dtype="bfloat16"))
    model = runner.bare_model
    kinds = {(p.requires_grad, p.dtype) for p in model.backbone.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    batch = next(iter(runner.build_dataloader(runner.cfg.test_dataloader)))
    model.eval()
    image = model.predict(model.data_preprocessor(batch))[0]["image"]
    assert image.shape == (*SIZE, 3) and image.std() > 0
    records = model.attention_records(model.data_preprocessor(batch), 0.5, ["*"])
    assert all(torch.isfinite(record.entropy()).all() for record in records)


def test_published_shapes_on_the_meta_device():
    """FLUX.1-Fill: 19 + 38 blocks, width 3072, 384 channels in, 64 out, 11.9 billion parameters."""
    from diffusers import FluxTransformer2DModel

    with torch.device("meta"):
        backbone = FluxTransformer2DModel(in_channels=384, out_channels=64, guidance_embeds=True)
    assert len(backbone.transformer_blocks) == 19 and len(backbone.single_transformer_blocks) == 38
    assert backbone.x_embedder.weight.shape == (3072, 384)
    assert backbone.proj_out.weight.shape == (64, 3072)
    assert backbone.context_embedder.weight.shape == (3072, 4096)
    assert backbone.time_text_embed.text_embedder.linear_1.weight.shape == (3072, 768)
    assert backbone.transformer_blocks[0].attn.to_q.weight.shape == (3072, 3072)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert count == pytest.approx(11.9e9, rel=0.005)
    supervised = load_config(CONFIG).model.attention_losses.correspondence.layers
    names = {name for name, _ in backbone.named_modules()}
    assert set(supervised) <= names
