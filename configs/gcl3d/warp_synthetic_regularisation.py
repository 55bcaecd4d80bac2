"""The ablation's third row: the flow loss, but no global correlation: refinement starts from the
identity flow. The loss of the correlation has nothing to supervise.
"""

from mmengine.config import read_base

with read_base():
    from .warp_synthetic import *

model.update(start="identity", probe=None)
model.attention_losses = dict()
test_evaluator = [e for e in test_evaluator if e["type"] != "AttentionPCK"]
