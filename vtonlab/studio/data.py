"""*Data*: drop a data set; the doctor's findings, with pictures, masks and matches drawn."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from vtonlab.doctor import KINDS, Report, diagnose
from vtonlab.doctor.findings import LEVELS, Finding
from vtonlab.registry import DATASETS, MATCHERS
from vtonlab.studio import views
from vtonlab.studio.context import HIDDEN, ONE, QUIET, Studio
from vtonlab.studio.intake import received, unpack
from vtonlab.studio.jobs import Done, watched
from vtonlab.studio.parts import drop, html
from vtonlab.studio.sessions import Session
from vtonlab.synthetic.writer import Settings, write_dataset
from vtonlab.synthetic.writer_layouts import build_layout
from vtonlab.utils.images import read_image
from vtonlab.visualization.correspondences import draw_correspondences
from vtonlab.visualization.pages import fit, save_png
from vtonlab.visualization.samples import sample_tiles

PEOPLE = 4  # who are drawn with all their maps
LOOKED_AT = 100  # people whose pixels the doctor looks at
THUMBS = 4  # pictures of one finding
TALL = 200  # pixels of a picture here
VERDICTS = ("Usable", "Usable, with warnings", "Not usable as it is")
EMPTY = views.hint(
    "Findings appear here",
    "VITON-HD, Dress Code, DeepFashion, MPV, or a table of pairs: all of it, or a part.",
)


class DataTab:
    """The tab: its parts are attributes, its events methods.

    Args:
        studio: models, limits and visitors.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Row(elem_classes="halves"):
            with gr.Column(scale=4, min_width=320):
                most = studio.settings.files
                text = f"a folder or a zip, up to {most} files; it stays on this machine"
                self.folder = drop("A data set", text, ".zip", elem_id="data-drop")
                self.example = gr.Button(
                    "Use a rendered one with faults", size="sm", elem_id="data-example"
                )
                self.problem = html(elem_classes="said", elem_id="data-problem")
            with gr.Column(scale=8, min_width=320):
                self.findings = html(EMPTY, elem_id="findings")
                self.people = html(elem_id="data-people")

    def connect(self) -> None:
        """Bind the events."""
        told = [self.findings, self.people, self.problem]

        self.folder.upload(self.examine, self.folder, told, **ONE, **QUIET, **HIDDEN)
        self.example.click(self.examine_example, None, told, **ONE, **QUIET, **HIDDEN)

    def examine(self, value: Any, request: gr.Request) -> Iterator[dict]:
        """Look at what was uploaded."""
        session = self.studio.of(request)

        def folder() -> Path:
            files = received(value, self.studio.sessions.uploads)
            return unpack(files, session.new_folder("data"), self.studio.settings)

        yield from self._examined(session, folder)

    def examine_example(self, request: gr.Request) -> Iterator[dict]:
        """Look at rendered people, some of whose files were spoilt."""
        session = self.studio.of(request)
        yield from self._examined(session, lambda: write_faulty(session.new_folder("data")))

    def _examined(self, session: Session, folder: Any) -> Iterator[dict]:
        def work(tell: Any, stopped: Any) -> tuple[str, str]:
            tell("reading every header, then pixels")
            root = folder()
            report = diagnose(
                root, people=LOOKED_AT, max_pixels=self.studio.settings.pixels, threads=2
            )
            tell("drawing people and their matches")
            return self._shown(report), people(report)

        session.begin()
        yield {self.problem: "", self.people: "", self.findings: views.progress("unpacking", 0.0)}
        try:
            for told in watched(session, work):
                if isinstance(told, Done):
                    yield {self.findings: told.answer[0], self.people: told.answer[1]}
                else:
                    yield {self.findings: views.progress(told, 0.5)}
        except Exception as error:
            yield {self.findings: EMPTY, self.problem: views.problem(self.studio.said(error))}

    def _shown(self, report: Report) -> str:
        counts = [sum(f.level == level for f in report.findings) for level in LEVELS]
        said = ", ".join(
            f"{n} {level}{'s' * (n != 1)}" for n, level in zip(counts, LEVELS, strict=True)
        )
        title = KINDS[report.kind].layout.title if report.kind else "Not recognised"
        parts = ", ".join(f"{name}: {count}" for name, count in report.people.items())
        where = f"{title}; people in {parts}" if parts else title
        verdict = VERDICTS[report.exit_code]
        head = (
            f'<header class="verdict level-{report.exit_code}"><h3>{verdict}</h3>'
            f"<p>{escape(where)}; {said}</p></header>"
        )
        cards = "".join(self._card(finding, Path(report.root)) for finding in report.sorted())
        return f'<div class="findings">{head}{cards}</div>'

    def _card(self, finding: Finding, root: Path) -> str:
        count = f"{finding.count} of {finding.of}" if finding.of else str(finding.count)
        text = finding.meaning + (f": {finding.detail}" if finding.detail else "")
        examples = "".join(f"<li>{escape(path)}</li>" for path in finding.paths[:THUMBS])
        more = finding.count - len(finding.paths[:THUMBS])
        more = f"<li>and {more} more</li>" if finding.paths and more > 0 else ""
        pictures = "".join(
            f'<img src="{views.uri(picture)}" alt="{escape(name)}">'
            for name, picture in thumbs(finding, root, self.studio.settings.pixels)
        )
        return (
            f'<article class="finding {finding.level}"><h4><b>{finding.level}</b> '
            f"{escape(finding.code)}<span>{escape(finding.place)}"
            f"{' · ' + count if finding.paths else ''}</span></h4>"
            f"<p>{escape(self.studio.without_folders(text))}</p>"
            f"<p><i>Way out:</i> {escape(finding.way_out)}</p>"
            f'<ul>{examples}{more}</ul><div class="thumbs">{pictures}</div></article>'
        )


def thumbs(finding: Finding, root: Path, pixels: int) -> Iterator[tuple[str, np.ndarray]]:
    """The first pictures that a finding names, as far as they can be read."""
    for text in finding.paths[:THUMBS]:
        name = text.partition(": ")[0]
        path = (root / name).resolve()
        if not path.is_relative_to(root.resolve()) or not path.is_file():
            continue
        try:
            picture = read_image(path, max_pixels=pixels)
        except (ValueError, OSError):
            continue  # it says in words what is wrong with it
        yield name, small(picture)


def small(picture: np.ndarray) -> np.ndarray:
    """At the height of pictures here."""
    width = max(1, round(TALL * picture.shape[1] / picture.shape[0]))
    return fit(picture, TALL, min(width, 4 * TALL))


def people(report: Report) -> str:
    """Some people with every map that the set has of them, and their matches."""
    matcher = MATCHERS.build(dict(type="SIFTMatcher"))
    strips = []
    for sample in some(report, PEOPLE):
        tiles = [(small(picture), name) for picture, name in sample_tiles(sample)]
        matches = matcher(sample["person"], sample["garment"])
        drawn = draw_correspondences(sample["person"], sample["garment"], matches, height=TALL)
        tiles.append((drawn, f"{len(matches)} SIFT matches"))
        strips.append(views.strip(str(sample["id"]), tiles))
    return f'<h3 class="quiet">People of this set</h3>{"".join(strips)}' if strips else ""


def some(report: Report, count: int) -> Iterator[dict]:
    """Samples that can be read, spread over the set."""
    if not report.reader:
        return
    there = {
        name for part in report.folders.values() for name, seen in part.items() if seen["files"]
    }
    maps = [name for name in KINDS[report.kind].layout.maps if name in there]
    for split in ("train", "test"):
        settings = dict(data_root=report.root, split=split, size=None, maps=maps, missing="skip")
        try:
            dataset = DATASETS.build(dict(type=report.reader, **settings))
        except (ValueError, OSError):
            continue  # the findings say what it lacks
        for index in {n * len(dataset) // count for n in range(count)}:
            try:
                yield dataset[index]
            except (ValueError, OSError):
                continue
            count -= 1
            if count < 1:
                return


def write_faulty(root: Path) -> Path:
    """Rendered people in VITON-HD's folders, with five things wrong."""
    root = root / "viton"
    settings = Settings("vitonhd", 6, (256, 192))
    write_dataset(build_layout(settings), settings, root)
    train = root / "train"

    def files(folder: str) -> list[Path]:
        return sorted((train / folder).iterdir())

    mask = files("agnostic-mask")[0]
    save_png(mask, 255 - read_image(mask, "grey"))
    worn = files("agnostic-mask")[1]
    smaller = read_image(worn, "grey")
    smaller[: len(smaller) // 2] = 0
    save_png(worn, smaller)
    files("image-densepose")[2].unlink()
    cut = files("cloth")[3]
    cut.write_bytes(cut.read_bytes()[:2000])
    (root / "test/image/._copy.jpg").write_bytes(b"")
    return root
