// What is said about a frame: the label, the two equations and the numbers of one cell.

const fixed = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−"));
const compact = (value) => (value === null ? "–" : Number.isInteger(value) ? `${value}` : fixed(value, 1));

// A model of pixels has no latents: what is said of the ones is said of the others.
const spoken = (text, pixels) => (pixels ? text.replaceAll("latents", "pixels").replaceAll("latent", "pixel") : text);

const AGO = (k) => `${k} evaluation${k === "1" ? "" : "s"} ago`;
// A term's name as the engine writes it → [quantity that gives its colour, how it is set, what it is].
const NAMES = [
  [/^x_t$/, () => ["x_t", "<i>x</i><sub>t</sub>", "the latents now"]],
  [/^eps$/, () => ["eps", "<i>ε</i>", "the predicted noise"]],
  [/^x0$/, () => ["x0", "<i>x</i><sub>0</sub>", "the predicted clean latents"]],
  [/^x0_c$/, () => ["x0", "<i>x</i><sub>0</sub><sup>cut</sup>", "the predicted clean latents, cut to what a picture can have"]],
  [/^z$/, () => ["z", "<i>z</i>", "fresh noise"]],
  [/^x_c$/, () => ["x_t", "<i>x</i><sub>c</sub>", "the corrected latents"]],
  [/^x_(\d+)$/, (k) => ["x_t", `<i>x</i><sub>t</sub><sup>(−${k})</sup>`, `the latents of ${AGO(k)}`]],
  [/^eps_(\d+)$/, (k) => ["eps", `<i>ε</i><sup>(−${k})</sup>`, `the predicted noise of ${AGO(k)}`]],
  [/^x0_(\d+)$/, (k) => ["x0", `<i>x</i><sub>0</sub><sup>(−${k})</sup>`, `the predicted clean latents of ${AGO(k)}`]],
  [/^d$/, () => ["eps", "<i>d</i>", "the slope, (x_t − x0)/σ: eps but for rounding"]],
  [/^d_(\d+)$/, (k) => ["eps", `<i>d</i><sup>(−${k})</sup>`, `the slope, (x_t − x0)/σ, of ${AGO(k)}: eps but for rounding`]],
  [/^v_(\d+)$/, (k) => ["uncond", `<i>v</i><sup>(−${k})</sup>`, `the model's output of ${AGO(k)}`]],
];

const escaped = (text) => text.replace(/[<>&"]/g, (character) => `&#${character.charCodeAt(0)};`);

function quantity(name) {
  for (const [pattern, set] of NAMES) {
    const found = pattern.exec(name);
    if (found) return set(found[1]);
  }
  return ["uncond", escaped(name), escaped(name)];
}

function setTerm(coefficient, name, first, pixels) {
  const [colour, html, what] = quantity(name);
  const size = Math.abs(coefficient ?? NaN), sign = coefficient < 0 ? "−" : first ? "" : "+";
  const number = Number.isNaN(size) ? "?" : size !== 0 && size < 0.0005 ? size.toExponential(1).replace("-", "−") : size.toFixed(3);
  return `${sign && `<span class="sign">${sign}</span>`}<span class="term q-${colour}" title="${spoken(what, pixels)}"><span class="number">${number}</span>` +
    `<span class="dot">·</span>${html}</span>`;
}

const sum = (terms, pixels = false) => terms.map(([coefficient, name], i) => setTerm(coefficient, name, i === 0, pixels)).join(" ");
const left = (html) => `<span class="left q-x_t">${html}</span><span class="sign">=</span>`;

const stateEquation = (frame) =>
  left("<i>x</i><sub>t</sub>") + sum([[frame.alpha, "x0"], [frame.sigma, "eps"]], frame.pixels) + `<span class="gloss">${spoken("what these latents are", frame.pixels)}</span>`;

function stepEquation(frame, form) {
  const terms = frame.forms[form] ?? Object.values(frame.forms)[0];
  const gloss = (text) => `<span class="gloss">${text}</span>`;
  if (!terms) return left("<i>x</i><sub>next</sub>") + gloss("nothing: the run ends here");
  return left("<i>x</i><sub>next</sub>") + sum(terms, frame.pixels) + gloss("this step");
}

// What the states of a run are counted in: samplers that look twice have more evaluations than steps.
const counted = (frame) => ((frame.steps ?? frame.n - 1) === frame.n - 1 ? "step" : "evaluation");

function stepLabel(frame) {
  const evaluations = frame.n - 1, same = counted(frame) === "step";
  const where = same ? `step ${frame.i} of ${evaluations}` : `evaluation ${frame.i} of ${evaluations} · ${frame.steps} step${frame.steps === 1 ? "" : "s"}`;
  return `${where} · t = ${compact(frame.t)}<span class="levels"> · α ${fixed(frame.alpha)} · σ ${fixed(frame.sigma)}</span>`;
}

// Every channel of the latents at one cell.
const RGB = ["red", "green", "blue"];
function readout(frame, after, at) {
  const [channels, height, width] = frame.shape;
  const columns = Array.from({ length: channels }, (_, c) => `<th scope="col" title="channel ${c}">${frame.pixels && channels === 3 ? RGB[c] : `ch ${c}`}</th>`).join("");
  const rows = stage.panes.filter((pane) => pane.symbol).map((pane) => {
    const numbers = at && (pane.numbers ?? numbersOf(pane.name))(frame, after);
    const values = Array.from({ length: channels }, (_, c) =>
      `<td>${numbers ? fixed(numbers[c * height * width + at.y * width + at.x], 2) : "–"}</td>`).join("");
    return `<tr class="q-${pane.name}"><th scope="row">${pane.symbol}</th>${values}</tr>`;
  }).join("");
  const where = at ? `row ${at.y}, column ${at.x}` : "point at a pane";
  return `<table><thead><tr><th scope="col" class="where">${where}</th>${columns}</tr></thead><tbody>${rows}</tbody></table>`;
}
