// Seeds down, scales across. Joined after colour.js, large.js and words.js; scope: element, props, watch.
//
// A record is {run, row, i, n, seeds, scales, shape, preview, cells}: one evaluation of one seed's runs, a plane or a picture
// for each scale and, last, for the run without a prompt. {run, points, summary} ends a run; {form} has the first seed, how
// many and the scales, of which the places are laid before the first run. The page says "run", "cancel"
// and "end"; data-running is set on the nearest .trial, in which Cancel takes the button's place.

const SETTLE = 60, SVG = "http://www.w3.org/2000/svg", LINES = [["spread", "none"], ["distance", "6 4"], ["size", "1.5 3.5"]];
const root = element.querySelector(".seeds-scales"), find = (selector) => root.querySelector(selector), trial = root.closest(".trial");
const large = buildLarge(find(".large"), root), closed = new Set();
let run = null, phase = "empty", rest = "empty", cells = [], ending = 0, asking = null, points = [];

const make = (tag, className, text = "") => Object.assign(document.createElement(tag), { className, textContent: text });
const signed = (w) => String(w).replace("-", "−");

// --- the table ---

function lay(seeds, scales) {
  const heads = [...scales.map((w) => `w = ${signed(w)}`), "no prompt"];
  root.style.setProperty("--columns", heads.length);
  find("thead tr").replaceChildren(make("td", ""), ...heads.map((text, c) => Object.assign(make("th", c === scales.length ? "is-alone" : "", text),
    { scope: "col", title: c === scales.length ? "What the model draws unasked: distances are measured from here" : "" })));
  cells = seeds.map((seed) => heads.map((head, c) => {
    const td = make("td", c === scales.length ? "is-alone" : ""), button = Object.assign(make("button", ""), { type: "button", disabled: true });
    const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 32 }), image = Object.assign(make("img", ""), { alt: "", hidden: true, draggable: false });
    const pane = { canvas, picture: image, name: "picture", symbol: "", title: `seed ${seed}, ${head}`, label: `seed ${seed} ${head}`, at: "the end", large: true };
    button.setAttribute("aria-label", `Enlarge seed ${seed}, ${head}`);
    button.addEventListener("click", () => large.open(pane));
    button.append(canvas, image);
    td.append(button);
    return { td, button, canvas, image };
  }));
  find("tbody").replaceChildren(...seeds.map((seed, r) => {
    const row = make("tr", "");
    row.append(Object.assign(make("th", "", `seed ${seed}`), { scope: "row" }), ...cells[r].map((cell) => cell.td));
    return row;
  }));
}

// Where nothing was run yet, the places are those that the form asks for, as far as that can be read.
function reserve([first, count, text]) {
  const scales = [...new Set(String(text).replaceAll("−", "-").split(/[\s,;]+/).filter(Boolean).map(Number))].sort((a, b) => a - b);
  const fine = Number.isInteger(first) && first >= 0 && [2, 3, 4].includes(count) && scales.length >= 1 && scales.length <= 5 && scales.every(Number.isFinite);
  if (fine) lay(Array.from({ length: count }, (_, k) => first + k), scales);
}

function paint(cell, given, shape, preview) {
  if (given.picture) { cell.image.src = given.picture; cell.image.hidden = false; cell.button.disabled = false; return; }
  if (!given.x0) return;
  const [, height, width] = shape;
  Object.assign(cell.canvas, { width, height });
  const context = cell.canvas.getContext("2d"), image = context.createImageData(width, height);
  paintColour(image, halves(given.x0), shape, preview, 1);
  context.putImageData(image, 0, 0);
  cell.button.disabled = false;
}

// --- the curve over w: all in root mean squares of latents, so on one axis ---

function draw() {
  const plot = find(".plot"), sorted = [...points].sort((a, b) => a.scale - b.scale);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 100"); svg.setAttribute("preserveAspectRatio", "none"); svg.setAttribute("aria-hidden", "true");
  const line = (tag, attributes) => { const node = svg.appendChild(document.createElementNS(SVG, tag)); for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value); };
  const top = sorted.length ? ceiling(Math.max(...sorted.flatMap((point) => LINES.map(([name]) => point[name])))) : 1;
  const low = sorted[0]?.scale ?? 0, wide = (sorted.at(-1)?.scale ?? 1) - low || 1;
  const x = (w) => (100 * (w - low)) / wide, y = (value) => 100 - (100 * value) / top;
  const marks = [];
  const mark = (name, text, left, above) => { const node = make("span", name, text); if (left !== null) node.style.left = `${left}%`; if (above !== null) node.style.top = `${above}%`; marks.push(node); };
  for (const part of [0, 0.5, 1]) {
    line("line", { class: part ? "rule" : "base", x1: 0, x2: 100, y1: y(part * top), y2: y(part * top) });
    if (sorted.length) mark("y", +(part * top).toPrecision(2), null, y(part * top));
  }
  for (const [name, dash] of sorted.length ? LINES : []) {
    line("polyline", { class: `q-${name}`, "stroke-dasharray": dash, points: sorted.map((point) => `${x(point.scale)},${y(point[name])}`).join(" ") });
    for (const point of sorted) mark(`dot q-${name}`, "", x(point.scale), y(point[name]));
  }
  let last = -Infinity;
  for (const { scale } of sorted) { if (x(scale) - last < 6) continue; mark("x", `w = ${signed(scale)}`.replace(last > -Infinity ? "w = " : "", ""), x(scale), null); last = x(scale); }
  plot.replaceChildren(svg, ...marks);
  const said = sorted.map((point) => `w ${signed(point.scale)}: spread ${fixed(point.spread)}, distance ${fixed(point.distance)}, size ${fixed(point.size)}`).join("; ");
  plot.setAttribute("aria-label", said || "no curve yet");
}

// The smallest of 1, 2, 5 and so on times a power of ten that a value fits under.
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return power * [1, 1.5, 2, 3, 4, 5, 7.5, 10].find((step) => step * power >= value * 0.999);
}

// --- records and the phases of a request ---

function enter(next, said) {
  phase = root.dataset.phase = next;
  find(".doing").textContent = said;
}

function accept(record) {
  if (record?.form && run === null) reserve(record.form);
  if (!record?.run || closed.has(record.run) || phase === "stopping") return;
  asking = record.run;
  if (record.cells) {
    if (record.run !== run) begin(record);
    record.cells.forEach((given, c) => paint(cells[record.row][c], given, record.shape, record.preview));
    const rows = record.seeds.length, done = (record.row + record.i / (record.n - 1)) / rows;
    root.style.setProperty("--done", done);
    root.dataset.done = done.toFixed(3);
    large.refresh();
    enter("running", `Seed ${record.seeds[record.row]} (${record.row + 1} of ${rows}), ${record.scales.length} scales and no prompt: step ${record.i} of ${record.n - 1}`);
  }
  if (record.points && record.run === run) { points = record.points; draw(); find(".said").textContent = record.summary; }
}

// A new run takes the screen only when its first record is here: until then the last result stays.
function begin(record) {
  if (run) closed.add(run);
  run = root.dataset.run = record.run;
  points = [];
  lay(record.seeds, record.scales);
  draw();
  find(".said").textContent = "The curve is drawn when all pictures are there.";
}

const signals = {
  run: () => { if (trial && "running" in trial.dataset) return; if (run) closed.add(run); rest = phase; running(true); enter("waiting", "Waiting for the first step"); },
  cancel: () => { if (phase === "running") { closed.add(asking); if (asking === run) rest = "stopped"; } enter("stopping", "Stopping"); },
  end: () => { clearTimeout(ending); ending = setTimeout(over, SETTLE); },
};
for (const [name, act] of Object.entries(signals)) root.addEventListener(name, act);

function over() {
  running(false);
  if (phase === "running") rest = points.length ? "done" : "stopped";
  if (["waiting", "stopping", "running"].includes(phase)) enter(rest, rest === "stopped" ? "Stopped" : "");
  if (rest === "stopped" && !points.length) find(".said").textContent = "Stopped: the curve needs every picture.";
}

// Keeps the focus where it was: on the one of the two buttons that is there.
function running(on) {
  if (!trial) return;
  const held = trial.contains(document.activeElement) && document.activeElement.closest(".trial-run, .trial-cancel");
  trial.toggleAttribute("data-running", on);
  if (held) trial.querySelector(on ? ".trial-cancel" : ".trial-run")?.focus();
}

root.setAttribute("aria-label", props.name);
find(".said").textContent = props.hint;
draw();
watch("value", () => accept(props.value));
accept(props.value);
