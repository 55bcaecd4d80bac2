import math

import numpy as np
import pytest
import torch

from vtonlab.noise_schedules import FlowMatchingSchedule
from vtonlab.samplers import DDIMSampler, FlowMatchEulerSampler


def test_exact_velocity_is_integrated_exactly():
    """For one clean picture the flow is straight, so Euler steps arrive whatever their number."""
    clean, noise = torch.randn(2, 4, 3, 8, 8)
    for steps in (1, 5, 28):
        sampler = FlowMatchEulerSampler(num_steps=steps)
        result = sampler(lambda z, s: noise - clean, noise, sequence_length=64)
        torch.testing.assert_close(result, clean, atol=1e-5, rtol=1e-5)


def test_sigmas_are_flux_dynamic_shift_by_formula():
    sampler = FlowMatchEulerSampler(num_steps=28, dynamic_shifting=True)
    mu = 0.5 + (9216 - 256) * (1.15 - 0.5) / (4096 - 256)
    even = np.linspace(1, 1 / 28, 28)
    expected = math.exp(mu) / (math.exp(mu) + (1 / even - 1))
    np.testing.assert_allclose(sampler.sigmas(9216)[:-1].numpy(), expected, rtol=1e-5)
    assert sampler.sigmas(9216)[-1] == 0


def test_predict_sees_each_level_once_for_the_whole_batch():
    seen = []

    def predict(latents, sigmas):
        assert sigmas.shape == (4,) and (sigmas == sigmas[0]).all()
        seen.append(sigmas[0].item())
        return torch.zeros_like(latents)

    FlowMatchEulerSampler(num_steps=4)(predict, torch.randn(4, 3, 8, 8), 64)
    assert seen == pytest.approx([1.0, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("min_sigma", [0.01, 0.4])
def test_more_steps_are_not_worse(min_sigma):
    """At 4, 12 and 30 steps, pictures of the best possible network, whatever its loss weighed.

    The data: one known picture plus noise of deviation ``spread``, whose posterior mean is a
    formula. A sample's error is then that noise, less what few steps leave out, so it grows with
    the steps to its expectation and never beyond: the floor of the loss may leave nothing behind.
    """
    schedule = FlowMatchingSchedule(network_predicts="clean", min_sigma=min_sigma)
    generator = torch.Generator().manual_seed(0)
    known, noise = torch.randn(2, 4, 3, 32, 32, generator=generator)
    spread, errors = 0.05, {}

    def predict(noisy, sigmas):
        level = sigmas.reshape(-1, 1, 1, 1)
        gain = (1 - level) * spread**2 / ((1 - level).square() * spread**2 + level.square())
        mean = known + gain * (noisy - (1 - level) * known)
        return schedule.prediction(mean, noisy, sigmas)

    for steps in (1, 4, 12, 30):
        drawn = FlowMatchEulerSampler(num_steps=steps, shift=6.0)(predict, noise, 64)
        errors[steps] = (drawn - known).square().mean().sqrt().item()
    assert errors[1] < 1e-6  # one step draws the mean: float32 of numbers of order 1
    allowed = spread * (1 + 3 / (2 * known.numel()) ** 0.5)  # three deviations of a deviation
    assert errors[4] < allowed and errors[12] < allowed and errors[30] < allowed


def test_no_steps_is_refused():
    with pytest.raises(ValueError, match="num_steps=0"):
        FlowMatchEulerSampler(num_steps=0)


def test_flux2s_shift_is_the_pipelines():
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    for steps in (4, 10, 28, 50, 200):
        for length in (64, 1024, 3072, 4300, 4301, 9216):
            mu = compute_empirical_mu(length, steps)
            sampler = FlowMatchEulerSampler(num_steps=steps, dynamic_shifting="flux2")
            assert sampler._mu(length) == pytest.approx(mu, rel=1e-12)
    even = np.linspace(1, 1 / steps, steps)
    expected = math.exp(mu) / (math.exp(mu) + (1 / even - 1))
    np.testing.assert_allclose(sampler.sigmas(length)[:-1].numpy(), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="True, False, 'flux2' or"):
        FlowMatchEulerSampler(dynamic_shifting="flux3")


def test_average_is_a_number_of_pictures_from_noise():
    with pytest.raises(ValueError, match="at least one picture"):
        FlowMatchEulerSampler(average=0)
    with pytest.raises(ValueError, match="needs start='noise'"):
        DDIMSampler(average=2, start="agnostic")


@pytest.mark.parametrize("length", [1024, 3072])
def test_qwen_images_levels_are_its_pipelines(length):
    """Shift and last level of the published scheduler's config, as its pipeline asks for them."""
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_shift

    settings = dict(base_shift=0.5, max_shift=0.9, base_image_seq_len=256, max_image_seq_len=8192)
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, shift_terminal=0.02, **settings
    )
    mu = calculate_shift(length, 256, 8192, 0.5, 0.9)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / 40, 40), mu=mu)
    sampler = FlowMatchEulerSampler(num_steps=40, dynamic_shifting="qwen_image")
    torch.testing.assert_close(sampler.sigmas(length), scheduler.sigmas, rtol=1e-6, atol=0)


def test_one_step_goes_straight_from_noise():
    for shifting in (True, False, "flux2", "qwen_image"):
        sampler = FlowMatchEulerSampler(num_steps=1, dynamic_shifting=shifting)
        assert sampler.sigmas(1024).tolist() == [1.0, 0.0]
