"""DINOv3Matcher: exact where the answer is known, both libraries, little memory."""

import functools

import numpy as np
import pytest
import torch

from vtonlab.matchers.dino import DINOv3Matcher, token_mask
from vtonlab.ops.mutual_nearest import cycle_distance, nearest_both_ways
from vtonlab.registry import MATCHERS

GRID = (8, 6)


def picture(size=(128, 96), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


class Known(DINOv3Matcher):
    """Picture k's token i carries basis vector ``orders[k][i]``."""

    def features(self, images):
        eye = torch.eye(self.grid[0] * self.grid[1])
        return torch.stack([eye[order] for order in self.orders])


def known(first, second, **settings):
    matcher = Known(grid=GRID, **settings)
    matcher.orders = (first, second)
    return matcher


@pytest.mark.parametrize("chunk", [1, 7, 48, 1000])
def test_nearest_both_ways_equals_the_full_volume(chunk):
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(48, 5, generator=rng), torch.randn(30, 5, generator=rng)
    forward, backward, similarity = nearest_both_ways(a, b, chunk)
    volume = a @ b.T
    assert torch.equal(forward, volume.argmax(1)) and torch.equal(backward, volume.argmax(0))
    assert torch.allclose(similarity, volume.max(1).values)


def test_cycle_distance_is_that_of_a_plain_loop():
    rng = torch.Generator().manual_seed(1)
    forward = torch.randint(0, 30, (48,), generator=rng)
    backward = torch.randint(0, 48, (30,), generator=rng)
    for i, distance in enumerate(cycle_distance(forward, backward, GRID).tolist()):
        j = int(backward[forward[i]])
        assert distance == pytest.approx(np.hypot(i // 6 - j // 6, i % 6 - j % 6))


def test_known_permutation_is_found_exactly():
    order = torch.randperm(48, generator=torch.Generator().manual_seed(2))
    matches = known(torch.arange(48), order)(picture(), picture())
    inverse = order.argsort()
    assert len(matches) == 48
    cell = lambda p: (p * torch.tensor([6, 8])).floor().long() @ torch.tensor([1, 6])  # noqa: E731
    assert torch.equal(cell(matches.garment_points), inverse[cell(matches.person_points)])
    assert torch.allclose(matches.scores, torch.ones(48))


def test_cycle_and_masks_drop_what_they_should():
    person, garment = torch.arange(48), torch.arange(48)
    person[5] = 40  # two person tokens look like garment token 40; the first wins the way back
    report = known(person, garment).explain(picture(), picture())
    assert report.counts["cycle"] == 1 and len(report.matches) == 47
    mask = np.zeros((128, 96), np.uint8)
    mask[:, :48] = 1
    report = known(torch.arange(48), garment).explain(picture(), picture(), mask, mask)
    assert report.counts["person_mask"] == 24 and len(report.matches) == 24
    assert report.matches.garment_points[:, 0].max() < 0.5
    flipped = garment.reshape(8, 6).flip(1).reshape(-1)
    report = known(torch.arange(48), flipped).explain(picture(), picture(), mask, mask)
    assert report.counts["garment_mask"] == 24 and len(report.matches) == 0


def test_token_mask_wants_half_a_token():
    mask = np.zeros((16, 12), np.uint8)
    mask[:2] = 255
    mask[2:3] = 1
    covered = token_mask(mask, (8, 6)).reshape(8, 6)
    assert covered[:2].all() and not covered[2:].any()
    assert token_mask(None, (8, 6)).all()


def tiny(tmp_path, kind, monkeypatch=None):
    """Settings of a tiny network of each family, saved where it can be loaded from."""
    torch.manual_seed(0)
    if kind == "timm":
        timm = pytest.importorskip("timm")
        small = functools.partial(timm.create_model, depth=1, embed_dim=32, num_heads=2)
        network = small("vit_small_patch16_dinov3", num_classes=0)
        torch.save(network.state_dict(), tmp_path / "weights.pth")
        monkeypatch.setattr(timm, "create_model", small)
        return dict(
            model="vit_small_patch16_dinov3",
            library="timm",
            checkpoint=str(tmp_path / "weights.pth"),
        )
    transformers = pytest.importorskip("transformers")
    common = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48)
    if kind == "dinov3":
        config = transformers.DINOv3ViTConfig(**common, patch_size=16, num_register_tokens=4)
        network = transformers.DINOv3ViTModel(config)
    else:
        config = transformers.Dinov2Config(**common, patch_size=14, image_size=56)
        network = transformers.Dinov2Model(config)
    network.save_pretrained(tmp_path / kind)
    return dict(model=str(tmp_path / kind))


@pytest.mark.parametrize("kind", ["dinov3", "dinov2", "timm"])
def test_tiny_networks_match_a_picture_with_itself(tmp_path, kind, monkeypatch):
    matcher = MATCHERS.build(
        dict(type="DINOv3Matcher", grid=GRID, **tiny(tmp_path, kind, monkeypatch))
    )
    matcher.to("cpu")
    image = picture()
    assert matcher.features([image, image[::-1]]).shape == (2, 48, 32)
    matches = matcher(image, image)
    assert len(matches) == 48 and torch.equal(matches.person_points, matches.garment_points)
    assert matcher.versions["DINOv3Matcher"] == "1"


def test_prefix_tokens_are_dropped_and_counted(tmp_path):
    matcher = DINOv3Matcher(grid=GRID, **tiny(tmp_path, "dinov3")).to("cpu")
    assert matcher._patch_and_prefix() == (16, 5)
    image = picture()
    from vtonlab.matchers.dino import _as_input

    with torch.inference_mode():
        full = matcher.network(pixel_values=_as_input(image, (128, 96))[None]).last_hidden_state
    expected = torch.nn.functional.normalize(full[:, 5:], dim=-1)
    assert torch.allclose(matcher.features([image]), expected, atol=1e-5)
    matcher._patch_and_prefix = lambda: (16, 1)
    with pytest.raises(ValueError, match="52 tokens after 1 prefix"):
        matcher.features([image])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_agrees(tmp_path, dtype):
    settings = tiny(tmp_path, "dinov3")
    image = picture()
    half = DINOv3Matcher(grid=GRID, dtype=dtype, **settings).to("cpu")
    assert next(half.network.parameters()).dtype == getattr(torch, dtype)
    same = half(image, image)
    assert len(same) == 48 and torch.equal(same.person_points, same.garment_points)
    other = np.roll(image, 7, axis=1)
    full = DINOv3Matcher(grid=GRID, max_cycle=99, **settings)(image, other)
    half.max_cycle = 99
    found = half(image, other)
    assert torch.equal(found.person_points, full.person_points)
    assert (found.garment_points == full.garment_points).all(1).float().mean() > 0.9


def test_several_pairs_in_one_pass(tmp_path):
    matcher = DINOv3Matcher(grid=GRID, **tiny(tmp_path, "dinov3")).to("cpu")
    mask = np.zeros((128, 96), np.uint8)
    mask[:64] = 1
    pairs = [
        dict(person=picture(seed=i), garment=picture((90, 70), seed=i + 9), person_mask=mask)
        for i in range(3)
    ]
    del pairs[1]["person_mask"]
    together, passes = matcher.explain_batch(pairs), []
    matcher.network.register_forward_hook(lambda *_: passes.append(1))
    matcher.explain_batch(pairs)
    assert len(passes) == 1
    for report, pair in zip(together, pairs, strict=True):
        alone = matcher.explain(**pair)
        assert alone.counts == report.counts
        assert torch.equal(alone.matches.garment_points, report.matches.garment_points)
        assert torch.allclose(alone.matches.scores, report.matches.scores, atol=1e-5)
    small = dict(person=picture(), garment=picture(), garment_mask=mask[:20])
    with pytest.raises(ValueError, match="garment_mask is 20x96"):
        matcher.explain_batch([pairs[0], small])


def test_versions_follow_local_weights(tmp_path):
    settings = tiny(tmp_path, "dinov3")
    before = DINOv3Matcher(grid=GRID, **settings).versions
    assert before == DINOv3Matcher(grid=GRID, **settings).to("cpu").versions
    weights = tmp_path / "dinov3" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\0")
    after = DINOv3Matcher(grid=GRID, **settings).versions
    assert before["weights"] != after["weights"] and "transformers" in after
    assert DINOv3Matcher().versions["weights"] == "unknown"  # a hub's name, not loaded


def test_missing_weights_name_licence_folder_and_alternative(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        DINOv3Matcher(model=str(tmp_path / "nothing")).to("cpu")
    for word in ("accept the licence", "local folder", "facebook/dinov2-base"):
        assert word in str(caught.value)
    with pytest.raises(ValueError, match="library"):
        DINOv3Matcher(library="torchhub")
    with pytest.raises(ValueError, match="dtype"):
        DINOv3Matcher(dtype="int8")


@pytest.mark.parametrize("width", [64, pytest.param(768, marks=pytest.mark.slow)])
def test_large_grids_need_no_full_volume(width):
    """The whole matcher at 128x96 against 128x96 tokens: the volume alone would be 604 MB."""
    import subprocess
    import sys

    code = f"""
import numpy as np, torch
from pathlib import Path
from vtonlab.matchers.dino import DINOv3Matcher

def status(name):
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if name in x)
    return float(line.split()[1]) / 1024

class Known(DINOv3Matcher):
    def features(self, images):
        torch.manual_seed(0)
        tokens = torch.nn.functional.normalize(torch.randn(12288, {width}), dim=-1)
        return torch.stack([tokens, tokens[order]])

torch.set_num_threads(1)
order = torch.randperm(12288)
picture, mask = np.zeros((1024, 768, 3), np.uint8), np.ones((1024, 768), np.uint8)
matcher = Known(grid=(128, 96))
rest = status("VmRSS")
found = matcher(picture, picture, mask, mask)
peak = status("VmHWM") - rest
cells = lambda p: (p * torch.tensor([96, 128])).long() @ torch.tensor([1, 96])
assert torch.equal(cells(found.person_points), torch.arange(12288))
assert torch.equal(order[cells(found.garment_points)], torch.arange(12288))
print(peak)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    print("peak MB", done.stdout)
    assert float(done.stdout) < 600
