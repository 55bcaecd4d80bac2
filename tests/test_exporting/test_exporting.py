"""Exported folders: the same picture in diffusers alone, in its stock pipeline, and read back.

Comparisons of latents are exact by construction (the same operations on the same strides, in the
same order); 1e-5 is what the folders promise.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small_folders import FAMILIES, STEPS, Exported, make, pair, save_base

from vtonlab.apis import TryOnInferencer, init_model
from vtonlab.engine.checkpoints.exported import ABOUT, SUMS, verify, write_sums
from vtonlab.engine.checkpoints.files import read_checkpoint
from vtonlab.exporting.forms import form_of
from vtonlab.registry import BACKBONES
from vtonlab.utils.seeding import seed_from

PROMISED = 1e-5
ALONE = ("coral", "leffa", "catvton", "coral_toy", "catvton_toy")  # those that say so


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Name of a family -> its export, made when first asked for."""
    made: dict[str, Exported] = {}
    bases: dict[str, Path] = {}

    def get(name: str) -> Exported:
        if name not in made:
            kind = FAMILIES[name].base
            if kind is not None and kind not in bases:
                bases[kind] = save_base(kind, tmp_path_factory.mktemp(kind))
            made[name] = make(name, bases.get(kind), tmp_path_factory.mktemp(name))
        return made[name]

    return get


def _in_memory(part) -> None:
    """Weights as in any other network: those of a mapped file may lie so that sums go another
    way.
    """
    for parameter in getattr(part, "parameters", list)():
        parameter.data = parameter.data.clone()


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads a folder as its card says, with code cached in a folder of this test."""
    import diffusers.utils.dynamic_modules_utils as dynamic

    monkeypatch.setattr(dynamic, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [n for n in sys.modules if n.split(".")[0] == "diffusers_modules"]:
        monkeypatch.delitem(sys.modules, name)

    def load(folder: Path):
        from diffusers import DiffusionPipeline

        pipeline = DiffusionPipeline.from_pretrained(
            str(folder), custom_pipeline=str(folder), trust_remote_code=True
        )
        pipeline.set_progress_bar_config(disable=True)
        for part in pipeline.components.values():
            _in_memory(part)
        return pipeline

    yield load
    for name in [n for n in sys.modules if n.split(".")[0] == "diffusers_modules"]:
        del sys.modules[name]


@pytest.fixture
def without_vtonlab(monkeypatch):
    """Nothing of vtonlab can be imported any more, and nothing of it is there."""

    class Blocked:
        def find_spec(self, name, *args):
            if name.split(".")[0] == "vtonlab":
                raise ImportError(f"{name} is blocked")

    def block():
        for name in [n for n in sys.modules if n.split(".")[0] == "vtonlab"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Blocked(), *sys.meta_path])

    return block


def drawn(model, given: dict):
    """The inferencer's result, and its latents after the last step."""
    steps = []
    inferencer = TryOnInferencer(model)
    watch = lambda who, step, timestep, kwargs: steps.append(kwargs["latents"])  # noqa: E731
    return inferencer(**given, callback_on_step_end=watch), steps[-1]


def shown(name: str) -> dict:
    given = pair(name)
    if name == "catvton":
        given.pop("pose")
    return given


def noise_of(result, purpose: str = "picture") -> torch.Generator:
    """The generator that the inferencer draws a pair's noise from."""
    seed = seed_from(purpose, 0, result.id, result.garment_id)
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", [*ALONE, pytest.param("sd3", marks=pytest.mark.slow)])
def test_the_same_picture_in_diffusers_alone_and_read_back(name, exported, load, without_vtonlab):
    made, given = exported(name), shown(name)
    result, latents = drawn(made.model, given)
    again, back = drawn(init_model(made.folder, device="cpu"), given)
    assert torch.equal(latents, back) and np.array_equal(result.picture, again.picture)
    without_vtonlab()
    pipeline = load(made.folder)
    alone = pipeline(**given, generator=noise_of(result), output_type="latent").images
    assert (alone - latents).abs().max() <= PROMISED
    picture = pipeline(**given, generator=noise_of(result), output_type="np").images[0]
    assert np.array_equal(picture, result.picture)
    other = pipeline(**given, generator=torch.Generator().manual_seed(1), output_type="np")
    assert np.abs(other.images[0].astype(int) - picture).max() > 1


def test_a_batch_other_sizes_and_what_is_missing(exported, load):
    made, given = exported("coral_toy"), shown("coral_toy")
    pipeline = load(made.folder)
    inferencer = TryOnInferencer(made.model)
    people = [given["person"], given["person"][:, ::-1].copy()]
    masks = [given["mask"], given["mask"][:, ::-1].copy()]
    both = dict(given, person=people, mask=masks)
    results = inferencer(**both, batch_size=2)
    generators = [noise_of(result) for result in results]
    found = pipeline(**both, generator=generators, output_type="np").images
    for picture, result in zip(found, results, strict=True):
        assert np.array_equal(picture, result.picture)  # both in a batch of two
    large = {key: np.kron(value, _twice(value)) for key, value in given.items()}
    assert pipeline(**large).images[0].size == (24, 32)
    with pytest.raises(ValueError, match="shown a pose: give pose="):
        pipeline(given["person"], given["garment"], given["mask"])
    with pytest.raises(ValueError, match="a mask is empty"):
        pipeline(**dict(given, mask=np.zeros_like(given["mask"])))
    with pytest.raises(ValueError, match="must be uint8"):
        pipeline(**dict(given, person=given["person"] / 255.0))
    with pytest.raises(ValueError, match="2 pictures for 3 people"):
        pipeline(**dict(both, garment=[given["garment"]] * 3))


def _twice(picture: np.ndarray) -> np.ndarray:
    return np.ones((2, 2, 1)[: picture.ndim], np.uint8)


def test_coral_in_the_stock_pipeline_on_the_panels(exported, tmp_path):
    """Two panels, whose positions are FLUX's own; latents drawn from the VAE's posterior, as the
    stock pipeline does.
    """
    from diffusers import FluxFillPipeline

    index = json.loads((exported("coral").folder / "model_index.json").read_text())
    base = Path(index["settings"]["base"])
    made = make("coral", base, tmp_path, pose_panel=False)
    model = made.model
    given = shown("coral")
    given.pop("pose")
    result, latents = drawn(model, given)
    pipeline = FluxFillPipeline.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    height, width = model.size
    pictures = [torch.from_numpy(given[key]) for key in ("garment", "person")]
    canvas = torch.cat(pictures, dim=1).permute(2, 0, 1)[None].contiguous() / 127.5 - 1.0
    mask = np.concatenate([np.zeros_like(given["mask"]), given["mask"]], axis=1)
    noise = torch.randn(latents.shape[1:], generator=noise_of(result))[None]

    def stock():
        return pipeline(
            prompt=next(iter(model.conditioner.prompt.prompts.values())),
            image=canvas,
            mask_image=torch.from_numpy(mask)[None, None] / 255.0,
            height=height,
            width=2 * width,
            num_inference_steps=STEPS,
            guidance_scale=30.0,
            max_sequence_length=16,
            latents=pipeline._pack_latents(noise, *noise.shape),
            generator=noise_of(result, "posterior prepare"),
            output_type="latent",
        ).images

    unchanged = stock()
    pipeline.load_lora_weights(made.folder)
    found = pipeline._unpack_latents(stock(), height, 2 * width, pipeline.vae_scale_factor)
    assert (found - latents).abs().max() <= PROMISED
    assert (pipeline._pack_latents(latents, *latents.shape) - unchanged).abs().max() > 0.01


def test_a_method_with_code_of_ours_says_so_and_draws_through_vtonlab(
    exported, load, without_vtonlab
):
    made, given = exported("stableviton"), shown("stableviton")
    result, _ = drawn(made.model, given)
    picture = load(made.folder)(**given).images[0]
    assert np.array_equal(np.asarray(picture), result.picture)
    without_vtonlab()
    with pytest.raises(ImportError, match=r"needs vtonlab, because Zero.*: pip install vtonlab$"):
        load(made.folder)


@pytest.mark.parametrize("shifting", ["flux2", "qwen_image"])
def test_noise_levels_that_panels_have_not_are_drawn_by_ours(exported, shifting, monkeypatch):
    model = exported("coral_toy").model
    assert form_of(model).stands_alone
    monkeypatch.setattr(model.sampler, "dynamic_shifting", shifting)
    assert "FlowMatchEulerSampler steps a scheduler in a way of its own" in form_of(model).why


def test_the_toy_in_the_box_comes_back_to_the_bit(tmp_path):
    from tools.export import main as export
    from vtonlab.synthetic import SyntheticTryOn

    out = tmp_path / "toy"
    assert export(["--model", "coral_synthetic", "--out", str(out)]) == 0
    people = SyntheticTryOn(size=(128, 96), split="test", length=2, categories=["upper_body"])
    given = {key: people[0][key] for key in ("person", "garment", "mask", "pose")}
    first, back = (TryOnInferencer(m, device="cpu")(**given) for m in ("coral_synthetic", out))
    assert np.array_equal(first.picture, back.picture) and first.picture.std() > 10
    card = (out / "README.md").read_text()
    assert "attention_pck: 0.9028" in card and "64 people" in card and "license: apache-2.0" in card


def test_unets_without_text_are_diffusers_own(exported):
    """`UNet2DConditionModel` builds them, with any text, to the same answer."""
    from diffusers import UNet2DConditionModel

    made = exported("leffa")
    plain = UNet2DConditionModel.from_pretrained(made.folder / "unet").eval()
    _in_memory(plain)
    ours = made.model.backbone
    torch.manual_seed(0)
    latents, text = torch.randn(1, 12, 16, 16), torch.randn(1, 3, 1)
    with torch.no_grad():
        one = plain(latents, 7.0, encoder_hidden_states=text, return_dict=False)[0]
        other = ours(latents, 7.0, encoder_hidden_states=None, return_dict=False)[0]
    assert torch.equal(one, other)  # what is added is exactly zero


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("SD3Transformer2DModel", dict(caption_projection_dim=32, pooled_projection_dim=24)),
        ("Flux2Transformer2DModel", dict(num_single_layers=1, axes_dims_rope=(4, 4, 4, 4))),
        ("QwenImageTransformer2DModel", dict(out_channels=4, axes_dims_rope=(4, 6, 6))),
        ("LongCatImageTransformer2DModel", dict(num_single_layers=1, axes_dims_rope=(4, 6, 6))),
    ],
)
def test_loras_of_other_families_come_back_by_their_names(name, settings, tmp_path):
    """What ``load_lora_weights`` of a family's pipeline reads is what the model is given again."""
    from vtonlab.backbones.export import export_backbone
    from vtonlab.engine.checkpoints.exported import own_name
    from vtonlab.models.adapters import add_lora
    from vtonlab.utils.bounded import read_tensors

    sizes = dict(num_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=16)
    backbone = BACKBONES.build(dict(type=name, in_channels=16, **sizes) | settings)
    add_lora(backbone, rank=2)
    found = read_tensors(export_backbone(backbone, tmp_path))
    own = {f"backbone.{k}": v for k, v in backbone.state_dict().items() if "lora_" in k}
    assert own and {own_name(key) for key in found} == own.keys()
    assert all(torch.equal(own[own_name(key)], value) for key, value in found.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kontext", "klein"])
def test_editing_models_come_back_and_draw_through_vtonlab(name, exported, load):
    made, given = exported(name), shown(name)
    result, latents = drawn(made.model, given)
    again, back = drawn(init_model(made.folder, device="cpu"), given)
    assert torch.equal(latents, back) and np.array_equal(result.picture, again.picture)
    assert np.array_equal(np.asarray(load(made.folder)(**given).images[0]), result.picture)
    card = (made.folder / "README.md").read_text()
    wanted = {"kontext": "FluxKontextPipeline", "klein": "Flux2KleinPipeline"}[name]
    assert f"{wanted}.from_pretrained" in card and "in this order: agnostic, garment, pose" in card


def test_named_loras_come_back_each_from_its_file(tmp_path):
    from vtonlab.engine.checkpoints.exported import own_name
    from vtonlab.exporting.folder import _save_loras
    from vtonlab.models.named_adapters import NamedAdapters
    from vtonlab.utils.bounded import read_tensors

    sizes = dict(num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2)
    sizes |= dict(joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=(4, 6, 6))
    backbone = BACKBONES.build(dict(type="FluxTransformer2DModel", in_channels=16, **sizes))
    NamedAdapters(backbone, dict(on=dict(rank=2), off=dict(rank=3, target_modules=["attn.to_q"])))
    files = _save_loras(tmp_path, backbone, None)
    assert files == {"on": "on.safetensors", "off": "off.safetensors"}
    own = {f"backbone.{k}": v for k, v in backbone.state_dict().items() if "lora_" in k}
    found = {
        own_name(key, name): value
        for name, file in files.items()
        for key, value in read_tensors(tmp_path / file).items()
    }
    assert found.keys() == own.keys()
    assert all(torch.equal(own[key], value) for key, value in found.items())


def test_layout_and_index(exported):
    files = {
        name: {p.relative_to(exported(name).folder).as_posix() for p in
               exported(name).folder.rglob("*") if p.is_file()}
        for name in (*ALONE, "stableviton")
    }  # fmt: skip
    weights = "diffusion_pytorch_model.safetensors"
    assert {f"unet/{weights}", f"reference_unet/{weights}", f"vae/{weights}"} <= files["leffa"]
    assert "pytorch_lora_weights.safetensors" in files["coral"]
    assert not [f for f in files["coral"] if f.startswith(("transformer", "vae"))]  # its base's
    assert {"vtonlab.safetensors", "image_encoder/model.safetensors"} <= files["stableviton"]
    for name, found in files.items():
        assert {"README.md", "config.py", "model_index.json", "pipeline.py", SUMS} <= found
        assert ("scheduler/scheduler_config.json" in found) == (name in ALONE)
        index = json.loads((exported(name).folder / "model_index.json").read_text())
        assert index["_class_name"] == ["pipeline", "TryOnPipeline"]
        text = (exported(name).folder / "config.py").read_text()
        assert "work_dir" not in text and "load_from" not in text


def test_the_card_is_of_the_run(exported):
    card = (exported("leffa").folder / "README.md").read_text()
    for words in ("trained at commit | 0123456", "iterations | 7", "averaged weights", "32x32",
                  "rendered by vtonlab", "need not be installed", "upper body"):  # fmt: skip
        assert words in card
    assert "adapter" not in card and "because Zero" in (
        (exported("stableviton").folder / "README.md").read_text()
    )
    lora = (exported("coral").folder / "README.md").read_text()
    assert "[garment | person | pose]" in lora and "Two photographs side by side" in lora
    front = card.split("---")[1]
    assert "pipeline_tag: image-to-image" in front and "license: other" in front
    code = card.split("```python\n")[1].split("```")[0]
    assert len(code.splitlines()) <= 10
    compile(code, "card", "exec")


def test_scores_with_their_protocol_and_testing_the_folder(exported, tmp_path, monkeypatch, capsys):
    """``tools/test.py --model DIR``, whose results the next card shows."""
    from tools import test as tool
    from tools.export import main as export

    made, out = exported("catvton"), tmp_path / "test"
    words = ["--model", str(made.folder), "--out", str(out), "--cfg-options"]
    monkeypatch.setattr(sys, "argv", ["test.py", *words, "test_dataloader.dataset.length=2"])
    assert tool.main() == 0
    results = json.loads((out / "results.json").read_text())
    assert (
        results["images"] == 2
        and results["sha256"]
        and np.isfinite(results["metrics"]["l1_inside"])
    )
    words = [str(made.config), str(made.weights), "--out", str(tmp_path / "again")]
    assert export([*words, "--results", str(out), "--dtype", "bfloat16"]) == 0
    state = read_checkpoint(tmp_path / "again")["state_dict"]
    assert {value.dtype for value in state.values()} == {torch.bfloat16}
    assert "note: config.py names folders of this machine: pretrained=/" in capsys.readouterr().out
    card = (tmp_path / "again/README.md").read_text()
    assert f"l1_inside: {results['metrics']['l1_inside']:.4f}" in card and "2 pairs, list" in card


def test_training_goes_on_from_a_folder(exported, tmp_path):
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.running.training import train

    made = exported("catvton")
    options = {"load_from": str(made.folder), "train_cfg.max_iters": 1}
    options |= {"optim_wrapper.optimizer.lr": 0.0, "optim_wrapper.accumulative_counts": 1}
    config = load_config(made.config, options)
    config.optim_wrapper.update(type="FiniteOptimWrapper")
    config.optim_wrapper.pop("dtype")
    config.default_hooks.checkpoint.update(export=False, save_best=None)
    runner = train(finalize(config, work_dir=str(tmp_path / "run")))
    saved = read_checkpoint(made.weights)["state_dict"]
    state = runner.bare_model.state_dict()
    assert saved.keys() == state.keys()
    assert all(torch.equal(state[key], value) for key, value in saved.items())


def test_a_changed_folder_is_refused_by_name(exported, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exported("catvton").folder, folder)
    (folder / "README.md").write_text("edited on the hub")
    verify(folder)
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match=r"unet/diff.* is not the file that SHA256SUMS names"):
        init_model(folder)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks unet/diffusion.* copy the whole folder"):
        init_model(folder)
    sums = (folder / SUMS).read_text()
    (folder / SUMS).write_text(sums.replace("unet/diff", "../unet/diff"))
    with pytest.raises(ValueError, match="leaves the folder"):
        init_model(folder)
    kept = [line for line in sums.splitlines() if "unet/diff" not in line]
    (folder / SUMS).write_text("\n".join(kept) + "\n")
    weights.write_bytes(data)
    with pytest.raises(ValueError, match="does not stand in SHA256SUMS"):
        init_model(folder)
    (folder / ABOUT).write_text("{}")
    with pytest.raises(ValueError, match=f"{ABOUT} is not the file"):
        init_model(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(parts=dict(backbone=dict(folder="../x"))), "lacks 'class'"),
        (dict(loras=dict(default="/etc/passwd")), "'/etc/passwd' leaves the folder"),
        (dict(config={"model.backbone.path": "../../x"}), "leaves the folder"),
        (dict(config={"custom_imports": "os"}), "custom_imports"),
        (dict(format=99), "reads up to 1: upgrade"),
        ("import os\nos.system('true')\n", "--safe refuses"),
    ],
)
def test_a_stranger_s_folder_with_sums_of_its_own_does_no_harm(change, said, exported, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exported("catvton").folder, folder)
    if isinstance(change, str):
        (folder / "config.py").write_text(change)
    else:
        about = json.loads((folder / ABOUT).read_text()) | change
        (folder / ABOUT).write_text(json.dumps(about))
    write_sums(folder)
    with pytest.raises(ValueError) as caught:
        init_model(folder)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_stranger_s_config_is_not_run_by_the_tool(exported, tmp_path, monkeypatch):
    from tools import test as tool

    folder = tmp_path / "copy"
    shutil.copytree(exported("catvton").folder, folder)
    (folder / "config.py").write_text(f"open({str(tmp_path / 'harm')!r}, 'w')\n")
    write_sums(folder)
    monkeypatch.setattr(sys, "argv", ["test.py", "--model", str(folder), "--out", str(tmp_path)])
    with pytest.raises(ValueError, match="--safe refuses"):
        tool.main()
    assert not (tmp_path / "harm").exists()


def test_what_cannot_be_exported_says_why(exported, tmp_path):
    from tools.export import main as export

    made = exported("catvton")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        export([str(made.config), str(made.weights), "--out", str(tmp_path / "full")])
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        export([str(made.config), str(tmp_path / "none.pth"), "--out", str(tmp_path / "x")])
    with pytest.raises(FileNotFoundError, match=r"tools/export.py wrote, or holds config.py"):
        export(["--model", str(tmp_path / "full"), "--out", str(tmp_path / "x")])
    assert not (tmp_path / "x").exists() and not list(tmp_path.glob(".x*"))


ALONE_PROGRAM = """
import sys
class Blocked:
    def find_spec(self, name, *args):
        if name.split(".")[0] == "vtonlab":
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
import numpy as np, torch
from diffusers import DiffusionPipeline
for folder, given in zip(sys.argv[1::2], sys.argv[2::2]):
    pipeline = DiffusionPipeline.from_pretrained(
        folder, custom_pipeline=folder, trust_remote_code=True
    )
    arrays = dict(np.load(given))
    generator = torch.Generator().manual_seed(int(arrays.pop("seed")))
    for part in pipeline.components.values():  # as in the test's own process
        for parameter in getattr(part, "parameters", list)():
            parameter.data = parameter.data.clone()
    found = pipeline(**arrays, generator=generator, output_type="latent").images
    np.save(given + ".npy", found.numpy())
assert not [name for name in sys.modules if name.split(".")[0] == "vtonlab"]
"""


@pytest.mark.slow
def test_folders_load_in_a_process_where_vtonlab_is_blocked(exported, tmp_path):
    """What the quick test does within its own process, in a new one."""
    command, expected = [sys.executable, "-c", ALONE_PROGRAM], {}
    for name in ALONE:
        made, given = exported(name), shown(name)
        result, expected[name] = drawn(made.model, given)
        seed = seed_from("picture", 0, result.id, result.garment_id)
        np.savez(tmp_path / f"{name}.npz", **given, seed=seed)
        command += [str(made.folder), str(tmp_path / f"{name}.npz")]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env["HF_MODULES_CACHE"] = str(tmp_path / "modules")
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, latents in expected.items():
        found = torch.from_numpy(np.load(tmp_path / f"{name}.npz.npy"))
        assert (found - latents).abs().max() <= PROMISED, name
