import pytest
import torch

from vtonlab.noise_schedules import DDPMSchedule


def alphas_by_formula(t):
    """prod (1 - beta) with betas linear in their square root, in plain Python."""
    product = 1.0
    for k in range(t + 1):
        root = 0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * k / 999
        product *= 1 - root**2
    return product


@pytest.mark.parametrize("t", [0, 1, 499, 999])
def test_noising_by_formula(t):
    schedule = DDPMSchedule()
    clean, noise = torch.randn(2, 1, 2, 4, 4, dtype=torch.float64)
    a = alphas_by_formula(t)
    found = schedule.add_noise(clean, noise, torch.tensor([t / 1000]))
    torch.testing.assert_close(found, a**0.5 * clean + (1 - a) ** 0.5 * noise, rtol=1e-10, atol=0)


def test_faint_trace_of_the_start_latent():
    """METHODS.md 4.5: sqrt(alpha_bar_999) = 0.068."""
    assert alphas_by_formula(999) ** 0.5 == pytest.approx(0.068, abs=5e-4)
    assert DDPMSchedule().alphas_cumprod[999].item() == pytest.approx(alphas_by_formula(999))


def test_betas_are_those_of_diffusers():
    from diffusers import PNDMScheduler

    theirs = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    torch.testing.assert_close(
        DDPMSchedule().alphas_cumprod.float(), theirs.alphas_cumprod, rtol=1e-4, atol=1e-7
    )


def test_every_timestep_survives_the_level():
    schedule = DDPMSchedule()
    levels = torch.arange(1000) / 1000
    assert torch.equal(schedule.timesteps(levels), torch.arange(1000.0))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_levels_are_drawn_on_the_grid(shift):
    schedule = DDPMSchedule(shift=shift)
    generator = torch.Generator().manual_seed(0)
    drawn = schedule.draw(generator, (3000,)) * 1000
    torch.testing.assert_close(drawn, drawn.round(), atol=1e-3, rtol=0)
    assert drawn.min() >= 0 and drawn.max() <= 999.001
    middle = 1000 * shift * 0.5 / (1 + (shift - 1) * 0.5)
    assert drawn.median().item() == pytest.approx(middle, abs=30)


def test_min_snr_weights_by_formula():
    levels = torch.tensor([0.01, 0.4, 0.9])
    snr = [a / (1 - a) for a in (alphas_by_formula(t) for t in (10, 400, 900))]
    expected = torch.tensor([min(s, 5.0) / s for s in snr])
    weights = DDPMSchedule(snr_gamma=5.0).loss_weights(levels)
    torch.testing.assert_close(weights, expected)
    assert weights[0] < 1 == weights[2]
    assert DDPMSchedule().loss_weights(levels) is None


def test_released_scalar_form():
    """mean(loss) * mean(weight), not mean(loss * weight)."""
    levels, losses = torch.tensor([0.01, 0.9]), torch.tensor([2.0, 3.0])
    each = DDPMSchedule(snr_gamma=5.0).loss_weights(levels)
    scalar = DDPMSchedule(snr_gamma=5.0, snr_reduction="batch").loss_weights(levels)
    torch.testing.assert_close((losses * scalar).mean(), losses.mean() * each.mean())
    assert not torch.allclose((losses * scalar).mean(), (losses * each).mean())


def test_clean_reading_has_the_epsilon_loss():
    schedule = DDPMSchedule(network_predicts="clean")
    clean, noise, output = torch.randn(3, 3, 2, 4, 4, dtype=torch.float64)
    levels = torch.tensor([0.02, 0.5, 0.9])
    noisy = schedule.add_noise(clean, noise, levels)
    torch.testing.assert_close(schedule.prediction(clean, noisy, levels), noise)
    error = schedule.prediction(output, noisy, levels) - noise
    torch.testing.assert_close(schedule.residual(output, clean, noise, levels), error)


def test_loss_on_the_clean_picture_weighs_noise_levels_alike():
    schedule = DDPMSchedule(network_predicts="clean", loss_on="clean")
    clean, noise, output = torch.randn(3, 2, 2, 4, 4)
    levels = torch.tensor([0.1, 0.9])
    assert torch.equal(schedule.residual(output, clean, noise, levels), output - clean)


def test_zero_terminal_snr_ends_in_noise_alone():
    """As diffusers' schedulers rescale their betas; the first step stays as it was."""
    from diffusers import DDPMScheduler

    schedule = DDPMSchedule(zero_terminal_snr=True)
    assert schedule.alphas_cumprod[-1] == 0
    assert schedule.alphas_cumprod[0] == DDPMSchedule().alphas_cumprod[0]
    theirs = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True,
    ).alphas_cumprod  # fmt: skip
    torch.testing.assert_close(schedule.alphas_cumprod.float(), theirs, rtol=1e-3, atol=1e-6)
    weights = DDPMSchedule(zero_terminal_snr=True, snr_gamma=5.0).loss_weights(torch.tensor([1.0]))
    assert weights.tolist() == [1.0]  # min(snr, gamma) / snr towards snr = 0


def test_epsilon_reading():
    schedule = DDPMSchedule()
    clean, noise, output = torch.randn(3, 1, 2, 4, 4)
    level = torch.tensor([0.3])
    assert schedule.prediction(output, clean, level) is output
    assert torch.equal(schedule.residual(output, clean, noise, level), output - noise)


@pytest.mark.parametrize(
    "bad",
    [
        dict(beta_end=1.5),
        dict(snr_gamma=0),
        dict(snr_reduction="sum"),
        dict(network_predicts="velocity"),
        dict(shift=0),
        dict(loss_on="clean"),
    ],
)
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=next(iter(bad)).split("_")[0]):
        DDPMSchedule(**bad)
