"""``--push`` against a stand-in for the hub; nothing leaves this machine."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))
from hub_server import COMMIT, HubServer

from vtonlab.engine.checkpoints.exported import ABOUT, write_sums
from vtonlab.exporting import push_folder
from vtonlab.exporting.push import check_repo

SECRET = "hf_" + "x" * 34


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "export"
    (folder / "unet").mkdir(parents=True)
    (folder / ABOUT).write_text("{}")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# x\n")
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    write_sums(folder)
    return folder


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import close_session, constants

    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.base)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", SECRET)
        close_session()
        yield server
    close_session()


def test_one_commit_of_every_file(folder, hub, capsys, caplog):
    hub.there = ["old.safetensors", "unet/diffusion_pytorch_model.safetensors", "notes.txt"]
    check_repo("me/x")
    assert push_folder(folder, "me/x", private=True).endswith(COMMIT)
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert hub.files.keys() == names and hub.private in ("private", True)
    assert hub.files["unet/diffusion_pytorch_model.safetensors"] == b"weights"
    assert hub.deleted == ["old.safetensors"]  # of an earlier export; what others put there stays
    assert hub.tokens <= {f"Bearer {SECRET}", None}
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err + caplog.text


def test_the_tool_pushes_an_earlier_export_as_it_lies_there(folder, hub, capsys):
    from tools.export import main

    assert main(["--model", str(folder), "--push", "me/x"]) == 0
    assert f"/commit/{COMMIT}" in capsys.readouterr().out and ABOUT in hub.files
    for words, said in (
        ([], "was exported already"),
        (["--out", "x", "--push", "me/x"], "already"),
    ):
        with pytest.raises(SystemExit):
            main(["--model", str(folder), *words])
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--model", "coral_synthetic"])
    assert "--out DIR is missing" in capsys.readouterr().err


def test_a_changed_folder_is_not_pushed(folder, hub):
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"others")
    with pytest.raises(ValueError, match="is not the file"):
        push_folder(folder, "me/x")
    assert hub.asked == []


def test_what_keeps_a_folder_from_the_hub_is_one_sentence(folder, hub, monkeypatch):
    with pytest.raises(ValueError, match="USER/NAME"):
        check_repo("x")
    hub.refuse = {"/api/models/me/x/commit": (403, "no rights to write")}
    with pytest.raises(ValueError, match=r"the hub answers 403 \(.*no rights") as caught:
        push_folder(folder, "me/x")
    assert SECRET not in str(caught.value) and "\n" not in str(caught.value)
    hub.refuse = {"/api/whoami": (401, "bad token")}
    with pytest.raises(ValueError, match=r"401 .*hf auth login") as caught:
        check_repo("me/x")
    assert SECRET not in str(caught.value)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="cannot be reached"):
        push_folder(folder, "me/x")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    with pytest.raises(ValueError, match="nobody is logged in"):
        check_repo("me/x")
