"""(e) One rank of DDP and of FSDP2, 8-bit moments and 4-bit weights, against the plain run."""

import socket
import tempfile
from argparse import Namespace
from importlib.util import find_spec

import torch
import torch.distributed as dist
from torch import nn

from tools.benchmark import flux_step
from tools.card.measures import DEVICE, distance, kernels_allowed, row

SECTION = "e. ranks and bits"
PARALLEL = True
# Of the weights' change in three steps. One rank launches the same kernels; sums that a GPU takes
# in no fixed order differ by 2^-24 each, and AdamW divides by their size.
RANKS = 1e-3
OTHERS = 0.05  # other kernels round bfloat16 gradients elsewhere
EIGHT_BITS = 0.1  # moments of 8 bits, block by block: a few per cent of a step
FOUR_BITS = 0.35  # of the prediction: nf4 is some 8 per cent off in every weight


def cells(toy: bool) -> list[dict]:
    """One cell a way."""
    if toy:
        return [{"way": "ddp"}]
    ways = ("ddp", "fsdp2", "8 bits", "4 bits", "kernels", "without cuDNN")
    return [{"way": way} for way in ways]


def run(cell: dict) -> list[dict]:
    """One row."""
    ways = {"8 bits": eight_bits, "4 bits": four_bits, "kernels": one, "without cuDNN": one}
    return [ways.get(cell["way"], ranks)(cell["way"])]


def ranks(way: str) -> dict:
    """Three steps of the tiny FLUX by itself, and as the one rank of a group."""
    model, batch = tiny()
    before = state(model)
    train(model, model, batch)
    wanted = state(model)
    model, batch = tiny()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kind = "nccl" if DEVICE == "cuda" else "gloo"
    dist.init_process_group(kind, init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    if way == "ddp":
        called = nn.parallel.DistributedDataParallel(model)
    else:
        from vtonlab.engine.parallel.sharding import shard_model

        called = shard_model(
            model, DEVICE, blocks=["transformer_blocks.*", "single_transformer_blocks.*"]
        )
    train(called, model, batch)
    found = state(model)
    dist.destroy_process_group()
    return judge(f"{way}, {kind}, one rank", before, wanted, found, RANKS)


def one(way: str) -> dict:
    """Three steps as usual, and with other kernels: ours for statistics, or none of cuDNN's."""
    states = []
    for changed in (False, True):
        torch.backends.cuda.enable_cudnn_sdp(not (changed and way == "without cuDNN"))
        model, batch = tiny()
        before = state(model)
        with kernels_allowed(changed and way == "kernels"):
            train(model, model, batch)
        states.append(state(model))
    return judge(f"{way}, the tiny FLUX", before, *states, OTHERS)


def judge(name: str, before: dict, wanted: dict, found: dict, limit: float) -> dict:
    """The row of two runs' weights, relative to their change; whether either is finite."""
    change = torch.cat([(wanted[key] - before[key]).flatten() for key in wanted])
    error = torch.cat([(found[key] - wanted[key]).flatten() for key in wanted])
    told = {"plain finite": bool(change.isfinite().all()), "finite": bool(error.isfinite().all())}
    weights = float(error.norm() / change.norm())
    return row(SECTION, name, weights <= limit, f"{limit:g}", weights=weights, **told)


def tiny():
    """The tiny FLUX with a LoRA that is not zero, its losses on."""
    args = Namespace(tiny=True, size=(128, 96), batch=1, no_checkpointing=False)
    torch.manual_seed(0)
    model, batch = flux_step.build("lora", True, args)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.02 * drawn.to(parameter.device))
    return model, batch


def train(called, model, batch) -> None:
    """Three steps."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-3, eps=1e-4)  # steps continuous in the gradients
    for number in range(3):
        torch.manual_seed(number)
        with torch.autocast(DEVICE, torch.bfloat16):
            losses = called(mode="loss", step=0, **batch)
        sum(v for k, v in losses.items() if k.startswith("loss_")).backward()
        optimiser.step()
        optimiser.zero_grad()


def state(model) -> dict[str, torch.Tensor]:
    """Trained weights, whole, on the CPU."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            whole = parameter.detach()
            whole = whole.full_tensor() if hasattr(whole, "full_tensor") else whole
            found[name] = whole.double().cpu().clone()
    return found


def eight_bits(way: str) -> dict:
    """Twenty steps of one matrix on a drawn regression, by AdamW8bit and by AdamW."""
    if find_spec("bitsandbytes") is None:
        return row(SECTION, f"{way}: AdamW8bit", None, "", skipped="no bitsandbytes")
    from vtonlab.engine.running.eight_bit import adamw_8bit

    changes = []
    for make in (torch.optim.AdamW, adamw_8bit):
        torch.manual_seed(0)
        layer = nn.Linear(512, 512, device=DEVICE)
        inputs, wanted = torch.randn(2, 256, 512, device=DEVICE)
        before = layer.weight.detach().clone()
        optimiser = make(layer.parameters(), lr=1e-3, weight_decay=0.01)
        for _ in range(20):
            (layer(inputs) - wanted).square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()
        changes.append(layer.weight.detach() - before)
    error = distance(changes[1], changes[0])
    name = f"{way}: AdamW8bit, change of a matrix in 20 steps"
    return row(SECTION, name, error <= EIGHT_BITS, f"{EIGHT_BITS:g}", change=error)


def four_bits(way: str) -> dict:
    """The tiny FLUX from a folder, in 4 bits and in bfloat16: one prediction; a LoRA trains."""
    if find_spec("bitsandbytes") is None:
        return row(SECTION, f"{way}: nf4", None, "", skipped="no bitsandbytes")
    from peft import LoraConfig

    from vtonlab.registry import BACKBONES

    shapes = flux_step.TINY | dict(attention_head_dim=32, axes_dims_rope=(8, 12, 12))
    torch.manual_seed(0)
    network = BACKBONES.build(dict(type="untrained", cls="FluxTransformer2DModel", config=shapes))
    inputs = dict(
        hidden_states=torch.randn(1, 16, 384), timestep=torch.tensor([0.5]),
        encoder_hidden_states=torch.randn(1, 4, 24), pooled_projections=torch.randn(1, 20),
        img_ids=torch.zeros(16, 3), txt_ids=torch.zeros(4, 3), guidance=torch.ones(1),
    )  # fmt: skip
    inputs = {key: value.to(DEVICE, torch.bfloat16) for key, value in inputs.items()}
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        for bits in (None, dict(load_in_4bit=True, bnb_4bit_quant_type="nf4")):
            settings = dict(type="from_pretrained", cls="FluxTransformer2DModel", path=folder)
            read = BACKBONES.build(settings | dict(dtype="bfloat16", quantize=bits)).to(DEVICE)
            with torch.no_grad():
                answers.append(read(**inputs, return_dict=False)[0])
    error = distance(answers[1], answers[0])
    read.requires_grad_(False)
    read.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v"]))
    with torch.autocast(DEVICE, torch.bfloat16):
        read(**inputs, return_dict=False)[0].float().square().mean().backward()
    grads = [p.grad for p in read.parameters() if p.requires_grad]
    trains = all(g is not None and bool(g.isfinite().all()) for g in grads) and len(grads) > 0
    ok = error <= FOUR_BITS and trains
    name = f"{way}: nf4, prediction; a LoRA gets gradients"
    return row(SECTION, name, ok, f"{FOUR_BITS:g}", prediction=error, trains=trains)
