"""The memory estimate against what torch's allocator counted in a real step."""

import sys
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.memory.estimate import GIB, estimate_memory, report
from vtonlab.engine.memory.live import LiveMemory
from vtonlab.registry import DATASETS, MODELS
from vtonlab.structures.sample import collate

ROOT = Path(__file__).parents[3]


@pytest.fixture
def load(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def read(name: str, options: dict | None = None):
        name = name if "/" in name else f"coral/{name}"
        return finalize(load_config(f"configs/{name}.py", options), work_dir="unused")

    return read


def allocated(events) -> int:
    """Highest sum of the allocator's own events."""
    now = peak = 0
    memory = [event for event in events if event.name() == "[memory]"]
    for event in sorted(memory, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def measured_step(config) -> int:
    """Peak bytes of two real training steps, from building the model on."""
    count = config.train_dataloader.batch_size
    people = dict(type="SyntheticTryOn", size=list(config.model["size"]), length=count)
    data = DATASETS.build(dict(people, split="train", categories=["upper_body"]))
    samples = collate([data[n] for n in range(count)])
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model = MODELS.build(config.model.to_dict()).train()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained)
        for _ in range(2):
            batch = model.data_preprocessor(samples, True)
            losses = model(**batch, mode="loss", step=10**6)
            sum(v for k, v in losses.items() if k.startswith("loss")).backward()
            optimiser.step()
            optimiser.zero_grad()
    return allocated(profiler.profiler.kineto_results.events())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("dit_synthetic", dict()),
        pytest.param(
            "dit_tiny_vitonhd",
            dict(num_layers=4, num_single_layers=4, num_attention_heads=16),
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_within_15_percent_of_what_the_allocator_counts(name, changes, checkpointing, load):
    config = load(name)
    config.model.backbone.update(changes)
    config.model.gradient_checkpointing = checkpointing
    config.train_dataloader.batch_size = 2
    config.custom_hooks = []  # averages are a runner's
    parts = estimate_memory(config, "cpu")
    assert parts["total"] == pytest.approx(measured_step(config), rel=0.15)
    assert parts["total"] == sum(value for key, value in parts.items() if key != "total")


def test_live_memory_counts_storages_once_and_forgets_the_dead():
    known = torch.zeros(100)
    with LiveMemory() as live:
        live.ignore([known])
        first = known + 1  # 400 bytes
        view = first[10:]  # the same storage
        second = first * 2
        assert live.now == live.peak == 800
        del first, second
        assert live.now == 400  # the view keeps it
        del view
        third = known * 3
    assert live.now == 400 and live.peak == 800 and third.numel() == 100


def test_weights_gradients_and_moments_are_exact(load):
    """FLUX without weights: LoRA, the whole attention, 4 bits; the passes stay out of it."""
    from vtonlab.engine.memory import estimate as memory

    sizes = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_pass", lambda *arguments, **settings: (0, 0, 0))
        for name in ("dit_vitonhd", "dit_vitonhd_attn", "dit_vitonhd_24gb"):
            sizes[name] = estimate_memory(load(name))
    whole = 11_902_587_968
    lora = sizes["dit_vitonhd"]
    assert lora["weights, frozen"] == pytest.approx(2 * whole, rel=0.001)
    assert lora["optimiser"] == 2 * lora["gradients"] == 2 * lora["weights, trained"]
    attention = sizes["dit_vitonhd_attn"]
    square = 3072 * 3072 + 3072
    trained = 19 * (8 * square + 4 * 128) + 38 * (3 * square + 2 * 128)
    assert attention["weights, trained"] == 4 * trained
    assert attention["weights, frozen"] == pytest.approx(2 * (whole - trained), rel=0.001)
    quantised = sizes["dit_vitonhd_24gb"]
    assert quantised["weights, frozen"] == pytest.approx(0.5625 * whole, rel=0.01)
    assert quantised["codec"] == 0 < lora["codec"]
    assert quantised["optimiser"] < 0.6 * quantised["gradients"]


def test_sharding_divides_what_a_card_keeps(load, monkeypatch):
    from vtonlab.engine.memory import estimate as memory

    monkeypatch.setattr(memory, "_pass", lambda *arguments, **settings: (0, 0, 0))
    config = load("dit_vitonhd_full")
    one, eight = (estimate_memory(config, gpus=n) for n in (1, 8))
    whole = 4 * 11_902_587_968
    assert one["weights, trained"] == pytest.approx(whole, rel=1e-4)
    assert "gathered blocks" not in one
    assert one["weights, frozen"] == eight["weights, frozen"] == 0
    for part, bytes_each in (("weights, trained", 1), ("gradients", 1), ("optimiser", 2)):
        assert eight[part] == pytest.approx(bytes_each * whole / 8, rel=1e-4), part
    block = 16 * 3072**2 + 2 * 6 * 3072**2 + 8 * 3072**2  # MLPs, modulations, attention
    gathered = 2 * 2 * block + (2 + 2 * 4) * block  # bfloat16 twice; gradients
    assert eight["gathered blocks"] == pytest.approx(gathered, rel=1e-3)
    assert eight["codec"] == one["codec"] > 0  # stays whole
    without = load("dit_vitonhd_attn")
    assert estimate_memory(without, gpus=8) == estimate_memory(without)


def test_unknown_shapes_and_models_are_one_sentence(load):
    config = load("dit_vitonhd", dict(pretrained="somebody/unknown"))
    with pytest.raises(ValueError, match="local folder"):
        estimate_memory(config)
    config.model.type = "AutoencoderFinetune"
    with pytest.raises(ValueError, match="knows TryOnDiffusion"):
        estimate_memory(config)


def test_the_report_says_whether_it_fits():
    parts = dict(activations=3 * GIB, total=23 * GIB)
    assert report(parts, 24 * GIB)[1] is False and "DOES NOT FIT" in report(parts, 24 * GIB)[0]
    assert report(parts, 40 * GIB)[1] is True and report(parts)[1] is True


def test_klein_is_known_without_its_files(load, monkeypatch):
    """3.88 billion weights in bfloat16; LoRA of rank 64 on all attention; no pooled text."""
    from vtonlab.engine.memory import estimate as memory

    monkeypatch.setattr(memory, "_pass", lambda *arguments, **options: (0, 0, 0))
    parts = estimate_memory(load("klein/dit_vitonhd"))
    assert parts["weights, frozen"] == 2 * 3_875_544_576
    wide = 3072 + 3 * 3072 + 2 * 9216  # in and out of a single block's first projection
    double, single = 8 * 2 * 3072, wide + (3072 + 9216 + 3072)
    assert parts["weights, trained"] == 4 * 64 * (5 * double + 20 * single)
    assert 0 < parts["codec"] < 0.2 * GIB
    prompt = memory.without_weights(load("klein/dit_vitonhd"))[0]["conditioner"]["prompt"]
    assert (prompt["num_tokens"], prompt["dim"]) == (512, 3 * 2560)


def test_norms_are_float32_on_cuda_alone():
    """And what follows them; matrix products stay in half precision."""
    from vtonlab.engine.memory.cuda_autocast import CudaAutocast

    x, norm, linear = torch.randn(2, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 8)
    half = x.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert norm.bfloat16()(half).dtype == torch.bfloat16
        with CudaAutocast():
            norm.float()
            assert norm(half).dtype == torch.float32 and linear(norm(half)).dtype == torch.bfloat16
            assert (linear(half) ** 2).dtype == half.softmax(-1).dtype == torch.float32
            assert torch.nn.functional.rms_norm(half, (8,)).dtype == torch.float32
            assert (half + 1).dtype == torch.bfloat16
    with CudaAutocast():
        assert (half**2).dtype == torch.bfloat16  # no autocast, nothing raised


@pytest.fixture(scope="module")
def in_half_precision():
    config = load_config(ROOT / "configs/coral/dit_synthetic.py")
    config.optim_wrapper.update(type="AutocastOptimWrapper", dtype="bfloat16")
    return finalize(config, work_dir="unused")


def test_a_gpu_takes_more_under_autocast_and_parts_have_factors(in_half_precision):
    """Recomputed blocks too are what they were; of a tiny network it is a few per cent."""
    in_half_precision.model.gradient_checkpointing = True
    cpu, cuda = (estimate_memory(in_half_precision, kind) for kind in ("cpu", "cuda"))
    assert cuda["activations"] > 1.02 * cpu["activations"]
    more = estimate_memory(in_half_precision, "cuda", factors={"activations": 1.5})
    assert more["activations"] == int(1.5 * cuda["activations"])
    assert more["total"] - cuda["total"] == more["activations"] - cuda["activations"]


@pytest.mark.parametrize(
    ("settings", "fused"),
    [
        (dict(type="AdamW"), True),
        (dict(type="AdamW", fused=False), False),
        (dict(type="AdamW", foreach=True), False),
        (dict(type="Adam"), False),
        (dict(type="Adam", fused=True), True),
    ],
)
def test_a_fused_step_makes_no_copies(in_half_precision, settings, fused):
    from vtonlab.engine.memory.estimate import _is_fused

    config = in_half_precision.copy()
    config.optim_wrapper = dict(optimizer=settings)
    assert _is_fused(config) == fused
