import pytest
import torch

from vtonlab.noise_schedules import FlowMatchingSchedule


def test_ends_are_data_and_noise_and_the_target_is_the_derivative():
    schedule = FlowMatchingSchedule()
    clean, noise = torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    assert torch.equal(schedule.add_noise(clean, noise, torch.zeros(3)), clean)
    assert torch.equal(schedule.add_noise(clean, noise, torch.ones(3)), noise)
    low, high = torch.full((3,), 0.3), torch.full((3,), 0.4)
    slope = (schedule.add_noise(clean, noise, high) - schedule.add_noise(clean, noise, low)) / 0.1
    torch.testing.assert_close(slope, schedule.target(clean, noise), atol=1e-5, rtol=0)


def test_clean_estimate_inverts_the_noising():
    schedule = FlowMatchingSchedule()
    clean, noise = torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    sigmas = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    noisy = schedule.add_noise(clean, noise, sigmas)
    velocity = schedule.target(clean, noise)
    torch.testing.assert_close(schedule.clean_from_velocity(noisy, velocity, sigmas), clean)


@pytest.mark.parametrize(("density", "median"), [("uniform", 0.5), ("logit_normal", 0.5)])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_density(density, median, shift):
    schedule = FlowMatchingSchedule(density=density, shift=shift)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([schedule.draw(generator) for _ in range(2000)])
    assert drawn.min() > 0 and drawn.max() < 1
    expected = shift * median / (1 + (shift - 1) * median)
    assert drawn.median().item() == pytest.approx(expected, abs=0.03)


def test_bad_settings():
    with pytest.raises(ValueError, match="logit_normal"):
        FlowMatchingSchedule(density="normal")
    with pytest.raises(ValueError, match="shift=0"):
        FlowMatchingSchedule(shift=0)
