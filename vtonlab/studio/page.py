"""The whole page: a head, four tabs, one look."""

from pathlib import Path

import gradio as gr

from vtonlab.studio import views
from vtonlab.studio.batch import BatchTab
from vtonlab.studio.context import HIDDEN, LIGHT, ONE, QUIET, Studio
from vtonlab.studio.data import DataTab
from vtonlab.studio.look import LookTab
from vtonlab.studio.models import Shelf
from vtonlab.studio.parts import html
from vtonlab.studio.sessions import Sessions
from vtonlab.studio.settings import Settings
from vtonlab.studio.try_on import TryOn

HERE = Path(__file__).parent
STYLE = HERE / "page.css"
FONT = ["Inter", "ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
MONO = ["ui-monospace", "SF Mono", "Cascadia Code", "DejaVu Sans Mono", "monospace"]


def icon() -> Path:
    """Of the browser's tab."""
    return HERE / "icon.svg"


def theme() -> gr.themes.Base:
    """Colours and type; the reader's own fonts, so that nothing is fetched."""
    orange = gr.themes.Color(
        "#fff4f0", "#ffe5dc", "#ffc7b5", "#ffa285", "#f57b54", "#e4572e",
        "#cc4520", "#a93717", "#872d15", "#6c2715", "#4a190c",
    )  # fmt: skip
    base = gr.themes.Base(
        primary_hue=orange,
        neutral_hue="gray",
        font=FONT,
        font_mono=MONO,
        radius_size="lg",
        spacing_size="md",
    )
    return base.set(
        body_background_fill="#f6f6f4",
        block_border_width="1px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_border_width="0px",
        block_title_text_weight="600",
        button_primary_background_fill="#d4451c",
        button_primary_background_fill_hover="#b93a15",
        button_primary_text_color="white",
        input_background_fill="white",
        input_border_width="1px",
        input_border_color="#d7dbe1",
        block_border_color="#e3e6eb",
        button_secondary_background_fill="white",
        button_secondary_border_color="#d7dbe1",
        button_border_width="1px",
    )


def build_page(shelf: Shelf, settings: Settings, sessions: Sessions) -> gr.Blocks:
    """The page with all its events; its queue holds ``settings.waiting`` requests."""
    studio = Studio(shelf, settings, sessions)
    with gr.Blocks(
        title="vtonlab studio", analytics_enabled=False, fill_width=True
    ) as page:  # fmt: skip
        with gr.Row(elem_id="masthead"):
            html(_head(), elem_id="brand")
            with gr.Column(min_width=260, scale=0, elem_id="model-column"):
                model = gr.Dropdown(
                    list(shelf.offers), value=shelf.usual, label="Model", elem_id="model"
                )
        about = html(_about(studio, shelf.usual), elem_id="about")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Try on", id="try"):
                trying = TryOn(studio, model)
            with gr.Tab("Look", id="look"):
                looking = LookTab(studio)
            with gr.Tab("Batch", id="batch"):
                batch = BatchTab(studio, model)
            with gr.Tab("Data", id="data"):
                data = DataTab(studio)
        looking.connect(trying.connect())
        batch.connect()
        data.connect()

        def usual(name: str) -> tuple:
            found = shelf.usual_of(name)
            guidance = gr.update(
                value=found.guidance_scale,
                interactive=found.guidable,
                info=None if found.guidable else "not for this model",
            )
            return found.num_steps, guidance, found.num_steps, _about(studio, name)

        own = [trying.steps, trying.guidance, batch.steps, about]
        model.input(usual, model, own, **ONE, **QUIET, **HIDDEN)
        page.load(usual, model, own, **ONE, **QUIET, **HIDDEN)
        page.load(trying.show_examples, None, trying.picks, **LIGHT, **QUIET)
    page.state_session_capacity = 4 * settings.sessions
    page.queue(api_open=False, max_size=settings.waiting, default_concurrency_limit=1)
    return page


def _head() -> str:
    mark = icon().read_text(encoding="utf-8")
    return f"<h1>{mark}<span>vtonlab <em>studio</em></span></h1>"


def _about(studio: Studio, name: str) -> str:
    """One line on the chosen model."""
    offer, (height, width) = studio.shelf.offers[name], studio.shelf[name].model.size
    toy = " It learned on rendered people at toy size." if offer.model == name else ""
    return views.note([f"{offer.title}. Draws {width}x{height} pixels.{toy}"])
