"""End-point error in pixels over visible pixels."""

import numpy as np
import pytest
import torch

from vtonlab.evaluation import FlowError
from vtonlab.structures import FlowField


def result(shift=(0.0, 0.0), visible=True):
    generator = torch.Generator().manual_seed(0)
    flow = torch.rand(8, 6, 2, generator=generator) * 0.5 + 0.25
    seen = torch.zeros(8, 6, dtype=torch.bool)
    seen[2:5, 1:4] = visible
    found = flow.numpy() + np.array(shift, np.float32)
    found[~seen.numpy()] = 7  # not counted
    return {"id": "a", "warped_flow": found, "flow": FlowField(flow, seen)}


def test_distance_in_pixels():
    assert FlowError().score(result())["end_point_error"] == pytest.approx(0, abs=1e-6)
    found = FlowError().score(result(shift=(3 / 6, -4 / 8)))["end_point_error"]
    assert found == pytest.approx(5, rel=1e-5)  # 3 pixels right, 4 up


def test_nothing_visible_is_no_number():
    metric = FlowError()
    metric.process({}, [result(visible=False), result(shift=(1 / 6, 0))])
    assert metric.compute_metrics(metric.results)["end_point_error"] == pytest.approx(1, rel=1e-5)


def test_other_sizes_are_refused():
    sample = result()
    sample["warped_flow"] = sample["warped_flow"][:4]
    with pytest.raises(ValueError, match=r"flow of 'a' is \(4, 6\), the true one \(8, 6\)"):
        FlowError().score(sample)
