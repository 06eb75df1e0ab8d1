// The player: takes records, keeps them, and shows one. Its files are joined in the order colour, panes, large,
// words, insight, curves, rest, player, input, and run with gr.HTML's scope: element, props, server, watch. Scrubbing
// never leaves the browser.
//
// The page talks to it with events on .player: "run" (a run was asked for), "fork" (something else on its stage was, a
// branch for one), "again" (a run that was over is brought back), "cancel", and "end" (the request is over, well or not);
// "wait" and "ready" are about what needs the model beside that, such as saving; "rewind" goes back halfway; "drawn" says
// what it paints. It sets data-running on the nearest .experiment, so that style alone puts Cancel where Run was.

const root = element.querySelector(".player"), find = (selector) => root.querySelector(selector);
const slider = find(".timeline"), label = find(".label"), status = find(".status"), formPicker = find(".written select");
const experiment = root.closest(".experiment");

let run = null, frames = [], length = 0;   // the run on the screen: its id, its frames by index, how many it will have
let shown = -1, newest = -1;               // indices of frames
let wanted = null, following = true;       // the frame to draw next; whether each new frame is shown as it comes
let playing = false, looping = false, due = 0;
let phase = "empty", rest = "empty";       // rest: the phase to go back to when a request fails before its first frame
let cell = null, form = null, asked = 0, ticking = false, curvesStale = false;
const closed = new Set();                  // ids of runs that are over: what still arrives of them is dropped
const again = new Set();                   // ids of runs that were over and are brought back
root.painted = [];                         // indices in the order they were drawn, for tests and for the curious

const large = buildLarge(find(".large"), root);
const stage = buildPanes(find(".stage"), root, large.open, props.panes);
const curves = buildCurves(find(".curves"), (i) => seek(i));

const first = () => Math.max(nextFrame(-1), 0); // where the run begins: later than 0 where it goes on from latents
const SAID = {
  empty: () => "",
  waiting: () => "Waiting for the first step",
  stopping: () => "Stopping",
  forking: () => doing,
  running: () => (newest >= length - 2 && !frames[newest]?.pixels ? "Decoding the picture" : `Running: ${newest + 1 - first()} of ${length - 1 - first()} evaluations`),
  done: () => props.said ? props.said : again.has(run) ? "Brought back" : run === "recorded-first" ? "Recorded run" : run.startsWith("recorded") ? "Opened trace" : `${length - 1 - first()} evaluation${length - first() === 2 ? "" : "s"} in ${(took / 1000).toFixed(1)} s`,
  stopped: () => `Stopped after ${newest + 1 - first()} of ${length - 1 - first()} evaluations`,
};
let took = 0; // ms of the run on the screen
let doing = ""; // what is made elsewhere on the stage, in words

function enter(next) {
  const said = SAID[next]();
  status.textContent = said;
  if (next !== phase) find(".announce").textContent = said; // a screen reader hears the phases, not every step
  phase = root.dataset.phase = next;
  settle();
}

// --- drawing: at most once per animation frame ---

const request = () => { if (!ticking) { ticking = true; requestAnimationFrame(tick); } };
const nextFrame = (i) => { do i++; while (i <= newest && !frames[i]); return i <= newest ? i : -1; };
const previousFrame = (i) => { do i--; while (i >= 0 && !frames[i]); return i; };

function tick(now) {
  ticking = false;
  if (curvesStale) { curves.update(frames, length); reach(); markTwins(); curvesStale = false; }
  if (wanted !== null) { draw(wanted); wanted = null; }
  else if (playing) {
    if (now >= due) {
      const next = nextFrame(shown) < 0 && looping ? nextFrame(-1) : nextFrame(shown);
      if (next < 0) play(false);
      else { draw(next); due = now + 1000 / +find(".speed select").value; }
    }
  } else if (following && nextFrame(shown) >= 0) draw(nextFrame(shown));
  if (playing || wanted !== null || (following && nextFrame(shown) >= 0)) request();
}

function draw(i) {
  const frame = frames[i], before = frames[previousFrame(i)], after = frames[nextFrame(i)];
  if (!frame) return;
  if (shown !== i) leave();
  shown = i;
  stage.draw(frame, before, after);
  stage.mark(cell, frame.shape);
  slider.value = i;
  reach();
  label.innerHTML = stepLabel(frame);
  slider.setAttribute("aria-valuetext", label.textContent);
  find(".state-equation").innerHTML = stateEquation(frame);
  find(".step-equation").innerHTML = stepEquation(frame, form);
  find(".caption").innerHTML = spoken(insight(frame, before, frames[nextFrame(-1)], phase === "done" ? frames[length - 1] : null), frame.pixels);
  find(".readout").innerHTML = readout(frame, after, cell);
  offerForms(Object.keys(frame.forms));
  curves.at(frame);
  large.refresh();
  root.painted.push(i);
  root.dataset.frame = i;
  root.dataset.painted = root.painted.length;
  root.dispatchEvent(new CustomEvent("drawn", { detail: frame }));
  settle();
}

// A mark under the rail wherever an evaluation repeats the timestep of the one before.
function markTwins() {
  const marks = frames.filter((frame, i) => frame && repeats(frame, frames[i - 1])).map((frame) => {
    const mark = make("span", "twin");
    mark.title = `Evaluation ${frame.i} repeats the timestep of the one before, t = ${compact(frame.t)}`;
    mark.style.setProperty("--at", frame.i / (length - 1));
    return mark;
  });
  find(".twins").replaceChildren(...marks);
}

// The rail is dark up to the step shown, grey up to the newest.
function reach() {
  slider.style.setProperty("--shown", `${(100 * shown) / (length - 1)}%`);
  slider.style.setProperty("--newest", `${(100 * newest) / (length - 1)}%`);
}

function offerForms(names) {
  if (names.length && formPicker.dataset.names !== names.join()) {
    formPicker.dataset.names = names.join();
    formPicker.replaceChildren(...names.map((name) => new Option(name)));
    if (names.includes(form)) formPicker.value = form;
  }
  find(".written").hidden = formPicker.options.length < 2;
}

// --- records ---

function accept(record) {
  if (!record?.run || closed.has(record.run) || (phase === "stopping" && !record.run.startsWith("recorded"))) return;
  if (record.run === "recorded-first" && record.run !== run && phase !== "empty" && !again.has(record.run)) return; // Run was quicker
  if (record.run !== run) begin(record);
  if (frames[record.i]) return;
  const planes = {};
  for (const [name, base64] of Object.entries(record.planes)) planes[name] = halves(base64);
  frames[record.i] = { ...record, planes };
  newest = Math.max(newest, record.i);
  if (!following && (record.i === shown + 1 || newest === length - 1)) wanted ??= shown; // its update, or the end, is known now
  curvesStale = true;
  if (record.i === length - 1) { took = performance.now() - asked; setTimeout(fill, LOST); }
  enter(newest === length - 1 ? "done" : "running");
  request();
}

// Of two records that come at once Gradio shows the last: what a run that is over lacks is asked for.
const LOST = 400; // ms until the server has the whole run
async function fill() {
  const mine = run, there = Object.keys(frames).map(Number);
  if (!props.fills || there.length >= length - (frames[first()].from ?? 0)) return;
  const answer = await server.missing_steps([mine, there]).catch(() => null);
  for (const record of answer?.records ?? []) if (run === mine) accept(record);
}

// A new run takes the screen only when its first frame is here: until then the last result stays.
function begin(record) {
  if (run) closed.add(run);
  run = record.run; length = record.n; frames = []; shown = newest = -1; wanted = null;
  following = true; touched = false; play(false);
  if (phase !== "waiting") asked = performance.now(); // a page without a Run button of its own
  root.dataset.run = run;
  root.painted = [];
  slider.max = length - 1; slider.value = 0; slider.disabled = false;
  for (const button of root.querySelectorAll(".transport button")) button.disabled = false;
}

const signals = {
  run: () => {
    if (experiment && "running" in experiment.dataset) return; // Enter in the prompt while a run goes on
    if (run) closed.add(run);
    rest = phase === "running" ? "stopped" : phase; // what was still arriving is dropped from here on
    asked = performance.now();
    setRunning(true);
    enter("waiting");
  },
  fork: ({ detail }) => { rest = phase; doing = detail; setRunning(true); enter("forking"); }, // what is shown stays
  again: ({ detail }) => { closed.delete(detail); again.add(detail); },
  cancel: () => {
    if (phase === "running") { closed.add(run); rest = "stopped"; }
    enter("stopping");
  },
  rewind: () => seek((nextFrame(-1) + length - 1) >> 1),
  wait: () => { clearTimeout(late); late = setTimeout(() => waits(true), LATE); },
  ready: () => { clearTimeout(late); waits(false); },
  end: () => {
    clearTimeout(ending);
    ending = setTimeout(over, SETTLE);
  },
};
for (const [name, act] of Object.entries(signals)) root.addEventListener(name, act);

// The request is over. Gradio says so several times after a cancel, and ignores a new Run until the last of them.
const SETTLE = 60; // ms
let ending = 0;
function over() {
  setRunning(false);
  if (["waiting", "stopping", "forking"].includes(phase)) enter(rest);
  else if (phase === "running") enter("stopped");
}

// Whoever else runs has the model first: said where it takes long.
const LATE = 300; // ms
let late = 0;
function waits(on) {
  if (on === ("waiting" in root.dataset)) return;
  root.toggleAttribute("data-waiting", on);
  status.textContent = find(".announce").textContent = on ? "Waiting for the model" : SAID[phase]();
}

// Keeps the focus where it was: on the one of the two buttons that is there.
function setRunning(on) {
  if (!experiment) return;
  const held = experiment.contains(document.activeElement) && document.activeElement.closest(".when-running, .when-resting");
  experiment.toggleAttribute("data-running", on);
  if (held) experiment.querySelector(on ? ".when-running" : ".when-resting")?.focus();
}

// --- the empty page, and a change of theme ---

function repaint() {
  if (shown >= 0) { wanted ??= shown; request(); } else stage.sketch();
}
new MutationObserver(repaint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
repaint();
label.textContent = "no run yet";
find(".readout").innerHTML = readout({ shape: [props.pixels ? 3 : 4, 1, 1], planes: {}, pixels: props.pixels }, null, null);
find(".state-equation").innerHTML = left("<i>x</i><sub>t</sub>") +
  '<span class="q-x0"><i>α</i><span class="dot">·</span><i>x</i><sub>0</sub></span> <span class="sign">+</span> ' +
  '<span class="q-eps"><i>σ</i><span class="dot">·</span><i>ε</i></span><span class="gloss">every state is this mixture</span>';
find(".step-equation").innerHTML = left("<i>x</i><sub>next</sub>") + '<span class="gloss">each step\'s own coefficients will stand here</span>';
find(".caption").textContent = spoken(
  "A run starts in noise. At every step the model predicts the noise in the latents; the sampler takes some of it away.", props.pixels);

watch("value", () => accept(props.value));
accept(props.value);
