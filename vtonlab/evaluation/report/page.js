"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const [PERSON, AGNOSTIC, GARMENT, TARGET, OUTPUTS, SCORES] = [3, 4, 5, 6, 7, 8]; // places in a pair
const INPUTS = [[PERSON, "person"], [AGNOSTIC, "masked"], [GARMENT, "garment"], [TARGET, "truth"]];

function make(tag, facts = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(facts)) {
    if (key in element && key !== "style") element[key] = value; else element.setAttribute(key, value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}
const dot = colour => make("i", { className: "dot", style: `--c:${colour}` });
const picture = number => number === null || number === undefined ? "" : DATA.pictures[number];
function show(value) {
  if (value === null || value === undefined) return "none";
  const size = Math.abs(value);
  return Number.isInteger(value) && size >= 1000 ? String(value) : size && size < 5e-4 ? value.toExponential(1) : value.toFixed(size >= 10 ? 2 : 3);
}
function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => make("option", { value, textContent: text })));
  if (entries.some(([value]) => String(value) === String(chosen))) select.value = chosen;
}

// Pairs: spread, extremes, gallery ---------------------------------------------------------------

const pairs = (() => {
  let group, metric = 0, range = null, shown = [], drawn = 0;
  const values = (pair, column = metric) => pair[SCORES].map(row => row[column]);
  const known = value => value !== null && value !== undefined;
  const sign = () => group.columns[metric].better === "down" ? -1 : 1;

  function open(number) {
    group = DATA.groups[number]; range = null;
    document.documentElement.style.setProperty("--shape", `${group.size[0]} / ${group.size[1]}`);
    options($("metric"), group.columns.map((c, i) => [i, c.label]), 0);
    const categories = [...new Set(group.pairs.map(pair => pair[2]))].sort();
    options($("category"), [["", "all"], ...categories.map(c => [c, c.replaceAll("_", " ")])]);
    $("category").hidden = categories.length < 2;
    const versus = [];
    group.systems.forEach((a, i) => group.systems.forEach((b, j) => { if (i !== j) versus.push([`${i},${j}`, `${a.name} beats ${b.name}`]); }));
    options($("show"), [["", "all"], ...versus]);
    $("show").hidden = !versus.length;
    choose(0);
  }

  function choose(column) {
    metric = Number(column); range = null;
    const entries = [["list", "as listed"]];
    group.systems.forEach((system, i) => entries.push([`best,${i}`, `best of ${system.name}`], [`worst,${i}`, `worst of ${system.name}`]));
    if (group.systems.length > 1) entries.push(["gap", "models differ most"]);
    options($("sort"), entries, $("sort").value);
    spread(); extremes(); filter();
  }

  function spread() {
    const column = group.columns[metric], all = group.systems.map((_, i) => group.pairs.map(pair => values(pair)[i]).filter(known));
    const flat = all.flat(), low = Math.min(...flat), high = Math.max(...flat), bins = Math.min(32, Math.max(8, Math.round(Math.sqrt(flat.length) * 1.6)));
    if (!flat.length) { $("histogram").replaceChildren(); $("summary").textContent = "No pair has this score."; return; }
    const step = (high - low) / bins || 1, W = Math.max(280, $("histogram").clientWidth), H = 200, L = 30, R = 10, T = 14, B = 30;
    const counts = all.map(list => { const c = Array(bins).fill(0); for (const v of list) c[Math.min(bins - 1, Math.floor((v - low) / step))]++; return c; });
    const top = Math.max(1, ...counts.flat()), x = bin => L + bin / bins * (W - L - R), y = n => H - B - n / top * (H - T - B);
    const at = value => x((value - low) / step);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const draw = (tag, facts, text = "") => {
      const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [k, v] of Object.entries(facts)) e.setAttribute(k, v);
      e.textContent = text; svg.append(e); return e;
    };
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`); svg.setAttribute("role", "img"); svg.setAttribute("aria-label", `How ${column.label} spreads over the pairs`);
    const pick = draw("rect", { class: "pick", y: T, height: H - T - B, width: 0 });
    draw("line", { class: "grid", x1: L, x2: W - R, y1: H - B, y2: H - B });
    for (const n of [0, Math.ceil(top / 2), top]) draw("text", { x: L - 8, y: y(n) + 4, "text-anchor": "end" }, n);
    const marks = W < 480 ? 2 : 4;
    for (let i = 0; i <= marks; i++) draw("text", { x: x(i * bins / marks), y: H - B + 20, "text-anchor": i ? i < marks ? "middle" : "end" : "start" }, show(low + i / marks * step * bins));
    const median = list => { const s = [...list].sort((a, b) => a - b), n = s.length; return n % 2 ? s[(n - 1) / 2] : (s[n / 2 - 1] + s[n / 2]) / 2; };
    all.forEach((list, i) => {
      const colour = group.systems[i].colour;
      let path = `M${x(0)},${y(0)}`;
      counts[i].forEach((n, bin) => { path += `V${y(n)}H${x(bin + 1)}`; });
      draw("path", { d: path + `V${y(0)}`, fill: colour, "fill-opacity": .16, stroke: colour, "stroke-width": 2 });
      if (list.length) draw("line", { x1: at(median(list)), x2: at(median(list)), y1: T - 8, y2: H - B, stroke: colour, "stroke-width": 2, "stroke-dasharray": "2 4" });
    });
    let from = null;
    const bin = event => { const box = svg.getBoundingClientRect(); return Math.max(0, Math.min(bins - 1, Math.floor(((event.clientX - box.left) / box.width * W - L) / (W - L - R) * bins))); };
    const mark = (a, b) => { pick.setAttribute("x", x(Math.min(a, b))); pick.setAttribute("width", x(Math.max(a, b) + 1) - x(Math.min(a, b))); };
    svg.onpointerdown = event => { from = bin(event); svg.setPointerCapture(event.pointerId); mark(from, from); };
    svg.onpointermove = event => { if (from !== null) mark(from, bin(event)); };
    svg.onpointerup = event => {
      const to = bin(event), [a, b] = [Math.min(from, to), Math.max(from, to)]; from = null;
      range = [low + a * step, b === bins - 1 ? high : low + (b + 1) * step, b === bins - 1]; filter();
    };
    svg.onpointercancel = () => { from = null; if (!range) pick.setAttribute("width", 0); };
    $("histogram").replaceChildren(svg);
    const says = all.map((list, i) => make("span", {}, dot(group.systems[i].colour), list.length ? `${group.systems[i].name}: median ${show(median(list))}, ${show(Math.min(...list))} to ${show(Math.max(...list))}` : `${group.systems[i].name}: not scored`));
    if (group.systems.length === 2 && column.better) {
      const both = group.pairs.map(p => values(p)).filter(v => v.every(known)), wins = both.filter(v => sign() * (v[1] - v[0]) > 0).length;
      says.push(make("b", { textContent: `${group.systems[1].name} is better on ${wins} of ${both.length} pairs` }));
    }
    $("summary").replaceChildren(...says);
  }

  function extremes() {
    const column = group.columns[metric], last = group.systems.length - 1;
    if (!column.better || group.pairs.length < 4) { $("extremes").replaceChildren(); return; }
    const ranked = group.pairs.filter(pair => known(values(pair)[last])).sort((a, b) => sign() * (values(b)[last] - values(a)[last]));
    const count = Math.min(3, Math.floor(ranked.length / 2)), name = group.systems[last].name;
    const block = (title, list) => make("div", { className: "card" }, make("h3", { textContent: title }), ...list.map(pair => card(pair, list)));
    $("extremes").replaceChildren(
      block(`${name} at its best: ${column.label}`, ranked.slice(0, count)),
      block(`${name} at its worst: ${column.label}`, ranked.slice(-count).reverse()));
  }

  function filter() {
    const text = $("search").value.trim().toLowerCase(), category = $("category").value, beats = $("show").value, order = $("sort").value;
    shown = group.pairs.filter(pair => {
      if (text && !`${pair[0]} ${pair[1]}`.toLowerCase().includes(text)) return false;
      if (category && pair[2] !== category) return false;
      const v = values(pair);
      if (beats) { const [a, b] = beats.split(",").map(i => v[i]); if (!known(a) || !known(b) || sign() * (a - b) <= 0) return false; }
      return !range || v.some(one => known(one) && one >= range[0] && (range[2] ? one <= range[1] : one < range[1]));
    });
    const key = { best: pair => -sign() * values(pair)[order.split(",")[1]], worst: pair => sign() * values(pair)[order.split(",")[1]], gap: pair => Math.min(...values(pair).filter(known)) - Math.max(...values(pair).filter(known)) }[order.split(",")[0]];
    if (key) shown = shown.map(pair => [Number.isNaN(key(pair)) ? Infinity : key(pair), pair]).sort((a, b) => a[0] - b[0]).map(entry => entry[1]);
    $("range").hidden = !range;
    if (range) $("range").textContent = `${group.columns[metric].label} ${show(range[0])} to ${show(range[1])} ×`;
    $("count").textContent = shown.length === group.pairs.length ? `${shown.length} pairs` : `${shown.length} of ${group.pairs.length} pairs`;
    drawn = 0; $("gallery").replaceChildren(); fill();
  }

  function fill() {
    const next = shown.slice(drawn, drawn + 24);
    $("gallery").append(...next.map(pair => card(pair, shown)));
    drawn += next.length;
  }

  function card(pair, list) {
    const cell = (number, text, colour) => make("span", {},
      make("img", { loading: "lazy", decoding: "async", alt: text, src: picture(number) }), make("em", {}, colour ? dot(colour) : null, text));
    const cells = INPUTS.slice(1, 3).filter(([place]) => known(pair[place])).map(([place, text]) => cell(pair[place], text));
    group.systems.forEach((system, i) => { if (known(pair[OUTPUTS][i])) cells.push(cell(pair[OUTPUTS][i], system.name, system.colour)); });
    if (known(pair[TARGET])) cells.push(cell(pair[TARGET], "truth"));
    const says = [make("span", { textContent: pair[0] === pair[1] ? pair[0] : `${pair[0]} in ${pair[1]}` })];
    values(pair).forEach((value, i) => { if (known(value)) says.push(make("span", {}, dot(group.systems[i].colour), show(value))); });
    return make("button", { className: "pair", type: "button", onclick: () => viewer.open(group, list, list.indexOf(pair)) },
      make("span", { className: "strip" }, ...cells), make("span", { className: "says" }, ...says));
  }

  function start() {
    if (!$("gallery")) return;
    options($("group"), DATA.groups.map((g, i) => [i, g.name])); $("group").hidden = DATA.groups.length < 2;
    $("group").onchange = () => { open(Number($("group").value)); attention.group(Number($("group").value)); };
    $("metric").onchange = () => choose($("metric").value);
    for (const id of ["category", "show", "sort"]) $(id).onchange = filter;
    $("search").oninput = filter;
    $("range").onclick = () => { range = null; spread(); filter(); };
    open(0);
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; spread(); } });
    new IntersectionObserver(seen => { if (seen[0].isIntersecting) while (drawn < shown.length && $("more").getBoundingClientRect().top < innerHeight + 900) fill(); }, { rootMargin: "900px" }).observe($("more"));
  }
  return { start };
})();

// One pair, large, with a swipe ------------------------------------------------------------------

const viewer = (() => {
  let group, list, place, sides = null;
  const swipe = $("swipe");
  function to(share) {
    const x = Math.max(0, Math.min(1, share)); swipe.style.setProperty("--x", `${100 * x}%`); swipe.setAttribute("aria-valuenow", Math.round(100 * x));
  }
  function choices(pair) {
    const found = group.systems.map((system, i) => [`o${i}`, system.name, pair[OUTPUTS][i]]);
    for (const [where, text] of given(pair)) found.push([`i${where}`, text, pair[where]]);
    return found.filter(entry => entry[2] !== null && entry[2] !== undefined);
  }
  const given = pair => INPUTS.filter(([where]) => pair[where] !== null && !(where === PERSON && pair[PERSON] === pair[TARGET]));
  function paint() {
    const pair = list[place], found = choices(pair), named = Object.fromEntries(found.map(([key, text, number]) => [key, [text, number]]));
    for (const side of ["left", "right"]) {
      const usual = side === "left" ? found[0][0] : (found.length > 1 ? (group.systems.length > 1 ? found[1][0] : `i${TARGET}` in named ? `i${TARGET}` : found[1][0]) : found[0][0]);
      options($(side), found.map(entry => entry.slice(0, 2)), sides && sides[side] in named ? sides[side] : usual);
      const [text, number] = named[$(side).value];
      $(`swipe-${side}`).src = picture(number); $(`swipe-${side}`).alt = text; $(`swipe-${side}-name`).textContent = text;
    }
    $("viewer-title").textContent = pair[0];
    $("viewer-facts").textContent = [pair[0] === pair[1] ? "in their own garment" : `in garment ${pair[1]}`, (pair[2] || "").replaceAll("_", " ")].filter(Boolean).join(", ");
    $("viewer-given").replaceChildren(...given(pair).map(([where, text]) => make("span", {}, make("img", { src: picture(pair[where]), alt: text }), text)));
    const head = make("tr", {}, make("th", { textContent: "score" }), ...group.systems.map(system => make("th", { className: "n" }, dot(system.colour), system.name)));
    $("viewer-scores").replaceChildren(head, ...group.columns.map((column, c) => {
      const row = pair[SCORES].map(scores => scores[c]), numbers = row.filter(v => v !== null && v !== undefined);
      const best = column.better && numbers.length > 1 ? Math[column.better === "up" ? "max" : "min"](...numbers) : null;
      return make("tr", {}, make("td", { textContent: column.label }), ...row.map(v => make("td", { className: v !== null && v === best ? "n best" : "n", textContent: show(v) })));
    }));
    $("viewer-place").textContent = `${place + 1} of ${list.length}`;
  }
  function turn(by) { place = (place + by + list.length) % list.length; paint(); }
  function open(...given) { [group, list, place] = given; to(.5); paint(); if (!$("viewer").open) $("viewer").showModal(); $("viewer").scrollTop = 0; }
  function start() {
    const follow = event => { const box = swipe.getBoundingClientRect(); to((event.clientX - box.left) / box.width); };
    swipe.onpointerdown = event => { swipe.setPointerCapture(event.pointerId); follow(event); };
    swipe.onpointermove = event => { if (event.buttons || event.pointerType === "mouse") follow(event); };
    swipe.onkeydown = event => {
      const by = { ArrowLeft: -.05, ArrowRight: .05 }[event.key]; if (!by) return;
      to(parseFloat(swipe.style.getPropertyValue("--x")) / 100 + by); event.preventDefault(); event.stopPropagation();
    };
    for (const side of ["left", "right"]) $(side).onchange = () => { sides = { left: $("left").value, right: $("right").value }; paint(); };
    $("previous").onclick = () => turn(-1); $("next").onclick = () => turn(1);
    $("viewer").onkeydown = event => { if (event.target.tagName !== "SELECT") { if (event.key === "ArrowLeft") turn(-1); if (event.key === "ArrowRight") turn(1); } };
    $("viewer").onclick = event => { if (event.target === $("viewer")) $("viewer").close(); };
  }
  return { start, open };
})();

// Attention --------------------------------------------------------------------------------------

const attention = (() => {
  let number = 0, entry = null, pair = null, query = -1, seen = [], images = {}, turnOf = 0;
  const image = src => new Promise((done, fail) => { const i = new Image(); i.onload = () => done(i); i.onerror = fail; i.src = src; });
  const waiting = {};
  window.vtonlabAttention = (group, place, systems) => { DATA.attention[group][place].systems = systems; waiting[`${group},${place}`]?.(); };
  async function loaded(place) {
    const wanted = DATA.attention[number][place];
    if (!wanted.systems) await new Promise((done, fail) => { waiting[`${number},${place}`] = done; document.head.append(make("script", { src: wanted.script, onerror: fail })); });
    for (const maps of Object.values(wanted.systems)) if (typeof maps.maps === "string") maps.maps = await inflate(maps.maps);
    return wanted;
  }
  async function inflate(text) {
    const packed = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    return new Uint8Array(await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
  }
  function prepare(canvas, picture) {
    const zoom = Math.max(1, Math.ceil(480 / picture.height)), c = canvas.getContext("2d");
    canvas.width = picture.width * zoom; canvas.height = picture.height * zoom;
    c.imageSmoothingEnabled = zoom === 1; c.drawImage(picture, 0, 0, canvas.width, canvas.height); return c;
  }
  function ring(c, x, y, colour) {
    const r = c.canvas.height / 42;
    for (const [w, s] of [[r / 2.1, "#fff"], [r / 4.2, colour]]) { c.beginPath(); c.lineWidth = w; c.strokeStyle = s; c.arc(x, y, r, 0, 7); c.stroke(); }
  }
  const strongest = (maps, start, n) => { let best = 0; for (let k = 1; k < n; k++) if (maps[start + k] > maps[start + best]) best = k; return best; };
  // the four corners of the garment in four colours, as vtonlab.visualization.position_colors
  const place = (x, y) => { const mix = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t); return `rgb(${mix(mix([235, 64, 72], [250, 204, 60], x), mix([62, 92, 222], [40, 196, 140], x), y).map(Math.round)})`; };

  async function open(index) {
    const turn = ++turnOf;
    [...$("picks").children].forEach((button, i) => button.setAttribute("aria-pressed", i === index));
    const next = await loaded(index), group = DATA.groups[number];
    const row = group.pairs.find(p => p[0] === next.pair[0] && p[1] === next.pair[1]);
    const [person, garment] = await Promise.all([row[PERSON] ?? row[AGNOSTIC], row[GARMENT]].map(n => image(picture(n))));
    if (turn !== turnOf) return;
    entry = next; pair = row; images = { person, garment };
    const first = Object.values(entry.systems)[0], points = entry.truth ? Object.keys(entry.truth).map(Number) : first.rows;
    const centre = points.reduce((s, q) => [s[0] + q % first.grid[1] / points.length, s[1] + Math.floor(q / first.grid[1]) / points.length], [0, 0]);
    query = nearest(points, ...centre, first.grid[1]); seen = points;
    panels(); draw();
  }
  function nearest(points, x, y, width) {
    const far = q => (q % width - x) ** 2 + (Math.floor(q / width) - y) ** 2;
    return points.reduce((a, b) => far(b) < far(a) ? b : a);
  }
  function panels() {
    const group = DATA.groups[number], wanted = Object.keys(entry.systems);
    const key = wanted.map(i => `${i}:${entry.systems[i].layers}`).join();
    if ($("panels").dataset.key === key) return;
    $("panels").dataset.key = key;
    $("panels").replaceChildren(...wanted.map(i => {
      const system = group.systems[i], maps = entry.systems[i], select = make("select", { id: `layer-${i}`, "aria-label": `Layer of ${system.name}`, onchange: draw });
      options(select, maps.layers.map((name, l) => [l, name]), maps.start < 0 ? maps.layers.length - 1 : maps.start);
      return make("figure", {}, make("canvas", { id: `heat-${i}` }),
        make("figcaption", {}, make("span", {}, dot(system.colour), make("b", { textContent: system.name }), make("em", { className: "say",  id: `say-${i}` })), maps.layers.length > 1 ? select : null),
        make("div", { className: "all" }, make("canvas", { id: `all-${i}` }), make("span", { textContent: "every point, in the colour of the place it looks at" })));
    }), ...entry.truth ? [make("figure", {}, make("canvas", { id: "key" }), make("figcaption", {}, make("span", {}, dot("var(--true)"), make("b", { textContent: "the truth" }), " is ringed in green. The colours are those of the small pictures")),
      make("div", { className: "all" }, make("canvas", { id: "all-truth" }), make("span", { textContent: "where every point truly belongs" })))] : []);
  }
  function draw() {
    const first = Object.values(entry.systems)[0], [gh, gw] = first.grid, c = prepare($("person"), images.person), w = c.canvas.width / gw, h = c.canvas.height / gh;
    c.fillStyle = "rgba(255,255,255,.5)";
    for (const q of seen) { c.beginPath(); c.arc((q % gw + .5) * w, (Math.floor(q / gw) + .5) * h, Math.max(1.2, w / 14), 0, 7); c.fill(); }
    ring(c, (query % gw + .5) * w, (Math.floor(query / gw) + .5) * h, "#e4572e");
    $("asked").textContent = `row ${Math.floor(query / gw) + 1} of ${gh}, column ${query % gw + 1} of ${gw}`;
    for (const [i, maps] of Object.entries(entry.systems)) heat(i, maps, gw, gh);
    if (entry.truth) {
      const k = prepare($("key"), images.garment), [kh, kw] = first.keys;
      k.globalAlpha = .62;
      for (let n = 0; n < kh * kw; n++) { k.fillStyle = place((n % kw + .5) / kw, (Math.floor(n / kw) + .5) / kh); k.fillRect(n % kw * k.canvas.width / kw, Math.floor(n / kw) * k.canvas.height / kh, k.canvas.width / kw + .5, k.canvas.height / kh + .5); }
      k.globalAlpha = 1;
      if (entry.truth[query]) ring(k, entry.truth[query][0] * k.canvas.width, entry.truth[query][1] * k.canvas.height, "#0e9f6e");
      everything("all-truth", first.grid, Object.entries(entry.truth).map(([q, at]) => [Number(q), ...at]));
    }
  }
  function everything(id, grid, points) {
    const canvas = $(id), c = canvas.getContext("2d"), zoom = 8;
    canvas.width = grid[1] * zoom; canvas.height = Math.round(canvas.width * images.person.height / images.person.width);
    c.globalAlpha = .35; c.drawImage(images.person, 0, 0, canvas.width, canvas.height); c.globalAlpha = 1;
    const w = canvas.width / grid[1], h = canvas.height / grid[0];
    for (const [q, x, y] of points) { c.fillStyle = place(x, y); c.fillRect(q % grid[1] * w, Math.floor(q / grid[1]) * h, w + .5, h + .5); }
  }
  function heat(i, maps, gw, gh) {
    const layer = Number($(`layer-${i}`)?.value ?? 0), [kh, kw] = maps.keys, n = kh * kw, [qh, qw] = maps.grid;
    const mine = qh === gh && qw === gw ? query : nearest(maps.rows, (query % gw + .5) / gw * qw - .5, (Math.floor(query / gw) + .5) / gh * qh - .5, qw);
    const row = maps.rows.indexOf(mine), start = (layer * maps.rows.length + row) * n, c = prepare($(`heat-${i}`), images.garment);
    const { width, height } = c.canvas;
    c.fillStyle = "rgba(16,19,26,.58)"; c.fillRect(0, 0, width, height);
    const cells = new ImageData(kw, kh);
    for (let k = 0; k < n; k++) {
      const s = maps.maps[start + k] / 255, v = s * s; // bytes are roots
      cells.data.set([255, Math.round(96 + 150 * v), Math.round(40 + 90 * v * v), Math.round(235 * s)], 4 * k);
    }
    const small = make("canvas", { width: kw, height: kh }); small.getContext("2d").putImageData(cells, 0, 0);
    c.imageSmoothingEnabled = images.garment.height > 200; c.drawImage(small, 0, 0, width, height);
    const best = strongest(maps.maps, start, n), x = (best % kw + .5) / kw, y = (Math.floor(best / kw) + .5) / kh, truth = entry.truth?.[query];
    let text = ` puts ${maps.mass[layer][row]} % of its attention on the garment`;
    if (truth) {
      const off = Math.max(Math.abs(x - truth[0]) * kw, Math.abs(y - truth[1]) * kh);
      ring(c, truth[0] * width, truth[1] * height, "#0e9f6e");
      text = off <= 1.0001 ? ` looks in the right place, with ${maps.mass[layer][row]} % of its attention on the garment` : ` is ${off.toFixed(1)} cells off, with ${maps.mass[layer][row]} % of its attention on the garment`;
    } else ring(c, x * width, y * height, "#e4572e");
    $(`say-${i}`).textContent = text;
    everything(`all-${i}`, maps.grid, maps.rows.map((q, r) => { const b = strongest(maps.maps, (layer * maps.rows.length + r) * n, n); return [q, (b % kw + .5) / kw, (Math.floor(b / kw) + .5) / kh]; }));
  }
  function choose(event) {
    if (!entry) return;
    const box = $("person").getBoundingClientRect(), [gh, gw] = Object.values(entry.systems)[0].grid;
    query = nearest(seen, (event.clientX - box.left) / box.width * gw - .5, (event.clientY - box.top) / box.height * gh - .5, gw); draw();
  }
  function step(event) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!by || !entry) return;
    const gw = Object.values(entry.systems)[0].grid[1], at = [query % gw, Math.floor(query / gw)];
    const ahead = seen.filter(q => (q % gw - at[0]) * by[0] + (Math.floor(q / gw) - at[1]) * by[1] > 0);
    if (ahead.length) { query = nearest(ahead, at[0] + by[0], at[1] + by[1], gw); draw(); }
    event.preventDefault();
  }
  function group(next) {
    if (!$("person")) return;
    const entries = DATA.attention[next];
    $("attention").hidden = !entries.length;
    if (!entries.length) return;
    number = next;
    $("picks").replaceChildren(...entries.map((found, i) => {
      const row = DATA.groups[number].pairs.find(p => p[0] === found.pair[0] && p[1] === found.pair[1]);
      return make("button", { type: "button", title: found.pair[0], onclick: () => open(i) }, make("img", { src: picture(row[PERSON] ?? row[AGNOSTIC]), alt: found.pair[0] }));
    }));
    open(0);
  }
  function start() {
    if (!$("person")) return;
    $("person").onpointermove = choose; $("person").onpointerdown = choose; $("person").onkeydown = step;
    group(Math.max(0, DATA.attention.findIndex(entries => entries.length)));
  }
  return { start, group };
})();

pairs.start(); viewer.start(); attention.start();
const links = [...document.querySelectorAll("nav a")];
const watcher = new IntersectionObserver(seen => seen.forEach(one => {
  if (one.isIntersecting) links.forEach(link => link.classList.toggle("here", link.hash === `#${one.target.id}`));
}), { rootMargin: "-30% 0px -60%" });
document.querySelectorAll("section").forEach(section => watcher.observe(section));
