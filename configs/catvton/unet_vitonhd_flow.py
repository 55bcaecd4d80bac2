"""CatVTON with Leffa's loss, as the last row of Leffa's Table 4: fine-tuned from CatVTON.

How long and at which size the paper fine-tuned is not said: here as Leffa's own last stage.
"""

from mmengine.config import read_base

with read_base():
    from .unet_vitonhd import *

load_from = "work_dirs/catvton/unet_vitonhd/model.safetensors"
load_other_size = True  # 512x384 before
size = (1024, 768)
steps, accumulate = 10000, 4

# SD-1.5's self-attention at 1/8 and 1/16 of the picture: the ten that are above 1/32.
fine_layers = {
    f"{block}.attentions.{place}.transformer_blocks.0.attn1": (8, width // 8)  # heads, head size
    for block, places, width in (
        ("down_blocks.0", 2, 320),
        ("down_blocks.1", 2, 640),
        ("up_blocks.2", 3, 640),
        ("up_blocks.3", 3, 320),
    )
    for place in range(places)
}
model.update(size=size)
model.probe.layers = list(fine_layers)
model.attention_losses = dict(
    flow=dict(
        type="AttentionFlowLoss",
        layers=list(fine_layers),
        weight=1e-3,
        temperature=2.0,
        t_max=500,
        sink_dims=fine_layers,
    ),
)
train_dataloader.update(batch_size=2)  # 8 processes x 2 x 4 = 64
train_dataloader.dataset.update(size=size, maps=[*maps, "worn_mask"])
val_dataloader.dataset.update(size=size)
test_dataloader.dataset.update(size=size)
train_cfg.update(max_iters=steps * accumulate)
optim_wrapper.update(accumulative_counts=accumulate)
