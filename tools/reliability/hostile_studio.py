"""Visitors of the studio who mean no good: what they try, what they get, what it costs.

Example:
    python tools/reliability/hostile_studio.py                     # docs/reliability.md
    python tools/reliability/hostile_studio.py --out /tmp/table.md

Starts `tools/app.py` with secrets all around it and sends what no browser would: paths of other
files in every place that takes one, bombs, pickles, endless bodies, crowds. "Got through" counts a
secret that was read, a file that was written elsewhere, code that ran, an address that was asked,
a picture that was somebody else's, a server that died. Memory is resident memory of the server over
what it has after one ordinary try-on. Needs Gradio. Exit codes: 0 nothing got through, 1 something
did, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import base64
import io
import itertools
import json
import os
import pickle
import socket
import subprocess
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parents[1]))  # the package `reliability`

from reliability.card import Measured  # noqa: E402
from reliability.inputs import Malicious, bomb_png  # noqa: E402
from reliability.studio_client import SECRET, Answer, Attacked, attacked  # noqa: E402

BEGIN, END = "<!-- studio: begin -->", "<!-- studio: end -->"
CROWD = 20
MOST_MEMORY = (
    1500 * 2**20
)  # bytes over an ordinary try-on: one upload of 256 MiB, read and unpacked
DROPS = ("open-receipt", "data-drop")
PERSON = ["upper_body", "coral_synthetic"]  # what is sent beside a photograph


class Outcome(NamedTuple):
    """What became of one kind of attack.

    Args:
        tries: how many.
        through: those that got what they wanted, each in a few words.
        answered: how the studio answered, and how often.
    """

    tries: int
    through: list[str]
    answered: Counter


def tally(answers: Iterator[tuple[str, Answer]]) -> Outcome:
    """Answers to requests that must not show the secret."""
    through, answered, tries = [], Counter(), 0
    for what, answer in answers:
        tries += 1
        if SECRET in answer.text:
            through.append(f"{what} was read")
        answered[said(answer)] += 1
    return Outcome(tries, through, answered)


def said(answer: Answer) -> str:
    """An answer in a word: HTTP's refusal, or a sentence on the page."""
    if answer.status != 200:
        return str(answer.status) if answer.status else "cut off"
    sentence = "problem" in answer.text or "finding error" in answer.text
    return "a sentence" if sentence else "nothing"


def read_outside(studio: Attacked) -> Outcome:
    """Other files, by every way to write a path into an address."""
    routes = ("/static/", "/assets/", "/svelte/", "/custom_component/")
    routes += tuple(f"/gradio_api/{name}" for name in ("stream/", "file/", "proxy="))

    def tried() -> Iterator[tuple[str, Answer]]:
        for path in map(str, studio.secrets()):
            for form in forms(path, studio):
                for method in ("GET", "HEAD"):
                    yield form, studio.ask(method, f"/gradio_api/file={form}")
            for route in routes:
                for form in (f"..{path}", f"../../../../../../../..{path}", f"%2e%2e{path}", path):
                    yield route + form, studio.ask("GET", route + form)

    return tally(tried())


def forms(path: str, studio: Attacked) -> list[str]:
    """A path in an address, in fourteen ways."""
    uploads = f"{studio.store}/files"
    up = f"{uploads}/../../../{Path(path).name}"
    return [
        *(path, quote(path), quote(path, safe=""), f"//{path}", f"file://{path}"),
        *(up, quote(up), up.replace("..", "%2e%2e"), up.replace("..", "%252e%252e")),
        *(f"{uploads}/..%2f..%2f..%2fsecret.txt", f"{path}%00.png", path.replace("/", "\\")),
        f"http://127.0.0.1:{studio.port}/gradio_api/file={path}",
        os.path.relpath(path, studio.folder / "cwd"),
    ]


def paths_in_requests(studio: Attacked) -> Outcome:
    """Other files in every parameter of every event, in every form a file can have there."""

    def tried() -> Iterator[tuple[str, Answer]]:
        path = str(studio.folder / "cwd/secret.txt")
        up = f"{studio.store}/files/../secret.txt"
        for event in studio.config["dependencies"]:
            for place in range(len(event["inputs"])):
                for form in (path, up):
                    named = dict(name="a.png", path=form)
                    for value in (studio.file(form), [named], [studio.file(form)], form,
                                  dict(painted=form), dict(painted=studio.file(form))):  # fmt: skip
                        data = [None] * len(event["inputs"])
                        data[place] = value
                        what = f"event {event['id']}, parameter {place}"
                        yield what, studio.call(fresh(), event["id"], data, dict(index=0, x=0, y=0))

    return tally(tried())


_numbers = itertools.count()


def fresh() -> str:
    """A visitor whom the studio has not seen."""
    return f"attacker{next(_numbers)}"


def other_addresses(studio: Attacked) -> Outcome:
    """The studio as a way to other machines: addresses in the places of files."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/x.png"
        picture = studio.upload("a.png", small_png())
        answered, asked = Counter(), []
        calls: list[Callable[[], Answer]] = [
            lambda p=path: studio.ask("GET", p)
            for path in (f"/gradio_api/file={url}", f"/gradio_api/proxy={url}", f"/proxy={url}")
        ]
        for part in ("person", "garment"):
            for value in (studio.file(url), studio.file(picture, url=url), dict(url=url), url):
                rest = [] if part == "garment" else ["upper_body", "coral_synthetic"]
                calls.append(
                    lambda p=part, v=value, r=rest: studio.call(fresh(), (p, "input"), [v, *r])
                )
        for part in DROPS:
            calls.append(
                lambda p=part: studio.call(fresh(), (p, "upload"), [[dict(name="a", path=url)]])
            )
        for call in calls:
            answered[said(call())] += 1
            try:
                trap.accept()[0].close()
                asked.append("an address was asked")
            except TimeoutError:
                pass
    return Outcome(len(calls), asked, answered)


def small_png() -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(data, "PNG")
    return data.getvalue()


def to_every_drop(studio: Attacked, name: str, data: bytes) -> Iterator[Answer]:
    """One file in every place of the page that takes files."""
    path = studio.upload(name, data)
    yield studio.call(
        fresh(), ("person", "input"), [studio.file(path), "upper_body", "coral_synthetic"]
    )
    yield studio.call(fresh(), ("garment", "input"), [studio.file(path)])
    sent = [dict(name=name, path=path)]
    for part in DROPS:
        yield studio.call(fresh(), (part, "upload"), [sent])
    rest = [*PERSON, 1, 0]
    yield studio.call(fresh(), ("batch-start", "click"), [sent, sent, None, *rest])
    yield studio.call(fresh(), ("batch-start", "click"), [None, None, sent, *rest])


def refused_everywhere(studio: Attacked, files: dict[str, bytes]) -> Outcome:
    """Files that must be answered by a sentence wherever they are dropped."""
    through, answered, tries = [], Counter(), 0
    for name, data in files.items():
        for answer in to_every_drop(studio, name, data):
            tries += 1
            answered[said(answer)] += 1
            if said(answer) == "nothing":
                through.append(f"{name} was taken")
    if studio.process.poll() is not None:
        through.append("the studio ended")
    return Outcome(tries, through, answered)


def pixel_bombs(studio: Attacked) -> Outcome:
    """300 megapixels in 40 kB, as a photograph, a garment, a painted area, a member of a zip."""
    bomb = bomb_png(20_000, 15_000)
    found = refused_everywhere(
        studio, {"bomb.png": bomb, "bomb.zip": zipped({"image/a.png": bomb})}
    )
    visitor = fresh()
    studio.call(visitor, ("examples", "select"), [], dict(index=0))
    painted = dict(painted="data:image/png;base64," + base64.b64encode(bomb).decode())
    answer = studio.call(visitor, ("start", "click"), drawing(area=painted))
    through = found.through + (["a painted bomb"] if "slide" in answer.text else [])
    return Outcome(found.tries + 1, through, found.answered + Counter([said(answer)]))


def drawing(area=None, steps: int = 1, seed: int = 0) -> list:
    """The parameters of a try-on."""
    return [area, *PERSON, steps, seed, 1, True]


def zipped(members: dict[str, bytes], level: int = 9) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def zip_bombs(studio: Attacked) -> Outcome:
    """A gigabyte of zeros in a megabyte; one that lies about it; a hundred thousand members."""
    honest = zipped({"image/a.jpg": bytes(2**30)}, level=1)
    size = (2**30).to_bytes(4, "little")
    liar = honest.replace(size, (1000).to_bytes(4, "little"))
    many = zipped({f"image/{n}.jpg": b"" for n in range(100_001)}, level=0)
    nested = zipped({"a.zip": honest})
    files = {"zeros.zip": honest, "liar.zip": liar, "many.zip": many, "nested.zip": nested}
    return refused_everywhere(studio, files)


def zip_paths(studio: Attacked) -> Outcome:
    """Members that would be written elsewhere, and links that lead out."""
    before = {path for path in studio.folder.rglob("*") if studio.store not in path.parents}
    through, answered = [], Counter()
    link = zipfile.ZipInfo("image/link.jpg")
    link.external_attr = 0o120777 << 16
    names = ["../out.jpg", "../../../../out.jpg", str(studio.folder / "cwd/out.jpg"),
             "image/../../../out.jpg", "..\\..\\out.jpg", "C:\\out.jpg", "a" * 300]  # fmt: skip
    archives = [zipped({name: b"x"}) for name in names]
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(link, str(studio.folder / "secret.txt"))
        archive.writestr("pairs.csv", "person,garment\nimage/link.jpg,image/link.jpg\n")
    archives.append(data.getvalue())
    for content in archives:
        for answer in to_every_drop(studio, "set.zip", content):
            answered[said(answer)] += 1
            if SECRET in answer.text:
                through.append("a link was followed")
    after = {path for path in studio.folder.rglob("*") if studio.store not in path.parents}
    through += [f"{path} was written" for path in after - before]
    return Outcome(answered.total(), through, answered)


def tables(studio: Attacked) -> Outcome:
    """Tables of pairs that name files of the machine."""

    def tried() -> Iterator[tuple[str, Answer]]:
        for path in (*map(str, studio.secrets()), "/etc/passwd", "../../../secret.txt"):
            for row in (f"{path},a.png", f"a.png,{path}", f"a.png,a.png,upper_body,{path}"):
                head = "person,garment,category,mask"
                content = zipped({"pairs.csv": f"{head}\n{row}\n".encode(), "a.png": small_png()})
                sent = [dict(name="t.zip", path=studio.upload("t.zip", content))]
                rest = [*PERSON, 1, 0]
                answer = studio.call(fresh(), ("batch-start", "click"), [None, None, sent, *rest])
                yield row, answer

    return tally(tried())


def pickles(studio: Attacked) -> Outcome:
    """A pickle that makes a folder: as checkpoint, as model's folder, in every place for files."""
    import torch

    canary = studio.folder / "executed"
    evil = studio.folder / "evil.pth"
    torch.save({"state_dict": {}, "x": Malicious(canary)}, evil)
    packed = pickle.dumps(Malicious(canary))
    files = {"model.pth": evil.read_bytes(), "a.png": packed, "receipt.json": packed}
    found = refused_everywhere(studio, files)
    (studio.folder / "model").mkdir()
    (studio.folder / "model/model.safetensors").write_bytes(evil.read_bytes())
    (studio.folder / "model/config.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    config = str(ROOT / "configs/coral/dit_synthetic.py")
    starts = (
        ["--model", config, "--checkpoint", str(evil)],
        ["--model", str(studio.folder / "model")],
    )
    through, answered = list(found.through), found.answered
    for arguments in starts:
        command = [sys.executable, str(ROOT / "tools/app.py"), "--port", "0", *arguments]
        done = subprocess.run(command, cwd=studio.folder / "cwd", capture_output=True, text=True)
        sentence = done.returncode == 2 and done.stderr.strip().splitlines()[-1].startswith(
            "error: "
        )
        answered["a sentence" if sentence else f"exit code {done.returncode}"] += 1
        through += [] if sentence else ["a studio started with a pickle"]
    through += ["code ran"] if canary.exists() else []
    evil.unlink()
    return Outcome(found.tries + len(starts), through, answered)


def endless_bodies(studio: Attacked) -> Outcome:
    """Bodies that claim, or send, more than is taken."""

    def endless() -> Iterator[bytes]:
        for _ in range(400):
            yield bytes(2**20)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    claimed = kind | {"Content-Length": str(10**11)}
    deep = b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    json_kind = {"Content-Type": "application/json"}
    tries = (
        lambda: studio.ask("POST", "/gradio_api/upload", b"x", claimed),
        lambda: studio.ask("POST", "/gradio_api/upload", endless(), kind),
        lambda: studio.ask("POST", "/gradio_api/queue/join", endless(), json_kind),
        lambda: studio.ask("POST", "/gradio_api/queue/join", bytes(5 * 2**20), json_kind),
        lambda: studio.ask("POST", "/gradio_api/queue/join", deep, json_kind),
        lambda: studio.ask("POST", "/gradio_api/queue/join", b"\xff\xfe", json_kind),
    )
    answers = [attempt() for attempt in tries]
    through = ["a body was taken"] * sum(answer.status == 200 for answer in answers)
    return Outcome(len(tries), through, Counter(map(said, answers)))


def other_sites(studio: Attacked) -> Outcome:
    """Pages elsewhere that would use a studio on this machine through its visitor's browser."""
    port = studio.port
    tries = [
        dict(Host=f"evil.example:{port}"),
        dict(Host="127.0.0.1.evil.example"),
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ]
    paths = ("/", "/config", "/gradio_api/startup-events")
    answers = [studio.ask("GET", path, None, headers) for headers in tries for path in paths]
    through = ["it answered"] * sum(answer.status == 200 for answer in answers)
    return Outcome(len(answers), through, Counter(map(said, answers)))


def crowd(studio: Attacked) -> Outcome:
    """Twenty visitors at once, each with a person of its own: all of them theirs, or refused."""
    seeds = [number % 6 for number in range(CROWD)]
    alone = {}
    for seed in sorted(set(seeds)):
        alone[seed] = drawn(studio, fresh(), seed)
    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(lambda seed: drawn(studio, fresh(), seed), seeds))
    answered, through = Counter(), []
    for seed, answer in zip(seeds, answers, strict=True):
        if answer == alone[seed]:
            answered["its own picture"] += 1
        elif answer.isdigit():
            answered[answer] += 1
        else:
            through.append("somebody else's picture")
    return Outcome(CROWD, through, answered)


def drawn(studio: Attacked, visitor: str, number: int) -> str:
    """The picture that a visitor gets of an example, or HTTP's refusal."""
    chosen = studio.call(visitor, ("examples", "select"), [], dict(index=number))
    if chosen.status != 200:
        return str(chosen.status)
    answer = studio.call(visitor, ("start", "click"), drawing(steps=8, seed=number))
    if answer.status != 200:
        return str(answer.status)
    last = [line for line in answer.text.splitlines() if "process_completed" in line]
    found = json.loads(last[-1].removeprefix("data: ")) if last else {}
    text = json.dumps(found)
    start = text.find("data:image/png;base64,")
    return text[start : text.find('\\"', start)] if start >= 0 else "no picture: " + text[:300]


def receipts(studio: Attacked) -> Outcome:
    """Receipts that ask for a thousand million steps, or hold pictures that fill the memory."""
    from vtonlab.apis.receipts import KIND, identity

    def receipt(picture: bytes, steps: int) -> bytes:
        text = base64.b64encode(picture).decode()
        return json.dumps(
            dict(
                kind=KIND,
                model=identity("coral_synthetic"),
                settings=dict(seed=0, num_steps=steps, guidance_scale=1.0, repaint=True),
                pair=dict(id="a", garment_id="b", category="upper_body", source_size=[96, 72]),
                shown={name: text for name in ("person", "garment", "mask", "agnostic", "pose")},
                picture_sha256="0",
            )
        ).encode()

    answered, through = Counter(), []
    for picture, steps in ((small_png(), 10**9), (small_png(), 999), (bomb_png(13_000, 13_000), 1)):
        sent = [dict(name="r.json", path=studio.upload("r.json", receipt(picture, steps)))]
        word = said(studio.call(fresh(), ("open-receipt", "upload"), [sent]))
        answered[word] += 1
        through += ["a receipt was drawn"] if word == "nothing" else []
    return Outcome(3, through, answered)


def many_visitors(studio: Attacked) -> Outcome:
    """A hundred names of visitors, one after the other: what is kept of them is bounded."""
    for number in range(100):
        studio.call(fresh(), ("examples", "select"), [], dict(index=number % 6))
    kept = len(list(studio.store.glob("visitor-*")))
    through = [] if kept <= 32 else [f"{kept} folders are kept"]
    return Outcome(100, through, Counter({f"{kept} of 100 kept": 1}))


ATTACKS: dict[str, tuple[str, Callable[[Attacked], Outcome]]] = {
    "addresses": ("a file outside, by 14 forms of its path and 7 other routes", read_outside),
    "requests": ("a file outside, in every parameter of every event", paths_in_requests),
    "tables": ("a file outside, in a table of pairs", tables),
    "proxies": ("an address in place of a file (SSRF)", other_addresses),
    "sites": ("a page elsewhere, a rebound name", other_sites),
    "pixels": ("300 megapixels in 40 kB, everywhere", pixel_bombs),
    "zips": ("zip bombs: 1 GiB in 5 MB, lying, nested, 100 001 members", zip_bombs),
    "names": ("zip members that lead out, links", zip_paths),
    "pickles": ("a pickle as checkpoint, as model, everywhere", pickles),
    "receipts": ("receipts of 1e9 steps, of 169 megapixels", receipts),
    "bodies": ("100 GB claimed, 400 MB sent, JSON 100 000 deep", endless_bodies),
    "crowd": (f"{CROWD} try-ons at once", crowd),
    "visitors": ("100 visitors one after the other", many_visitors),
}


def measure(folder: Path, chosen: list[str]) -> Iterator[tuple[str, Outcome, int, float]]:
    """(what was tried, outcome, memory over the start, seconds) of each attack."""
    with attacked(folder) as studio:
        for number in range(6):
            drawn(studio, fresh(), number)
        for name in chosen:
            what, attack = ATTACKS[name]
            base, start = studio.forget_peak(), time.monotonic()
            outcome = attack(studio)
            if studio.process.poll() is not None:
                outcome.through.append("the studio ended")
            yield what, outcome, studio.peak() - base, time.monotonic() - start
        store = studio.store
    if store.exists():
        yield "what visitors left", Outcome(1, ["files were left behind"], Counter()), 0, 0.0


def hostile_visitors(folder: Path) -> Measured:
    """The row of the card: of all attempts, how many got through."""
    if find_spec("gradio") is None:
        return Measured("Gradio is not installed here", None)
    tries, through, most = 0, [], 0
    for _, outcome, memory, _ in measure(folder, list(ATTACKS)):
        tries += outcome.tries
        through += outcome.through
        most = max(most, memory)
    text = f"{len(through)} of {tries}, at most {most / 2**20:.0f} MiB over an ordinary try-on"
    return Measured(text, not through and most < MOST_MEMORY)


def table(rows: list[tuple[str, Outcome, int, float]], told: str) -> str:
    """As Markdown."""
    head = ("what visitors tried", "tries", "got through", "answered", "memory, MiB", "seconds")
    lines = [head, ("---", "--:", "--:", "---", "--:", "--:")]
    for what, outcome, memory, seconds in rows:
        answered = ", ".join(f"{word}: {n}" for word, n in outcome.answered.most_common())
        through = str(len(outcome.through))
        cells = (
            what,
            str(outcome.tries),
            through,
            answered,
            f"{memory / 2**20:.0f}",
            f"{seconds:.0f}",
        )
        lines.append(cells)
    return "\n".join([told, "", *("| " + " | ".join(cells) + " |" for cells in lines)])


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=ATTACKS, help="these attacks alone")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/reliability.md")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if find_spec("gradio") is None:
        raise ImportError("the studio needs Gradio: pip install 'vtonlab[app]'")
    if args.only and args.out == ROOT / "docs/reliability.md":
        raise ValueError("--only would write half a table: give another --out")
    from reliability_report import insert, measured_on

    rows, start = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        for row in measure(Path(folder), list(args.only or ATTACKS)):
            rows.append(row)
            what, outcome, memory, seconds = row
            through = "; ".join(outcome.through[:3]) or "nothing"
            cost = f"{memory / 2**20:.0f} MiB, {seconds:.0f} s"
            print(f"{what}: {outcome.tries} tries, got through: {through}", flush=True)
            print(f"    {dict(outcome.answered)}, {cost}", flush=True)
    command = "python tools/reliability/hostile_studio.py"
    insert(args.out, table(rows, measured_on(command, time.monotonic() - start)), BEGIN, END)
    print(f"written to {args.out}")
    bad = any(outcome.through for _, outcome, _, _ in rows)
    return int(bad or max(memory for _, _, memory, _ in rows) > MOST_MEMORY)


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
