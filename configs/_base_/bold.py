"""People of the synthetic benchmark, 128x96 pixels in bold prints, and how toys learn on them.

What all bases (configs/bases) and all methods that are fine-tuned from them share.
"""

size = (128, 96)
cache_dir = "work_dirs/cache"

bold = dict(
    type="SyntheticTryOn",
    size=size,
    categories=["upper_body"],
    textures="bold",
    hardness=(0.0, 0.5),  # from A-pose to bent arms and turned bodies
    maps=["flow", "correspondences"],
    cache_dir=cache_dir,
)
loader = dict(
    num_workers=0,
    sampler=dict(type="EvalSampler"),
    collate_fn=dict(type="collate_samples"),
)
val_dataloader = dict(**loader, batch_size=16, dataset=dict(**bold, split="val", length=32))
val_cfg = dict()
test_dataloader = dict(**loader, batch_size=16, dataset=dict(**bold, split="test", length=64))
test_cfg = dict()

optim_wrapper = dict(
    type="FiniteOptimWrapper",
    optimizer=dict(type="AdamW", lr=1.5e-3, betas=(0.9, 0.99), weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
)
