"""The same pair gives the same picture alone, in a batch and through tools/test.py."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "test_evaluation"))
import small_test

from vtonlab.apis import TryOnInferencer, init_model, list_models, read_pairs, try_on_folder
from vtonlab.apis.folder_job import Pair
from vtonlab.apis.receipts import identity
from vtonlab.apis.watching import Stopped
from vtonlab.engine.checkpoints.files import read_checkpoint, save_safetensors, write_text
from vtonlab.engine.config import registered
from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.training import train
from vtonlab.engine.testing.run import test as run_test
from vtonlab.registry import DATASETS, MODELS
from vtonlab.structures.sample import check_sample

SIZE = small_test.SIZE
COUNT = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``model/`` with config and weights, ``photos/`` of three people and ``pairs.csv``."""
    folder = tmp_path_factory.mktemp("apis")
    config = small_test.small_config(folder)
    torch.manual_seed(0)
    model = MODELS.build(config.model.to_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    (folder / "model").mkdir()
    save_safetensors(model.state_dict(), folder / "model/model.safetensors", {})
    write_text(folder / "model/config.py", config.pretty_text)
    people = DATASETS.build(config.test_dataloader.dataset.to_dict())
    rows = ["person,garment,category,mask,pose"]
    (folder / "photos").mkdir()
    for n in range(COUNT):
        sample = check_sample(people[n])
        names = []
        for key in ("person", "garment", "mask", "pose"):
            names.append(f"photos/{key}{n}.png")
            picture = sample[key] * 255 if key == "mask" else sample[key]
            Image.fromarray(picture).save(folder / names[-1])
        rows.append(",".join([*names[:2], sample["category"], *names[2:]]))
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def inferencer(folder):
    return TryOnInferencer(folder / "model", device="cpu")


def files(folder, key):
    return [folder / f"photos/{key}{n}.png" for n in range(COUNT)]


def inputs(folder):
    return dict(
        person=files(folder, "person"),
        garment=files(folder, "garment"),
        mask=files(folder, "mask"),
        pose=files(folder, "pose"),
    )


def far(one, other) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_alone_in_a_batch_and_through_the_test_loop(folder, inferencer):
    """Sums in another order move a value of this network by 1e-5 of the range, so by one level at
    most; what is computed in batches of the same size is the same bits.
    """
    given = inputs(folder)
    alone = [inferencer(**{k: v[n] for k, v in given.items()}) for n in range(COUNT)]
    together = inferencer(**given, batch_size=COUNT)
    for one, other in zip(alone, together, strict=True):
        assert far(one.picture, other.picture) <= 1
    config = small_test.small_config(folder, batch_size=COUNT)
    config.test_dataloader.dataset = dict(
        type="PairListDataset", data_root=str(folder), split="test", size=SIZE,
        setting="unpaired", maps=["agnostic", "mask", "pose"], pairs="pairs.csv",
    )  # fmt: skip
    config.test_evaluator = []
    out = folder / "tested"
    finalize(config, work_dir=str(out))
    run_test(config, str(folder / "model/model.safetensors"), out)
    for result in together:
        file = out / "repainted" / f"{result.id}__{result.garment_id}.png"
        assert np.array_equal(np.asarray(Image.open(file)), result.picture)
    raw = inferencer(**given, batch_size=COUNT, repaint=False)
    file = out / "pictures" / f"{raw[0].id}__{raw[0].garment_id}.png"
    assert np.array_equal(np.asarray(Image.open(file)), raw[0].picture)


def test_any_form_of_a_picture_is_the_same_picture(folder, inferencer):
    given = {k: v[0] for k, v in inputs(folder).items()}
    opened = {k: Image.open(v) for k, v in given.items()}
    assert np.array_equal(inferencer(**opened).picture, inferencer(**given).picture)
    arrays = {k: np.asarray(v) for k, v in opened.items()}
    arrays["mask"] = arrays["mask"] > 0
    first, again = inferencer(**arrays), inferencer(**arrays)
    assert np.array_equal(first.picture, again.picture)
    assert np.array_equal(first.mask, inferencer(**given).mask)
    with pytest.raises(ValueError, match="person must be a path, a PIL picture or a uint8 array"):
        inferencer(**given | dict(person=np.zeros((8, 8, 3))))


def test_seed_steps_and_callback(folder, inferencer):
    given = {k: v[0] for k, v in inputs(folder).items()}
    first = inferencer(**given, repaint=False)
    assert far(first.picture, inferencer(**given, seed=1, repaint=False).picture) > 1
    seen = []

    def callback(pipe, step, timestep, kwargs):
        seen.append((pipe is inferencer, step))
        return {"latents": torch.zeros_like(kwargs["latents"])} if step == 2 else None

    changed = inferencer(**given, num_steps=3, callback_on_step_end=callback, repaint=False)
    assert seen == [(True, 0), (True, 1), (True, 2)]
    assert set(changed.picture.ravel()) == {128}  # zeros, decoded exactly
    assert np.array_equal(inferencer(**given, repaint=False).picture, first.picture)
    with pytest.raises(ValueError, match="condition_dropout"):
        inferencer(**given, guidance_scale=2.0)


def test_results_hold_inputs_and_attention(folder, inferencer):
    given = {k: v[0] for k, v in inputs(folder).items()}
    result = inferencer(**given, attention=True)
    assert set(result.inputs) == {"person", "garment", "mask", "agnostic", "pose"}
    assert result.image.size == SIZE[::-1] and result.warnings == ()
    maps = result.attention["maps"].astype(np.float64)
    np.testing.assert_allclose(maps.sum(-1), 1, atol=2e-2)  # float16 sums of some 200 terms


def test_lists_must_fit_and_categories_be_known(folder, inferencer):
    given = inputs(folder)
    with pytest.raises(ValueError, match="lists of different lengths"):
        inferencer(given["person"], given["garment"][:2])
    with pytest.raises(ValueError, match="this model dresses"):
        inferencer(given["person"][0], given["garment"][0], given["mask"][0], "hat")


def test_photographs_are_read_as_the_config_reads_its_test_data(folder):
    model = init_model(folder / "model", device="cpu")
    data = dict(mask_files=dict(threshold=250, inverted=["mask"]), paint_hair=True)
    model.cfg.test_dataloader = dict(dataset=data)
    given = {k: v[0] for k, v in inputs(folder).items()}
    recipe = TryOnInferencer(model).recipe
    assert recipe.paint_hair and recipe.mask_files.threshold == 250
    assert TryOnInferencer(init_model(folder / "model")).recipe.paint_hair is False
    model.cfg.test_dataloader.dataset.paint_hair = False
    whole = TryOnInferencer(model).sample(**given)["mask"]
    assert np.array_equal(whole, np.asarray(Image.open(given["mask"])) // 255)
    grey = whole * np.uint8(248)  # below the threshold, but for one white pixel
    place = tuple(np.argwhere(whole)[0])
    grey[place] = 255
    mask = TryOnInferencer(model).sample(**given | dict(mask=Image.fromarray(grey)))["mask"]
    assert mask.sum() == 1 and mask[place] == 1


def test_a_model_of_a_folder_leaves_the_registries_open(folder):
    init_model(folder / "model")
    assert not registered.is_closed()


def test_models_by_name_folder_and_config(folder, tmp_path):
    assert all(card.kind == "model" for card in list_models())
    with pytest.raises(ValueError, match="a config without weights"):
        init_model("coral/dit_synthetic")
    with pytest.raises(FileNotFoundError, match=r"no config.py"):
        init_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="shipped models"):
        init_model("no_such_model")
    write_text(tmp_path / "config.py", "import os\n")
    write_text(tmp_path / "model.safetensors", "")
    with pytest.raises(ValueError, match="--safe refuses"):
        init_model(tmp_path)


def test_a_folder_job_goes_on_and_says_why_it_refused(folder, inferencer, tmp_path):
    (tmp_path / "empty.png").parent.mkdir(exist_ok=True)
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "empty.png")
    columns = ("person", "garment", "mask", "pose")
    names = [[str(p) for p in files(folder, key)] for key in columns]
    names[2][1] = str(tmp_path / "empty.png")
    table = tmp_path / "pairs.csv"
    rows = [",".join(columns), *[",".join(row) for row in zip(*names, strict=True)]]
    table.write_text("\n".join(rows) + "\n")
    settings = dict(settings=dict(model="small"), batch_size=2)

    def stop(done: int, total: int) -> None:
        if done:
            raise Stopped

    with pytest.raises(Stopped):
        try_on_folder(
            inferencer, read_pairs(table=table), tmp_path / "out", **settings, on_pairs=stop
        )
    assert len(list((tmp_path / "out/pictures").iterdir())) == 1  # of a batch of 2, one refused
    told = []
    entries = try_on_folder(
        inferencer,
        read_pairs(table=table),
        tmp_path / "out",
        **settings,
        on_pairs=lambda *news: told.append(news),
    )
    assert told == [(2, 3), (3, 3)]
    assert [bool(entry["refused"]) for entry in entries] == [False, True, False]
    assert "empty" in entries[1]["refused"]
    picture = tmp_path / "out" / entries[0]["picture"]
    before = picture.stat().st_mtime_ns
    again = try_on_folder(inferencer, read_pairs(table=table), tmp_path / "out", **settings)
    assert again == entries and picture.stat().st_mtime_ns == before
    assert (tmp_path / "out/contact_sheet.png").is_file()
    assert len(list((tmp_path / "out/masks").iterdir())) == 2
    assert json.loads((tmp_path / "out/try_on.json").read_text())["model"] == "small"
    with pytest.raises(ValueError, match="drawn with another seed"):
        try_on_folder(inferencer, read_pairs(table=table), tmp_path / "out", **settings, seed=1)


def test_a_table_by_a_stranger_stays_in_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("in/a.png", "in/b.png", "c.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "in/link.png").symlink_to(tmp_path / "c.png")
    table = tmp_path / "in/pairs.csv"
    table.write_text("a.png,b.png\n")
    assert len(read_pairs(table=table, within=tmp_path / "in")) == 1
    for hostile in ("../c.png", str(tmp_path / "c.png"), "link.png", "/etc/passwd"):
        for row in (f"{hostile},b.png", f"a.png,{hostile}"):
            table.write_text(f"{row}\n")
            with pytest.raises(ValueError, match="outside its own folder"):
                read_pairs(table=table, within=tmp_path / "in")


def test_a_job_goes_by_the_weights_not_by_their_name(folder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from tools import try_on

    shutil.copytree(folder / "model", tmp_path / "model")
    argv = ["--pairs", folder / "pairs.csv", "--model", tmp_path / "model", "--out", tmp_path / "o"]
    argv = [str(each) for each in (*argv, "--device", "cpu", "--batch-size", COUNT)]
    assert try_on.main(argv) == 0 == try_on.main(argv)
    weights = tmp_path / "model/model.safetensors"
    settings = json.loads((tmp_path / "o/try_on.json").read_text())
    assert settings["weights"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    state = read_checkpoint(weights)["state_dict"]
    save_safetensors({name: value + 1 for name, value in state.items()}, weights, {})
    with pytest.raises(ValueError, match="drawn with another weights"):
        try_on.main(argv)
    shipped = list_models()[0]
    assert identity(shipped.name) == dict(name=shipped.name, sha256=shipped.sha256)


def test_other_photographs_under_the_same_names_are_drawn(folder, inferencer, tmp_path):
    """What a picture is drawn from are the files' bytes, the category and what is asked for."""
    given = {key: files(folder, key) for key in ("person", "garment", "mask", "pose")}
    place = {key: tmp_path / f"{key}.png" for key in given}

    def draw(number, **options):
        for key, path in place.items():
            shutil.copy(given[key][number], path)
        pair = Pair(place["person"], place["garment"], None, place["mask"], place["pose"])
        told = []
        keep = dict(settings={}, on_pairs=lambda *news: told.append(news))
        try_on_folder(inferencer, [pair], tmp_path / "out", **keep, **options)
        return told[0] == (0, 1), (tmp_path / "out/pictures/person__garment.png").read_bytes()

    drawn, first = draw(0)
    assert drawn and draw(0) == (False, first)
    drawn, second = draw(1)
    assert drawn and second != first and draw(1) == (False, second)
    assert draw(1, attention=True)[0] and not draw(1, attention=True)[0]
    note = tmp_path / "out/journal/person__garment.json"
    old = json.loads(note.read_text())
    del old["inputs"]  # as earlier versions wrote it
    note.write_text(json.dumps(old))
    assert draw(0) == (False, second)


def test_pairs_of_pictures_and_folders(tmp_path):
    for name in ("a", "b", "g", "h", "i"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    place = lambda *names: [tmp_path / f"{n}.png" for n in names]  # noqa: E731
    names = lambda pairs: [pair.name for pair in pairs]  # noqa: E731
    assert names(read_pairs(place("a", "b"), place("g", "h"))) == ["a__g", "b__h"]
    assert len(read_pairs(place("a", "b"), place("g", "h", "i"))) == 6
    assert len(read_pairs([tmp_path], place("g"))) == 5
    with pytest.raises(ValueError, match="6 pairs; 5 are taken at once"):
        read_pairs(place("a", "b"), place("g", "h", "i"), most=5)
    assert len(read_pairs(place("a", "b"), place("g", "h"), most=2)) == 2
    many = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "a.png"]
    with pytest.raises(ValueError, match="two pairs are called a__g"):
        read_pairs(many, place("g"))
    with pytest.raises(FileNotFoundError, match="--garment: there is no"):
        read_pairs(place("a"), place("z"))
    with pytest.raises(ValueError, match="--garment is missing"):
        read_pairs(place("a"), [])


def test_a_training_leaves_a_folder_that_builds_itself(folder, tmp_path):
    config = small_test.small_config(folder)
    config.train_cfg.max_iters = 1
    config.custom_hooks = []
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    trained = train(finalize(config, work_dir=str(tmp_path)))
    again = init_model(tmp_path, device="cpu", safe=False)
    for name, value in trained.bare_model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    weights = tmp_path / "model.safetensors"
    found = read_checkpoint(weights)
    save_safetensors(found["state_dict"], weights, {**found["meta"], "as_released": True})
    with open(tmp_path / "config.py", "a", encoding="utf-8") as file:
        file.write('\nreleased = {"model.repaint_blur": 0}\n')
    assert again.cfg.model.get("repaint_blur") is None
    assert (
        init_model(tmp_path, device="cpu", safe=False).cfg.model.repaint_blur == 0
    )  # without a word


def test_models_of_several_references_are_shown_them_all():
    """A second garment by role; the person's own photograph is what it wore before."""
    config = load_config("kontext/dit_synthetic")
    references = [dict(role=role) for role in ("before", "garment", "garment_2")]
    config.model.conditioner.references = references
    config.model.update(size=(32, 24), probe=None, attention_losses={})
    config.model.sampler.num_steps = 1
    torch.manual_seed(0)
    inferencer = TryOnInferencer(MODELS.build(config.model.to_dict()))
    rng = np.random.default_rng(0)
    person, garment, second = rng.integers(0, 256, (3, 32, 24, 3), np.uint8)
    mask = np.ones((32, 24), np.uint8) * 255
    with pytest.raises(ValueError, match="is shown 'garment_2' too: give others="):
        inferencer(person, garment, mask, "upper_body")
    with pytest.raises(ValueError, match="not shown 'worn'; it takes before, garment_2"):
        inferencer(person, garment, mask, others=dict(garment_2=second, worn=second))
    found = inferencer(person, garment, mask, "upper_body", others=dict(garment_2=second))
    assert np.array_equal(found.inputs["before"], person)
    assert np.array_equal(found.inputs["garment_2"], second)
    other = inferencer(person, garment, mask, "upper_body", others=dict(garment_2=garment))
    assert not np.array_equal(found.picture, other.picture)
