import pytest
import torch

from vtonlab.noise_schedules import DDPMSchedule, FlowMatchingSchedule
from vtonlab.samplers import DDIMSampler, DDPMSampler, FlowMatchEulerSampler, PLMSSampler, guide

FAMILY = (PLMSSampler, DDIMSampler, DDPMSampler)


def fitted(sampler):
    sampler.fit(DDPMSchedule())
    return sampler


def true_epsilon(clean):
    """The epsilon that points from any latents to one clean picture."""
    alphas = DDPMSchedule().alphas_cumprod

    def predict(latents, sigmas):
        a = alphas[(sigmas * 1000).round().long()].to(latents)[:, None, None, None]
        return (latents - a.sqrt() * clean) / (1 - a).sqrt()

    return predict


@pytest.mark.parametrize("sampler", FAMILY)
def test_knowing_the_truth_ends_at_the_truth(sampler):
    clean, noise = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    generators = [torch.Generator().manual_seed(n) for n in range(2)]
    found = fitted(sampler(num_steps=20))(true_epsilon(clean), noise, 64, generators)
    # the last step ends at alpha_bar_0, an amount of noise that no eye sees
    torch.testing.assert_close(found, clean, atol=0.2, rtol=0)


def plms_by_formula(predict, latents, steps):
    """CompVis's PLMS: one improved-Euler step, then Adams-Bashforth of growing order."""
    alphas = DDPMSchedule().alphas_cumprod
    ratio = 1000 // steps
    times = [k * ratio + 1 for k in range(steps)][::-1]
    history = []

    def move(x, e, t):
        a = alphas[t]
        b = alphas[t - ratio] if t - ratio >= 0 else alphas[0]
        clean = (x - (1 - a).sqrt() * e) / a.sqrt()
        return b.sqrt() * clean + (1 - b).sqrt() * e

    def ask(x, t):
        return predict(x, torch.full((len(x),), t / 1000))

    for t in times:
        e = ask(latents, t)
        if len(history) == 0:
            mean = (e + ask(move(latents, e, t), t - ratio)) / 2
        elif len(history) == 1:
            mean = (3 * e - history[-1]) / 2
        elif len(history) == 2:
            mean = (23 * e - 16 * history[-1] + 5 * history[-2]) / 12
        else:
            mean = (55 * e - 59 * history[-1] + 37 * history[-2] - 9 * history[-3]) / 24
        latents = move(latents, mean, t)
        history.append(e)
    return latents


def test_plms_equals_the_released_sampler_by_formula():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    mixing = torch.randn(3, 3, generator=generator, dtype=torch.float64) / 3

    def predict(latents, sigmas):
        mixed = torch.einsum("ij,bjhw->bihw", mixing, latents)
        return torch.tanh(mixed) * (1 + sigmas.double()[:, None, None, None])

    found = fitted(PLMSSampler(num_steps=50))(predict, noise, 1)
    torch.testing.assert_close(found, plms_by_formula(predict, noise, 50), rtol=1e-3, atol=1e-4)


def test_timesteps_of_stable_diffusion():
    seen = []

    def predict(latents, sigmas):
        seen.append(round(1000 * sigmas[0].item()))
        return torch.zeros_like(latents)

    for sampler in FAMILY:
        seen.clear()
        fitted(sampler(num_steps=50))(predict, torch.zeros(1, 1, 2, 2), 1, [torch.Generator()])
        calls = list(range(981, 0, -20))
        assert seen == (calls[:2] + calls[1:] if sampler is PLMSSampler else calls)
    seen.clear()
    fitted(DDIMSampler(num_steps=4, timestep_spacing="trailing"))(
        predict, torch.zeros(1, 1, 2, 2), 1
    )
    assert seen == [999, 749, 499, 249]


def ddim_by_formula(predict, latents, alphas, times):
    """Eq. 12 of arXiv 2010.02502 without noise, to alpha_bar_0; float64."""
    for time, after in zip(times, [*times[1:], 0], strict=True):
        epsilon = predict(latents, torch.full((len(latents),), time / 1000))
        clean = (latents - (1 - alphas[time]).sqrt() * epsilon) / alphas[time].sqrt()
        latents = alphas[after].sqrt() * clean + (1 - alphas[after]).sqrt() * epsilon
    return latents


def test_levels_as_training_draws_them():
    """Spaced by the schedule's shift; DDIM all the same."""
    noise = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    schedule = DDPMSchedule(shift=6.0, network_predicts="clean")
    asked = []

    def predict(latents, sigmas):
        asked.append(round(1000 * sigmas[0].item()))
        return torch.sin(3 * latents) * (1.1 - sigmas[0])

    def run(schedule, number, spacing, sampler=DDIMSampler):
        made = sampler(num_steps=number, timestep_spacing=spacing)
        made.fit(schedule)
        asked.clear()
        return made(predict, noise, 1, [torch.Generator().manual_seed(n) for n in range(2)])

    found = run(schedule, 4, "training")
    times = [999, 946, 856, 666]  # 6 s / (1 + 5 s) of 1, 3/4, 1/2, 1/4
    assert asked == times
    wanted = ddim_by_formula(predict, noise, schedule.alphas_cumprod, times)
    # it steps in float32: latents of up to 40, a few roundings each
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-4)
    run(schedule, 4, "training", DDPMSampler)
    assert asked == times
    run(schedule, 1000, "training")
    assert asked == sorted(set(asked), reverse=True) and asked[-1] < 10
    for shift, number in ((6.0, 1), (1.0, 4)):  # where levels are trailing's, so is the picture
        even = DDPMSchedule(shift=shift)
        torch.testing.assert_close(
            run(even, number, "training").double(),
            run(even, number, "trailing").double(), rtol=0, atol=2e-4,
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"eta=1\.0 with timestep_spacing='training'"):
        DDIMSampler(eta=1.0, timestep_spacing="training")
    with pytest.raises(ValueError, match="PLMSSampler steps evenly"):
        PLMSSampler(timestep_spacing="training").fit(schedule)


@pytest.mark.parametrize("sampler", [DDPMSampler, lambda **k: DDIMSampler(eta=1.0, **k)])
def test_drawn_noise_is_the_pairs_own(sampler):
    """A sample is the same alone and in a batch, and differs with its generator."""
    noise = torch.randn(2, 3, 4, 4)

    def run(rows, seeds):
        generators = [torch.Generator().manual_seed(n) for n in seeds]
        return fitted(sampler(num_steps=5))(lambda z, s: 0.1 * z, noise[rows], 1, generators)

    together = run([0, 1], [7, 8])
    torch.testing.assert_close(together[1:], run([1], [8]))
    assert not torch.allclose(together[1:], run([1], [9]))


def test_guidance_by_formula():
    c, u = torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(guide(c, u, 1.5), 1.5 * c - 0.5 * u)
    torch.testing.assert_close(guide(c, u, 1.0), c)
    full = guide(c, u, 3.0, rescale=1.0)
    torch.testing.assert_close(full.std((1, 2, 3)), c.std((1, 2, 3)))
    part = guide(c, u, 3.0, rescale=2.5)
    torch.testing.assert_close(part, 2.5 * full - 1.5 * guide(c, u, 3.0))


def test_sampler_guides_its_two_predictions():
    sampler = fitted(DDIMSampler(num_steps=3, guidance_scale=1.5))
    assert sampler.guided and not DDIMSampler().guided
    signs = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    predict = sampler.guide(lambda z, s: z * signs * s[:, None, None, None])
    found = predict(torch.ones(1, 1, 1, 1), torch.full((1,), 0.5))
    torch.testing.assert_close(found, torch.full((1, 1, 1, 1), 1.0))


def test_schedules_must_fit():
    with pytest.raises(ValueError, match=r"PLMSSampler cannot sample.*FlowMatchingSchedule"):
        PLMSSampler().fit(FlowMatchingSchedule())
    with pytest.raises(ValueError, match=r"FlowMatchEulerSampler cannot sample.*DDPMSchedule"):
        FlowMatchEulerSampler().fit(DDPMSchedule())


def test_a_subclass_of_a_schedule_fits_and_a_class_may_be_named():
    class Shifted(FlowMatchingSchedule):
        pass

    class OwnSampler(FlowMatchEulerSampler):
        noise_schedules = (DDPMSchedule,)

    sampler, schedule = FlowMatchEulerSampler(), Shifted()
    sampler.fit(schedule)
    assert sampler.noise_schedule is schedule
    OwnSampler().fit(DDPMSchedule())
    with pytest.raises(ValueError, match="fits DDPMSchedule and subclasses"):
        OwnSampler().fit(schedule)


@pytest.mark.parametrize(
    "bad",
    [
        dict(num_steps=0),
        dict(timestep_spacing="even"),
        dict(start="person"),
        dict(guidance_scale=-1.0),
    ],
)
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        PLMSSampler(**bad)


def test_zero_terminal_snr_reaches_the_scheduler_and_plms_refuses_it():
    schedule = DDPMSchedule(zero_terminal_snr=True)
    for sampler in (DDIMSampler(num_steps=5), DDPMSampler(num_steps=5)):
        sampler.fit(schedule)
        theirs = sampler.scheduler().alphas_cumprod
        torch.testing.assert_close(schedule.alphas_cumprod.float(), theirs, rtol=1e-3, atol=1e-6)
    for kind in (DDIMSampler, DDPMSampler):
        for spacing in ("trailing", "linspace", "training"):
            with pytest.raises(ValueError, match=f"'{spacing}' begins at pure noise"):
                kind(timestep_spacing=spacing).fit(schedule)
    with pytest.raises(ValueError, match="zero_terminal_snr"):
        PLMSSampler().fit(schedule)
