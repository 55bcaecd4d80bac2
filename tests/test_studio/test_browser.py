"""The studio in Chromium, as people use it: by mouse, finger and keyboard, at 1440 and 390 pixels.

`VTONLAB_STUDIO="/path/to/vtonlab app"` tests an installed one; `VTONLAB_SHOTS=DIR` keeps pictures
of every flow.
"""

import json
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio", reason="pip install 'vtonlab[app]'")
playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'vtonlab[browser]'")
sys.path.insert(0, str(Path(__file__).parent))
from studio_server import studio  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SHOTS = os.environ.get("VTONLAB_SHOTS")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]
OLD = "document.querySelectorAll('#stage .slide').forEach(e => e.dataset.old = 1)"
WIDE, PHONE = dict(width=1440, height=1000), dict(width=390, height=844)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with studio(tmp_path_factory.mktemp("studio")) as found:
        yield found
    assert not list((found.folder / "tmp").glob("vtonlab-studio-*")), "files were left behind"
    assert "Traceback" not in "".join(found.lines), "".join(found.lines)[-3000:]


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as run:
        found = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Visit:
    """A page of its own, which notes what its console complains of."""

    def __init__(self, chromium, served, phone: bool = False) -> None:
        view = PHONE if phone else WIDE
        self.context = chromium.new_context(viewport=view, is_mobile=phone, has_touch=phone)
        self.page = self.context.new_page()
        self.phone, self.wrong, self.asked = phone, [], []
        self.page.set_default_timeout(120_000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("response", self._response)
        self.page.goto(served.address)
        self.page.wait_for_selector("#examples [data-pick]")

    def _console(self, message) -> None:
        gradio = "Method not implemented."  # its own warning, at the end of each upload
        if message.type in ("error", "warning") and message.text != gradio:
            self.wrong.append(message.text)

    def _response(self, response) -> None:
        if response.status >= 400:
            self.wrong.append(f"{response.status} {response.url}")

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def example(self, number: int) -> None:
        self.page.click(f"#examples [data-pick='{number}']")
        self.page.wait_for_selector("#person img")
        self.page.wait_for_selector("#garment img")

    def steps(self, count: int, field: str = "#steps") -> None:
        self.page.fill(f"{field} input[type=number]", str(count))
        self.page.keyboard.press("Tab")

    def draw(self) -> str:
        self.page.evaluate(OLD)
        self.page.click("#start")
        self.page.wait_for_selector("#stage .slide:not([data-old])")
        return self.page.get_attribute("#stage .slide img:not(.over)", "src")

    def said(self, selector: str) -> str:
        return self.page.inner_text(f"{selector} .problem")

    def shot(self, name: str) -> None:
        width = self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= self.page.viewport_size["width"], f"{name}: {width} pixels wide"
        if SHOTS:
            place = Path(SHOTS) / f"{name}_{self.page.viewport_size['width']}.png"
            self.page.screenshot(path=place, full_page=True)

    def download(self, selector: str) -> Path:
        with self.page.expect_download() as found:
            self.page.click(selector)
        return Path(found.value.path())

    def close(self) -> None:
        assert not self.wrong, self.wrong
        host = self.page.url.split("/")[2]
        elsewhere = [url for url in self.asked if url.startswith("http") and host not in url]
        assert not elsewhere, elsewhere
        self.context.close()


@pytest.fixture(params=[False, True], ids=["1440", "390"])
def visit(request, chromium, served):
    found = Visit(chromium, served, request.param)
    yield found
    found.close()


@pytest.fixture
def wide(chromium, served):
    found = Visit(chromium, served)
    yield found
    found.close()


def picture(path: Path, size=(64, 48), value=0) -> Path:
    from PIL import Image

    noise = np.random.default_rng(value).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_try_on_then_look(visit):
    visit.shot("try_on_empty")
    visit.example(1)
    visit.draw()
    visit.shot("try_on")
    page = visit.page
    page.locator("#stage input[type=range]").focus()
    page.keyboard.press("Home")
    assert "--cut: 0%" in page.get_attribute("#stage .slide", "style")
    visit.tab("Look")
    page.wait_for_selector("#looked-one figcaption")
    tap = page.locator("#tap .tap")
    tap.scroll_into_view_if_needed()
    box = tap.bounding_box()
    before = page.get_attribute("#looked-one img", "src")
    place = dict(x=box["width"] * 0.4, y=box["height"] * 0.55)
    tap.tap(position=place) if visit.phone else tap.click(position=place)
    page.wait_for_function(
        "old => document.querySelector('#looked-one img').src !== old", arg=before
    )
    assert re.search(r"\d+% sure .* \d+% of its attention", page.inner_text("#looked-one"))
    visit.shot("look")


def test_look_by_keyboard_at_layers_heads_levels_and_a_second_model(wide):
    wide.example(0)
    wide.draw()
    wide.tab("Look")
    page = wide.page
    page.wait_for_selector("#looked-one figcaption")

    def changes(action, place="#looked-one img") -> None:
        before = page.get_attribute(place, "src")
        action()
        page.wait_for_function(
            "([place, old]) => document.querySelector(place).src !== old", arg=[place, before]
        )

    def choose(field, number) -> None:
        page.click(f"{field} input")
        page.locator("[role=option]").nth(number).click()

    page.locator("#tap .tap").focus()
    changes(lambda: [page.keyboard.press("Shift+ArrowDown") for _ in range(3)])
    changes(lambda: choose("#layer", 0))
    changes(lambda: choose("#head", 2))
    changes(lambda: wide.steps(0.9, "#sigma"))
    choose("#other", 1)
    page.wait_for_selector("#looked-two figcaption")
    names = page.locator(".looked h4").all_inner_texts()
    assert len(set(names)) == 2
    wide.shot("look_two")
    page.click("#other input")
    page.get_by_role("option", name="coral_synthetic", exact=True).click()
    # a DiT beside the UNet: its own block, all its heads
    wide.page.wait_for_selector("#looked-two code:has-text('single_transformer_blocks.2.attn')")
    assert "mean of all heads" in page.inner_text("#looked-two figcaption")
    assert "head 1" in page.inner_text("#looked-one figcaption")


def test_the_brush_decides_what_is_drawn_and_the_receipt_draws_it_again(wide, tmp_path):
    wide.example(2)
    wide.draw()
    first = wide.download("#save-mask").read_bytes()
    page = wide.page
    page.click("#area button.label-wrap")
    canvas = page.locator("#brush canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.05 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.05 * box["height"], steps=6)
    page.mouse.up()
    wide.shot("brush")
    wide.draw()
    painted = wide.download("#save-mask").read_bytes()
    from vtonlab.utils.bounded import MemoryFile
    from vtonlab.utils.images import read_image

    before, after = (read_image(MemoryFile("m.png", d), "mask") > 0 for d in (first, painted))
    assert (after | ~before).all() and after[: len(after) // 8].mean() > 0.3
    result = wide.download("#save-picture").read_bytes()
    receipt = tmp_path / "receipt.json"
    shutil.copy(wide.download("#save-receipt"), receipt)
    wide.page.get_by_text("As made").click()
    wide.draw()
    assert wide.download("#save-mask").read_bytes() == first
    page.click("#receipts button.label-wrap")
    page.evaluate(OLD)
    page.locator("#receipts input[data-kind=files]").set_input_files(receipt)
    page.wait_for_selector("#stage .slide:not([data-old])")
    assert wide.download("#save-picture").read_bytes() == result
    assert json.loads(receipt.read_text())["model"]["name"] == "coral_unet_synthetic"


def test_the_brush_by_keyboard(wide):
    wide.example(0)
    page = wide.page
    page.click("#area button.label-wrap")
    page.wait_for_selector("#brush canvas")
    count = "(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 === 3 && v > 127).length)(document.querySelector('#brush canvas'))"  # noqa: E501
    page.wait_for_function(f"{count} > 0")
    before = page.evaluate(count)
    page.locator("#brush canvas").focus()
    for _ in range(5):
        page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press(" ")
    more = page.evaluate(count)
    assert more > before
    page.get_by_text("Undo").press("Enter")
    assert page.evaluate(count) == before
    page.get_by_text("Erase").press("Enter")
    page.get_by_text("Clear").press("Enter")
    assert page.evaluate(count) == 0
    page.click("#start")
    page.wait_for_selector("#area .problem")
    assert "area to change is empty" in page.inner_text("#area")


def test_stop_really_stops_between_steps(visit):
    visit.example(3)
    visit.steps(100)
    visit.page.click("#start")
    visit.page.wait_for_selector("#stage .going img")
    visit.page.click("#stop")
    visit.page.wait_for_function("document.querySelector('#stage').innerText.includes('stopped')")
    said = visit.page.inner_text("#stage")
    done = int(re.search(r"stopped after step (\d+) of 100", said).group(1))
    assert done < 95, said
    visit.shot("stopped")
    visit.steps(2)
    visit.draw()


def test_bad_input_is_answered_beside_its_field(wide, tmp_path):
    page = wide.page
    page.click("#start")
    page.wait_for_selector(".problem")
    assert page.locator(".problem").count() == 2
    wide.shot("missing")
    (tmp_path / "notes.png").write_text("not a picture")
    page.locator("#person input[type=file]").set_input_files(tmp_path / "notes.png")
    page.wait_for_function(
        "[...document.querySelectorAll('.problem')].some(e => e.innerText.includes('notes.png'))"
    )
    told = [t for t in page.locator(".problem").all_inner_texts() if "notes.png" in t]
    assert "is not a picture that can be read" in told[0] and "/tmp" not in told[0]
    wide.shot("bad_input")
    page.click("#receipts button.label-wrap")
    page.locator("#receipts input[data-kind=files]").set_input_files(
        [dict(name="r.json", mimeType="application/json", buffer=b"{}")]
    )
    page.wait_for_selector("#try-problem .problem")
    assert "no receipt" in wide.said("#try-problem")
    wide.wrong = [text for text in wide.wrong if "notes.png" not in text]  # the page's own image


def test_a_batch_with_gallery_journal_and_zip(visit, tmp_path):
    visit.tab("Batch")
    page = visit.page
    page.click("#batch-start")
    page.wait_for_selector("#batch-problem .problem")
    assert "give people and garments" in visit.said("#batch-problem")
    page.click("#batch-example")
    page.wait_for_function("document.querySelector('#batch-status').innerText.includes('drawn')")
    assert "6 of 6 pairs drawn" in page.inner_text("#batch-status")
    assert page.locator("#batch-results figure").count() == 6
    page.wait_for_selector("#batch-save:not([disabled])")
    visit.shot("batch")
    found = visit.download("#batch-save")
    assert len(zipfile.ZipFile(found).namelist()) >= 6


def test_a_batch_of_uploads(wide, tmp_path):
    wide.tab("Batch")
    page = wide.page
    for place, names in (("people", "ab"), ("garments", "g")):
        files = [picture(tmp_path / f"{name}.png", value=ord(name)) for name in names]
        inputs = page.locator(f"#batch-{place} input[data-kind=files]")
        inputs.set_input_files(files)
        page.wait_for_function(
            "([p, n]) => document.querySelector(`#batch-${p} .told`).innerText.includes(n)",
            arg=[place, "2 files" if len(files) == 2 else "g.png"],
        )
    page.click("#batch-start")
    page.wait_for_function(  # the end of the job: while it runs, a click says nothing
        "document.querySelector('#batch-problem .problem') "
        "|| document.body.innerText.includes('2 refused')"
    )
    told = page.inner_text("#batch-results") + page.inner_text("#batch-problem")
    assert "nobody is seen" in told or "get_estimators" in told  # these are no people
    table = tmp_path / "t.zip"
    with zipfile.ZipFile(table, "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
        archive.writestr("pairs.csv", "person,garment\na.png,../../../../../etc/passwd\n")
    page.locator("#batch-table input[data-kind=files]").set_input_files(table)
    page.wait_for_function("document.querySelector('#batch-table .told').innerText === 't.zip'")
    page.click("#batch-start")
    page.wait_for_function(
        "document.querySelector('#batch-problem').innerText.includes('outside its own folder')"
    )


def test_a_data_set_with_faults(visit):
    visit.tab("Data")
    page = visit.page
    page.click("#data-example")
    page.wait_for_selector("#findings .verdict")
    found = page.inner_text("#findings")
    assert "Not usable as it is" in found
    for code in ("truncated", "mask-inverted", "missing-files", "mask-leak", "junk-files"):
        assert code in found
    page.wait_for_selector("#data-people .strip")
    assert "SIFT matches" in page.inner_text("#data-people")
    assert page.locator("#findings .thumbs img").count() > 3
    visit.shot("data")


def test_a_data_set_as_a_folder(wide, tmp_path):
    for folder in ("image", "cloth"):
        (tmp_path / "set/train" / folder).mkdir(parents=True)
        for number in range(2):
            picture(tmp_path / f"set/train/{folder}/{number}.jpg", value=number)
    (tmp_path / "set/train_pairs.txt").write_text("0.jpg 1.jpg\n1.jpg 0.jpg\n")
    wide.tab("Data")
    wide.page.locator("#data-drop input[data-kind=folder]").set_input_files(tmp_path / "set")
    wide.page.wait_for_selector("#findings .verdict")
    assert "VITON-HD; people in train: 2" in wide.page.inner_text("#findings")


def test_two_people_at_once_get_their_own(chromium, served):
    """Both draw at the same time; each gets what it gets alone."""
    visits = [Visit(chromium, served) for _ in range(2)]
    alone = []
    for number, visit in enumerate(visits):
        visit.example(number)
        visit.steps(3)
        alone.append(visit.draw())
    assert alone[0] != alone[1]
    for visit in visits:
        visit.steps(12)
    for visit in visits:
        visit.page.click("#start")
    for visit in visits:
        visit.page.wait_for_function("document.querySelector('.slide')?.innerText.includes('12 s')")
    for number, visit in enumerate(visits):
        visit.steps(3)
        assert visit.draw() == alone[number]
        visit.close()


def test_a_password_is_asked_for_where_others_can_come(chromium, tmp_path):
    word = "correct horse"
    with studio(tmp_path, "--host", "0.0.0.0", password=word) as found:
        port = found.address.rpartition(":")[2]
        context = chromium.new_context()
        assert context.request.get(f"http://127.0.0.1:{port}/").status == 401
        context = chromium.new_context(http_credentials=dict(username="a", password=word))
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#examples [data-pick]", timeout=120_000)
        context.close()
