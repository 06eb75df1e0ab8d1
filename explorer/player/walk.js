// The Walk player: a film whose frames arrive out of order, and each frame's own denoising as a second axis. Joined after
// colour.js, large.js and words.js; scope: element, props, server, watch. Its other files share these variables.
//
// Records: {run, n, places, closed, stations, tracks, evaluations, shape, preview, name, …} opens a film, and one with
// `beside` a second film; {run, evaluation, planes: {frame: x0}} shows frames that are being made; {run, frame, picture,
// pairs} has a finished one, with the differences [i, latents, 1 − SSIM] to its neighbours; {run, doing} and {run, summary}
// only speak.
//
// The page talks to .walk with the events "run", "cancel" and "end"; data-running is set on the nearest .trial.

const SETTLE = 60; // ms to wait for Gradio's last word after a request

const root = element.querySelector(".walk"), find = (selector) => root.querySelector(selector);
const trial = root.closest(".trial"), slider = find(".scrub"), ownSlider = find(".own-scrub");
const make = (tag, className, html = "") => Object.assign(document.createElement(tag), { className, innerHTML: html });

let film = null, second = null, coming = null; // on the stage, beside it, and one of which nothing is to be seen yet
let at = 0, own = null; // the frame under the cursor; the step of its own denoising, null for the end
let past = null; // what was on the stage before its film, {film, second, at}: it may come back
let pressed = null; // the form's values as text when Run was pressed; see walk_formed.js
let phase = "empty", rest = "empty", ending = 0, asking = null, ticking = false, stale = false;
const closed = new Set(), large = buildLarge(find(".large"), root);
root.looked = () => film?.run ?? ""; // what the buttons below the stage are about
root.dataset.run = "";
if (props.pixels) root.setAttribute("aria-label", "A walk from noise to noise, as a film"); // and its title when it is presented

// --- films ---

const films = (root.films = () => [film, second].filter(Boolean)); // also for tests and for the curious
const filled = (one) => one.frames.filter((frame) => frame.state === "filled").length;
const whole = (one) => one.frames.every((frame) => frame.done);
const some = (one) => one.frames.some((frame) => frame.done);
const apart = (one, i, j) => (one.closed ? Math.min(Math.abs(i - j), one.n - Math.abs(i - j)) : Math.abs(i - j));

// The frame to show at a place of the timeline: itself, else the nearest finished one, else the nearest that is being made.
function nearest(one, i) {
  if (one.frames[i].state !== "empty") return i;
  const best = (state) => one.frames.reduce((found, frame, j) => (frame.state === state && (found < 0 || apart(one, i, j) < apart(one, i, found)) ? j : found), -1);
  const done = best("filled");
  return done >= 0 ? done : best("making");
}

// Where a place of the path, 0 … 1, is on the timeline, in frames; frames need not be even along the path.
function frameAt(one, place) {
  const after = one.places.findIndex((other) => other >= place - 1e-9);
  if (after === 0) return 0;
  const i = after < 0 ? one.n - 1 : after - 1, end = after < 0 ? 1 : one.places[after];
  return end > one.places[i] ? i + (place - one.places[i]) / (end - one.places[i]) : i;
}

function opened(record) {
  return { ...record, pairs: [], frames: Array.from({ length: record.n }, () => ({ state: "empty" })), said: "" };
}

// A new film takes the screen when there is something to see of it: until then the last one stays.
function begin() {
  const one = opened(coming);
  coming = null;
  if (one.beside && one.beside !== film?.run) { closed.add(one.run); return; } // that film has left the stage
  if (one.beside) { second = one; arrange(); return; }
  if (film) closed.add(film.run);
  past = film && { film, second, at };
  one.wish = one.before ? film?.wish : pressed; // an even pace is of the same walk
  put(one);
}

function put(one, beside = null, i = 0) {
  forget();
  film = one; second = beside; at = i; own = null;
  root.painted = [];
  root.dataset.run = film?.run ?? "";
  slider.max = (film?.n ?? 2) - 1; slider.disabled = !film;
  for (const button of root.querySelectorAll(".buttons button")) button.disabled = !film;
  if (film) turn(film.closed ? "loop" : "back"); else bare();
  arrange();
}

// A film that was stopped before its first frame gives its place back, to the film before it where there was one; and so
// does an even pace that was stopped halfway. True where one did.
function giveBack() {
  if (second && !some(second)) { closed.add(second.run); second = null; arrange(); return true; }
  if (!film || whole(film) || (some(film) && !(film.before && past))) return false;
  closed.add(film.run);
  put(past?.film ?? null, past?.second, past?.at);
  return true;
}

function take(record) {
  const one = films().find((other) => other.run === record.run);
  if (!one) return;
  for (const [i, base64] of Object.entries(record.planes ?? {})) {
    const frame = one.frames[i];
    if (frame.state !== "filled") Object.assign(frame, { state: "making", plane: halves(base64), k: record.evaluation });
    mark(one, +i);
  }
  for (const [i, ...pair] of record.pairs ?? []) one.pairs[i] = pair;
  if ("frame" in record) finish(one, one.frames[record.frame], record);
  else refresh();
}

// Decoded before it counts as there, so that nothing flashes when the film plays over it.
async function finish(one, frame, record) {
  frame.done = true;
  const image = new Image();
  image.src = record.picture;
  await image.decode().catch(() => {});
  Object.assign(frame, { state: "filled", image, src: record.picture, plane: null });
  mark(one, record.frame);
  if (films().includes(one)) refresh();
  if (one === film && !touched && filled(one) === Math.min(4, one.n) && phase === "running") play(!still.matches);
}

function refresh() {
  stale = true;
  root.dataset.filled = film ? filled(film) : 0;
  if (second) root.dataset.second = filled(second); else delete root.dataset.second;
  request();
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
  const known = films().some((one) => one.run === record.run);
  if (record.n && !known) coming = record;
  if (record.doing) enter("running", record.doing);
  if ((record.planes || "frame" in record) && coming?.run === record.run) begin();
  take(record);
  if (record.summary) { const one = films().find((other) => other.run === record.run); if (one) { one.said = record.summary; refresh(); } }
}

const signals = {
  run: () => {
    if (trial && "running" in trial.dataset) return;
    for (const one of films()) closed.add(one.run);
    rest = phase; coming = null; touched = false;
    running(true);
    enter("waiting", "Waiting for the first frames");
  },
  cancel: () => {
    if (phase === "running") { closed.add(asking); if (films().some((one) => one.run === asking)) rest = "stopped"; }
    enter("stopping", "Stopping");
  },
  end: () => { clearTimeout(ending); ending = setTimeout(over, SETTLE); },
};
for (const [name, act] of Object.entries(signals)) root.addEventListener(name, act);

function over() {
  const gone = giveBack();
  running(false);
  if (gone || phase === "running") rest = !film ? "empty" : films().every(whole) ? "done" : "stopped";
  for (const one of films()) for (const frame of one.frames) if (frame.state === "making" && !frame.done) Object.assign(frame, { state: "empty", plane: null });
  films().forEach((one) => one.frames.forEach((frame, i) => mark(one, i)));
  const there = films().map((one) => `${one.frames.filter((frame) => frame.done).length} of ${one.n}`).join(" and ");
  const said = gone ? `Stopped${film ? "; this is the film from before" : " before the first frame was there"}` : rest === "stopped" ? `Stopped: ${there} frames are there` : "";
  if (["waiting", "stopping", "running"].includes(phase)) enter(rest, said);
  past = coming = null;
  refresh();
}

// Keeps the focus where it was: on the one of the two buttons that is there.
function running(on) {
  if (!trial) return;
  const held = trial.contains(document.activeElement) && document.activeElement.closest(".trial-run, .trial-cancel");
  trial.toggleAttribute("data-running", on);
  if (held) trial.querySelector(on ? ".trial-cancel" : ".trial-run")?.focus();
  compareForm();
  for (const button of root.querySelectorAll(".again button")) button.disabled = on || !film || (film.kind === "sphere" && button.matches(".other"));
}

// Both go by hidden buttons of the page, which know their handlers.
for (const [name, id] of Object.entries(props.again)) find(`.again .${name}`).addEventListener("click", () => {
  trial?.querySelector(".trial-run")?.focus({ preventScroll: true }); // where Cancel comes: this one is out of use meanwhile
  document.getElementById(id)?.click();
});
