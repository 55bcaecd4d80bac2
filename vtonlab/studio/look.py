"""*Look*: tap the dressed person, and see where in the garment that place looked."""

from html import escape
from typing import Any

import gradio as gr
import numpy as np

from vtonlab.apis import Look
from vtonlab.studio import views
from vtonlab.studio.context import HIDDEN, ONE, QUIET, Studio
from vtonlab.studio.parts import html
from vtonlab.studio.sessions import Session
from vtonlab.visualization.attention import overlay_heat
from vtonlab.visualization.pages import fit

MEAN, NOBODY = "mean of all", "none"
HEIGHT = 640  # of the garment as it is coloured
EMPTY = views.hint(
    "Nothing to look at yet", "Try something on first; its result is looked into here."
)
KEPT = 8  # questions whose readings a visitor keeps; each stands under one or two
FIRST = (0.5, 0.4)  # the place that is asked about first, in [0, 1]


class LookTab:
    """The tab: its parts are attributes, its events methods.

    Args:
        studio: models, limits and visitors.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        names = list(studio.shelf.offers)
        with gr.Row(elem_classes="settings"):
            self.layer = gr.Dropdown(
                [], label="Layer", elem_id="layer", interactive=True, scale=2, min_width=300
            )
            self.head = gr.Dropdown([MEAN], value=MEAN, label="Head", elem_id="head", min_width=140)
            self.sigma = gr.Slider(0.02, 0.98, 0.5, step=0.02, label="Noise level", elem_id="sigma")
            self.other = gr.Dropdown(
                [NOBODY, *names], value=NOBODY, label="Beside it", elem_id="other"
            )
        self.problem = html(elem_classes="said", elem_id="look-problem")
        with gr.Row(elem_classes="looking"):
            with gr.Column(min_width=240):
                self.person = html(EMPTY, section="tap", elem_id="tap")
            with gr.Column(min_width=200):
                self.one = html(elem_id="looked-one")
            with gr.Column(min_width=200, elem_id="looked-column"):
                self.two = html(elem_id="looked-two")

    def connect(self, after: list[gr.events.Dependency]) -> None:
        """Bind the events; ``after`` are those that leave a new result."""
        everything = [self.person, self.layer, self.head, self.sigma]
        seen = [self.one, self.two, self.problem]

        chosen = [self.layer, self.head, self.sigma, self.other]
        for event in after:
            event.then(self.begin, None, everything, **ONE, **QUIET, **HIDDEN).then(
                self.again, chosen, seen, **ONE, **QUIET, **HIDDEN
            )
        self.person.select(self.tapped, chosen, seen, **ONE, **QUIET, **HIDDEN)
        self.layer.input(self.another_layer, chosen, [self.head, *seen], **ONE, **QUIET, **HIDDEN)
        for event in (self.head.input, self.sigma.release, self.other.input):
            event(self.again, chosen, seen, **ONE, **QUIET, **HIDDEN)

    # events ---------------------------------------------------------------------------------------

    def begin(self, request: gr.Request) -> tuple:
        """The new result, and what can be asked of the model that drew it."""
        session = self.studio.of(request)
        if session.drawn is None:
            return EMPTY, gr.skip(), gr.skip(), gr.skip()
        session.place = FIRST
        picture = views.tap(session.drawn.result.picture, *FIRST)
        try:
            found = self._look(session, session.drawn.model, None, None)
        except Exception:  # `again`, which comes next, says why
            return picture, gr.update(choices=[], value=None), gr.skip(), gr.skip()
        heads = gr.update(choices=_heads(found), value=MEAN)
        return picture, gr.update(choices=list(found.layers), value=found.layer), heads, found.sigma

    def tapped(
        self,
        layer: str,
        head: str,
        sigma: float,
        other: str,
        event: gr.EventData,
        request: gr.Request,
    ) -> tuple:
        """Another place."""
        session = self.studio.of(request)
        session.place = (float(event.x), float(event.y))
        return self._seen(session, layer, head, sigma, other)

    def another_layer(
        self, layer: str, head: str, sigma: float, other: str, request: gr.Request
    ) -> tuple:
        """Another layer, which may have other heads."""
        session = self.studio.of(request)
        seen = self._seen(session, layer, MEAN, sigma, other)
        if session.drawn is None or seen[2]:
            return gr.skip(), *seen
        found = self._look(session, session.drawn.model, layer, sigma)
        return gr.update(choices=_heads(found), value=MEAN), *seen

    def again(self, layer: str, head: str, sigma: float, other: str, request: gr.Request) -> tuple:
        """The same place under other settings."""
        return self._seen(self.studio.of(request), layer, head, sigma, other)

    # looking --------------------------------------------------------------------------------------

    def _seen(self, session: Session, layer: str, head: str, sigma: float, other: str) -> tuple:
        """Both views, and what is wrong."""
        if session.drawn is None:
            return "", "", ""
        number = None if head == MEAN else int(head)
        first, second, problem = "", "", ""
        try:
            first = self._view(session, session.drawn.model, layer, number, sigma)
            if other != NOBODY:
                where = self._alike(session, other, layer, number, sigma)
                second = self._view(session, other, *where)
        except Exception as error:
            problem = views.problem(self.studio.said(error))
        return first, second, problem

    def _look(self, session: Session, model: str, layer: str | None, sigma: float | None) -> Look:
        """One reading; the last few of a result are kept."""
        asked = (model, layer, sigma)
        found = session.looks.get(asked)
        if found is None:
            shelf = self.studio.shelf
            with shelf.lock:
                inferencer = shelf[model]
                result, seed = session.drawn.result, session.drawn.receipt.settings["seed"]
                found = inferencer.look(result, layer=layer, sigma=sigma, seed=seed)
            session.looks[asked] = session.looks[model, found.layer, found.sigma] = found
            for oldest in list(session.looks)[:-KEPT]:  # each holds a whole layer
                session.looks.pop(oldest, None)
        return found

    def _alike(
        self, session: Session, model: str, layer: str, head: int | None, sigma: float
    ) -> tuple[str, int | None, float]:
        """Layer, head and noise level to ask another model at: the same where it has them, else its
        own layer, and the mean of the heads.
        """
        own = self._look(session, model, None, sigma)
        if layer not in own.layers:
            return own.layer, None, sigma
        heads = self._look(session, model, layer, sigma).heads
        return layer, None if head is None or head >= heads else head, sigma

    def _view(
        self, session: Session, model: str, layer: str, head: int | None, sigma: float
    ) -> str:
        found = self._look(session, model, layer, sigma).of_head(head)
        height, width = session.drawn.result.picture.shape[:2]
        x, y = (p * n - 0.5 for p, n in zip(session.place, (width, height), strict=True))
        match, heat = found.at(x, y), found.map_at(x, y)
        garment = session.drawn.result.inputs["garment"]
        across, down = garment.shape[1], garment.shape[0]
        picture = _coloured(garment, heat)
        text = (
            f"<b>{match.confidence:.0%}</b> sure of this place, of the <b>{match.share:.0%}</b> of "
            f"its attention that went to the garment. Block <code>{escape(found.layer)}</code>, "
            f"{'mean of all heads' if head is None else f'head {head}'}."
        )
        return views.looked(model, picture, (match.x + 0.5) / across, (match.y + 0.5) / down, text)


def _heads(found: Look) -> list[str]:
    return [MEAN, *map(str, range(found.heads))]


def _coloured(garment: np.ndarray, heat: Any) -> np.ndarray:
    """The garment, enlarged, under the attention that fell on it."""
    width = max(1, round(HEIGHT * garment.shape[1] / garment.shape[0]))
    return overlay_heat(fit(garment, HEIGHT, width, crisp=False), heat, alpha=0.72)
