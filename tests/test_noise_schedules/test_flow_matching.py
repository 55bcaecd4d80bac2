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
    drawn = schedule.draw(generator, (2000,))
    assert drawn.min() > 0 and drawn.max() < 1
    expected = shift * median / (1 + (shift - 1) * median)
    assert drawn.median().item() == pytest.approx(expected, abs=0.03)


def test_bad_settings():
    with pytest.raises(ValueError, match="logit_normal"):
        FlowMatchingSchedule(density="normal")
    for shift in (0, 1e12):
        with pytest.raises(ValueError, match=f"shift={shift}"):
            FlowMatchingSchedule(shift=shift)


def test_clean_reading_has_the_same_optimum_and_velocity():
    """A network that outputs z_0 exactly has zero residual, and its velocity is eps - z_0."""
    schedule = FlowMatchingSchedule(network_predicts="clean", min_sigma=0.05)
    clean, noise = torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    sigmas = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    noisy = schedule.add_noise(clean, noise, sigmas)
    assert not schedule.residual(clean, clean, noise, sigmas).any()
    torch.testing.assert_close(schedule.prediction(clean, noisy, sigmas), noise - clean)


def test_clean_reading_has_the_velocity_loss():
    """The residual equals the error of the velocity, wherever sigma is above the floor."""
    schedule = FlowMatchingSchedule(network_predicts="clean", min_sigma=0.05)
    clean, noise, output = torch.randn(3, 3, 2, 4, 4, dtype=torch.float64)
    sigmas = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    noisy = schedule.add_noise(clean, noise, sigmas)
    error = schedule.prediction(output, noisy, sigmas) - (noise - clean)
    torch.testing.assert_close(schedule.residual(output, clean, noise, sigmas), error)


def test_velocity_reading_passes_the_output_through():
    schedule = FlowMatchingSchedule()
    output, noisy = torch.randn(2, 3, 2, 4, 4)
    assert schedule.prediction(output, noisy, torch.rand(3)) is output


def test_floor_bounds_the_residual_at_low_noise_alone():
    """The loss is bounded; the step from any level to 0 ends at the network's clean picture."""
    schedule = FlowMatchingSchedule(network_predicts="clean", min_sigma=0.5)
    clean, output = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    residual = schedule.residual(output, clean, clean, torch.tensor([0.01]))
    assert residual.abs().max() == 2.0
    noisy, level = torch.full((1, 1, 2, 2), 0.25), torch.tensor([0.125])  # exact in binary
    velocity = schedule.prediction(output, noisy, level)
    assert torch.equal(noisy - 0.125 * velocity, output)


def test_unknown_reading():
    with pytest.raises(ValueError, match="network_predicts='noise'"):
        FlowMatchingSchedule(network_predicts="noise")
