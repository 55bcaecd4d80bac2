import numpy as np
import pytest
import torch

LAYERS = ["transformer_blocks.1.attn", "single_transformer_blocks.0.attn"]


def total(losses):
    return sum(value for name, value in losses.items() if "loss" in name)


def test_loss_parts_have_names_and_the_graph(make_model, make_batch):
    model = make_model()
    losses = model(**make_batch(model), mode="loss")
    assert {"loss_diffusion", "loss_correspondence", "loss_entropy"} <= set(losses)
    assert "correspondence_garment_mass" in losses
    total(losses).backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def test_diffusion_loss_equals_the_formula(make_model, make_batch):
    """mean |v - (eps - z0)|^2 over garment and person panels, pose left out."""
    from vtonlab.utils.seeding import seed_from

    model = make_model(attention_losses=None)
    batch = make_batch(model)
    losses = model.loss(batch)
    with torch.no_grad():
        clean = model.conditioner.target(batch, model.encode)
        noises, sigmas = [], []
        for position in (0, 1):
            generator = torch.Generator().manual_seed(seed_from("train", 0, position))
            sigmas.append(torch.rand((), generator=generator))
            noises.append(torch.randn(clean.shape[1:], generator=generator))
        noise, sigma = torch.stack(noises), torch.stack(sigmas)
        noisy = (1 - sigma[:, None, None, None]) * clean + sigma[:, None, None, None] * noise
        conditions = model.conditioner.prepare(batch, model.encode)
        velocity = model.conditioner(model.backbone, noisy, sigma, conditions).sample
        expected = (velocity - (noise - clean)).square().mean()
    torch.testing.assert_close(losses["loss_diffusion"], expected)


def test_a_samples_loss_does_not_depend_on_its_batch(make_model, make_batch):
    """Mean of two single-sample losses equals the batch's: with matches, and without."""
    model = make_model()
    for unmatched in ((), (1,), (0, 1)):
        together = model.loss(make_batch(model, (0, 1), unmatched))
        alone = [model.loss(make_batch(model, (n,), unmatched)) for n in (0, 1)]
        for name in ("loss_diffusion", "loss_correspondence", "loss_entropy"):
            mean = (alone[0][name] + alone[1][name]) / 2
            torch.testing.assert_close(together[name], mean, atol=1e-6, rtol=1e-5)
    assert together["loss_correspondence"] == 0


def test_mask_weight_counts_only_inside_the_mask(make_model, make_batch):
    light, heavy = (
        make_model(attention_losses=None),
        make_model(attention_losses=None, mask_loss_weight=3.0),
    )
    batch = make_batch(light)
    error = torch.zeros(2, 12, 16, 24)
    error[..., 6, 12 + 6] = 1.0  # inside the mask, person panel
    zeros = torch.zeros_like(error)
    assert heavy._diffusion_loss(error, batch) == pytest.approx(
        3 * light._diffusion_loss(error, batch)
    )
    error = zeros.clone()
    error[..., 0, 12] = 1.0  # outside
    error[..., 6, 6] = 1.0  # garment panel
    assert heavy._diffusion_loss(error, batch) == pytest.approx(light._diffusion_loss(error, batch))


def test_pictures_depend_on_their_pair_alone(make_model, make_batch):
    model = make_model().eval()
    together = model(**make_batch(model, (0, 1, 2)), mode="predict")
    alone = model(**make_batch(model, (2,)), mode="predict")
    difference = np.abs(together[2]["image"].astype(int) - alone[0]["image"].astype(int))
    assert difference.max() <= 1  # float sums in another order; one grey level at most
    assert together[2]["id"] == alone[0]["id"] == "p2"
    assert not np.array_equal(together[0]["image"], together[1]["image"])


def test_results_carry_what_metrics_need(make_model, make_batch):
    model = make_model(probe=dict(layers=LAYERS, sigma=0.5)).eval()
    batch = make_batch(model)
    for result in model.predict(batch):
        assert result["image"].shape == (32, 24, 3) and result["image"].dtype == np.uint8
        assert set(result["attention"]) == set(LAYERS)
        for answer in result["attention"].values():
            assert answer["argmax"].shape == answer["mass"].shape == (48,)
        outside = result["mask"] == 0
        far = outside.copy()
        far[2:30, :] = False  # the soft edge reaches six pixels
        assert np.array_equal(result["repainted"][far], result["target"][far])


def test_preview_is_a_picture(make_model, make_batch):
    model = make_model().eval()
    assert model.preview(make_batch(model)).shape == (64, 96, 3)


def test_sampling_ends_at_the_truth_when_the_network_knows_it(make_model, make_batch):
    """With the true velocity the whole path (noise, sampler, decoder, uint8) is exact."""
    from vtonlab.conditioners import Prediction

    model = make_model().eval()
    batch = make_batch(model)
    clean = model.conditioner.target(batch, model.encode)

    def perfect(backbone, noisy, sigmas, conditions, layers=()):
        return Prediction((noisy - clean) / sigmas[:, None, None, None])

    model.conditioner.forward = perfect
    for result in model.predict(batch):
        assert np.abs(result["image"].astype(int) - result["target"].astype(int)).max() <= 1


def test_another_size_is_one_sentence(make_model, make_batch):
    model = make_model(size=(64, 48))
    with pytest.raises(ValueError, match=r"64x48.*32x24"):
        model(**make_batch(model), mode="loss")


def test_a_map_the_conditioner_needs_is_named(make_model, make_batch):
    model = make_model()
    batch = make_batch(model)
    del batch["agnostic"]
    with pytest.raises(ValueError, match=r"sample '.*' lacks 'agnostic', which Full3DAttention"):
        model(**batch, mode="loss")
    with pytest.raises(ValueError, match=r"^train_dataloader: sample 'x' lacks 'mask', 'pose'"):
        model.check_sample(dict(id="x", agnostic=None), where="train_dataloader: ")


def test_parts_are_dropped_by_position_and_gate_the_attention(make_model, make_batch, monkeypatch):
    """A share of one of a named part, drawn apart from the garment's own dropout."""
    from vtonlab.conditioners import Full3DAttentionConditioner as Conditioner

    seen = []

    def drop_parts(self, conditions, dropped):
        seen.append(dropped["garment"].tolist())
        return conditions

    monkeypatch.setattr(Conditioner, "dropouts", {"garment": 0.5})
    monkeypatch.setattr(Conditioner, "drop_parts", drop_parts)
    monkeypatch.setattr(Conditioner, "withholds_garment", lambda self, dropped: dropped["garment"])
    model = make_model(sampler=dict(type="FlowMatchEulerSampler", num_steps=2, guidance_scale=2.0))
    batch = make_batch(model)
    for start in (0, 1):
        positions = torch.arange(start, start + len(batch["id"]))
        losses = model(**{**batch, "position": positions}, mode="loss")
        active = [value for name, value in losses.items() if name.endswith("_active")]
        assert all(value <= 1 - sum(seen[-1]) / len(seen[-1]) for value in active)
    assert seen[0][1:] == seen[1][:-1]  # a sample's chance is its own
    assert (
        model._draw_dropped(torch.arange(200), 0.5, "garment").float().mean().sub(0.5).abs() < 0.1
    )


def test_sampler_must_fit_the_schedule(make_model, monkeypatch):
    from vtonlab.samplers import FlowMatchEulerSampler

    monkeypatch.setattr(FlowMatchEulerSampler, "noise_schedules", ("Other",))
    with pytest.raises(ValueError, match="FlowMatchEulerSampler cannot sample"):
        make_model()


def test_names_that_would_count_twice_are_refused(make_model):
    losses = dict(corr_loss=dict(type="AttentionEntropyLoss", layers=LAYERS))
    with pytest.raises(ValueError, match="corr_loss"):
        make_model(attention_losses=losses)


def test_gradient_stays_before_the_last_supervised_layer(make_model, make_batch):
    model = make_model()
    losses = model.loss(make_batch(model))
    (losses["loss_correspondence"] + losses["loss_entropy"]).backward()
    grads = {n: p.grad for n, p in model.backbone.named_parameters() if p.grad is not None}
    for layer in LAYERS:
        for projection in ("to_q", "to_k"):
            assert grads[f"{layer}.{projection}.weight"].abs().sum() > 0
    assert "proj_out.weight" not in grads
    assert "single_transformer_blocks.0.proj_out.weight" not in grads


def test_lora_trains_alone_and_is_saved_alone(make_model, make_batch):
    model = make_model(lora=dict(rank=4))
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trained and all("lora" in name for name in trained)
    assert set(model.state_dict()) == set(trained)
    total(model.loss(make_batch(model))).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_lora_round_trip(make_model, make_batch):
    model = make_model(lora=dict(rank=4))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    other = make_model(lora=dict(rank=4))
    missing, unexpected = other.load_state_dict(state, strict=True)
    assert missing == [] and unexpected == []
    batch = make_batch(model)
    assert torch.equal(
        model.eval().loss(batch)["loss_diffusion"], other.eval().loss(batch)["loss_diffusion"]
    )


def test_train_only_named_parameters(make_model):
    model = make_model(trainable=["*.attn.*"])
    trained = [n for n, p in model.backbone.named_parameters() if p.requires_grad]
    assert trained and all(".attn." in name for name in trained)
    with pytest.raises(ValueError, match="no_such_layer"):
        make_model(trainable=["no_such_layer.*"])


def test_checkpointing_gives_the_same_gradients(make_model, make_batch):
    plain, recomputed = make_model(), make_model(gradient_checkpointing=True)
    for model in (plain, recomputed):
        total(model.train().loss(make_batch(model))).backward()
    for (name, p), q in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-6, rtol=1e-5, msg=name)


def test_checkpoint_facts(make_model):
    facts = make_model().checkpoint_meta()
    assert facts["size"] == [32, 24] and facts["mask_polarity"] == "1 = generate"
    assert facts["backbone"] == "FluxTransformer2DModel"


def test_clean_reading_trains_and_samples(make_model, make_batch):
    schedule = dict(type="FlowMatchingSchedule", network_predicts="clean", min_sigma=0.4)
    model = make_model(noise_schedule=schedule)
    batch = make_batch(model)
    total(model.loss(batch)).backward()
    assert model.backbone.proj_out.weight.grad.abs().sum() > 0
    assert model.eval().predict(batch)[0]["image"].shape == (32, 24, 3)


def test_validation_reads_attention_alone(make_model, make_batch, monkeypatch):
    from vtonlab.structures.sample import collate

    from .conftest import sample

    model = make_model(probe=dict(layers=LAYERS, sigma=0.5)).eval()
    monkeypatch.setattr(model, "decode", None)  # drawing would fail
    probed = model.val_step(collate([sample(0), sample(1)]))
    assert [result["id"] for result in probed] == ["p0", "p1"]
    monkeypatch.undo()
    drawn = model.test_step(collate([sample(0), sample(1)]))
    for a, b in zip(probed, drawn, strict=True):
        for layer in LAYERS:
            assert torch.equal(a["attention"][layer]["argmax"], b["attention"][layer]["argmax"])


def test_validation_draws_pictures_without_a_probe(make_model):
    from vtonlab.structures.sample import collate

    from .conftest import sample

    assert "image" in make_model().eval().val_step(collate([sample(0)]))[0]


def test_unknown_to_guidance_without_dropout(make_model):
    sampler = dict(type="FlowMatchEulerSampler", num_steps=2, guidance_scale=2.0)
    with pytest.raises(ValueError, match=r"guidance_scale=2.0.*condition_dropout"):
        make_model(sampler=sampler)


def test_a_conditioner_that_cannot_drop_says_so(make_model, make_batch):
    model = make_model(condition_dropout=0.5)
    with pytest.raises(ValueError, match=r"Full3DAttentionConditioner.*condition_dropout=0"):
        model.loss(make_batch(model))


def test_dropout_belongs_to_the_position_and_is_not_supervised(make_model, make_batch, monkeypatch):
    """The same samples are dropped in any batch, as often as asked; attention losses skip them."""
    model = make_model(condition_dropout=0.3)
    positions = torch.arange(2000)
    dropped = model._draw_dropped(positions, model.condition_dropout)
    assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(model._draw_dropped(positions[5:9], 0.3), dropped[5:9])
    seen = []
    monkeypatch.setattr(model.conditioner, "drop", lambda c, d: seen.append(d) or c)
    numbers = [int(dropped.nonzero()[0]), int((~dropped).nonzero()[0])]
    both = model.loss(make_batch(model, numbers))
    assert seen[0].tolist() == [True, False]
    assert both["correspondence_active"] == 0.5
    kept = model.loss(make_batch(model, numbers[1:]))
    torch.testing.assert_close(both["loss_correspondence"], kept["loss_correspondence"] / 2)


def ddpm(**sampler):
    return dict(
        noise_schedule=dict(type="DDPMSchedule", snr_gamma=5.0),
        sampler=dict(type="DDIMSampler", num_steps=3) | sampler,
    )


def test_epsilon_loss_is_weighted_per_sample(make_model, make_batch):
    """Mean of w(t) |eps_hat - eps|^2, and a sample's share does not depend on its batch."""
    model = make_model(attention_losses=None, **ddpm())
    batch = make_batch(model)
    clean = model.conditioner.target(batch, model.encode)
    noise, levels = model._draw(batch["position"], clean)
    noisy = model.noise_schedule.add_noise(clean, noise, levels)
    conditions = model.conditioner.prepare(batch, model.encode)
    with torch.no_grad():
        output = model.conditioner(model.backbone, noisy, levels, conditions).sample
    weights = model.noise_schedule.loss_weights(levels)
    expected = ((output - noise).square().mean((1, 2, 3)) * weights).mean()
    torch.testing.assert_close(model.loss(batch)["loss_diffusion"], expected)


def test_start_at_the_noised_agnostic_person(make_model, make_batch, monkeypatch):
    """q_sample(E(agnostic), t=999), and nothing of the photograph."""
    model = make_model(attention_losses=None, **ddpm(start="agnostic")).eval()
    batch = make_batch(model)
    starts = []
    monkeypatch.setattr(
        model, "sampler", model.sampler.__class__(num_steps=1, start="agnostic"), raising=True
    )
    monkeypatch.setattr(
        type(model.sampler), "__call__", lambda self, p, z, *rest: starts.append(z) or z
    )
    pictures = model.predict(batch)
    generator = model._pair_generators(batch, "picture")[1]
    noise = torch.randn(starts[0].shape[1:], generator=generator)
    alpha = model.noise_schedule.alphas_cumprod[999].item()
    half = starts[0].shape[-1] // 2
    person = model.encode(batch["agnostic"])[1]
    expected = alpha**0.5 * person + (1 - alpha) ** 0.5 * noise[..., half:]
    torch.testing.assert_close(starts[0][1, ..., half:], expected)
    other = {**batch, "person": torch.randn_like(batch["person"])}
    assert np.array_equal(model.predict(other)[0]["image"], pictures[0]["image"])


def test_free_pose_tokens_change_the_picture_and_no_training(make_model, make_batch):
    """As CORAL's release samples; of two steps the second sees a moved pose."""
    prompt = dict(type="NullPrompt", dim=8, pooled_dim=8)
    settings = dict(type="Full3DAttentionConditioner", codec_factor=2, prompt=prompt)
    pictures, losses = [], []
    for tokens in ("clean", "free"):
        model = make_model(conditioner=settings | dict(pose_tokens=tokens), mask_loss_weight=2.0)
        batch = make_batch(model)
        losses.append(model(**batch, mode="loss")["loss_diffusion"])
        pictures.append(model.eval().predict(batch)[0]["image"].astype(int))
    assert torch.equal(*losses)
    assert pictures[0].shape == pictures[1].shape == (32, 24, 3)
    assert np.abs(pictures[0] - pictures[1]).max() > 0


def test_a_batch_outside_every_gate_costs_what_an_unsupervised_one_does(make_model, make_batch):
    """Operations forward and backward, at most 1.02 times as many; far more inside."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        number = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.number += 1
            return func(*args, **(kwargs or {}))

    def operations(gate):
        kinds = ("CorrespondenceDistillationLoss", "AttentionEntropyLoss", "AttentionTVLoss")
        losses = {kind[:13]: dict(type=kind, layers=LAYERS, t_max=gate) for kind in kinds}
        model = make_model(attention_losses=losses if gate else {}).train()
        batch = make_batch(model)
        with Count() as count:
            found = model.loss(batch)
            sum(value for name, value in found.items() if name.startswith("loss")).backward()
        return count.number

    without, outside, inside = operations(None), operations(1e-3), operations(1000.0)
    assert outside <= 1.02 * without < inside / 1.5
