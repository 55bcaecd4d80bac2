"""The table of tasks: what each cell runs, and the page made of the cells that there are."""

import json
from pathlib import Path

import pytest

from tools.benchmark import tasks
from vtonlab.engine.config.check import check_config
from vtonlab.engine.config.load import finalize

PAGE = Path(__file__).parents[2] / tasks.PAGE


def cell(task, losses, seed, **scores):
    facts = dict(task=task, losses=losses, seed=seed, iterations=5, batch=4, people=8, seconds=7)
    origin = dict(config=tasks.TASKS[task][1], config_hash=f"h{losses}", commit="abc", device="CPU")
    return facts | origin | dict(attention_pck=0.5, l1_cloth=0.25) | scores


@pytest.mark.parametrize("task", ["outfit", "try_off"])
def test_cells_differ_in_their_losses_alone(task):
    args = tasks.parse_args(["--iterations", "120"])
    with_losses, without = (tasks.config_of(args, task, losses) for losses in ("losses", "none"))
    assert with_losses.model.attention_losses.entropy.start_iter == 60  # of 600 in 1200
    assert not without.model.attention_losses
    data = without.test_dataloader.dataset
    assert (data.split, data.seed) == ("bench", 25) and without.param_scheduler[1].end == 120
    with_losses.model.attention_losses = without.model.attention_losses
    assert with_losses.pretty_text == without.pretty_text
    check_config(finalize(without))


def test_the_page_holds_mean_and_spread_of_every_cell(tmp_path):
    folder, page, table = tmp_path / "cells", tmp_path / "tasks.md", tmp_path / "tasks.csv"
    folder.mkdir()
    for seed, pck in enumerate((0.4, 0.6)):
        found = cell("outfit", "losses", seed, attention_pck=pck, attention_pck_2=0.125)
        (folder / f"{seed}.json").write_text(json.dumps(found))
    (folder / "n.json").write_text(json.dumps(cell("outfit", "none", 0)))
    tasks.write_table(table, tasks.read_cells(folder))
    page.write_text(PAGE.read_text())
    for _ in range(2):  # again over itself
        tasks.write_page(page, table)
    text = page.read_text()
    assert "| two garments | losses | 0 1 | 0.500 ± 0.141 | 0.125 ± 0.000 |" in text
    assert "| two garments | none | 0 | 0.500 |  |" in text and text.count(tasks.MARKS[0]) == 1
    assert "commit abc" in text and "hnone (none)" in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="needs <!-- tasks: begin -->"):
        tasks.write_page(page, table)


def test_the_shipped_page_is_of_the_shipped_table(tmp_path):
    page = tmp_path / "tasks.md"
    page.write_text(PAGE.read_text())
    tasks.write_page(page, PAGE.parents[1] / tasks.TABLE)
    assert page.read_text() == PAGE.read_text()
