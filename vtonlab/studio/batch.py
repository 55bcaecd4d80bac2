"""*Batch*: many pairs into one job, with a journal, and a gallery that grows."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from vtonlab.apis import Pair, read_pairs, try_on_folder
from vtonlab.apis.watching import Stopped
from vtonlab.structures.categories import CATEGORIES
from vtonlab.studio import views
from vtonlab.studio.context import AT_ONCE, HIDDEN, LIGHT, ONE, QUIET, Studio
from vtonlab.studio.examples import examples
from vtonlab.studio.intake import received, unpack
from vtonlab.studio.jobs import Done, watched
from vtonlab.studio.models import MOST_STEPS
from vtonlab.studio.parts import drop, html
from vtonlab.studio.sessions import Session
from vtonlab.studio.try_on import NAMES
from vtonlab.utils.bounded import read_json
from vtonlab.utils.images import read_image
from vtonlab.visualization.pages import save_png

TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson")
PICTURES = ".jpg,.jpeg,.png,.webp,.zip"
SHOWN = 60  # results in the gallery
EMPTY = views.hint("Results appear here", "Everybody tries on everything, or the pairs of a table.")


@dataclass
class Job:
    """A folder of results, which goes on where it stopped.

    Args:
        out: results and journal.
        key: what was asked for; another key is another job.
        pairs: all of them.
    """

    out: Path
    key: tuple
    pairs: list[Pair]


class BatchTab:
    """The tab: its parts are attributes, its events methods.

    Args:
        studio: models, limits and visitors.
        model: the page's choice of a model.
    """

    def __init__(self, studio: Studio, model: gr.Dropdown) -> None:
        self.studio, self.model = studio, model
        with gr.Row(elem_classes="halves"):
            with gr.Column(scale=5, min_width=320):
                self.people = drop("People", "photographs, a folder or a zip", PICTURES)
                self.garments = drop("Garments", "pictures, a folder or a zip", PICTURES)
                gr.HTML('<p class="or">or</p>')
                self.table = drop(
                    "A table with its pictures",
                    "CSV or JSON lines with person, garment and, if known, category, mask, pose",
                    f".csv,.tsv,.txt,.jsonl,{PICTURES}",
                )
                for part, name in (
                    (self.people, "people"), (self.garments, "garments"), (self.table, "table")
                ):  # fmt: skip
                    part.elem_id = f"batch-{name}"
                self.example = gr.Button("Use rendered people", size="sm", elem_id="batch-example")
                choices = [("as the table says", "")]
                choices += [(NAMES[category], category) for category in CATEGORIES]
                self.category = gr.Dropdown(choices, value="upper_body", label="What is tried on")
                with gr.Row(elem_classes="settings"):
                    self.steps = gr.Slider(1, MOST_STEPS, 1, step=1, label="Steps")
                    self.seed = gr.Number(0, precision=0, minimum=0, label="Seed")
            with gr.Column(scale=7, min_width=320):
                with gr.Row(elem_classes="actions"):
                    self.start = gr.Button(
                        "Draw all", variant="primary", scale=3, elem_id="batch-start"
                    )
                    self.stop = gr.Button("Stop", scale=1, elem_id="batch-stop")
                self.problem = html(elem_classes="said", elem_id="batch-problem")
                self.status = html(EMPTY, elem_id="batch-status")
                self.results = html(elem_id="batch-results")
                self.save = gr.DownloadButton(
                    "All pictures (zip)", interactive=False, size="sm", elem_id="batch-save"
                )

    def connect(self) -> None:
        """Bind the events."""
        asked = [self.people, self.garments, self.table, self.category, self.model]
        told = [self.status, self.results, self.problem, self.save]

        asked += [self.steps, self.seed]
        few = [self.model, self.steps, self.seed]
        light = dict(**LIGHT, **QUIET, **HIDDEN)
        for button, draw, given in (
            (self.start, self.draw, asked),
            (self.example, self.draw_example, few),
        ):
            begun = button.click(self.begin, None, [self.status, self.problem], **light)
            begun.success(draw, given, told, **ONE, **QUIET, **HIDDEN)
        self.stop.click(self.end, None, None, **AT_ONCE, **QUIET, **HIDDEN)

    def begin(self, request: gr.Request) -> tuple[str, str]:
        """That it is noted. `end` works from here on."""
        self.studio.of(request).begin()
        return views.progress("waiting for its turn", 0.0), ""

    def end(self, request: gr.Request) -> None:
        """Stop after the pair that is being drawn."""
        self.studio.of(request).stop.set()

    def draw(
        self,
        people: Any,
        garments: Any,
        table: Any,
        category: str,
        model: str,
        steps: int,
        seed: float | None,
        request: gr.Request,
    ) -> Iterator[dict]:
        """Draw every pair of what was uploaded."""
        session = self.studio.of(request)
        key = (str(people), str(garments), str(table), category, model, int(steps), seed)
        try:
            self.studio.sessions.check_room()
            if session.batch is None or session.batch.key != key:
                session.batch = None  # its files go now, whatever comes of the new ones
                pairs = self._pairs(session, people, garments, table, category or None)
                session.batch = Job(session.new_folder("batch"), key, pairs)
        except Exception as error:
            yield {self.status: EMPTY, self.problem: views.problem(self.studio.said(error))}
            return
        yield from self._run(session, model, int(steps), int(seed or 0))

    def draw_example(
        self, model: str, steps: int, seed: float | None, request: gr.Request
    ) -> Iterator[dict]:
        """Draw rendered people, from a table that names their maps too."""
        session = self.studio.of(request)
        key = ("example", model, int(steps), seed)
        if session.batch is None or session.batch.key != key:
            session.batch = None  # as in `draw`
            table = write_example(session.new_folder("table"))
            session.batch = Job(session.new_folder("batch"), key, read_pairs(table=table))
        yield from self._run(session, model, int(steps), int(seed or 0))

    def _pairs(
        self, session: Session, people: Any, garments: Any, table: Any, category: str | None
    ) -> list[Pair]:
        settings, uploads = self.studio.settings, self.studio.sessions.uploads

        def folder(value: Any, name: str) -> Path:
            return unpack(received(value, uploads), session.new_folder(name), settings)

        if table:
            inside = folder(table, "table")
            tables = sorted(p for p in inside.iterdir() if p.suffix.lower() in TABLES)
            if len(tables) != 1:
                raise ValueError(
                    f"{len(tables)} tables in this upload: one is needed ({', '.join(TABLES)}), "
                    "beside its pictures"
                )
            pairs = read_pairs(
                table=tables[0], category=category, within=inside, most=settings.pairs
            )
        elif people and garments:
            pairs = read_pairs(
                [folder(people, "people")],
                [folder(garments, "garments")],
                category=category,
                most=settings.pairs,
            )
        else:
            raise ValueError("give people and garments, or a table with its pictures")
        return pairs

    def _run(self, session: Session, model: str, steps: int, seed: int) -> Iterator[dict]:
        job, shelf = session.batch, self.studio.shelf
        yield {self.problem: "", self.results: ""}

        def work(tell: Any, stopped: Any) -> list[dict]:
            def on_pairs(done: int, total: int) -> None:
                tell((done, total))
                if stopped():
                    raise Stopped

            with shelf.lock:
                return try_on_folder(
                    shelf[model],
                    job.pairs,
                    job.out,
                    settings=shelf.identity_of(model),
                    seed=seed,
                    num_steps=steps,
                    on_pairs=on_pairs,
                )

        try:
            shelf.calls(model, steps)
            for told in watched(session, work):
                if isinstance(told, Done):
                    yield self._ended(session, told.answer)
                else:
                    done, total = told
                    text = f"{done} of {total} pairs"
                    yield {
                        self.status: views.progress(text, done / total),
                        self.results: gallery(job),
                    }
        except Exception as error:
            yield {self.status: EMPTY, self.problem: views.problem(self.studio.said(error))}

    def _ended(self, session: Session, entries: list[dict] | None) -> dict:
        job = session.batch
        held = journal(job)
        refused = [entry for entry in held if entry["refused"]]
        text = f"{len(held) - len(refused)} of {len(job.pairs)} pairs drawn"
        text += f", {len(refused)} refused" if refused else ""
        if entries is None:
            text = f"stopped: {text}. Draw all goes on."
        told = {self.results: gallery(job)}
        told[self.status] = views.progress(text, len(held) / len(job.pairs))
        if len(held) > len(refused):
            name = shutil.make_archive(
                str(job.out.with_name("pictures")), "zip", job.out / "pictures"
            )
            told[self.save] = gr.update(value=name, interactive=True)
        return told


def journal(job: Job) -> list[dict]:
    """The entries there are so far, in the order of the pairs."""
    files = (job.out / "journal" / f"{pair.name}.json" for pair in job.pairs)
    return [read_json(file) for file in files if file.is_file()]


def gallery(job: Job) -> str:
    """Pictures so far; what was refused says why."""
    tiles, said = [], []
    for entry in journal(job):
        person, garment = Path(entry["person"]).stem, Path(entry["garment"]).stem
        if entry["refused"]:
            said.append(f"{person} in {garment}: {entry['refused']}")
        elif len(tiles) < SHOWN:
            picture = read_image(job.out / entry["picture"])
            tiles.append((picture, f"{person} in {garment}", " ".join(entry["warnings"])))
    return views.gallery(tiles) + "".join(views.problem(text) for text in said)


def write_example(folder: Path) -> Path:
    """Rendered people as files, with a table of them."""
    rows = ["person,garment,category,mask,pose"]
    for number, chosen in enumerate(examples(), 1):
        names = []
        for kind in ("person", "garment", "mask", "pose"):
            names.append(f"{kind}_{number}.png")
            save_png(folder / names[-1], getattr(chosen, kind))
        rows.append(",".join([*names[:2], chosen.category, *names[2:]]))
    table = folder / "pairs.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table
