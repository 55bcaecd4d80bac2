"""*Try on*: a person and a garment in, the mask under a brush, the dressed person out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from vtonlab.apis import TryOnResult, prepare
from vtonlab.apis.receipts import (
    MAX_BYTES,
    Receipt,
    read_receipt,
    receipt_of,
    repeat,
    write_receipt,
)
from vtonlab.apis.watching import watching
from vtonlab.ops.resize import resize_mask
from vtonlab.structures.categories import CATEGORIES
from vtonlab.studio import views
from vtonlab.studio.context import AT_ONCE, EVERY, HIDDEN, LIGHT, ONE, QUIET, Studio
from vtonlab.studio.examples import example, examples
from vtonlab.studio.intake import in_memory, photograph, received
from vtonlab.studio.jobs import Done, watched
from vtonlab.studio.masks import canvas, painted
from vtonlab.studio.models import MOST_STEPS
from vtonlab.studio.parts import brush, drop, html, photo
from vtonlab.studio.sessions import Garment, Person, Session
from vtonlab.visualization.pages import save_png

NAMES = {"upper_body": "Top", "lower_body": "Trousers or skirt", "dresses": "Dress"}
EMPTY = views.hint("The dressed person appears here", "Choose a person and a garment, then Try on.")


@dataclass(frozen=True)
class Drawn:
    """A result, and everything that it was drawn with."""

    result: TryOnResult
    receipt: Receipt
    model: str


class TryOn:
    """The tab: its parts are attributes, its events methods.

    Args:
        studio: models, limits and visitors.
        model: the page's choice of a model.
    """

    def __init__(self, studio: Studio, model: gr.Dropdown) -> None:
        self.studio, self.model = studio, model
        with gr.Row(elem_classes="halves"):
            with gr.Column(scale=6, min_width=320):
                self._inputs()
            with gr.Column(scale=5, min_width=320, elem_classes="result"):
                self._outputs()

    # parts ----------------------------------------------------------------------------------------

    def _inputs(self) -> None:
        with gr.Row(elem_classes="pair"):
            with gr.Column(min_width=140):
                self.person = photo("Person", elem_id="person", height=300)
                self.person_problem = html(elem_classes="said")
            with gr.Column(min_width=140):
                self.garment = photo("Garment", elem_id="garment", height=300)
                self.garment_problem = html(elem_classes="said")
        self.picks = html(section="picks", elem_id="examples")
        choices = [(NAMES[category], category) for category in CATEGORIES]
        self.category = gr.Radio(
            choices, value=CATEGORIES[0], label="What is tried on", elem_id="category"
        )
        with gr.Accordion("Area to change", open=False, elem_id="area"):
            self.brush = brush(elem_id="brush")
            self.mask_problem = html(elem_classes="said")
        with gr.Row(elem_classes="settings"):
            self.steps = gr.Slider(1, MOST_STEPS, 1, step=1, label="Steps", elem_id="steps")
            self.seed = gr.Number(0, precision=0, minimum=0, label="Seed", elem_id="seed")
            self.guidance = gr.Slider(1, 10, 1, step=0.1, label="Guidance", elem_id="guidance")
        self.guidance_problem = html(elem_classes="said")
        self.repaint = gr.Checkbox(True, label="Keep everything outside the area", elem_id="keep")

    def _outputs(self) -> None:
        self.stage = html(EMPTY, section="slide", elem_id="stage")
        with gr.Row(elem_classes="actions"):
            self.start = gr.Button("Try on", variant="primary", elem_id="start", scale=3)
            self.stop = gr.Button("Stop", elem_id="stop", scale=1)
        self.problem = html(elem_classes="said", elem_id="try-problem")
        with gr.Row(elem_classes="saves"):
            off = dict(interactive=False, size="sm", min_width=90)
            self.save_picture = gr.DownloadButton("Picture", elem_id="save-picture", **off)
            self.save_mask = gr.DownloadButton("Area", elem_id="save-mask", **off)
            self.save_receipt = gr.DownloadButton("Receipt", elem_id="save-receipt", **off)
        with gr.Accordion("Draw from a receipt", open=False, elem_id="receipts"):
            gr.HTML(
                '<p class="note">A receipt holds the pictures and settings of a result, and draws '
                "it again, here or with <code>vtonlab try_on --receipt FILE --out DIR</code>. "
                "Whoever has it sees the person.</p>"
            )
            self.open_receipt = drop(
                "A receipt", "the JSON file of a result", ".json", elem_id="open-receipt"
            )

    @property
    def saves(self) -> list[gr.DownloadButton]:
        """What can be kept of a result."""
        return [self.save_picture, self.save_mask, self.save_receipt]

    def connect(self) -> list[gr.events.Dependency]:
        """Bind the events; returns those after which there is a new result."""
        shown = [self.person, self.brush, self.person_problem, self.mask_problem]
        light = dict(**LIGHT, **QUIET, **HIDDEN, **EVERY)
        area = dict(**ONE, **QUIET, **EVERY)
        for event in (self.person.input, self.person.clear):
            taken = event(self.take_person, [self.person, self.category], shown, **light)
            taken.success(self.make_area, self.model, shown, **area, show_progress="minimal")
        for event in (self.garment.input, self.garment.clear):
            event(self.take_garment, self.garment, [self.garment, self.garment_problem], **light)
        taken = self.category.input(self.take_category, self.category, None, **light)
        taken.success(self.make_area, self.model, shown, **area)
        everything = [self.garment, self.category, *shown, self.garment_problem]
        self.picks.select(self.take_example, None, everything, **LIGHT, **QUIET, **EVERY)
        asked = [self.brush, self.category, self.model, self.steps, self.seed, self.guidance]
        told = [self.stage, self.problem, self.person_problem, self.garment_problem]
        told += [self.mask_problem, self.guidance_problem, *self.saves]
        fields = [self.stage, self.problem, self.person_problem, self.garment_problem]
        fields.append(self.guidance_problem)
        begun = self.start.click(self.begin, None, fields, **LIGHT, **QUIET, **HIDDEN)
        drawn = begun.success(self.draw, [*asked, self.repaint], told, **ONE, **QUIET, **HIDDEN)
        self.stop.click(self.end, None, None, **AT_ONCE, **QUIET, **HIDDEN)
        begun = self.open_receipt.upload(
            self.begin_receipt, self.open_receipt, told[:2], **LIGHT, **QUIET, **HIDDEN
        )
        again = begun.success(
            self.draw_receipt, self.open_receipt, [*told, self.model], **ONE, **QUIET, **HIDDEN
        )
        return [drawn, again]

    # what is put in -------------------------------------------------------------------------------

    def show_examples(self) -> str:
        """The rendered people, once they are drawn."""
        return views.picks([(e.person, e.garment, e.name) for e in examples()])

    def take_person(self, path: str | None, category: str, request: gr.Request) -> tuple:
        """A person's photograph; `make_area` comes next."""
        session = self.studio.of(request)
        session.person = person = Person(category=category)
        told = gr.skip(), None, "", ""
        try:
            if path is not None:
                person.photo = photograph(path, self.studio.settings)
        except Exception as error:
            told = None, None, views.problem(self.studio.said(error)), ""
        return _while(session.person is person, told)

    def take_category(self, category: str, request: gr.Request) -> None:
        """Another kind of garment; `make_area` comes next."""
        session = self.studio.of(request)
        person = session.person
        if person.photo is None:  # it may be read just now
            person.category = category
            return
        maps = {name: array for name, array in person.maps.items() if name != "mask"}
        session.person = replace(person, category=category, maps=maps)

    def make_area(self, model: str, request: gr.Request) -> tuple:
        """The area of the person in hand, where it is missing."""
        session = self.studio.of(request)
        person = session.person
        if person.photo is None or "mask" in person.maps:
            return (gr.skip(),) * 4
        told = self._prepared(person, model)  # another may be chosen meanwhile
        return _while(session.person is person, told)

    def _prepared(self, person: Person, model: str) -> tuple:
        """The person as it is, the area, its problem, and what is uncertain of it."""
        shelf = self.studio.shelf
        try:
            with shelf.lock:
                wanted = ("mask",) if person.known else shelf[model].maps
                found = prepare(
                    person.photo,
                    None,
                    person.category,
                    maps=wanted,
                    given=person.known,
                    preparation=shelf.preparation,
                )
        except Exception as error:
            problem = views.problem(self.studio.said(error))
            return gr.skip(), canvas(person.photo, None), problem, ""
        person.maps |= {name: getattr(found, name) for name in wanted}
        value = canvas(person.photo, found.mask)
        return gr.skip(), value, "", views.note(found.warnings)

    def take_garment(self, path: str | None, request: gr.Request) -> tuple:
        """A garment's picture."""
        session = self.studio.of(request)
        session.garment = garment = Garment()
        told = gr.skip(), ""
        try:
            if path is not None:
                garment.photo = photograph(path, self.studio.settings)
        except Exception as error:
            told = None, views.problem(self.studio.said(error))
        return _while(session.garment is garment, told)

    def take_example(self, event: gr.EventData, request: gr.Request) -> tuple:
        """A rendered person, with the maps that its renderer knows."""
        number = int(event.index)
        chosen = example(number % len(examples()))
        session = self.studio.of(request)
        maps = dict(mask=chosen.mask, pose=chosen.pose)
        known = dict(parse=chosen.parse, keypoints=chosen.keypoints)
        session.person = Person(chosen.person, chosen.category, maps, known)
        session.garment = Garment(chosen.garment)
        area = canvas(chosen.person, chosen.mask)
        return chosen.garment, chosen.category, chosen.person, area, "", "", ""

    # drawing --------------------------------------------------------------------------------------

    def begin(self, request: gr.Request) -> dict:
        """What is missing, beside its field; else that it is noted. `end` works from here on."""
        session = self.studio.of(request)
        session.begin()
        person, garment = session.asked = session.person, session.garment
        told = {self.problem: "", self.guidance_problem: ""}
        if person.photo is None:
            told[self.person_problem] = views.problem("choose a person's photograph first")
        if garment.photo is None:
            told[self.garment_problem] = views.problem("choose a garment's picture first")
        if person.photo is not None and garment.photo is not None:
            told[self.stage] = views.progress("waiting for its turn", 0.0)
        return told

    def begin_receipt(self, value: Any, request: gr.Request) -> tuple[str, str]:
        """That it is noted. `end` works from here on."""
        self.studio.of(request).begin()
        return views.progress("waiting for its turn", 0.0), ""

    def draw(
        self,
        area: Any,
        category: str,
        model: str,
        steps: int,
        seed: float | None,
        guidance: float,
        repaint: bool,
        request: gr.Request,
    ) -> Iterator[dict]:
        """Draw, step by step."""
        session, studio = self.studio.of(request), self.studio
        person, garment = session.asked  # others may be in hand by now
        if person.photo is None or garment.photo is None:
            yield {self.problem: ""}  # `begin` said what is missing
            return
        settings = dict(
            seed=int(seed or 0),
            num_steps=int(steps),
            guidance_scale=float(guidance),
            repaint=bool(repaint),
        )

        def work(tell: Any, stopped: Any) -> Drawn:
            with studio.shelf.lock:
                inferencer = studio.shelf[model]
                mask = self._mask(person, area)
                pose = person.maps.get("pose") if "pose" in inferencer.maps else None
                sample = inferencer.sample(person.photo, garment.photo, mask, category, pose=pose)
                callback = watching(lambda *news: tell(news), stopped)
                [result] = inferencer.draw([sample], callback_on_step_end=callback, **settings)
            name = studio.shelf.identity_of(model)
            return Drawn(result, receipt_of(result, model=name, **settings), model)

        yield from self._watch(session, work, model, int(steps))

    def draw_receipt(self, value: Any, request: gr.Request) -> Iterator[dict]:
        """Draw what a receipt says, with the model it names."""
        session, studio = self.studio.of(request), self.studio
        try:
            [file] = received(value, studio.sessions.uploads)[:1]
            receipt = read_receipt(in_memory(file.path, MAX_BYTES, file.name))
            model = studio.shelf.of_receipt(receipt.model)
        except Exception as error:
            yield {self.stage: EMPTY, self.problem: views.problem(studio.said(error))}
            return
        yield {self.model: model}

        def work(tell: Any, stopped: Any) -> Drawn:
            callback = watching(lambda *news: tell(news), stopped)
            with studio.shelf.lock:
                result = repeat(studio.shelf[model], receipt, callback_on_step_end=callback)
            return Drawn(result, receipt, model)

        yield from self._watch(session, work, model, receipt.settings["num_steps"])

    def end(self, request: gr.Request) -> None:
        """Stop after the step that is being drawn."""
        self.studio.of(request).stop.set()

    def _mask(self, person: Person, area: Any) -> np.ndarray | None:
        """As painted, bool (H, W) of the photograph; as made; None where there is none yet."""
        found = painted(area, person.photo.shape[:2], self.studio.settings.pixels)
        found = person.maps.get("mask") if found is None else found
        if found is not None and not found.any():
            raise ValueError("the area to change is empty: open it, paint where the garment goes")
        return None if found is None else found > 0

    def _watch(self, session: Session, work: Any, model: str, steps: int) -> Iterator[dict]:
        done, picture = 0, None
        try:
            self.studio.sessions.check_room()
            calls = self.studio.shelf.calls(model, steps)
            for told in watched(session, work):
                if isinstance(told, Done):
                    yield self._ended(session, told.answer, done, calls, picture)
                else:
                    done, picture = told
                    text = f"step {done} of {calls}"
                    yield {self.stage: views.progress(text, done / calls, picture)}
        except Exception as error:
            yield {self.stage: EMPTY} | self._refused(error)

    def _refused(self, error: Exception) -> dict:
        """A sentence beside the field that it is about."""
        text = self.studio.said(error)
        field = self.problem
        if "guidance" in text:
            field = self.guidance_problem
        elif text.startswith(("the mask", "the area")):
            field = self.mask_problem
        told = {self.problem: "", field: views.problem(text)}
        if field is not self.problem:
            told[self.problem] = views.problem("not drawn: see the message beside the field")
        return told

    def _ended(
        self, session: Session, drawn: Drawn | None, done: int, calls: int, picture: Any
    ) -> dict:
        if drawn is None:
            text = f"stopped after step {done} of {calls}"
            return {self.stage: views.progress(text, done / calls, picture)}
        session.drawn, session.looks = drawn, {}
        files = save(drawn, session.new_folder("result"))
        result, settings = drawn.result, drawn.receipt.settings
        text = (
            f"{drawn.model}, seed {settings['seed']}, {settings['num_steps']} step"
            f"{'s' * (settings['num_steps'] != 1)}, {result.picture.shape[1]}x"
            f"{result.picture.shape[0]} pixels"
        )
        stage = views.before_after(result.inputs["person"], result.picture, text)
        told = {self.stage: stage + views.note(result.warnings)}
        for button, file in zip(self.saves, files, strict=True):
            told[button] = gr.update(value=str(file), interactive=True)
        return told


def _while(current: bool, told: tuple) -> tuple:
    """What the page is told of a picture; nothing once another has taken its place."""
    return told if current else (gr.skip(),) * len(told)


def save(drawn: Drawn, folder: Path) -> tuple[Path, Path, Path]:
    """Picture, mask and receipt as files."""
    seed = drawn.receipt.settings["seed"]
    files = (
        folder / f"try_on_seed{seed}.png",
        folder / f"area_seed{seed}.png",
        folder / f"receipt_seed{seed}.json",
    )
    save_png(files[0], drawn.result.picture)
    save_png(files[1], resize_mask(drawn.result.mask, drawn.result.picture.shape[:2]))
    files[2].write_text(write_receipt(drawn.receipt), encoding="utf-8")
    return files
