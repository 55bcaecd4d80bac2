"""The ablation's first row: no global correlation (refinement starts from the identity flow) and
no loss knows the body; pictures alone supervise.
"""

from mmengine.config import read_base

with read_base():
    from .warp_synthetic import *

model.update(start="identity", flow_loss=None, probe=None)
model.attention_losses = dict()
test_evaluator = [e for e in test_evaluator if e["type"] != "AttentionPCK"]
