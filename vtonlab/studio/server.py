"""The studio behind its gate, on a port."""

import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec

from vtonlab.studio.examples import begin
from vtonlab.studio.gate import Gate
from vtonlab.studio.models import Shelf
from vtonlab.studio.sessions import Sessions
from vtonlab.studio.settings import Settings
from vtonlab.utils.compat import checks_files

LEAST_PASSWORD = 8
PASSWORD = "VTONLAB_STUDIO_PASSWORD"  # noqa: S105 - the variable's name
_SWEEP = 60.0  # seconds between two looks for idle visitors


def check_settings(settings: Settings) -> None:
    """Whether a studio may listen where it is told to.

    Raises:
        ValueError: others can reach it, and no password is asked for.
    """
    password = settings.password
    if not settings.local and password is None:
        raise ValueError(
            f"--host {settings.host} lets others in: set a password for them in the environment "
            f"({PASSWORD}=...), or keep to 127.0.0.1 and use `ssh -L`"
        )
    if password is not None and len(password) < LEAST_PASSWORD:
        raise ValueError(f"{PASSWORD} is shorter than {LEAST_PASSWORD} characters")


def make_app(shelf: Shelf, settings: Settings) -> tuple[Gate, Sessions]:
    """The whole application, and what it keeps; who makes it closes the sessions.

    Raises:
        ImportError: Gradio is missing, with the line that installs it.
    """
    if find_spec("gradio") is None:
        raise ImportError("the studio needs Gradio: pip install 'vtonlab[app]'")
    sessions = Sessions(settings)
    sessions.uploads.mkdir()
    os.environ.update(_ENVIRONMENT, GRADIO_TEMP_DIR=str(sessions.uploads))  # read at the import
    import gradio
    from fastapi import FastAPI

    from vtonlab.studio.page import STYLE, build_page, icon, theme

    page = build_page(shelf, settings, sessions)
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=_swept(sessions))
    gradio.mount_gradio_app(
        outer,
        page,
        path="/",
        show_error=False,
        max_file_size=settings.upload_bytes,
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        favicon_path=str(icon()),
        theme=theme(),
        css_paths=[STYLE],
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
    )
    checks_files(page)
    return Gate(outer, settings, sessions), sessions


_ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ALLOWED_PATHS": "",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_MCP_SERVER": "False",
}


def _swept(sessions: Sessions) -> Callable:
    """A lifespan that sweeps from time to time and leaves nothing: after a SIGTERM no ``finally``
    outside of it is reached.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app) -> AsyncIterator[None]:
        over = threading.Event()

        def run() -> None:
            while not over.wait(_SWEEP):
                try:
                    sessions.sweep()
                except Exception:  # the next round may do better
                    logging.getLogger(__name__).exception("idle visitors were not swept")

        threading.Thread(target=run, name="studio sweep", daemon=True).start()
        try:
            yield
        finally:
            over.set()
            sessions.close()

    return lifespan


def serve(shelf: Shelf, settings: Settings, ready: Callable[[str], None] = print) -> None:
    """Run until interrupted; everything that visitors left is removed.

    Args:
        ready: is told the address once it answers.

    Raises:
        ImportError, ValueError: as `make_app`, `check_settings`; the port is taken.
    """
    check_settings(settings)
    app, sessions = make_app(shelf, settings)
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets=None) -> None:
            await super().startup(sockets)
            if self.started:
                host = f"[{settings.host}]" if ":" in settings.host else settings.host
                ready(f"http://{host}:{self.servers[0].sockets[0].getsockname()[1]}")

    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    try:
        begin()
        Server(config).run()
    except SystemExit:  # uvicorn's, after its own message
        raise ValueError(
            f"port {settings.port} of {settings.host} cannot be used: give another --port"
        ) from None
    finally:
        sessions.close()
