"""A model tested on a data set it was not trained on (DressCode to VITON-HD, DressCode to PPR10K).

vtonlab's protocol, plus the condition: tools/test.py refuses a config whose training data are of
the tested data set. For a folder of pictures nobody can check that; the results say so.
"""

from mmengine.config import read_base

with read_base():
    from .vtonlab import *

protocol.update(name="cross_dataset", same_dataset=False)
