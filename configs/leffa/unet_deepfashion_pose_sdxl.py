"""Leffa's pose transfer on SDXL inpainting, as the authors released it.

Their weights: ``tools/convert/leffa.py pose_transfer.pth FILE --folder DIR``, then
``--cfg-options pretrained=DIR``. Twelve input channels, as
try-on: the mask is the whole picture, and the pose picture holds U, V and part where our own
training shows part colours. Layers and heads of the loss are SDXL's at 1/16 of the picture; at 1/8
it has no attention.
"""

from mmengine.config import read_base

with read_base():
    from .unet_vitonhd import *

data_root = "data/deepfashion"
pretrained = "diffusers/stable-diffusion-xl-1.0-inpainting-0.1"
load_from = None
size = (512, 352)
steps, accumulate = 24000, 4

sdxl_layers = {
    f"{block}.attentions.{place}.transformer_blocks.{depth}.attn1": (10, 64)  # heads, head size
    for block, places in (("down_blocks.1", 2), ("up_blocks.1", 3))
    for place in range(places)
    for depth in range(2)
}
model.update(size=size, categories=["upper_body", "lower_body", "dresses"])
model.conditioner.update(cross_attention="residual")
model.noise_schedule.update(zero_terminal_snr=True)
model.attention_losses.flow.layers = list(sdxl_layers)
model.attention_losses.flow.sink_dims = sdxl_layers
model.probe.layers = list(sdxl_layers)
dataset = dict(type="DeepFashionDataset", size=size, task="pose_transfer")
train_dataloader.update(
    dataset=dict(
        **dataset, split="train", holdout=held_out, maps=["agnostic", "mask", "pose", "worn_mask"]
    ),
)
val_dataloader.update(
    dataset=dict(**dataset, split="val", holdout=held_out, maps=["agnostic", "mask", "pose"]),
)
test_dataloader.update(
    dataset=dict(**dataset, split="test", maps=["agnostic", "mask", "pose"]),
)
released["test_dataloader.dataset.maps"] = ["agnostic", "mask", "iuv"]
released["test_dataloader.dataset.transforms"] = [dict(type="PoseChannels", show="uvi")]
train_cfg.update(max_iters=steps * accumulate)
