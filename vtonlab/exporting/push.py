"""An exported folder onto the hub, where the user is logged in."""

import re
from pathlib import Path

from vtonlab.engine.checkpoints.exported import verify

_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_LOG_IN = "log in with `hf auth login` (a token that may write), then run the same command again"


def check_repo(repo: str) -> None:
    """Whether ``repo`` can be a name on the hub, and somebody is logged in: before work is done.

    Raises:
        ValueError: it cannot, or nobody is, or the token is refused.
    """
    if not _REPO.fullmatch(repo):
        raise ValueError(f"--push {repo}: a name on the hub is USER/NAME or ORGANISATION/NAME")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    try:
        HfApi().whoami()
    except LocalTokenNotFoundError:
        raise ValueError(f"--push {repo}: nobody is logged in; {_LOG_IN}") from None
    except HfHubHTTPError as error:
        raise ValueError(f"--push {repo}: {_said(error)}; {_LOG_IN}") from None
    except Exception as error:
        if not _of_network(error):
            raise
        raise ValueError(_unreachable(repo, error)) from None


def push_folder(folder: str | Path, repo: str, *, private: bool = False) -> str:
    """Upload a folder that tools/export.py wrote, as one commit; returns its address.

    The repository is made where there is none. Every file is held against ``SHA256SUMS`` first; the
    token is huggingface_hub's own and is never read here.

    Raises:
        ValueError: the hub refuses, or cannot be reached; says what it said.
    """
    verify(folder)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(library_name="vtonlab")
    try:
        api.create_repo(repo, repo_type="model", private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            repo_type="model",
            commit_message="Exported by vtonlab",
            delete_patterns=["*.safetensors", "*.json", "*.py"],  # of an earlier export
        )
    except HfHubHTTPError as error:
        raise ValueError(f"--push {repo}: {_said(error)}") from None
    except Exception as error:
        if not _of_network(error):
            raise
        raise ValueError(_unreachable(repo, error)) from None
    return done.commit_url


def _said(error: Exception) -> str:
    """The hub's answer on one line, without what might hold a secret."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    reason = getattr(error, "server_message", None) or type(error).__name__
    return f"the hub answers {status} ({' '.join(str(reason).split())[:200]})"


def _of_network(error: Exception) -> bool:
    """Whether it is of the network: huggingface_hub lets its HTTP library's own errors through."""
    return isinstance(error, OSError) or type(error).__module__.startswith("http")


def _unreachable(repo: str, error: Exception) -> str:
    return (
        f"--push {repo}: the hub cannot be reached ({type(error).__name__}): the folder is whole "
        "and can be pushed later, by the same command"
    )
