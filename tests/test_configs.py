"""Every shipped config: read, checked, built and trained for two steps; and one golden trace.

A new config is found by itself. One that needs photographs or weights gets a line in ``SHRINK``.
"""

import copy
import functools
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from vtonlab.engine.config.check import check_config
from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.training import train
from vtonlab.engine.testing.run import test as draw_pictures

sys.path.insert(0, str(Path(__file__).parent))
from small_data import without_validation
from small_vitonhd import write_matches, write_tree

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("configs/*/*.py", "projects/*/configs/*.py")
    for path in ROOT.glob(pattern)
    if path.parent.name != "_base_"
)
MOVED = {"configs/coral/klein_vitonhd.py": "configs/klein/dit_vitonhd.py"}
CONFIGS = [path for path in CONFIGS if path not in MOVED]


def load(path: str):
    """As a user does, from the root of the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, "path", list(sys.path))
        return load_config(path)


@functools.cache
def module_at(path: str):
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(f"from_{name}", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_FOLDERS = tempfile.TemporaryDirectory()  # tiny weights of each kind, written once


@functools.cache
def saved(save) -> Path:
    """The folder of tiny weights that ``save`` writes; read only."""
    return save(Path(_FOLDERS.name) / save.__name__)


def shrink_synthetic(path: str, folder: Path):
    """Four rendered people in place of a thousand; the config's own picture size."""
    config = load(path)
    config.train_dataloader.batch_size = 2
    dataset = config.train_dataloader.dataset
    for part in dataset.get("datasets", [dataset]):
        part.update(length=4, cache_dir=str(folder.parent / "people"))
    return config


def shrink_tiny_vitonhd(path: str, folder: Path):
    """A written VITON-HD tree with matches."""
    config = load(path)
    root = write_tree(folder / "vitonhd", size=tuple(config.model["size"]))
    config.data_root = str(root)
    matches = config.train_dataloader.dataset.get("matches")
    if matches:
        matches.root = str(folder / "matches")
        write_matches(matches.to_dict(), root)
    config.train_dataloader.batch_size = 2
    return config


def shrink_photographs(path: str, folder: Path):
    """A table of a written tree whose maps have columns: nothing is left to be prepared."""
    config = shrink_tiny_vitonhd(path, folder)
    root = Path(config.data_root)
    places = {
        "person": "image/{}.jpg", "garment": "cloth/{}.jpg", "mask": "agnostic-mask/{}_mask.png",
        "garment_mask": "cloth-mask/{}.jpg", "pose": "image-densepose/{}.jpg",
        "parse": "image-parse-v3/{}.png",
    }  # fmt: skip
    names = sorted(path.stem for path in (root / "train/image").iterdir())
    rows = [",".join(f"train/{p.format(name)}" for p in places.values()) for name in names]
    (root / "pairs.csv").write_text("\n".join([",".join(places), *rows]) + "\n")
    return config


def shrink_flux(path: str, folder: Path):
    """Tiny weights in the real folder layout, rendered people: as in its own tests."""
    tests = module_at("tests/test_models/test_flux_real_layout.py")
    folders = module_at("tests/test_models/flux_folder.py")
    kind = Path(path).stem.partition("_")[0]  # dit, sd3
    family = Path(path).parent.name
    kind = family if family in ("kontext", "klein", "qwen_edit") else kind
    save = getattr(folders, f"save_tiny_{kind}", folders.save_tiny_flux)
    config = tests.tiny_config(saved(save), folder, ROOT / path)
    if config.model.conditioner.prompt.type == "PairPrompt":  # its own test fills a cache
        config.model.conditioner.prompt.missing = "encode"
    config.model.backbone.pop("quantize", None)  # an optional package
    config.optim_wrapper.optimizer.type = "AdamW"  # its 8-bit form is of the same package
    return config


def shrink_flux_vitonhd(path: str, folder: Path):
    """Its own reader with painted hair, on a written tree with matches."""
    config, real = shrink_flux(path, folder), load(path)
    root, size = write_tree(folder / "data", 6, (64, 48)), list(config.model["size"])
    config.data_root = str(root)
    config.train_dataloader.dataset = real.train_dataloader.dataset
    config.test_dataloader.dataset = real.test_dataloader.dataset
    matches = config.train_dataloader.dataset.matches
    matches.root = str(folder / "matches")
    write_matches(matches.to_dict(), root)
    for loader in (config.train_dataloader, config.test_dataloader):
        loader.dataset.size = size
    return config


def shrink_flux_dresscode(path: str, folder: Path):
    """Its own reader, on a written tree of all three categories."""
    config, real = shrink_flux(path, folder), load(path)
    size = list(config.model["size"])
    config.data_root = str(write_tree(folder / "data", 9, (64, 48), layout="dresscode"))
    config.train_dataloader.dataset = real.train_dataloader.dataset
    config.train_dataloader.dataset.update(size=size, matches=None)
    config.test_dataloader.dataset = real.test_dataloader.dataset
    config.test_dataloader.dataset.update(size=size)
    config.model.attention_losses = {}
    return config


def shrink_flux_p2p(path: str, folder: Path):
    """Its own reader, on a table: people of a VITON-HD tree stand for the reference photographs."""
    config = shrink_flux_dresscode(path, folder)
    root = write_tree(folder / "people", 6, (64, 48))
    config.data_root = str(root)
    rows = ["person,garment,category,mask,garment_mask,pose,parse"]
    for file in sorted((root / "train/image").iterdir()):
        n = file.stem
        maps = (f"agnostic-mask/{n}_mask.png", f"cloth-mask/{n}.jpg", f"image-densepose/{n}.jpg",
                f"image-parse-v3/{n}.png")  # fmt: skip
        rows.append(",".join([f"train/image/{n}.jpg"] * 2 + ["upper_body"]
                             + [f"train/{m}" for m in maps]))  # fmt: skip
    (root / "pairs.csv").write_text("\n".join(rows) + "\n")
    return config


def shrink_flux_pairs(path: str, folder: Path):
    """Its own reader, on a table with further photographs: people of a VITON-HD tree stand for
    them; without matches, which no matcher finds in random pictures.
    """
    config = shrink_flux_dresscode(path, folder)
    root = write_tree(folder / "people", 6, (64, 48))
    config.data_root = str(root)
    shown = config.train_dataloader.dataset.maps[2:]
    rows = [",".join(["person,garment,category,mask", *shown])]
    for file in sorted((root / "train/image").iterdir()):
        n, person = file.stem, f"train/image/{file.name}"
        files = [f"train/cloth/{n}.jpg" if name == "garment_2" else person for name in shown]
        mask = f"train/agnostic-mask/{n}_mask.png"
        rows.append(",".join([person, f"train/cloth/{n}.jpg", "upper_body", mask, *files]))
    (root / "pairs.csv").write_text("\n".join(rows) + "\n")
    config.train_dataloader.dataset.matched = []
    return config


def shrink_flux_deepfashion(path: str, folder: Path):
    """Its own reader, on a written tree."""
    config = shrink_flux_dresscode(path, folder)
    config.data_root = str(write_tree(folder / "people", 9, (64, 48), layout="deepfashion"))
    return config


def shrink_sd(path: str, folder: Path):
    """An SD-1.x UNet of a few thousand parameters in the real folder layout, rendered people."""
    tests = module_at("tests/test_models/test_sd_real_layout.py")
    config = tests.tiny_config(path, saved(tests.save_small_sd), folder)
    config.train_dataloader.batch_size = 1
    return config


def shrink_reference_unets(path: str, folder: Path):
    """As the SD ones, but without the names of the large UNet's layers."""
    config = shrink_sd(path, folder)
    config.model.conditioner.pop("num_heads", None)
    if config.model.codec.path is not None:  # a VAE of its own: the tiny folder's stands for it
        config.model.codec.update(path=config.pretrained, subfolder="vae")
    flow = config.model.attention_losses.get("flow")
    if flow:
        flow.update(layers=["*.attn1"], sink_dims=None, min_grid_ratio=0.0)
    config.model.probe.layers = ["*.attn1"]
    return config


STAGES = [f"unet_{data}{stage}" for data in ("vitonhd", "deepfashion_pose")
          for stage in ("", "_stage1", "_stage2")]  # fmt: skip
LEFFA = [
    f"configs/leffa/{name}.py" for name in (*STAGES, "unet_dresscode", "unet_deepfashion_pose_sdxl")
]
CORAL = [
    *(f"dit_vitonhd{kind}" for kind in ("", "_attn", "_full", "_24gb")),
    "sd3_vitonhd",
]
STAGES = [  # after a first
    *("coral/unet_wide_bold_stage2", "coral/unet_wide_bold_stage3"),
    *("gcl3d/tryon_synthetic", "gcl3d/tryon_synthetic_long", "gcl3d/tryon_synthetic_neither"),
    *("leffa/unet_wide_bold", "leffa/unet_wide_bold_stage2", "leffa/unet_wide_bold_stage3"),
    "stableviton/unet_synthetic_atv",
]
CATVTON = ["configs/catvton/unet_vitonhd.py", "configs/catvton/unet_vitonhd_flow.py"]


def shrink_second_stage(path: str, folder: Path):
    """Rendered people, and no weights of a first stage."""
    config = shrink_synthetic(path, folder)
    config.load_from = config.load_parts = None
    return config


def shrink_synthesis(path: str, folder: Path):
    """Small networks on photographs in DeepFashion's layout; no first stage, no VGG19."""
    root = write_tree(folder / "data", 9, (32, 32), layout="deepfashion")
    config = module_at("tests/test_models/test_two_stages.py").tryon_config(root, folder)
    config.load_parts = None
    return config


def shrink_vae(path: str, folder: Path):
    """A tiny VAE, and no perceptual network (its trunk would be downloaded)."""
    config = shrink_sd(path, folder)
    config.model.lpips_weight = 0.0
    return config


def shrink_warp(path: str, folder: Path):
    """A written tree with bodies, small networks, and no VGG (its weights would be downloaded)."""
    config, layout = load(path), "mpv" if "mpv" in path else "deepfashion"
    root = write_tree(folder / layout, 9, (64, 48), layout=layout)
    config.data_root, size = str(root), [64, 48]
    config.model.update(size=size)
    config.model.network.update(widths=(8, 8, 16), dim=8)
    config.model.refinement.update(dim=8, hidden=8, motion=8)
    del config.model.image_losses["perceptual"]
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    for loader in ("train_dataloader", "test_dataloader"):
        config[loader].dataset.update(size=size)
    matcher = config.train_dataloader.dataset.transforms[0].matcher
    for key in ("faces", "mirror"):  # the tree's own mesh
        matcher[key] = str(root / "smpl" / Path(matcher[key]).name)
    return config


SHRINK = {
    **dict.fromkeys([f"configs/gcl3d/warp_{d}.py" for d in ("deepfashion", "mpv")], shrink_warp),
    **dict.fromkeys([f"configs/{name}.py" for name in STAGES], shrink_second_stage),
    "configs/gcl3d/tryon_deepfashion.py": shrink_synthesis,
    "configs/stableviton/vae_vitonhd.py": shrink_vae,
    **dict.fromkeys([*LEFFA, *CATVTON], shrink_reference_unets),
    "configs/catvton/unet_dresscode.py": shrink_reference_unets,
    "configs/leffa/unet_tiny_vitonhd.py": shrink_tiny_vitonhd,
    "configs/stableviton/unet_vitonhd.py": shrink_sd,
    "configs/stableviton/unet_vitonhd_atv.py": shrink_sd,
    "configs/stableviton/unet_dresscode.py": shrink_sd,
    "configs/stableviton/unet_tiny_vitonhd.py": shrink_tiny_vitonhd,
    "configs/sift_vton/unet_vitonhd.py": shrink_sd,
    "configs/sift_vton/unet_tiny_vitonhd.py": shrink_tiny_vitonhd,
    **dict.fromkeys([f"configs/coral/{name}.py" for name in CORAL], shrink_flux),
    "configs/coral/dit_vitonhd.py": shrink_flux_vitonhd,
    "configs/klein/dit_vitonhd.py": shrink_flux_vitonhd,
    "configs/kontext/dit_vitonhd.py": shrink_flux_vitonhd,
    "configs/kontext/dit_vitonhd_try_off.py": shrink_flux_vitonhd,
    "configs/kontext/dit_pairs_worn.py": shrink_flux_pairs,
    "configs/kontext/dit_deepfashion_pose.py": shrink_flux_deepfashion,
    "configs/qwen_edit/dit_vitonhd.py": shrink_flux_vitonhd,
    "configs/qwen_edit/dit_pairs_outfit.py": shrink_flux_pairs,
    "configs/coral/dit_dresscode.py": shrink_flux_dresscode,
    "configs/coral/dit_p2p.py": shrink_flux_p2p,
    "configs/coral/dit_tiny_vitonhd.py": shrink_tiny_vitonhd,
    "configs/coral/dit_tiny_photographs.py": shrink_photographs,
}
# Configs that also draw pictures with what they saved, as `tools/test.py` does.
DRAWN = [path for path, shrink in SHRINK.items() if shrink.__name__.startswith("shrink_flux")]


def test_old_paths_are_the_moved_configs():
    for old, new in MOVED.items():
        assert load(old).to_dict() == load(new).to_dict()


@pytest.mark.parametrize("path", CONFIGS)
def test_is_read_and_strictly_checked(path):
    config = finalize(load(path))
    check_config(config)
    json.dumps(config.model.to_dict())  # plain values only
    misspelt = copy.deepcopy(config)
    misspelt.model.data_preprocesor = dict()
    with pytest.raises(ValueError, match="did you mean 'data_preprocessor'"):
        check_config(misspelt)


@pytest.mark.parametrize("path", CONFIGS)
def test_builds_and_trains_two_steps(path, tmp_path):
    config = SHRINK.get(path, shrink_synthetic)(path, tmp_path)
    config.train_cfg.max_iters = 2
    config = without_validation(config)
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    config.log_level = "ERROR"
    hooks = config.get("custom_hooks", [])  # its own tests watch what the estimate costs here
    config.custom_hooks = [hook for hook in hooks if hook["type"] != "MemoryReportHook"]
    config = finalize(config, work_dir=str(tmp_path / "run"))
    runner = train(copy.deepcopy(config))
    assert runner.iter == 2
    assert (tmp_path / "run/iter_2.pth").is_file()
    if path in DRAWN:
        results = draw_pictures(config, str(tmp_path / "run/iter_2.pth"), tmp_path / "test")
        assert results["images"] > 0 and results["metrics"]["l1_inside"] >= 0
    losses = [s.data[0] for k, s in runner.message_hub.log_scalars.items() if "loss" in k]
    expected = ["l1"]
    if config.model.type == "TryOnDiffusion":
        expected = ["diffusion", *runner.bare_model.attention_losses]
    names = {f"train/loss_{name}" for name in expected}
    assert names <= set(runner.message_hub.log_scalars)
    assert all(torch.isfinite(torch.tensor(values)).all() for values in losses)


TOYS = ("synthetic", "tiny", "bold")
REAL = [p for p in SHRINK if not any(toy in p for toy in TOYS)]


@pytest.mark.parametrize("path", REAL)
def test_real_sizes_are_watched_on_people_kept_back(path):
    """Pictures with attention, a loss that means something, PCK where there are matches."""
    config = load(path)
    train, val = config.train_dataloader.dataset, config.val_dataloader.dataset
    assert val.split == "val" and val.holdout == train.holdout > 0 and val.type == train.type
    assert val.get("size") == train.get("size") == config.model.get("size")
    assert config.default_hooks.checkpoint.save_best and config.train_cfg.val_interval <= 20000
    assert any(hook["type"] == "SampleGridHook" for hook in config.custom_hooks)
    metrics = [metric["type"] for metric in config.val_evaluator]
    if config.model.type == "TryOnDiffusion":
        assert config.model.probe.layers and len(config.model.val_sigmas) >= 4
        assert "DenoisingLoss" in metrics
        assert ("AttentionPCK" in metrics) == bool(train.get("matches"))
    assert val.get("matches") == train.get("matches")


WATCHED = [
    "configs/coral/dit_vitonhd.py",
    pytest.param("configs/leffa/unet_vitonhd.py", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("path", WATCHED)
def test_watched_while_it_trains(path, tmp_path):
    """The real hooks, metrics and reader of people kept back; the better checkpoint is noted."""
    watched = load(path)
    config = SHRINK[path](path, tmp_path)
    for key in ("val_dataloader", "val_evaluator", "val_cfg"):
        config[key] = watched[key]
    data, val = config.train_dataloader.dataset, config.val_dataloader.dataset
    if data.type == "SyntheticTryOn":
        config.val_dataloader.dataset = dict(data, split="val", length=2)
    else:
        data.holdout = val.holdout = 2
        val.update(size=data.size, matches=data.matches)
        write_matches(data.matches.to_dict(), Path(config.data_root), "val", holdout=2)
    config.val_dataloader.update(num_workers=0)
    config.default_hooks.checkpoint.save_best = watched.default_hooks.checkpoint.save_best
    config.custom_hooks = [h for h in watched.custom_hooks if h["type"] == "SampleGridHook"]
    config.custom_hooks[0].update(samples=1, people=1)
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    config.train_cfg.max_iters, config.log_level = 2, "ERROR"
    runner = train(finalize(config, work_dir=str(tmp_path / "run")))
    scalars = runner.message_hub.log_scalars
    levels = [f"val/denoising_loss/{level:g}" for level in config.model.val_sigmas]
    assert {"val/denoising_loss", *levels} <= set(scalars)
    assert ("val/attention_pck" in scalars) == bool(data.get("matches"))
    assert json.loads((tmp_path / "run/best.json").read_text())["metric"] == "denoising_loss"
    drawn = {file.name for file in (tmp_path / "run").rglob("vis_image/*")}
    assert {"samples_2.png", "samples_attention_2.png"} <= drawn


@pytest.mark.parametrize("name", ["dit_synthetic", "dit_bold"])
def test_the_baseline_differs_by_the_two_attention_losses_only(name):
    coral, baseline = (
        finalize(load(f"configs/coral/{config}.py"), work_dir="same").to_dict()
        for config in (name, f"{name}_baseline")
    )
    assert set(coral["model"].pop("attention_losses")) == {"correspondence", "entropy"}
    assert baseline["model"].pop("attention_losses") == {}
    assert leaves(coral) == leaves(baseline)


@pytest.mark.parametrize(
    ("path", "losses"),
    [
        *((path, [] if "_stage" in path else ["flow"]) for path in LEFFA),
        *zip(CATVTON, ([], ["flow"]), strict=True),
        ("configs/leffa/unet_synthetic_stage1.py", ["same_place"]),
        ("configs/leffa/unet_synthetic_pose_stage1.py", ["same_place"]),
        ("configs/leffa/unet_synthetic_baseline.py", []),
        ("configs/leffa/dit_synthetic.py", ["flow"]),
        ("configs/catvton/unet_synthetic.py", []),
    ],
)
def test_stages_and_ports_have_the_losses_they_name(path, losses):
    """`model.update(attention_losses=...)` would add to a base's losses instead."""
    assert list(load(path).model.attention_losses) == losses


def test_mpv_reads_its_own_mesh():
    """What a base config names is its own: updating its mesh does not reach its transforms."""
    assert "data/deepfashion" not in str(load("configs/gcl3d/warp_mpv.py").to_dict())


def leaves(node, path: str = "") -> dict[str, object]:
    """Dotted path -> value, so that a failure names the key."""
    if isinstance(node, (dict, list, tuple)) and node:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        return {k: v for key, value in items for k, v in leaves(value, f"{path}.{key}").items()}
    return {path: node}


RECORD = module_at("tests/golden/record.py")


@pytest.mark.parametrize("config", RECORD.CONFIGS)
def test_golden_trace(config, tmp_path):
    """A new one is recorded by ``python tests/golden/record.py``; a meant change by naming it."""
    path = RECORD.path_of(config)
    assert path.exists(), f"{config} has no trace yet: run `python tests/golden/record.py`"
    expected = json.loads(path.read_text())["trace"]
    assert {len(series) for series in expected.values()} == {RECORD.STEPS}
    different = RECORD.differences(expected, RECORD.trace(config, tmp_path))
    assert not different, "; ".join(different)
