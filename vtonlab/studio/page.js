// Sections for `parts.html`: each runs once for its element. Gradio gives `element`, `props`,
// `trigger` and `upload`. Listeners stand on the element itself: what is inside comes and goes.

// === slide
element.addEventListener("input", (event) => {
  const frame = event.target.closest(".slide");
  if (frame) frame.style.setProperty("--cut", event.target.value + "%");
});

// === picks
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-pick]");
  if (button) trigger("select", { index: Number(button.dataset.pick) });
});

// === tap
let later = 0;
const place = (tap, x, y, wait) => {
  x = Math.min(0.999, Math.max(0.001, x));
  y = Math.min(0.999, Math.max(0.001, y));
  tap.dataset.x = x;
  tap.dataset.y = y;
  const ring = tap.querySelector(".ring");
  ring.style.left = 100 * x + "%";
  ring.style.top = 100 * y + "%";
  clearTimeout(later);
  later = setTimeout(() => trigger("select", { x: x, y: y }), wait);
};
element.addEventListener("click", (event) => {
  const tap = event.target.closest(".tap");
  if (!tap) return;
  const box = tap.getBoundingClientRect();
  tap.focus({ preventScroll: true });
  place(tap, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, 0);
});
element.addEventListener("keydown", (event) => {
  const tap = event.target.closest(".tap");
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const move = moves[event.key];
  if (!tap || !move) return;
  event.preventDefault();
  const step = event.shiftKey ? 0.08 : 0.02;
  place(tap, Number(tap.dataset.x) + step * move[0], Number(tap.dataset.y) + step * move[1], 120);
});

// === brush
const find = (selector) => element.querySelector(selector);
const canvas = find("canvas"), tip = find(".tip"), slider = find("input");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const undo = [];
let made = null, erasing = false, last = null, at = { x: 0.5, y: 0.4 };
const radius = () => (slider.value / 200) * canvas.width;
const keep = () => { props.value = { painted: canvas.toDataURL("image/png") }; };
const remember = () => {
  undo.push(pen.getImageData(0, 0, canvas.width, canvas.height));
  if (undo.length > 12) undo.shift();
};
const stroke = (from, to) => {
  pen.globalCompositeOperation = erasing ? "destination-out" : "source-over";
  pen.strokeStyle = "#e4572e";
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = 2 * radius();
  pen.beginPath();
  pen.moveTo(from.x * canvas.width, from.y * canvas.height);
  pen.lineTo(to.x * canvas.width + 0.01, to.y * canvas.height);
  pen.stroke();
};
const show = () => {
  tip.hidden = false;
  tip.style.left = 100 * at.x + "%";
  tip.style.top = 100 * at.y + "%";
  tip.style.width = slider.value + "%";
};
const where = (event) => {
  const box = canvas.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
};
const picture = (source) => new Promise((done, fail) => {
  const image = new Image();
  image.onload = () => done(image);
  image.onerror = fail;
  image.src = source;
});
const lay = () => {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (made) pen.putImageData(made, 0, 0);
};
const load = async () => {
  const value = props.value;
  if (value && value.painted) return;
  find(".sheet").hidden = find(".tools").hidden = !value;
  find(".note").hidden = !!value;
  if (!value) return;
  const mask = await picture(value.mask);
  find("img").src = value.photo;
  canvas.width = mask.naturalWidth;
  canvas.height = mask.naturalHeight;
  pen.drawImage(mask, 0, 0);
  made = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let place = 0; place < made.data.length; place += 4) {
    const inside = made.data[place] > 127;
    made.data.set(inside ? [228, 87, 46, 255] : [0, 0, 0, 0], place);
  }
  undo.length = 0;
  lay();
};
canvas.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  canvas.focus({ preventScroll: true });
  remember();
  last = at = where(event);
  stroke(last, last);
});
canvas.addEventListener("pointermove", (event) => {
  at = where(event);
  show();
  if (last) {
    stroke(last, at);
    last = at;
  }
});
for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => {
  if (last) keep();
  last = null;
});
canvas.addEventListener("pointerleave", () => { if (!last) tip.hidden = true; });
canvas.addEventListener("blur", () => { tip.hidden = true; });
canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const move = moves[event.key];
  if (!move && event.key !== " ") return;
  event.preventDefault();
  const step = event.shiftKey ? 0.06 : 0.02;
  if (move) {
    at = {
      x: Math.min(1, Math.max(0, at.x + step * move[0])),
      y: Math.min(1, Math.max(0, at.y + step * move[1])),
    };
  } else {
    remember();
    stroke(at, at);
    keep();
  }
  show();
});
element.addEventListener("click", (event) => {
  const tool = event.target.closest("[data-tool]"), act = event.target.closest("[data-do]");
  if (tool) {
    erasing = tool.dataset.tool === "erase";
    for (const one of element.querySelectorAll("[data-tool]"))
      one.setAttribute("aria-pressed", String(one === tool));
  } else if (act) {
    if (act.dataset.do === "undo") {
      if (undo.length) pen.putImageData(undo.pop(), 0, 0);
    } else {
      remember();
      if (act.dataset.do === "reset") lay();
      else pen.clearRect(0, 0, canvas.width, canvas.height);
    }
    keep();
  }
});
watch("value", load);
load();

// === drop
const box = () => element.querySelector(".drop");
const say = (text) => { element.querySelector(".told").textContent = text; };
const walk = async (entry, inside, found) => {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    found.push([inside + file.name, file]);
  } else {
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!some.length) break;
      for (const one of some) await walk(one, inside + entry.name + "/", found);
    }
  }
};
const send = async (files) => {
  if (!files.length) return;
  const sent = new Array(files.length);
  let next = 0, done = 0;
  const worker = async () => {
    while (next < files.length) {
      const number = next++;
      const [name, file] = files[number];
      const answer = await upload(file);
      sent[number] = { name: name, path: answer.path };
      say(`${++done} of ${files.length} sent`);
    }
  };
  try {
    await Promise.all([worker(), worker(), worker(), worker()]);
  } catch (error) {
    say("the upload was refused: too large, or the studio is full");
    return;
  }
  say(files.length === 1 ? files[0][0] : `${files.length} files`);
  props.value = sent;
  trigger("upload");
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-choose]");
  if (button) element.querySelector(`[data-kind=${button.dataset.choose}]`).click();
});
element.addEventListener("change", (event) => {
  const files = Array.from(event.target.files || []);
  send(files.map((file) => [file.webkitRelativePath || file.name, file]));
  event.target.value = "";
});
element.addEventListener("dragover", (event) => {
  event.preventDefault();
  box().classList.add("over");
});
element.addEventListener("dragleave", () => box().classList.remove("over"));
element.addEventListener("drop", async (event) => {
  event.preventDefault();
  box().classList.remove("over");
  const entries = Array.from(event.dataTransfer.items, (item) => item.webkitGetAsEntry());
  const found = [];
  for (const entry of entries) if (entry) await walk(entry, "", found);
  send(found);
});
