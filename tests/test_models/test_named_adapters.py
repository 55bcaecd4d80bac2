"""Several LoRAs in one model: who acts on which sample, at which rate, and what is saved."""

import copy

import pytest
import torch

from vtonlab.backbones.export import export_backbone
from vtonlab.backbones.families import Reference, Text, family_of
from vtonlab.datasets import Task
from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.adapter_rates import AdapterLR, AdapterOptimWrapperConstructor
from vtonlab.engine.running.training import train
from vtonlab.models.named_adapters import NamedAdapters
from vtonlab.registry import BACKBONES

ADAPTERS = dict(
    try_on=dict(rank=2, task="try_on"),
    try_off=dict(rank=4, target_modules=["attn.to_q"], task=["try_off", "look"]),
)


def flux():
    torch.manual_seed(0)
    return BACKBONES.build(
        dict(
            type="FluxTransformer2DModel", in_channels=12, num_layers=1, num_single_layers=1,
            attention_head_dim=16, num_attention_heads=2, joint_attention_dim=8,
            pooled_projection_dim=8, axes_dims_rope=(4, 6, 6),
        )
    ).double()  # fmt: skip


def with_adapters(settings=ADAPTERS, roles=("person", "garment")):
    backbone = flux()
    adapters = NamedAdapters(backbone, copy.deepcopy(settings), roles)
    backbone.double()
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:  # which start at zero
            torch.nn.init.normal_(parameter, std=0.3)
    return backbone, adapters


def call(backbone):
    g = torch.Generator().manual_seed(1)
    noisy, other = torch.randn(2, 2, 3, 4, 4, generator=g, dtype=torch.float64)
    text = Text(torch.randn(2, 3, 8, generator=g).double(), torch.zeros(2, 8).double())
    sigmas = torch.tensor([0.5, 0.5], dtype=torch.float64)
    family = family_of(backbone, "references")
    return family.references(backbone, noisy, [Reference(other)], sigmas, text, guidance_scale=1.0)


def test_each_acts_on_its_own_samples_and_learns_from_them_alone():
    backbone, adapters = with_adapters()
    told = adapters.told(dict(task=["try_on", "look"]), torch.device("cpu"))
    adapters.act_on({"adapters": told})
    mixed = call(backbone)
    mixed[0].square().sum().backward()
    for name, parameter in backbone.named_parameters():
        if "lora" in name:
            assert bool(parameter.grad.abs().sum() > 0) == ("try_on" in name), name
    adapters.act_on({})  # all samples, both
    both = call(backbone)
    for place, name in enumerate(("try_on", "try_off")):
        backbone.set_adapter(name)
        alone = call(backbone)
        assert torch.equal(alone[place], mixed[place])
        assert not torch.equal(alone[1 - place], mixed[1 - place])
        assert not torch.equal(alone[place], both[place])


def test_an_adapter_of_a_role_acts_where_its_picture_is_shown():
    settings = dict(worn=dict(rank=2, role="worn", task="try_on"))
    backbone, adapters = with_adapters(settings, ("garment", "worn"))
    told = adapters.told(dict(task=["try_on", "try_on"]), torch.device("cpu"))
    shown = [torch.ones(2), torch.tensor([1.0, 0.0])]
    adapters.act_on({"adapters": told, "shown": shown})
    found, bare = call(backbone), call(flux())
    assert not torch.equal(found[0], bare[0]) and torch.equal(found[1], bare[1])


def test_a_copy_has_gates_of_its_own():
    backbone, adapters = with_adapters()
    both = copy.deepcopy((backbone, adapters))
    adapters.act_on({"adapters": [torch.zeros(2), torch.zeros(2)]})
    assert torch.equal(call(backbone), call(flux()))
    assert not torch.equal(call(both[0]), call(flux()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(a=dict(rnak=2)), "adapters.a: 'rnak' is none of rank, alpha"),
        (dict(a=dict(role="pose")), "role='pose' is none of the references .person, garment."),
        ({"a.b": {}}, "'a.b' cannot be a name"),
        (dict(a=dict(target_modules=["attn.to_x"])), "LoRA 'a': no module name ends in any of"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        NamedAdapters(flux(), settings, ("person", "garment"))


def test_each_file_is_read_by_the_pipeline(tmp_path):
    from diffusers import FluxKontextPipeline

    backbone, _ = with_adapters()
    assert export_backbone(backbone, tmp_path) == tmp_path
    bare = flux()
    pipeline = FluxKontextPipeline(None, None, None, None, None, None, bare)
    for name in ADAPTERS:
        pipeline.load_lora_weights(tmp_path, weight_name=f"{name}.safetensors", adapter_name=name)
        bare.double()
        pipeline.set_adapters(name)
        backbone.set_adapter(name)
        torch.testing.assert_close(call(bare), call(backbone), rtol=1e-12, atol=1e-12)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "try_off.safetensors", "try_on.safetensors",
    ]  # fmt: skip


def optimizer_of(backbone, **adapters):
    settings = dict(type="FiniteOptimWrapper", optimizer=dict(type="AdamW", lr=1.0))
    return AdapterOptimWrapperConstructor(settings | dict(adapters=adapters))(backbone)


def test_each_has_its_own_rate_and_schedule():
    backbone, _ = with_adapters()
    wrapper = optimizer_of(backbone, try_off=dict(lr=0.5, weight_decay=0.0))
    first, rest = wrapper.optimizer.param_groups
    names = {id(p): name for name, p in backbone.named_parameters()}
    assert all(".try_off." in names[id(p)] for p in first["params"]) and first["lr"] == 0.5
    assert all(".try_on." in names[id(p)] for p in rest["params"]) and rest["lr"] == 1.0
    assert (first["weight_decay"], rest["weight_decay"]) == (0.0, 0.01)
    optimizer = wrapper.optimizer
    schedule = AdapterLR(optimizer, adapter="try_off", begin=2, warmup=1, end=7, floor=0.2)
    rates = []
    for _ in range(8):
        rates.append(first["lr"])
        optimizer.step()
        schedule.step()
    expected = [0.0, 0.0, 0.25, 0.5, 0.5 * (0.2 + 0.8 * (1 + 0.5**0.5) / 2)]
    assert rates[:5] == pytest.approx(expected) and rates[7] == pytest.approx(0.1)
    assert rest["lr"] == 1.0
    with pytest.raises(ValueError, match="no group of adapter 'try_on', only of try_off"):
        AdapterLR(wrapper, adapter="try_on", end=7)
    with pytest.raises(ValueError, match="pose: no parameter of an adapter"):
        optimizer_of(backbone, pose=dict(lr=0.5))


def test_two_tasks_train_in_one_run(tmp_path):
    """One batch of both; each LoRA moves, one file each is written, and drawing takes the task."""
    config = load_config("kontext/dit_synthetic")
    people = dict(type="SyntheticTryOn", size=(32, 24), length=4, cache_dir=str(tmp_path / "c"))
    parts = [
        dict(people, transforms=[dict(type="Task", name="try_on")]),
        dict(
            people,
            transforms=[dict(type="TryOff", blank=["agnostic"]), dict(type="Task", name="try_off")],
        ),
    ]
    references = [dict(role="agnostic"), dict(role="garment", dropout=0.1)]
    config.model.conditioner.references = references
    config.model.update(size=(32, 24), adapters=copy.deepcopy(ADAPTERS))
    config.model.sampler.update(num_steps=1, guidance_scale=2.0)
    config.train_dataloader.update(batch_size=4)
    config.train_dataloader.dataset = dict(type="MixtureDataset", datasets=parts)
    config.test_dataloader.dataset = parts[1]
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.optim_wrapper.update(
        constructor="AdapterOptimWrapperConstructor", adapters=dict(try_off=dict(lr=0.01))
    )
    config.param_scheduler.append(
        dict(type="AdapterLR", adapter="try_off", end=2, decay="constant")
    )
    config.train_cfg.max_iters, config.log_level = 2, "ERROR"
    config.custom_hooks = [dict(type="DiffusersExportHook"), config.custom_hooks[0]]
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    runner = train(finalize(config, work_dir=str(tmp_path / "run")))
    assert runner.optim_wrapper.param_groups[0]["lr"] == 0.01
    state = torch.load(tmp_path / "run/iter_2.pth", weights_only=True)["state_dict"]
    for name in ADAPTERS:
        moved = [k for k in state if f"lora_B.{name}" in k and state[k].abs().sum() > 0]
        assert moved and (tmp_path / f"run/export/{name}.safetensors").is_file()
    assert all("lora" in key for key in state if key.startswith("backbone."))
    data = next(iter(runner.build_dataloader(runner.cfg.test_dataloader)))
    model = runner.bare_model
    assert model.test_step(copy.deepcopy(data))[0]["image"].shape == (32, 24, 3)
    del data["task"]
    with pytest.raises(ValueError, match="adapter 'try_on' is for try_on, and the sample names no"):
        model.test_step(data)


def test_the_transform_names_the_task():
    assert Task(name="try_off")(dict(id="a")) == dict(id="a", task="try_off")
