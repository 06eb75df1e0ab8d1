// The run in a projection: the list of runs, the cursor that this fold and the statistics share, the frames beside the plot.

const runsFold = find(".runs"), theoryFold = find(".theory");
const DRAWN_FRAME = 96; // pixels that a frame at the pointer is wide
let listed = [], projection = null, progress = 0.5; // where the cursor is, 0 … 1 of every run
let ticked = null; // ids; null before a person or the first list has ticked any

// --- the list: asked for when a fold that has it is seen ---

const wantRuns = rested(() => trigger("expand"), 50);
const seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting && entry.target.parentElement.open) && wantRuns());
for (const fold of [runsFold, theoryFold]) {
  fold.addEventListener("toggle", () => fold.open && wantRuns());
  seen.observe(fold.querySelector("summary")); // a tab that is opened again may have new runs
}

function acceptRuns(value) {
  if (!value?.runs || (root.dataset.listed && JSON.stringify(listed) === JSON.stringify(value.runs))) return; // the focus stays
  listed = value.runs;
  const there = new Set(listed.map((one) => one.run));
  ticked = ticked ? new Set([...ticked].filter((run) => there.has(run))) : new Set(listed.slice(0, 1).map((one) => one.run));
  if (!ticked.size && listed.length) ticked.add(listed[0].run);
  const rows = listed.map((one) => {
    const label = make("label", "", '<input type="checkbox"><b></b><span></span>'), box = label.querySelector("input");
    box.checked = ticked.has(one.run); box.dataset.run = one.run;
    label.querySelector("b").textContent = one.name;
    label.querySelector("span").textContent = `${one.detail} · ${one.states} states`;
    box.addEventListener("change", () => { ticked[box.checked ? "add" : "delete"](one.run); ready(); });
    return label;
  });
  const none = make("p", "hint", "No run is kept for this page yet: press Run on the Reverse tab, then come back.");
  find(".run-list").replaceChildren(find(".run-list legend"), ...(rows.length ? rows : [none]));
  root.dataset.listed = listed.length;
  ready();
  listSelect();
}
const ready = () => (find(".project").disabled = !ticked?.size);

// --- the answer ---

const askProjection = newest("project", async (answer) => {
  find(".run-form .doing").textContent = "";
  if (answer.error) { runsFold.querySelector(".said").textContent = answer.error; return; }
  try {
    answer.runs = await Promise.all(answer.runs.map(async (one) => ({ ...one, image: await loaded(one.sheet) })));
    await library();
  } catch {
    runsFold.querySelector(".said").textContent = "The plot could not be loaded; press Project again.";
    return;
  }
  projection = answer;
  buildFrames();
  explain();
  await drawPlot(true);
  enable(runsFold, longest());
  moveTo(progress);
});

find(".project").addEventListener("click", () => {
  find(".run-form .doing").textContent = "fitting the common directions";
  askProjection({ wanted: listed.filter((one) => ticked.has(one.run)).map((one) => one.run) });
  library().catch(() => {}); // under way meanwhile
});

function explain() {
  const sum = projection.explained.reduce((a, b) => a + b, 0);
  find(".explained").replaceChildren(
    ...projection.explained.map((part, i) => {
      const row = make("div", "", `<dt>direction ${i + 1}</dt><dd><i style="width:${(100 * part).toFixed(1)}%"></i><span>${percent(part)}</span></dd>`);
      row.title = `Principal component ${i + 1}: its share of the variance of all states`;
      return row;
    }),
    make("div", "sum", `<dt>together</dt><dd><span>${percent(sum)} of the variance</span></dd>`));
}

// --- the cursor: one share of the way for all runs, shown as a state of each ---

const longest = () => Math.max(...projection.runs.map((one) => one.steps.length));
const stateOf = (one) => Math.round(progress * (one.steps.length - 1));
const x0Of = (one, i) => { // the last x0 at or before state i
  let at = -1;
  while (at + 1 < one.x0_steps.length && one.x0_steps[at + 1] <= one.steps[i]) at++;
  return at;
};

function enable(fold, states) {
  const input = fold.querySelector(".cursor");
  input.max = states - 1;
  input.disabled = states < 2;
  for (const button of fold.querySelectorAll(".cursor-row button")) button.disabled = states < 2;
}

let moving = 0;
function moveTo(where) {
  progress = Math.min(Math.max(where, 0), 1);
  cancelAnimationFrame(moving);
  moving = requestAnimationFrame(() => { followRuns(); followTheory(); });
}

function placeCursor(fold, text) {
  const input = fold.querySelector(".cursor");
  input.value = Math.round(progress * input.max);
  input.style.setProperty("--shown", `${(100 * input.value) / (+input.max || 1)}%`);
  input.setAttribute("aria-valuetext", text);
  fold.querySelector(".cursor-row output").textContent = text;
}

for (const fold of [runsFold, theoryFold]) {
  const input = fold.querySelector(".cursor"), by = (states) => moveTo((+input.value + states) / (+input.max || 1));
  input.addEventListener("input", () => moveTo(+input.value / (+input.max || 1)));
  fold.querySelector(".back").addEventListener("click", () => by(-1));
  fold.querySelector(".on").addEventListener("click", () => by(1));
}

const whereIs = (one, i) => `step ${one.steps[i]} of ${one.steps.at(-1)} · t = ${+one.timesteps[i].toFixed(1)}`;

function followRuns() {
  if (!projection) return;
  const [first] = projection.runs;
  placeCursor(runsFold, whereIs(first, stateOf(first)));
  placeMarkers();
  drawFrames();
  runsFold.querySelector(".said").textContent = judgedRuns();
  runsFold.dataset.state = stateOf(first);
}

const away = (a, b) => Math.hypot(...a.map((value, axis) => value - b[axis]));

// How far both paths still have to go, measured in the three directions of the plot.
function judgedRuns() {
  const [one] = projection.runs, i = stateOf(one), at = x0Of(one, i), end = one.x_t.at(-1);
  const left = away(one.x_t[i], end) / (away(one.x_t[0], end) || 1);
  const name = projection.runs.length > 1 ? `Of ${one.name}: ` : "";
  if (i === one.steps.length - 1) return `${name}${name ? "the" : "The"} end of the run. The noisy path has arrived where the path of expected pictures was waiting.`;
  if (at < 0) return `${name}${name ? "this" : "This"} state has no prediction.`;
  const guess = away(one.x0[at], end) / (away(one.x0[0], end) || 1);
  const told = `${name}seen in these directions the latents are ${percent(left)} as far from their end as at the start, and the picture expected there ${percent(guess)} as far as the first one.`;
  return `${told[0].toUpperCase()}${told.slice(1)} ${guess < left - 0.1 ? "What the picture will be is settled sooner than the noise is gone." : guess > left + 0.1 ? "The expectation still moves more than the latents do." : "Both come near at about the same pace."}`;
}

// --- frames: each state through its run's linear preview, cut from one sheet ---

function buildFrames() {
  find(".frames").replaceChildren(...projection.runs.map((one) => {
    const row = make("div", "frame-row", '<p></p><figure class="q-x_t"><canvas role="img"></canvas><figcaption><i>x</i><sub>t</sub></figcaption></figure><figure class="q-x0"><canvas role="img"></canvas><figcaption><i>x</i><sub>0</sub></figcaption></figure>');
    row.querySelector("p").textContent = row.title = one.name;
    one.canvases = [...row.querySelectorAll("canvas")];
    return row;
  }));
}

// kind "x_t" and the place of a state, or "x0" and the place of a prediction.
function cut(canvas, one, kind, place) {
  const at = kind === "x_t" ? place : one.steps.length + place, [width, height] = one.tile;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").drawImage(one.image, (at % one.columns) * width, Math.floor(at / one.columns) * height, width, height, 0, 0, width, height);
}

function drawFrames() {
  for (const one of projection.runs) {
    const i = stateOf(one), at = x0Of(one, i);
    cut(one.canvases[0], one, "x_t", i);
    if (at >= 0) cut(one.canvases[1], one, "x0", at);
    one.canvases[0].setAttribute("aria-label", `${one.name}: latents at ${whereIs(one, i)}`);
    one.canvases[1].setAttribute("aria-label", `${one.name}: expected picture at ${whereIs(one, i)}`);
  }
}

watch("value", () => acceptRuns(props.value));
