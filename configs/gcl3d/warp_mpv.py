"""3D-GCL's first stage on MPV, at its own 256x192: photograph A takes the garment of photograph B.

The lists, DensePose and SMPL bodies of the authors are described in docs/data.md.
"""

from mmengine.config import read_base

with read_base():
    from .warp_deepfashion import *

data_root = "data/mpv"
size = (256, 192)
iterations = 130000  # 20 epochs of 52 236 pairs in batches of 8
mesh.update(faces="data/mpv/smpl/smpl_faces.npy", mirror="data/mpv/smpl/vertices_symm_idxs.npy")
truth = [dict(type="BodyFlow", matcher=mesh)]  # a base's own list keeps the base's mesh
model.update(size=size)
dataset = dict(type="MPVDataset", size=size, task="person_to_person")
_read = dict(maps=maps, transforms=truth)
train_dataloader.update(dataset=dict(**dataset, **_read, split="train", holdout=held_out))
val_dataloader.update(dataset=dict(**dataset, **_read, split="val", holdout=held_out))
test_dataloader.update(dataset=dict(**dataset, **_read, split="test"))
train_cfg.update(max_iters=iterations)
