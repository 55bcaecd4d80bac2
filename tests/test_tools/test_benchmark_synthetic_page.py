"""docs/benchmark.md: written from what runs noted; intervals, unequal steps, what was not run."""

import json

import numpy as np
import pytest

from tools.benchmark import synthetic, synthetic_page

CORAL = {"model.attention_losses.entropy.layers": ["some.block"]}


def run(row, seed, errors, iterations=600):
    """A result as tools/benchmark/synthetic.py writes it."""
    config = "configs/coral/dit_bold" + ("_baseline.py" if row == "none" else ".py")
    way = (0.25 - float(np.mean(errors))) / 0.2
    metrics = dict(share_of_the_way=way, ssim_inside=0.5, l1_inside_fill=0.25, l1_inside_copy=0.05)
    pairs = {"l1_inside": {f"bench_{n}": e for n, e in enumerate(errors)}}
    job = dict(row=row, seed=seed, config=config, options={} if row == "none" else CORAL)
    return dict(
        job=job | {"commit": "abc1234"},
        scores={"bench": dict(metrics=metrics, pairs=pairs)},
        iterations=iterations,
        training_seconds=30.0 + seed,
        config_hash="0123456789ab",
        device="CPU",
    )


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Add runs as a part; returns the page."""

    def written(title, runs, *more):
        (tmp_path / "results.json").write_text(json.dumps(runs))
        place = ["--kept", str(tmp_path / "kept.json"), "--page", str(tmp_path / "page.md")]
        command = ["page", "--add", title, str(tmp_path), *place, *more]
        monkeypatch.setattr("sys.argv", command)
        assert synthetic_page.main() == 0
        return (tmp_path / "page.md").read_text()

    return written


def test_differences_are_paired_and_in_points_of_the_way(write):
    runs = [run("none", s, [0.15, 0.17, 0.10 + s / 100]) for s in (0, 1)]
    runs += [run("CORAL", s, [0.13, 0.15, 0.08 + s / 100]) for s in (0, 1)]
    runs.append(run("CORAL", 2, [0.2, 0.2, 0.2]))  # no such seed of none
    page = write("Equal steps", runs, "--note", "Said of it.")
    # 0.02 of an error between bounds 0.2 apart, the same for everybody
    assert "+10.0 (+10.0 to +10.0) (seeds 0 1)" in page and "Said of it." in page
    assert "Not equally" not in page and "600 x 4" in page
    assert "| 0 1 2 |" in page and "0123456789ab | abc1234, CPU" in page
    assert "| CORAL's two | 3 |  |  |" in page and "| keypoints |  |  |  |" in page


def test_unequal_steps_are_said_aloud_and_a_part_is_replaced_by_its_title(write):
    write("A", [run("none", 0, [0.1, 0.2])])
    page = write("B", [run("none", 0, [0.1, 0.2], 371), run("CORAL", 0, [0.1, 0.2], 183)])
    assert "**Not equally many iterations** (none: 371; CORAL: 183)" in page
    assert page.count("## A\n") == page.count("## B\n") == 1
    page = write("A", [run("none", 0, [0.1, 0.2], 77)])
    assert page.count("## A\n") == 1 and "77 x 4" in page
    with pytest.raises(ValueError, match="no scores on people of 'val'"):
        write("C", [run("none", 0, [0.1])], "--split", "val")


def test_a_part_grows_by_rows_and_seeds_and_keeps_what_it_has(write):
    write("A", [run("CORAL", 0, [0.1, 0.1]), run("none", 0, [0.2, 0.2])], "--note", "Of A.")
    more = [run("CORAL", 0, [0.15, 0.15]), run("none", 1, [0.2, 0.2])]
    page = write("A", more, "--extend")
    assert "Of A." in page and "| none | 0 1 |" in page
    assert "+25.0" in page and "+50.0" not in page  # the same row and seed again: the newer one
    assert page.index("| none | 0 1 |") < page.index("| CORAL | 0 |")
    assert "Of A." not in write("A", more, "--extend", "--note", "")
    for title, split in (("B", "bench"), ("A", "val")):
        found = [run("none", 0, [0.1])]
        found[0]["scores"] = {split: found[0]["scores"]["bench"]}
        with pytest.raises(ValueError, match=f"no part '{title}' on people of '{split}'"):
            write(title, found, "--extend", "--split", split)


def test_longer_rows_are_compared_with_the_longer_row_without_losses(write):
    errors = {"none": 0.2, "none, longer": 0.15, "CORAL, longer": 0.13, "CORAL, other": 0.19}
    errors["CORAL, other, longer"] = 0.12
    page = write("Longer", [run(row, 0, [error, error]) for row, error in errors.items()])
    lines = page[page.index("## Longer") :].splitlines()
    told = {row: line.split("|")[5].strip().split(" ")[0] for row in errors for line in lines
            if line.startswith(f"| {row} |")}  # fmt: skip
    assert told == {
        "none": "", "none, longer": "+25.0", "CORAL, longer": "+10.0", "CORAL, other": "+5.0",
        "CORAL, other, longer": "+15.0",
    }  # fmt: skip


def test_runs_of_earlier_commands_are_shown_too(write, tmp_path):
    for row, seed in (("none", 1), ("none", 0), ("CORAL", 1)):
        folder = tmp_path / "runs" / f"{row}_seed{seed}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(run(row, seed, [0.2, 0.2])))
    page = write("Grown", [run("CORAL", 0, [0.1, 0.1])])  # the last command's
    assert page.index("| CORAL | 0 1 |") < page.index("| none | 0 1 |")
    page = write("Grown", [run("CORAL", 0, [0.1, 0.1])], "--only", "none", "CORAL")
    assert page.index("| none | 0 1 |") < page.index("| CORAL | 0 1 |")


def test_a_glance_is_of_the_part_with_most_runs_of_a_backbone(write):
    """Equal iterations only; controls and recipes, told by their comma, stand below alone."""
    two = [run("none", 0, [0.15, 0.15]), run("CORAL", 0, [0.13, 0.13])]
    write("Small", [run("none", 0, [0.2, 0.2]), run("CORAL", 0, [0.1, 0.1])])
    write("Unequal", [*two, run("none", 1, [0.1, 0.1], 60), run("CORAL, so", 0, [0.1, 0.1])])
    page = write("Large", [*two, run("none", 1, [0.15, 0.15]), run("CORAL, so", 0, [0.0, 0.0])])
    seen = page[: page.index("## Small")]
    assert "| none | 0.500 ± 0.000, 2 seeds |" in seen
    assert "| CORAL's two | +10.0 (+10.0 to +10.0), 1 seed |" in seen
    assert "| joint DiT |" in seen and "reference UNet" not in seen.split("## At a glance")[1]


def test_the_page_of_the_docs_is_that_of_the_kept_numbers():
    parts = json.loads(synthetic_page.KEPT.read_text())
    assert synthetic_page.PAGE.read_text() == synthetic_page.page(parts)


def test_shipped_weights_bring_what_is_known_of_their_training(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps([run("none", 1, [0.1, 0.2])]))
    with pytest.raises(ValueError, match="no weights of row 'none', seed 1"):
        synthetic.trained_before(tmp_path, "none", 1)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/none_seed1.safetensors").touch()
    job = synthetic.trained_before(tmp_path, "none", 1)
    assert job["commit"] == "abc1234" and job["trained"]["training_seconds"] == 31.0


def test_a_row_is_told_by_its_backbone_and_losses():
    for system, kind in {
        "leffa": ["reference UNet", "flow"],
        "coral": ["reference UNet", "CORAL's two"],
        "sift_vton": ["zero cross-attention UNet", "keypoints"],
        "catvton": ["one UNet, person above garment", "none"],
    }.items():
        job = dict(config=f"configs/{system}/unet_bold.py", options={})
        assert synthetic_page.kind_of(job) == kind
