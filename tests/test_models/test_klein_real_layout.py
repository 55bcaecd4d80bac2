"""``configs/klein/dit_vitonhd.py`` the whole way with tiny weights in the real folder layout."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from flux_folder import save_tiny_klein
from test_flux_real_layout import tiny_config

from vtonlab.backbones.codec import encode_pictures, scale_latents, unscale_latents
from vtonlab.backbones.export import export_backbone
from vtonlab.conditioners import CachedPrompt
from vtonlab.engine.config.load import load_config
from vtonlab.engine.running.training import train
from vtonlab.models.latent_cache import made_by, record
from vtonlab.registry import BACKBONES, MODELS
from vtonlab.structures.latent_store import CachedLatents

CONFIG = Path(__file__).parents[2] / "configs/klein/dit_vitonhd.py"
SIZE = (80, 64)  # diffusers' pipeline refuses sides below 64


@pytest.fixture(scope="module")
def klein(tmp_path_factory) -> Path:
    return save_tiny_klein(tmp_path_factory.mktemp("klein"))


def config_of(klein: Path, work_dir: Path, dtype: str = "float32"):
    config = tiny_config(klein, work_dir, CONFIG, dtype)
    config.model.update(size=SIZE)
    for loader in (config.train_dataloader, config.test_dataloader):
        loader.dataset.update(size=SIZE)
    return config


@pytest.fixture(scope="module")
def trained(klein, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("work")
    config = config_of(klein, work_dir)
    config.optim_wrapper.optimizer.lr = 0.02  # so that two steps change pictures
    config.param_scheduler = None
    return train(config), work_dir


@pytest.fixture(scope="module")
def batch(trained):
    runner, _ = trained
    data = next(iter(runner.build_dataloader(runner.cfg.test_dataloader)))
    return runner.bare_model.data_preprocessor(data)


def test_only_lora_trained_and_in_every_block(trained):
    runner, work_dir = trained
    names = [name for name, p in runner.bare_model.named_parameters() if p.requires_grad]
    assert names and all("lora" in name for name in names)
    saved = torch.load(work_dir / "run/iter_2.pth", weights_only=True)
    assert set(saved["state_dict"]) == set(names)  # nor the VAE's statistics
    for block in ("transformer_blocks", "single_transformer_blocks"):
        for number in (0, 1):
            own = [name for name in names if f"backbone.{block}.{number}.attn" in name]
            assert len(own) == 2 * (8 if block == "transformer_blocks" else 2)


def test_latents_are_the_pipelines(klein, trained):
    """Mean and deviation of folded channels, one by one, and diffusers' own function."""
    from diffusers import Flux2KleinPipeline

    vae = trained[0].bare_model.codec
    pictures = torch.rand(2, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        raw = vae.encode(pictures).latent_dist.mode()
        pipeline = Flux2KleinPipeline.from_pretrained(klein, transformer=None, text_encoder=None)
        expected = pipeline._encode_vae_image(pictures, None)
    ours = encode_pictures(vae, pictures)
    torch.testing.assert_close(Flux2KleinPipeline._patchify_latents(ours), expected)
    for channel, row, column in ((0, 0, 0), (1, 1, 0), (3, 0, 1), (2, 1, 1)):
        place = 4 * channel + 2 * row + column
        deviation = (vae.bn.running_var[place] + vae.config.batch_norm_eps).sqrt()
        value = (raw[:, channel, row::2, column::2] - vae.bn.running_mean[place]) / deviation
        torch.testing.assert_close(ours[:, channel, row::2, column::2], value)
    torch.testing.assert_close(unscale_latents(vae, scale_latents(vae, raw)), raw)
    with pytest.raises(ValueError, match="latents of 5x6 cannot be folded"):
        scale_latents(vae, torch.zeros(1, 4, 5, 6))


def test_prompts_are_the_pipelines_and_encoded_once(trained, klein, monkeypatch):
    from diffusers import Flux2KleinPipeline

    runner, work_dir = trained
    prompt = runner.bare_model.conditioner.prompt
    pipeline = Flux2KleinPipeline.from_pretrained(klein, transformer=None, vae=None)
    tokens, _ = pipeline.encode_prompt(prompt.prompts[""], max_sequence_length=16)
    ours, pooled = prompt(["upper_body"])
    torch.testing.assert_close(ours, tokens)
    assert pooled.shape == (1, 0)
    monkeypatch.setattr(CachedPrompt, "_encode", None)
    MODELS.build(config_of(klein, work_dir).model.to_dict())


def plain_picture(pipeline, model, batch) -> np.ndarray:
    """What diffusers' pipeline draws from the same three pictures, prompt and noise."""
    to_picture = [batch[name][0] for name in ("agnostic", "garment", "pose")]
    pictures = [
        Image.fromarray(((p + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
        for p in to_picture
    ]
    (generator, *_) = model._pair_generators(batch, "picture")
    noise = torch.randn(4, SIZE[0] // 8, SIZE[1] // 8, generator=generator)[None]
    drawn = pipeline(
        image=pictures,
        prompt_embeds=model.conditioner.prompt(["upper_body"])[0],
        height=SIZE[0],
        width=SIZE[1],
        num_inference_steps=2,
        guidance_scale=1.0,
        latents=torch.nn.functional.pixel_unshuffle(noise, 2),
        output_type="np",
    ).images[0]
    return (drawn * 255).round().astype(np.int64)


def test_plain_diffusers_draws_the_same_picture(trained, klein, batch):
    """Trained LoRA, references, positions, noise levels, VAE: all of `Flux2KleinPipeline`'s own."""
    from diffusers import Flux2KleinPipeline

    runner, work_dir = trained
    model = runner.bare_model.eval()
    ours = model.predict(batch)[0]["image"].astype(np.int64)
    pipeline = Flux2KleinPipeline.from_pretrained(klein)
    pipeline.set_progress_bar_config(disable=True)
    before = plain_picture(pipeline, model, batch)
    pipeline.load_lora_weights(work_dir / "run/export")
    after = plain_picture(pipeline, model, batch)
    assert np.abs(after - ours).max() <= 1
    assert np.abs(before - ours).max() > 1 and ours.std() > 0


def test_same_picture_from_the_checkpoint(trained, klein, batch):
    runner, work_dir = trained
    again = MODELS.build(config_of(klein, work_dir).model.to_dict()).eval()
    saved = torch.load(work_dir / "run/iter_2.pth", weights_only=True)
    again.load_state_dict(saved["state_dict"], strict=True)
    first, second = (m.predict(batch)[0]["image"] for m in (runner.bare_model.eval(), again))
    assert np.array_equal(first, second)


def test_tuned_weights_are_a_folder_diffusers_loads(klein, tmp_path, batch):
    """Without LoRA, the attention of both kinds of block trains and is exported whole."""
    config = config_of(klein, tmp_path)
    config.model.update(lora=None, trainable=["*transformer_blocks.*.attn.*"])
    model = MODELS.build(config.model.to_dict()).eval()
    trained = [p for p in model.backbone.parameters() if p.requires_grad]
    assert len(trained) == 2 * 12 + 2 * 4
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.1)
    folder = export_backbone(model.backbone, tmp_path)
    loaded = BACKBONES.build(
        dict(type="from_pretrained", cls="Flux2Transformer2DModel", path=str(folder))
    )
    first = model.predict(batch)[0]["image"]
    model.backbone = loaded.eval()
    assert np.array_equal(first, model.predict(batch)[0]["image"])


def test_bfloat16_trains_in_float32_and_draws(klein, tmp_path, batch):
    """As shipped: a bfloat16 base under the adapter (tests/test_configs.py runs the tools)."""
    config = config_of(klein, tmp_path, dtype="bfloat16")
    model = MODELS.build(config.model.to_dict())
    kinds = {(p.requires_grad, p.dtype) for p in model.backbone.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    data = model.data_preprocessor(_training_batch(config), True)
    losses = model(**data, mode="loss")
    sum(v for k, v in losses.items() if k.startswith("loss")).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(torch.isfinite(p.grad).all() for p in trained)
    image = model.eval().predict(batch)[0]["image"]
    assert image.shape == (*SIZE, 3) and image.std() > 0
    records = model.attention_records(batch, 0.5, ["*"])
    assert all(torch.isfinite(record.entropy()).all() for record in records)


def test_cached_latents_and_prompts_train_the_same(klein, tmp_path):
    """Losses and gradients from pictures and text, and from the caches of both."""
    config = config_of(klein, tmp_path)
    settings = config.model.to_dict()
    from_pictures = MODELS.build(settings)
    (tmp_path / "prompts").rename(tmp_path / "kept")
    again = MODELS.build(settings | dict(lazy_codec=True))  # encodes the prompt anew
    kept, new = (next((tmp_path / n).glob("*.safetensors")) for n in ("kept", "prompts"))
    assert kept.name == new.name and kept.read_bytes() == new.read_bytes()
    for layer in (from_pictures, again):
        layer.load_state_dict(from_pictures.state_dict())
    data = from_pictures.data_preprocessor(_training_batch(config), True)
    identity = made_by(settings["codec"], settings["conditioner"])
    calls = record(from_pictures.conditioner, from_pictures.codec, data)
    cached = {**data, "latents": [CachedLatents(call, identity) for call in calls]}
    found = []
    for model, inputs in ((from_pictures, data), (again, cached)):
        losses = model(**inputs, mode="loss")
        sum(v for k, v in losses.items() if k.startswith("loss")).backward()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append((losses["loss_diffusion"].item(), grads))
    assert not again.codec.loaded
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], atol=1e-6, rtol=1e-4)
    first, second = (m.eval().predict(data)[0]["image"] for m in (from_pictures, again))
    assert again.codec.loaded and np.array_equal(first, second)


def _training_batch(config) -> dict:
    from vtonlab.registry import DATASETS
    from vtonlab.structures.sample import collate

    data = DATASETS.build(config.train_dataloader.dataset.to_dict())
    return collate([data[0], data[1]])


def test_published_shapes_on_the_meta_device():
    """klein 4B: 5 + 20 blocks, width 3072, text of three layers of 2560: 3.88 billion."""
    from vtonlab.engine.memory.published_shapes import PUBLISHED

    config = load_config(CONFIG)
    shapes = PUBLISHED[config.pretrained, "transformer"]
    with torch.device("meta"):
        backbone = BACKBONES.build(
            dict(type="untrained", cls=config.model.backbone.cls, config=shapes)
        )
    assert backbone.x_embedder.weight.shape == (3072, 128)
    assert backbone.context_embedder.weight.shape == (3072, 3 * 2560)
    assert sum(p.numel() for p in backbone.parameters()) == 3_875_544_576
    names = {name for name, _ in backbone.named_modules()}
    assert set(config.model.attention_losses.correspondence.layers) <= names
    targets = config.model.lora.target_modules
    assert all(any(n == t or n.endswith(f".{t}") for n in names) for t in targets)
