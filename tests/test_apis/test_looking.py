"""Where a dressed person looked: against softmax written out, against the report's page, and in the
right place on rendered people.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vtonlab.apis import TryOnInferencer
from vtonlab.evaluation.report.attention import SavedAttention
from vtonlab.registry import DATASETS

LAYER = "single_transformer_blocks.2.attn"  # supervised in the shipped model's training


@pytest.fixture(scope="module")
def inferencer():
    return TryOnInferencer("coral_synthetic", device="cpu")


@pytest.fixture(scope="module")
def person(inferencer, tmp_path_factory):
    settings = inferencer.model.cfg.test_dataloader.dataset.to_dict()
    settings |= dict(length=1, cache_dir=str(tmp_path_factory.mktemp("people")))
    return DATASETS.build(settings)[0]


@pytest.fixture(scope="module")
def result(inferencer, person):
    return inferencer(**inputs(person), attention=True)


def inputs(sample, rows=slice(None)):
    """Photographs and maps as the inferencer takes them."""
    maps = {name: sample[name][rows] for name in ("person", "pose", "mask")}
    return maps | dict(mask=maps["mask"] > 0, garment=sample["garment"])


def written_out(record, cell, head):
    """(Nk,) attention given the garment and the garment's share, from numbers alone."""
    query = record.query[0, :, cell].double().numpy()  # (H, D)
    key, context = (t[0].double().numpy() for t in (record.key, record.context_key))
    weights = np.exp(np.einsum("hd,hnd->hn", query, key) * record.scale)
    others = np.exp(np.einsum("hd,hnd->hn", query, context) * record.scale).sum(1)
    mass = weights.sum(1)
    given, share = weights / mass[:, None], mass / (mass + others)
    if head is None:
        return given.mean(0), share.mean()
    return given[head], share[head]


@pytest.mark.parametrize("head", [None, 0, 3])
def test_a_row_is_softmax_over_everything_the_layer_saw(inferencer, result, head):
    look = inferencer.look(result, head=head)
    exact = look.record
    for name in ("query", "key", "context_key"):  # then sums are float64, and only results float32
        setattr(exact, name, getattr(exact, name).double())
    assert (look.layer, look.heads, look.head, look.sigma) == (LAYER, 4, head, 0.5)
    for x, y, cell in ((0, 0, 0), (47, 63, 7 * 12 + 5), (95, 127, 16 * 12 - 1)):
        given, share = written_out(exact, cell, head)
        found = look.map_at(x, y)
        assert found.dtype == np.float32 and found.shape == (16, 12)
        expected = (given * share).reshape(16, 12)
        np.testing.assert_allclose(found, expected, rtol=2.0**-23, atol=1e-30)  # half an ulp, twice
        match = look.at(x, y)
        row, column = np.unravel_index(given.argmax(), (16, 12))
        assert (match.x, match.y) == (column * 8 + 3.5, row * 8 + 3.5)
        near = np.pad(given.reshape(16, 12), 1)[row : row + 3, column : column + 3].sum()
        assert match.confidence == pytest.approx(near, rel=1e-12)
        assert match.share == pytest.approx(share, rel=1e-12)


def test_it_agrees_with_the_reports_page(inferencer, result):
    """The page shows what ``attention=True`` saves, in float16: half an ulp is 2^-11 of a value."""
    page = result.attention
    saved = SavedAttention(
        layers=[str(name) for name in page["layers"]],
        maps=page["maps"].astype(np.float32),
        mass=page["mass"].astype(np.float32),
        query_grid=tuple(page["query_grid"]),
        key_grid=tuple(page["key_grid"]),
    )
    look = inferencer.look(result)
    assert set(saved.layers) <= set(look.layers) and saved.query_grid == (16, 12)
    place = saved.layers.index(look.layer)
    for cell in range(0, 16 * 12, 7):
        row, column = divmod(cell, 12)
        match = look.at(8 * column + 3.5, 8 * row + 3.5)
        shown = saved.maps[place, cell]
        found = look.map_at(8 * column + 3.5, 8 * row + 3.5).ravel() / match.share
        # float32 sums by two kernels, each within 1e-5 of the row
        np.testing.assert_allclose(found, shown, rtol=2.0**-10, atol=1e-5)
        mine = int(match.y // 8) * 12 + int(match.x // 8)
        assert shown[mine] >= shown.max() * (1 - 2.0**-9)
        assert abs(match.share - saved.mass[place, cell]) < 2.0**-10


def test_it_looks_at_the_right_place_on_rendered_people(inferencer, person, result):
    """Within one cell of the truth, as `attention_pck` counts; the model's card says 0.9 of them.
    Confidence tells right from wrong.
    """
    truth, visible = person["flow"].to_grid((16, 12))
    look, right, wrong = inferencer.look(result), [], []
    for cell in np.flatnonzero(visible.numpy()):
        row, column = divmod(int(cell), 12)
        match = look.at(8 * column + 3.5, 8 * row + 3.5)
        place = np.array([(match.x + 0.5) / 8, (match.y + 0.5) / 8])
        off = np.abs(place - truth[cell].numpy() * (12, 16)).max()
        (right if off <= 1.0 else wrong).append(match.confidence)
    assert len(right) > 2 * len(wrong)
    assert np.mean(right) > 0.5
    assert not wrong or np.mean(right) > np.mean(wrong)


def test_layers_heads_and_levels(inferencer, result):
    look = inferencer.look(result)
    assert look.layers == (
        "transformer_blocks.0.attn",
        *(f"single_transformer_blocks.{n}.attn" for n in range(4)),
    )
    first = inferencer.look(result, layer=look.layers[0], sigma=0.8, seed=1)
    assert first.layer == look.layers[0] and first.sigma == 0.8
    assert not np.array_equal(first.map_at(48, 64), look.map_at(48, 64))
    mean = np.mean([look.of_head(n).at(48, 64).share for n in range(4)])
    assert mean == pytest.approx(look.at(48, 64).share, rel=1e-6)  # four float32 sums
    assert inferencer.model.seed == 0
    for wrong, sentence in (
        (dict(layer="single_transformer_blocks.9.attn"), "did you mean"),
        (dict(head=4), "has 4 heads, 0 to 3, no head 4"),
        (dict(sigma=1.5), "noise level within"),
    ):
        with pytest.raises(ValueError, match=sentence):
            inferencer.look(result, **wrong)
    with pytest.raises(ValueError, match="outside the picture of 96x128"):
        look.at(96, 3)
    with pytest.raises(ValueError, match="nothing to read"):
        inferencer.look(replace(result, shown=None))


def test_a_padded_photograph_is_asked_at_its_own_pixels(inferencer, person):
    """The upper 96 rows of 128 are padded by 16 above: its row 0 is the canvas's row 16."""
    cut = inferencer(**inputs(person, slice(0, 96)))
    assert cut.picture.shape == (96, 96, 3)
    look = inferencer.look(cut)
    cell = (0 + 16) // 8 * 12 + 40 // 8
    given = look.record.mean_map(torch.tensor([cell]))[0, 0]
    match = look.at(40, 0)
    assert int(match.y // 8) * 12 + int(match.x // 8) == int(given.argmax())
    assert look.map_at(40, 0).sum() == pytest.approx(match.share, rel=1e-5)
    with pytest.raises(ValueError, match="96x96"):
        look.at(40, 96)
