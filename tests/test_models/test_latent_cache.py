"""Training from cached latents is training from pictures, without the encoder."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vtonlab.backbones.codec import LazyCodec
from vtonlab.datasets import VITONHDDataset
from vtonlab.models.latent_cache import made_by, record
from vtonlab.structures.latent_store import CachedLatents, LatentStore
from vtonlab.structures.sample import collate

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_vitonhd import write_tree

ROOT = Path(__file__).parents[2]
SIZE = (32, 24)
MAPS = ["agnostic", "mask", "garment_mask", "pose"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("data") / "vitonhd", count=5, size=(64, 48))


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> str:
    """A small trained VAE's folder."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "vae"
    AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2, norm_num_groups=4, latent_channels=12,
        scaling_factor=0.5, shift_factor=0.1,
    ).save_pretrained(folder)  # fmt: skip
    return str(folder)


@pytest.fixture
def settings(vae, make_model):
    """``settings(codec)``: changes to the model's config for a 2-pixel codec."""
    return dict(
        codec=dict(type="from_pretrained", cls="AutoencoderKL", path=vae),
        conditioner=dict(
            type="Full3DAttentionConditioner",
            codec_factor=2,
            prompt=dict(type="NullPrompt", dim=8, pooled_dim=8),
        ),
        attention_losses={},
    )


def dataset(tree, **options):
    return VITONHDDataset(data_root=str(tree), size=SIZE, maps=MAPS, **options)


def cache(tree, model, settings, folder, dtype="float32"):
    data = dataset(tree)
    identity = dict(
        data=data.pictures_from, made_by=made_by(settings["codec"], settings["conditioner"])
    )
    store = LatentStore.start(Path(folder), identity)
    for index, pair in enumerate(data.pairs):
        batch = model.data_preprocessor(collate([data[index]]), False)
        (calls,) = record(model.conditioner, model.codec, batch)
        store.write(*pair, calls, data.files(index), dtype)
    store.finish(data.pairs, {})
    return str(folder)


def train(model, data, steps=3):
    """Losses of a few steps, and the trained parameters."""
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for step in range(steps):
        samples = [data[(2 * step + n) % len(data)] for n in range(2)]
        for n, sample in enumerate(samples):
            sample["position"] = 2 * step + n
        batch = model.data_preprocessor(collate(samples), True)
        loss = model(**batch, mode="loss", step=step)["loss_diffusion"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses, {k: v.clone() for k, v in model.backbone.state_dict().items()}


def test_training_equals_training_from_pictures_and_loads_no_codec(
    tree, settings, make_model, tmp_path
):
    from_pictures = make_model(**settings)
    folder = cache(tree, from_pictures, settings, tmp_path / "latents")
    losses, weights = train(from_pictures, dataset(tree))
    from_cache = make_model(**settings, lazy_codec=True)
    cached_losses, cached_weights = train(from_cache, dataset(tree, latents=folder))
    assert isinstance(from_cache.codec, LazyCodec) and not from_cache.codec.loaded
    assert losses == pytest.approx(cached_losses, rel=1e-5)
    for name, value in weights.items():
        assert torch.allclose(value, cached_weights[name], atol=1e-6), name
    assert not any("codec" in name for name in from_cache.state_dict())
    batch = from_cache.data_preprocessor(collate([dataset(tree)[0]]), False)
    from_cache.codec.decode(torch.zeros(1, 12, 16, 12))
    assert from_cache.codec.loaded and from_cache.codec._codec().encoder is None
    (drawn,), (expected,) = from_cache.predict(batch), _with(from_pictures, from_cache, batch)
    assert (
        from_cache.codec.loaded
        and np.abs(drawn["image"].astype(int) - expected["image"]).max() <= 1
    )


def _with(model, other, batch):
    model.backbone.load_state_dict(other.backbone.state_dict())
    return model.predict(batch)


def test_half_precision_is_close(tree, settings, make_model, tmp_path):
    model = make_model(**settings)
    whole = dataset(tree, latents=cache(tree, model, settings, tmp_path / "a"))[0]["latents"]
    half = dataset(tree, latents=cache(tree, model, settings, tmp_path / "b", "float16"))[0]
    for name, value in half["latents"].calls.items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, whole.calls[name], rtol=2e-3, atol=2e-3)
    assert sorted(whole.calls) == ["prepare.0", "prepare.1", "target.0"]


class TestStaleness:
    @pytest.fixture
    def folder(self, tree, settings, make_model, tmp_path):
        return cache(tree, make_model(**settings), settings, tmp_path / "latents")

    def test_another_data_set(self, tree, folder):
        with pytest.raises(ValueError, match=r"made differently: data\.size: written \[32, 24\]"):
            VITONHDDataset(data_root=str(tree), size=(64, 48), maps=MAPS, latents=folder)
        with pytest.raises(ValueError, match="paint_hair"):
            dataset(tree, latents=folder, paint_hair=True)
        with pytest.raises(FileNotFoundError, match=r"python tools/cache_latents\.py"):
            dataset(tree, latents=folder + "x")

    def test_another_codec_or_conditioner(self, tree, folder, settings, make_model, vae):
        batch = collate([dataset(tree, latents=folder)[0]])
        other = dict(settings, codec=dict(settings["codec"], dtype="bfloat16"))
        model = make_model(**other)
        with pytest.raises(ValueError, match=r"made differently: codec\.dtype: written '\(default"):
            model(**model.data_preprocessor(batch, True), mode="loss")
        config = json.loads((Path(vae) / "config.json").read_text())
        try:
            (Path(vae) / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.7}))
            model = make_model(**settings)
            with pytest.raises(ValueError, match="codec_weights: written"):
                model(**model.data_preprocessor(batch, True), mode="loss")
        finally:
            (Path(vae) / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    def test_a_changed_picture_is_named(self, tree, folder):
        path = tree / "train/image-densepose/00001_00.jpg"
        before = path.read_bytes()
        try:
            Image.fromarray(np.zeros((64, 48, 3), np.uint8)).save(path)
            data = dataset(tree, latents=folder)
            data[0]
            with pytest.raises(ValueError, match=r"00001_00\.jpg has changed since its latents"):
                data[1]
        finally:
            path.write_bytes(before)

    def test_a_damaged_or_unfinished_store(self, tree, folder):
        path = next((Path(folder) / "pairs").iterdir())
        path.write_bytes(path.read_bytes()[:-100])
        data = dataset(tree, latents=folder)
        with pytest.raises(ValueError, match=r"latent file .* is damaged"):
            list(data)
        manifest = Path(folder) / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"complete": true', '"complete": false'))
        with pytest.raises(ValueError, match="are not finished"):
            dataset(tree, latents=folder)

    def test_augmentation_is_refused(self, tree, folder):
        with pytest.raises(ValueError, match="RandomHFlip changes them"):
            dataset(tree, latents=folder, transforms=[dict(type="RandomHFlip")])
        dataset(tree, latents=folder, transforms=[dict(type="Pack", keys=MAPS)])[0]

    def test_words_are_not(self, tree, folder, tmp_path):
        (tmp_path / "captions").mkdir()
        words = dict(type="Captions", source=str(tmp_path / "captions"), default="a shirt")
        transforms = [dict(type="Task", name="try_on"), words]
        sample = dataset(tree, latents=folder, transforms=transforms)[0]
        assert (sample["task"], sample["caption"]) == ("try_on", "a shirt") and sample["latents"]

    def test_maps_are_compared_by_name(self, tree, folder):
        options = dict(data_root=str(tree), size=SIZE, latents=folder)
        assert VITONHDDataset(maps=MAPS[1:3], **options)[0]["latents"]  # fewer than were encoded
        more = VITONHDDataset(maps=["keypoints", *MAPS], **options)
        with pytest.raises(ValueError, match=r"keypoints\.json was not there when the"):
            more[0]

    def test_another_order_of_calls(self, tree, folder, settings, make_model):
        model = make_model(**settings)
        sample = dataset(tree, latents=folder)[0]
        known = sample["latents"]
        calls = {k: v for k, v in known.calls.items() if k != "prepare.1"}
        sample["latents"] = CachedLatents(calls, known.made_by)
        with pytest.raises(ValueError, match=r"no call prepare\.1"):
            model(**model.data_preprocessor(collate([sample]), True), mode="loss")

    def test_random_weights_cannot_be_kept(self):
        with pytest.raises(ValueError, match="without trained weights cannot be kept"):
            made_by(dict(type="AutoencoderKL"), dict(type="X"))


def test_the_tool_and_a_training_run(tree, tmp_path, capsys, monkeypatch):
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.running.training import train as run

    sys.path.insert(0, str(ROOT / "tools"))
    import cache_latents

    monkeypatch.chdir(ROOT)
    (tmp_path / "words").mkdir()
    words = dict(type="Captions", source=str(tmp_path / "words"), default="a shirt")
    asked = finalize(load_config("configs/coral/dit_tiny_vitonhd.py", {"data_root": str(tree)}))
    asked.train_dataloader.dataset.transforms = [dict(type="RandomHFlip"), words]
    data = cache_latents.build(asked, "train_dataloader")[0]
    assert [type(each).__name__ for each in data.transforms] == ["Captions"]
    options = {"data_root": str(tree), "train_dataloader.dataset.matches": None}
    out = tmp_path / "latents"
    arguments = ["configs/coral/dit_tiny_vitonhd.py", "--out", str(out)]
    arguments += ["--cfg-options", f"data_root={tree}", "train_dataloader.dataset.size=[64,48]"]
    monkeypatch.setattr(sys, "argv", ["cache_latents.py", *arguments])
    assert cache_latents.main() == 0
    first = {p.name: p.stat().st_mtime_ns for p in (out / "pairs").iterdir()}
    assert "latents of 3 pairs" in capsys.readouterr().out and len(first) == 3
    assert cache_latents.main() == 0  # nothing is encoded again
    assert first == {p.name: p.stat().st_mtime_ns for p in (out / "pairs").iterdir()}
    config = load_config("configs/coral/dit_tiny_vitonhd.py", options)
    config.train_dataloader.dataset.update(latents=str(out), size=(64, 48))
    config.test_dataloader.dataset.size = (64, 48)
    config.train_dataloader.batch_size = 2
    config.model.update(size=(64, 48), lazy_codec=True)
    config.model.attention_losses = {}
    config.train_cfg.max_iters = 2
    config.custom_hooks = []  # a preview would decode
    config.log_level = "ERROR"
    runner = run(finalize(config, work_dir=str(tmp_path / "run")))
    assert runner.iter == 2 and not runner.bare_model.codec.loaded
