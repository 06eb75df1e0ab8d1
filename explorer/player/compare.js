// Several runs under one timeline. Joined after colour.js, large.js, words.js and lanes.js; scope: element, props, watch.
//
// A record of a step is {run, i, n, shape, preview, lanes, series, equations, note}; one without lanes only speaks:
// {run, doing} while more is computed, {run, summary} when it is known. A lane is {label, detail, show, planes, alpha,
// sigma, picture}: its panes are the planes named by `show`, from top to bottom.
//
// The page talks to .compare with the events "run", "cancel" and "end"; data-running is set on the nearest .trial. It says
// "begun" with the first record of a run, "kept" with each that it takes, and "drawn" with each that it paints.

const RATE = 200, SETTLE = 60; // ms a step when playing; ms to wait for Gradio's last word after a request

const root = element.querySelector(".compare"), find = (selector) => root.querySelector(selector);
const slider = find(".scrub"), trial = root.closest(".trial");

let run = null, frames = [], length = 0, shown = -1, newest = -1;
let wanted = null, following = true, playing = false, due = 0, ticking = false, stale = false;
let phase = "empty", rest = "empty", ending = 0, asking = null, lines = [];
const closed = new Set(), large = buildLarge(find(".large"), root);
root.painted = []; // indices in the order they were drawn, for tests and for the curious

// --- the curves: one scale for all, so that they compare, but for those that have their `own` ---

const small = (value) => (value > 0 && value < 0.0005 ? value.toExponential(1).replace("-", "−") : fixed(value));
const x = (i) => (length > 1 ? (1000 * i) / (length - 1) : 0);

function chart(series) {
  find(".distances g").replaceChildren();
  lines = series.map((one, s) => {
    const dash = ["none", "6 4", "1.5 3.5"][s % 3];
    const path = find(".distances g").appendChild(document.createElementNS("http://www.w3.org/2000/svg", "polyline"));
    path.setAttribute("class", `q-${one.colour}`); path.setAttribute("stroke-dasharray", dash);
    const row = make("div", `q-${one.colour}`, `<dt><svg viewBox="0 0 18 8" aria-hidden="true"><path d="M0 4h18" stroke-dasharray="${dash}"/></svg><span></span></dt><dd>–</dd>`);
    row.querySelector("span").textContent = one.label;
    return { path, row, number: row.querySelector("dd") };
  });
  find(".distances dl").replaceChildren(...lines.map((line) => line.row));
}

// From 0 up, or where the numbers span decades (a record's `log`) from the smallest to the largest, by their logarithm.
function redraw() {
  const there = frames.filter(Boolean), positive = (pick) => there.flatMap((frame) => frame.series.filter(pick).map((one) => one.value)).filter((value) => value > 0);
  const values = positive((one) => !one.own);
  const log = there[0].log && values.length, top = Math.max(...values, 1e-9), bottom = log ? Math.min(...values) : 0;
  const share = (value) => (log ? Math.log(Math.max(value, bottom) / bottom) / (Math.log(top / bottom) || 1) : value / top);
  lines.forEach((line, s) => {
    const most = there[0].series[s].own && Math.max(...positive((one) => one.label === there[0].series[s].label), 1e-9);
    line.path.setAttribute("points", there.flatMap(({ i, series }) =>
      series[s].value === null ? [] : [`${x(i).toFixed(1)},${(96 - 92 * (most ? series[s].value / most : share(series[s].value))).toFixed(1)}`]).join(" "));
  });
  find(".top").textContent = fixed(top, 2);
  find(".bottom").textContent = log ? `${bottom.toPrecision(1)}, logarithmic` : "0";
}

// --- drawing: at most once per animation frame ---

const request = () => { if (!ticking) { ticking = true; requestAnimationFrame(tick); } };
const after = (i) => { do i++; while (i <= newest && !frames[i]); return i <= newest ? i : -1; };
const before = (i) => { do i--; while (i >= 0 && !frames[i]); return i; };

function tick(now) {
  ticking = false;
  if (stale) { redraw(); stale = false; }
  if (wanted !== null) { draw(wanted); wanted = null; }
  else if (playing && now >= due) {
    if (after(shown) < 0) play(false); else { draw(after(shown)); due = now + RATE; }
  } else if (following && after(shown) >= 0) draw(after(shown));
  if (playing || wanted !== null || (following && after(shown) >= 0)) request();
}

function draw(i) {
  const frame = frames[i];
  if (!frame) return;
  shown = i;
  paint(frame, (l, name) => frames.findLast((one, j) => j < i && one?.lanes[l].planes[name]));
  slider.value = i;
  reach();
  find(".place").textContent = frame.place ?? `step ${i} of ${length - 1}`;
  slider.setAttribute("aria-valuetext", find(".place").textContent);
  find(".cursor").setAttribute("x1", x(i)); find(".cursor").setAttribute("x2", x(i));
  lines.forEach((line, s) => (line.number.textContent = small(frame.series[s].value)));
  find(".forms").innerHTML = frame.equations.map(equation).join("");
  find(".said").textContent = frame.note;
  large.refresh();
  root.painted.push(i);
  Object.assign(root.dataset, { frame: i, painted: root.painted.length });
  root.dispatchEvent(new CustomEvent("drawn", { detail: frame }));
}

// One reading of a step: its sum, and where it has them DDPM's own three coefficients.
function equation({ name, gloss, terms, s }) {
  const number = (value) => `<span class="number">${fixed(value)}</span><span class="dot">·</span>`;
  const own = s && `<p><span class="reading"></span>${left("<i>x</i><sub>next</sub>")} <span>${number(s[0])}(<span class="q-x_t"><i>x</i><sub>t</sub></span> − ` +
    `<span class="q-eps">${number(s[1])}<i>ε</i></span>) + <span class="q-z">${number(s[2])}<i>z</i></span></span><span class="gloss">s1 · (x_t − s2 · eps) + s3 · z, the same sum</span></p>`;
  return `<p data-reading="${escaped(name)}"><b class="reading">${escaped(name)}</b>${left("<i>x</i><sub>next</sub>")} ${sum(terms)}<span class="gloss">${escaped(gloss)}</span></p>${own ?? ""}`;
}

function reach() {
  slider.style.setProperty("--shown", `${(100 * shown) / Math.max(length - 1, 1)}%`);
  slider.style.setProperty("--newest", `${(100 * newest) / Math.max(length - 1, 1)}%`);
}

// --- records and the phases of a request ---

function enter(next, said) {
  find(".doing").textContent = said;
  if (next !== phase) find(".aloud").textContent = said;
  phase = root.dataset.phase = next;
}

function accept(record) {
  if (!record?.run || closed.has(record.run) || phase === "stopping") return;
  asking = record.run;
  if (record.doing) enter("running", record.doing);
  if (record.summary && record.run === run) find(".summary").textContent = record.summary;
  if (!record.lanes) return;
  if (record.run !== run) begin(record);
  if (frames[record.i]) return;
  const lanes = record.lanes.map((lane) => ({ ...lane,
    planes: Object.fromEntries(Object.entries(lane.planes).map(([name, base64]) => [name, halves(base64)])) }));
  frames[record.i] = { ...record, lanes };
  root.dispatchEvent(new CustomEvent("kept", { detail: frames[record.i] }));
  newest = Math.max(newest, record.i);
  stale = true;
  enter("running", newest === length - 1 ? "" : `Running: ${record.place ?? `${newest + 1} of ${length - 1}`}`);
  request();
}

// A new run takes the screen only when its first record is here: until then the last result stays.
function begin(record) {
  if (run) closed.add(run);
  run = root.dataset.run = record.run;
  length = record.n; frames = []; shown = newest = -1; wanted = null; following = true; play(false);
  root.painted = [];
  find(".summary").textContent = "";
  build(record.lanes);
  chart(record.series);
  slider.max = length - 1; slider.disabled = false;
  for (const button of root.querySelectorAll(".steps button")) button.disabled = false;
  root.dispatchEvent(new CustomEvent("begun", { detail: record }));
}

const signals = {
  run: () => { if (trial && "running" in trial.dataset) return; if (run) closed.add(run); rest = phase; running(true); enter("waiting", "Waiting for the first step"); },
  cancel: () => { if (phase === "running") { closed.add(asking); if (asking === run) rest = "stopped"; } enter("stopping", "Stopping"); },
  end: () => { clearTimeout(ending); ending = setTimeout(over, SETTLE); },
};
for (const [name, act] of Object.entries(signals)) root.addEventListener(name, act);

function over() {
  running(false);
  if (phase === "running") rest = newest === length - 1 ? "done" : "stopped";
  if (["waiting", "stopping", "running"].includes(phase)) enter(rest, rest === "stopped" ? "Stopped" : "");
}

// Keeps the focus where it was: on the one of the two buttons that is there.
function running(on) {
  if (!trial) return;
  const held = trial.contains(document.activeElement) && document.activeElement.closest(".trial-run, .trial-cancel");
  trial.toggleAttribute("data-running", on);
  if (held) trial.querySelector(on ? ".trial-cancel" : ".trial-run")?.focus();
}

// --- what a person does ---

function seek(i) {
  const target = Math.min(Math.max(i, 0), newest);
  if (!frames[target]) return;
  play(false);
  following = target === newest;
  wanted = target;
  request();
}

function play(on) {
  playing = on && newest > 0;
  if (playing) { following = false; if (after(shown) < 0) wanted = 0; due = performance.now() + RATE; request(); }
  find(".roll").classList.toggle("is-playing", playing);
  find(".roll").setAttribute("aria-label", playing ? "Pause" : "Play");
}

const here = () => wanted ?? shown;
const moves = { ArrowLeft: () => seek(before(here())), ArrowRight: () => seek(after(here()) < 0 ? newest : after(here())),
  Home: () => seek(0), End: () => seek(newest), " ": () => play(!playing) };
moves.ArrowDown = moves.ArrowLeft; moves.ArrowUp = moves.ArrowRight;
root.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in moves) || (event.key === " " && event.target.matches("button")) || event.target.closest("dialog")) return;
  event.preventDefault();
  moves[event.key]();
});
find(".back").addEventListener("click", moves.ArrowLeft);
find(".on").addEventListener("click", moves.ArrowRight);
find(".roll").addEventListener("click", moves[" "]);
slider.addEventListener("input", () => seek(+slider.value));

const repaint = () => { if (shown >= 0) { wanted ??= shown; request(); } else sketch(); };
new MutationObserver(repaint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
root.setAttribute("aria-label", props.name);
build(props.empty);
find(".place").textContent = "no run yet";
find(".said").textContent = props.hint;
chart(props.curves);
root.toggleAttribute("data-forms", props.forms);
repaint();
watch("value", () => accept(props.value));
accept(props.value);
