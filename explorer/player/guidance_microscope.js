// The microscope: what was predicted for the chosen cell at the step shown. Its numbers came with the records, its maps are
// asked for when they are looked at, a whole run at once where that is small. Joined after compare.js; `server` has planes().

const UNCOND = '<span class="q-uncond"><i>ε</i><sub>uncond</sub></span>', COND = '<span class="q-cond"><i>ε</i><sub>cond</sub></span>';
const MAPS = [ // what is shown, from left to right, and how it is coloured
  { name: "eps_uncond", colour: "uncond", symbol: "<i>ε</i><sub>uncond</sub>", title: "without the prompt", range: () => 3 },
  { name: "eps_cond", colour: "cond", symbol: "<i>ε</i><sub>cond</sub>", title: "with the prompt", range: () => 3 },
  { name: "difference", colour: "cond", symbol: "<i>ε</i><sub>cond</sub> − <i>ε</i><sub>uncond</sub>", title: "the difference", range: topOf, dashed: true },
  { name: "x0_uncond", colour: "uncond", symbol: "<i>x</i><sub>0</sub>", title: "that uncond implies" },
  { name: "x0_cond", colour: "cond", symbol: "<i>x</i><sub>0</sub>", title: "that cond implies" },
  { name: "x0", colour: "x0", symbol: "<i>x</i><sub>0</sub>", title: "that guided implies" },
];
const TWO = "of the two predictions, as vectors of all their values";
const WITHOUT = { false: "without the prompt", true: "negative prompt" }; // what stands in for no prompt, by a record's `negative`
// The letter of what each kind of model predicts: guidance is rescaled in that, and not in the noise.
const OUTPUT = { epsilon: "<i>ε</i>", v_prediction: "<i>v</i>", sample: "<i>x</i>" };
const SEEN = "of the guided x0 as the linear preview shows it, and at the end of the decoded picture";
const ENDS = `share of the R, G and B values at 0 or below, or at 1 or above, ${SEEN}; a plain black or white ground counts too`;
const FACTS = [ // label, the facts' name, how it is written, what is measured
  [`|${UNCOND}|`, "norm_uncond", fixed], [`|${COND}|`, "norm_cond", fixed], [`|${COND} − ${UNCOND}|`, "norm_difference", fixed],
  ['|<span class="q-eps"><i>ε</i></span>| guided', "norm_guided", fixed],
  ["cosine of the two", "cosine", (value) => fixed(value, 4), TWO], ["angle between them", "angle", (value) => `${fixed(value, 1)}°`, TWO],
  ["values at 0 or 1", "clipped", (value) => `${fixed(100 * value, 1)}%`, ENDS], ["saturation", "saturation", (value) => fixed(value, 2), SEEN],
];
const KEPT = 256; // steps whose planes the browser keeps

root.insertBefore(document.createRange().createContextualFragment(props.microscope), find(".bar"));
const lens = find(".microscope"), views = MAPS.map(mapOf), held = new Map(); // "run cell i" → planes
let fetching = false, sought = "", refused = ""; // `sought`: what is looked at, as a key of `held`
root.lens = { shown: null, planes: {}, formula }; // what the maps show, for tests and for the curious

// The smallest of 1, 2, 5 × a power of ten that nearly all values fit under.
function topOf(values) {
  const sizes = Array.from(values, Math.abs).sort((a, b) => a - b), top = sizes[Math.floor(0.99 * (sizes.length - 1))] || 1;
  const power = 10 ** Math.floor(Math.log10(top));
  return power * [1, 2, 5, 10].find((step) => step * power >= top * 0.999);
}

function mapOf(kind) {
  const figure = make("figure", `q-${kind.colour}${kind.dashed ? " is-dashed" : ""}`,
    `<figcaption><span class="symbol">${kind.symbol}</span> <span class="title">${kind.title}</span>${ENLARGE}</figcaption>` +
    '<div class="cells"><canvas width="32" height="32" role="img"></canvas><span class="absent" hidden></span></div>' +
    (kind.range ? '<p class="scale" title="along the direction of the latent that changes brightness"><span class="low"></span><span class="map"></span><span class="high"></span></p>' : ""));
  figure.dataset.map = kind.name;
  lens.querySelector(".maps").append(figure);
  const view = { ...kind, figure, canvas: figure.querySelector("canvas"), button: figure.querySelector(".enlarge"), label: "", large: false };
  view.button.setAttribute("aria-label", `Enlarge ${kind.name.replace("_", " ")}, ${kind.title}`);
  view.button.addEventListener("click", () => large.open(view));
  return view;
}

for (const [label, , , hint] of FACTS) {
  const row = make("div", "", `<dt>${label}</dt><dd>–</dd>`);
  row.title = hint ?? "root mean square over all values of the latents";
  lens.querySelector(".lens-facts").append(row);
}

// --- what the records say: at once ---

function magnify(k) {
  const frame = frames[shown], lane = frame?.lanes[k] ?? props.empty[k];
  if (!lane) return;
  lens.querySelector(".lens-cell").textContent = lane.label;
  lens.querySelector(".lens-name").textContent = lane.detail;
  for (const button of lens.querySelectorAll(".to")) {
    button.disabled = !frame;
    button.hidden = ![...document.querySelectorAll("[role=tab], .overflow-dropdown button")].some((tab) => tab.textContent.trim() === button.textContent);
  }
  lens.querySelector('[data-map="eps_uncond"] .title').textContent = WITHOUT[Boolean(frame?.negative)];
  lens.querySelector(".lens-formula").innerHTML = formula(lane.facts, props.predicts);
  [...lens.querySelectorAll(".lens-facts dd")].forEach((node, f) => {
    const [, name, write] = FACTS[f], value = lane.facts?.[name];
    node.textContent = value === undefined || value === null ? "–" : write(value);
  });
  if (!frame) return void views.forEach(reserve);
  // The end predicts nothing: its maps are those of the last state that does.
  const of = frame.i === length - 1 ? before(frame.i) : frame.i, note = lane.facts.note;
  say(of < 0 || of === frame.i ? note : `${note} The maps are of ${placed(frames[of], k)}. ${frames[of].lanes[k].facts.note}`.trim());
  look(k, Math.max(of, 0));
}

const say = (text) => { lens.querySelector(".lens-note").textContent = refused || text; };

// eps = eps_uncond + w · (eps_cond − eps_uncond), arXiv:2207.12598, Eq. 6, with this step's w; rescaled, all of it and in the
// model's own output, arXiv:2305.08891, Section 3.4.
function formula(facts, predicts) {
  const eps = '<span class="q-eps"><i>ε</i></span>', sign = '<span class="sign">=</span>';
  if (facts && facts.guidance === null) return `${eps} ${sign} <span class="gloss">nothing: the run ends here</span>`;
  if (facts && facts.norm_difference === null) return `${eps} ${sign} ${COND}`; // the note says why
  const w = facts ? +facts.guidance.toFixed(3) : null, shown = w === null ? "<i>w</i>" : w < 0 ? `(−${-w})` : `${w}`;
  if (!facts?.rescale) return `${eps} ${sign} ${UNCOND} + <b class="w">${shown}</b><span class="dot">·</span>(${COND} − ${UNCOND})`;
  const [whole, uncond, cond] = [eps, UNCOND, COND].map((html) => html.replace(OUTPUT.epsilon, OUTPUT[predicts]));
  const factor = facts.factor === null ? "" : `${fixed(facts.factor)}<span class="dot">·</span>`;
  return `${whole} ${sign} <span title="rescaled: ${facts.rescale} of the way to the spread of the conditional prediction">${factor}</span>[${uncond} + <b class="w">${shown}</b><span class="dot">·</span>(${cond} − ${uncond})]`;
}

// --- the maps: when they are there ---

const keyOf = (k, i) => `${run} ${k} ${i}`;

function look(k, i) {
  const planes = held.get(sought = keyOf(k, i));
  lens.toggleAttribute("data-late", !planes);
  if (planes) show(k, i, planes); else fetchMaps(k, i);
}

async function fetchMaps(k, i) {
  if (fetching) return; // it looks again when that one is here
  fetching = true;
  const mine = run, reach = phase === "running" ? 0 : length;
  const answer = await server.planes([mine, k, i, reach]).catch(() => ({ error: "The server did not answer." }));
  fetching = false;
  for (const [at, planes] of Object.entries(answer?.steps ?? {}))
    held.set(`${mine} ${k} ${at}`, Object.fromEntries(Object.entries(planes).map(([name, base64]) => [name, halves(base64)])));
  while (held.size > KEPT && held.size > Object.keys(answer?.steps ?? {}).length) held.delete(held.keys().next().value);
  if (run !== mine) return void magnify(inspected());
  refused = sought === `${mine} ${k} ${i}` ? (answer?.error ?? "") : ""; // of what is not looked at any more, nothing
  if (refused) return say(refused); // not asked again until something else is looked at
  magnify(inspected());
}

function show(k, i, planes) {
  const frame = frames[i], [, height, width] = frame.shape, colours = theme(root);
  root.lens = { ...root.lens, shown: [run, k, i], planes: Object.fromEntries(Object.entries(planes).map(([name, plane]) => [name, floats(plane)])) };
  for (const view of views) {
    const plane = planes[view.name];
    view.absent ??= view.figure.querySelector(".absent");
    view.absent.hidden = Boolean(plane);
    view.absent.textContent = plane ? "" : "–"; // why is said once, below
    view.button.disabled = !plane;
    view.canvas.setAttribute("aria-label", `${view.name.replace("_", " ")} of ${frame.lanes[k].label} at ${placed(frame, k)}${plane ? "" : ": none"}`);
    Object.assign(view, { label: frame.lanes[k].label, at: placed(frame, k) });
    if (!plane) { blank(view, colours); continue; }
    Object.assign(view.canvas, { width, height });
    const context = view.canvas.getContext("2d"), image = context.createImageData(width, height);
    if (view.range) {
      const values = alongBrightness(floats(plane), frame.shape, frame.preview), range = view.range(values);
      paintSigned(image, values, range, colours);
      scale(view, range);
    } else paintColour(image, plane, frame.shape, frame.preview, 1);
    context.putImageData(image, 0, 0);
  }
  large.refresh();
}

function scale(view, range) {
  view.figure.querySelector(".low").textContent = `−${+range.toPrecision(1)}`;
  view.figure.querySelector(".high").textContent = `+${+range.toPrecision(1)}`;
}

function blank(view, colours) {
  const context = view.canvas.getContext("2d");
  context.fillStyle = `rgb(${colours.zero.join()})`;
  context.fillRect(0, 0, view.canvas.width, view.canvas.height);
}

// Before the first run: the style draws the place.
function reserve(view) {
  view.canvas.setAttribute("aria-label", `${view.name.replace("_", " ")}: empty`);
  if (view.range) scale(view, view.name === "difference" ? 1 : 3);
}

for (const button of lens.querySelectorAll(".to")) button.addEventListener("click", () => {
  const target = root.dataset.target = button.textContent;
  if (target !== "Walk" && document.querySelector("#reverse-player")?.closest(".experiment")?.hasAttribute("data-running")) return say("The Reverse tab is busy with a run of its own; cancel it there first.");
  document.getElementById(props.send[target])?.click();
});
