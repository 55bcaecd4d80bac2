"""CORAL on the synthetic benchmark: its losses fine-tune a base that can inpaint, on bold prints.

The base (configs/bases/dit_bold.py) knows people and copies from a reference picture; it has never
seen a shop picture being worn. 128x96 pixels, minutes on two cores.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.default_runtime import *
    from .._base_.dit_bold import *
    from .._base_.fine_tune_bold import *

iterations = 600
supervised_layers = ["single_transformer_blocks.2.attn"]  # the base copies through it
load_from = "zoo:base_dit"

model.attention_losses = dict(
    correspondence=dict(
        type="CorrespondenceDistillationLoss",
        form="cross_entropy",
        head_reduction="none",  # each head: together they carry one patch, not a mean of four
        layers=supervised_layers,
        weight=0.1,
        t_max=None,
    ),
    entropy=dict(
        type="AttentionEntropyLoss",
        layers=supervised_layers,
        weight=0.05,
        t_max=None,
        start_iter=300,
        warmup_iters=100,
    ),
)

train_dataloader.update(batch_size=4)
train_dataloader.dataset.update(maps=bold["maps"])  # its losses ask for no worn mask
val_evaluator[0].update(layers=supervised_layers)
test_evaluator[0].update(layers=supervised_layers)

train_cfg.update(max_iters=iterations, val_interval=200)
param_scheduler[1].update(end=iterations)
custom_hooks[1].update(interval=300)
