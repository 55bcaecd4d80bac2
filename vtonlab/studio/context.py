"""What every tab of the page stands on."""

import re
import traceback
from dataclasses import dataclass
from typing import Any

from vtonlab.engine.cli import exit_code, sentence
from vtonlab.studio.models import Shelf
from vtonlab.studio.sessions import Session, Sessions
from vtonlab.studio.settings import Settings

# Of events: those that compute wait for each other; the page is the only way in.
ONE = dict(concurrency_limit=1, concurrency_id="model")
LIGHT = dict(concurrency_limit=4, concurrency_id="light")
AT_ONCE = dict(concurrency_limit=None, concurrency_id="at once")
QUIET = dict(api_visibility="private")
EVERY = dict(trigger_mode="multiple")  # also while an earlier one is waited for
HIDDEN = dict(show_progress="hidden")


@dataclass(frozen=True)
class Studio:
    """Models, limits and visitors."""

    shelf: Shelf
    settings: Settings
    sessions: Sessions

    def of(self, request: Any) -> Session:
        """The visitor who asks."""
        return self.sessions.of(request)

    def said(self, error: BaseException) -> str:
        """The sentence that the command line gives, without this machine's folders."""
        if exit_code(error) is None:
            traceback.print_exception(error)
            return "something went wrong in the studio; its terminal says more"
        return self.without_folders(sentence(error))

    def without_folders(self, text: str) -> str:
        """Files by the names that their owner gave them."""
        folder = re.escape(str(self.sessions.root))
        return re.sub(rf"{folder}(/visitor-\w+)?(/\w+-\w+)?/?", "", text)
