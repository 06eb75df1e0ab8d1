// The folds below the Forward stage: they follow its timeline, and ask the server only while they are open and the
// timeline rests. This file: what the model sees. Its files are joined in the order colour, words, forward_rows,
// forward_folds, forward_walk, forward_ink, and run with gr.HTML's scope.

const root = element.querySelector(".forward-folds"), find = (selector) => root.querySelector(selector);
const PAUSE = 250, ANSWERS = 24; // ms without a move before anything is asked; answers that are kept
let stage = null;  // the Forward stage, once it is on the page

const small = (value) => (Math.abs(value) < 0.001 && value ? value.toExponential(1) : value.toFixed(3)).replace("-", "−");

// A fold that asks the server about the state shown: `ask` once it rests and is open, `show` with what came.
function follower(fold, ask, show, delay = PAUSE) {
  let timer = 0, kept = new Map(), told = "";
  const settle = () => {
    clearTimeout(timer);
    if (fold.open && stage?.state) timer = setTimeout(rested, delay);
  };
  async function rested() {
    const state = stage.state, key = `${state.run} ${ask.at(state)}`, signature = `${state.run} ${state.serial}`;
    if (signature !== told) { kept = new Map(); told = signature; } // another picture or schedule
    if (!kept.has(key)) {
      fold.dataset.asking = "";
      kept.set(key, ask.of([state.run, ask.at(state)]).catch(() => null));
      if (kept.size > ANSWERS) kept.delete(kept.keys().next().value);
    }
    const answer = (await kept.get(key)) ?? { error: "The server did not answer." };
    if (stage.state !== state) return; // moved on meanwhile
    delete fold.dataset.asking;
    if (answer.error) kept.delete(key);
    show(answer, state);
    fold.dataset.shown = ask.at(state);
  }
  fold.addEventListener("toggle", settle);
  return settle;
}

// --- what the model sees here ---

const VIEWS = [
  { name: "x0", symbol: "<i>x</i><sub>0</sub>", title: "clean latents", colour: "x0", form: (a, s) => `(<i>x</i><sub>t</sub> − ${s}·<i>ε</i>) / ${a}` },
  { name: "v", symbol: "<i>v</i>", title: "velocity", colour: "update", form: (a, s) => `${a}·<i>ε</i> − ${s}·<i>x</i><sub>0</sub>` },
  { name: "score", symbol: "∇ log <i>p</i>", title: "score", colour: "uncond", form: (a, s) => `−<i>ε</i> / ${s}` },
];
const TESTS = [
  { name: "x_t", symbol: "<i>x</i><sub>t</sub>", title: "what it gets", colour: "x_t" },
  { name: "eps", symbol: "<i>ε</i>", title: "predicted noise", colour: "eps", range: 3 },
  { name: "true_eps", symbol: "<i>ε</i><sub>true</sub>", title: "true noise", colour: "z", range: 3 },
  { name: "error", symbol: "<i>ε</i> − <i>ε</i><sub>true</sub>", title: "error", colour: "uncond", range: 1.5 },
];
const strip = (into, kinds) => kinds.map((kind) => {
  const made = { ...pane(kind.colour, kind.symbol, spoken(kind.title, props.pixels)), ...kind };
  made.figure.dataset.plane = kind.name;
  made.figure.append(make("p", "scale", kind.name === "x_t" || kind.name === "x0" ? props.pixels ? "as it is" : "4 channels as colours" : '<span class="low"></span><span class="map"></span><span class="high"></span>'));
  if (kind.form) made.figure.append(make("p", "form"));
  into.append(made.figure);
  return made;
});
const tests = strip(find(".test"), TESTS);
const views = strip(find(".views"), [{ ...TESTS[1], form: (a, s) => `(<i>x</i><sub>t</sub> − ${a}·<i>x</i><sub>0</sub>) / ${s}` }, ...VIEWS]);

// Until there is something: a quiet drawing of what will be there.
function sketch(panes) {
  const colours = theme(root);
  for (const one of panes.filter((each) => !each.image)) {
    const image = one.context.createImageData(one.canvas.width, one.canvas.height);
    paintSketch(image, { x_t: "x_t", x0: "x0", x_chain: "x_t", x_jump: "x_t", v: "update" }[one.name] ?? "eps", colours);
    one.context.putImageData(image, 0, 0);
  }
}

function paintSeen(one, numbers, answer, colours) {
  const [, height, width] = answer.shape;
  if (!one.image || one.canvas.width !== width || one.canvas.height !== height) {
    Object.assign(one.canvas, { width, height });
    one.image = one.context.createImageData(width, height);
  }
  if (one.name === "x_t" || one.name === "x0") {
    paintLatents(one.image, { x0: numbers, eps: numbers, shape: answer.shape, preview: answer.preview }, 1, 0);
  } else {
    const values = alongBrightness(numbers, answer.shape, answer.preview), range = one.range ?? roundUp(values);
    paintSigned(one.image, values, range, colours);
    one.figure.querySelector(".low").textContent = `−${+range.toPrecision(2)}`;
    one.figure.querySelector(".high").textContent = `+${+range.toPrecision(2)}`;
  }
  one.context.putImageData(one.image, 0, 0);
}

// The smallest of 1, 2, 5 × a power of ten that the largest value fits under.
function roundUp(values) {
  let top = 0;
  for (const value of values) if (Math.abs(value) < Infinity) top = Math.max(top, Math.abs(value));
  const power = 10 ** Math.floor(Math.log10(top || 1));
  return power * [1, 2, 5, 10].find((step) => step * power >= top * 0.999);
}

function showSeen(answer, state) {
  const fold = find(".sees"), said = find(".sees .said");
  fold.classList.toggle("is-empty", Boolean(answer.error));
  if (answer.error) { said.textContent = answer.error; return; }
  const colours = theme(root), a = fixed(answer.alpha), s = fixed(answer.sigma), mse = answer.mse;
  find(".maps").textContent = `Blue to orange: one number a ${props.pixels ? "pixel" : "cell"}, its ${answer.shape[0]} channels weighted as they add to the ${props.pixels ? "picture" : "preview"}'s brightness. The MSE is over all ${answer.shape[0]}.`;
  for (const one of [...tests, ...views]) {
    paintSeen(one, unhalved(answer.planes[one.name]), answer, colours);
    if (one.form) one.figure.querySelector(".form").innerHTML = `= ${one.form(a, s)}`;
  }
  const judged = mse > 0.9 ? "hardly better than guessing 0 everywhere (1.0)" : mse > 0.3 ? "better than guessing 0 everywhere (1.0), and far from right" : mse > 0.05 ? "most of the noise is recognised" : "nearly all of the noise is recognised";
  said.textContent = `At t = ${state.at.latents.t}, MSE ${small(mse)}: ${judged}. ${answer.note ?? ""}`;
  drawLoss(answer);
}

// Ten levels as dots on a line, from little noise to much, on a scale of powers of ten; the hollow dot is the state shown.
function drawLoss(answer) {
  const svg = find(".loss svg"), levels = [...answer.curve].sort((a, b) => a.t - b.t), last = levels.at(-1).t;
  const all = [answer.mse, ...levels.map((one) => one.mse)].map((mse) => Math.log10(Math.max(mse, 1e-6)));
  const bottom = Math.min(-1, Math.floor(Math.min(...all))), top = Math.max(0, Math.ceil(Math.max(...all) - 0.05));
  const x = (t) => (100 * t) / last, y = (mse) => (100 * (top - Math.log10(Math.max(mse, 1e-6)))) / (top - bottom);
  const powers = Array.from({ length: top - bottom + 1 }, (_, k) => 10 ** (top - k));
  svg.innerHTML = powers.map((mse) => `<line class="${mse === 1 ? "unit" : "rule"}" x1="0" x2="100" y1="${y(mse)}" y2="${y(mse)}"/>`).join("") +
    `<polyline points="${levels.map((one) => `${x(one.t).toFixed(2)},${y(one.mse).toFixed(2)}`).join(" ")}"/>`;
  find(".powers").replaceChildren(...powers.map((mse) => {
    const made = make("span", "", mse === 1 ? "1: guessing 0" : +mse.toPrecision(1));
    made.style.top = `${y(mse)}%`;
    return made;
  }));
  const dot = (t, mse, name, title) => {
    const made = make("span", name);
    Object.assign(made, { title });
    Object.assign(made.style, { left: `${Math.min(x(t), 100)}%`, top: `${y(mse)}%` });
    return made;
  };
  find(".dots").replaceChildren(
    ...levels.map((one) => dot(one.t, one.mse, "", `t = ${one.t}, SNR ${one.db === null ? "zero" : `${fixed(one.db, 1)} dB`}: MSE ${small(one.mse)}`)),
    dot(answer.timestep ?? 0, answer.mse, "is-here", `the state shown: MSE ${small(answer.mse)}`));
  find(".curve .axis b").textContent = last;
  svg.setAttribute("aria-label", `MSE over ten levels: ${levels.map((one) => `t ${one.t}: ${small(one.mse)}`).join(", ")}`);
}

const settleSeen = follower(find(".sees"), { of: (wanted) => server.sees(wanted), at: (state) => state.at.latents.t }, showSeen);
