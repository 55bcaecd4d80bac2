"""A text for each pair: templates, the cache, the encoders that only filling loads, dropout."""

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "test_models"))
from flux_folder import tiny_qwen_vl

from vtonlab.backbones.families import Text
from vtonlab.conditioners import PairPrompt, ReferenceTokensConditioner, pair_prompts
from vtonlab.conditioners.prompts import TEMPLATES, replaced
from vtonlab.datasets import Captions
from vtonlab.registry import BACKBONES

BATCH = dict(category=["dresses", "upper_body"], caption=["a red dress", "a shirt"])


@pytest.fixture
def encoders(monkeypatch):
    """Stand-ins: as many tokens as words (one at least), filled with the number of letters."""
    opened = []

    @contextmanager
    def stand_in(pipeline, path, dtype):
        opened.append(path)
        yield lambda sentence, length: (
            torch.full((max(1, len(sentence.split())), 4), float(len(sentence))),
            torch.full((3,), float(len(sentence))),
        )

    monkeypatch.setattr(pair_prompts, "text_encoders", stand_in)
    return opened


def make(tmp_path, **changes):
    return PairPrompt(path=str(tmp_path / "weights"), cache_dir=str(tmp_path / "cache"), **changes)


def test_each_sentence_is_encoded_once_and_read_without_encoders(tmp_path, encoders):
    prompt = make(tmp_path, templates="wear {caption}")
    with pytest.raises(ValueError, match=r"'wear a red dress' is not encoded yet .*cache_prompts"):
        prompt.of(BATCH)
    assert not encoders
    sentences = prompt.sentences(BATCH)
    assert sentences == ["wear a red dress", "wear a shirt"]
    assert prompt.fill([*sentences, *sentences]) == 2 and prompt.fill(sentences) == 0
    assert len(encoders) == 1
    text = prompt.of(BATCH)
    assert text.tokens.shape == (2, 4, 4) and text.pooled.shape == (2, 3)
    assert text.mask.tolist() == [[True] * 4, [True] * 3 + [False]]
    assert text.tokens[1, 0, 0] == len(sentences[1]) and not text.tokens[1, 3].any()
    assert prompt.of({k: v[:1] for k, v in BATCH.items()}).mask is None


def test_other_encoders_and_damaged_files_are_told_and_made_again(tmp_path, encoders):
    weights = tmp_path / "weights/text_encoder"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_bytes(b"one")
    prompt = make(tmp_path)
    prompt.fill(BATCH["caption"])
    (weights / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ValueError, match="'a shirt' is of other text encoders"):
        make(tmp_path).read(["a shirt"])
    again = make(tmp_path)
    assert again.fill(["a shirt"]) == 1
    again.file_of("a shirt").write_bytes(b"no file")
    with pytest.raises(ValueError, match="is damaged"):
        again.read(["a shirt"])
    assert again.fill(["a shirt"]) == 1 and again.read(["a shirt"]).tokens.shape == (1, 2, 4)


def test_templates_by_category_and_several(tmp_path):
    several = dict(dresses=["a {caption}", "b {caption}"], upper_body="c {caption}")
    prompt = make(tmp_path, templates=several)
    positions = dict(position=torch.tensor([0, 1]))
    assert prompt.eval().sentences(BATCH | positions) == ["a a red dress", "c a shirt"]
    drawn = {
        prompt.train().sentences(BATCH | dict(position=torch.tensor([n, n])))[0][0]
        for n in range(12)
    }
    assert drawn == {"a", "b"}  # by position
    batch = dict(category=["dresses"], caption=["x"])
    assert [asked.sentence for asked in prompt.possible(batch)] == ["", "a x", "b x"]
    with pytest.raises(ValueError, match="no template for category 'lower_body'"):
        prompt.sentences(dict(category=["lower_body"], caption=["x"]))
    with pytest.raises(ValueError, match="asks for 'caption', which the batch lacks"):
        prompt.sentences(dict(category=["dresses"]))


def test_released_templates_by_name(tmp_path):
    prompt = make(tmp_path, templates="catvton_flux_by_category")
    wanted = TEMPLATES["catvton_flux_by_category"]
    assert prompt.sentences(dict(category=["dresses"])) == [wanted["dresses"]]


@pytest.mark.parametrize("bad", [dict(dropout=1.0), dict(templates=[]), dict(pipeline="Nothing")])
def test_settings_that_cannot_be(tmp_path, bad):
    with pytest.raises(ValueError, match=r"dropout=1.0|at least one sentence|pipeline='Nothing'"):
        make(tmp_path, **bad)


def test_text_is_dropped_by_the_conditioner(tmp_path, encoders):
    path, cache = str(tmp_path / "weights"), str(tmp_path / "cache")
    prompt = dict(type="PairPrompt", path=path, cache_dir=cache, dropout=0.3)
    conditioner = ReferenceTokensConditioner(prompt=prompt, references=[dict(role="garment")])
    conditioner.prompt.fill([*BATCH["caption"], ""])
    assert conditioner.dropouts == {"text": 0.3}
    batch = BATCH | dict(person=torch.zeros(2, 3, 8, 8), garment=torch.zeros(2, 3, 8, 8))
    conditions = conditioner.prepare(batch, lambda pictures: pictures)
    dropped = conditioner.drop_parts(conditions, {"text": torch.tensor([True, False])})
    assert dropped["text_mask"].tolist() == [[True, False, False], [True, True, False]]
    assert not dropped["text"][0].any() and torch.equal(dropped["text"][1], conditions["text"][1])
    assert not conditioner.unconditional(conditions)["pooled"].any()


@pytest.mark.parametrize("captions", [["a red dress"], ["a red dress", "a shirt"], ["", "blue"]])
def test_guided_texts_of_unequal_lengths_are_one_batch(tmp_path, encoders, captions):
    """Each sample is predicted as it would be alone, without padding."""
    path, cache = str(tmp_path / "weights"), str(tmp_path / "cache")
    prompt = dict(type="PairPrompt", path=path, cache_dir=cache, dropout=0.3)
    conditioner = ReferenceTokensConditioner(prompt=prompt, references=[dict(role="garment")])
    conditioner.prompt.fill([*captions, ""])
    torch.manual_seed(0)
    backbone = BACKBONES.build(
        dict(
            type="QwenImageTransformer2DModel", in_channels=12, out_channels=3, num_layers=1,
            attention_head_dim=16, num_attention_heads=1, joint_attention_dim=4,
            axes_dims_rope=(4, 6, 6),
        )
    ).double()  # fmt: skip
    count = len(captions)
    garments, noisy = torch.randn(2, count, 3, 8, 8, dtype=torch.float64)

    def conditions_of(places):
        batch = dict(category=["dresses"] * len(places), caption=[captions[n] for n in places])
        batch |= dict(person=garments[places], garment=garments[places])
        return conditioner.prepare(batch, lambda pictures: pictures)

    def predict(noisy, conditions):
        sigmas = torch.full((len(noisy),), 0.5, dtype=torch.float64)
        return conditioner(backbone, noisy, sigmas, conditions).sample

    whole = conditions_of(list(range(count)))
    without = conditioner.unconditional(whole)
    for first, second in ((whole, without), (without, whole)):
        found = predict(torch.cat([noisy] * 2), conditioner.joined(first, second)).chunk(2)
        found = found if first is whole else found[::-1]
        for n in range(count):
            alone = conditions_of([n])
            blank = {**alone, "text": alone["text"][:, :1] * 0}  # one token of zeros, as it is kept
            for place, conditions in enumerate((alone, blank)):
                wanted = predict(noisy[[n]], conditions)
                torch.testing.assert_close(found[place][[n]], wanted)


def test_qwens_text_sees_the_pictures(tmp_path, monkeypatch):
    """What is kept is what the pipeline's encoder makes of sentence and pictures; other pictures
    are another text.
    """
    from diffusers import QwenImageEditPlusPipeline
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as upstream
    from PIL import Image

    model, processor = tiny_qwen_vl()
    parts = dict(text_encoder=model, tokenizer=processor.tokenizer, processor=processor)
    pipeline = QwenImageEditPlusPipeline(scheduler=None, vae=None, transformer=None, **parts)
    loaded = []
    monkeypatch.setattr(
        QwenImageEditPlusPipeline,
        "from_pretrained",
        classmethod(lambda *args, **kwargs: loaded.append(args) or pipeline),
    )
    monkeypatch.setattr(upstream, "CONDITION_IMAGE_SIZE", 64 * 64)
    name = "QwenImageEditPlusPipeline"
    with pytest.raises(ValueError, match="the text encoders of FluxPipeline see none"):
        make(tmp_path, pictures=["garment"])
    prompt = make(
        tmp_path, pipeline=name, pictures=["person", "garment"], dtype="float32", dropout=0.1
    )
    levels = torch.randint(0, 256, (2, 2, 3, 48, 40), generator=torch.Generator().manual_seed(0))
    person, garment = levels / 127.5 - 1.0  # as the preprocessor makes them
    batch = BATCH | dict(person=person, garment=garment)
    with pytest.raises(ValueError, match="'a red dress' with these pictures is not encoded yet"):
        prompt.of(batch)
    assert prompt.fill(prompt.possible(batch)) == 3 and len(loaded) == 1
    text = prompt.of(batch)
    for place, caption in enumerate(BATCH["caption"]):
        shown = [Image.fromarray(each[place].byte().permute(1, 2, 0).numpy()) for each in levels]
        shown = [pipeline.image_processor.resize(each, 64, 64) for each in shown]
        with torch.no_grad():
            theirs, _ = pipeline.encode_prompt(caption, image=shown)
        length = theirs.shape[1]
        assert torch.equal(text.tokens[place, :length], theirs[0])
        assert text.mask[place].sum() == length and text.pooled.shape == (2, 0)
    assert prompt.empty(2).tokens.shape[1] < length - 8  # of no picture
    changed = batch | dict(garment=garment.flip(-1))
    with pytest.raises(ValueError, match="is not encoded yet"):
        prompt.of(changed)
    prompt.missing = "encode"
    assert not torch.equal(prompt.of(changed).tokens, text.tokens)
    with pytest.raises(ValueError, match="the batch lacks 'garment', which the text is made with"):
        prompt.of(BATCH | dict(person=person))


def test_texts_of_one_length_stay_unmasked():
    one, other = (Text(torch.full((2, 3, 4), float(n)), torch.zeros(2, 1)) for n in range(2))
    found = replaced(one, other, torch.tensor([False, True]))
    assert found.mask is None and found.tokens[:, 0, 0].tolist() == [0, 1]


def test_captions_from_a_table_and_from_files(tmp_path):
    table = tmp_path / "captions.csv"
    table.write_text("person,garment,caption\n,shirt.jpg,a shirt\nanna,shirt,her shirt\n")
    captions = Captions(source=str(table))
    told = [captions(dict(id=person, garment_id="shirt"))["caption"] for person in ("anna", "bert")]
    assert told == ["her shirt", "a shirt"]
    with pytest.raises(ValueError, match="has none for garment 'skirt'"):
        captions(dict(id="anna", garment_id="skirt"))
    (tmp_path / "words").mkdir()
    (tmp_path / "words/skirt.txt").write_text("a long\n skirt \n")
    files = Captions(source=str(tmp_path / "words"), default="clothes")
    assert files(dict(id="a", garment_id="skirt"))["caption"] == "a long skirt"
    assert files(dict(id="a", garment_id="../captions"))["caption"] == "clothes"
    with pytest.raises(FileNotFoundError, match="there is no"):
        Captions(source=str(tmp_path / "nothing"))
    table.write_text("garment,caption\nshirt,a shirt\nskirt\n")
    with pytest.raises(ValueError, match="line 3: no garment or no caption"):
        Captions(source=str(table))
    table.write_text("garment,text\n")
    with pytest.raises(ValueError, match="lacks the column 'caption'"):
        Captions(source=str(table))


def test_the_tool_fills_what_the_data_sets_say(tmp_path, encoders, monkeypatch, capsys):
    from tools import cache_prompts

    config = tmp_path / "config.py"
    config.write_text(
        "_base_ = ['vtonlab::coral/dit_synthetic']\n"
        f"prompt = dict(type='PairPrompt', path={str(tmp_path)!r}, templates='a {{category}}', "
        f"cache_dir={str(tmp_path / 'cache')!r})\n"
        "model = dict(conditioner=dict(prompt=dict(_delete_=True, **prompt)))\n"
        "people = dict(length=2, size=(32, 24), "
        f"cache_dir={str(tmp_path / 'people')!r})\n"
        "train_dataloader = dict(dataset=people)\n"
        "val_dataloader = dict(dataset=people)\n"
        "test_dataloader = dict(dataset=people)\n"
    )
    monkeypatch.setattr(sys, "argv", ["cache_prompts.py", str(config)])
    assert cache_prompts.main() == 0
    assert "2 texts, 2 encoded now" in capsys.readouterr().out
    assert cache_prompts.main() == 0
    assert "2 texts, 0 encoded now" in capsys.readouterr().out
