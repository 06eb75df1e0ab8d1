// What is said about a frame: the label, the caption, the two equations and the numbers of one cell.

const fixed = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−"));
const compact = (value) => (value === null ? "–" : Number.isInteger(value) ? `${value}` : fixed(value, 1));

const AGO = (k) => `${k} evaluation${k === "1" ? "" : "s"} ago`;
// A term's name as the engine writes it → [quantity that gives its colour, how it is set, what it is].
const NAMES = [
  [/^x_t$/, () => ["x_t", "<i>x</i><sub>t</sub>", "the latents now"]],
  [/^eps$/, () => ["eps", "<i>ε</i>", "the predicted noise"]],
  [/^x0$/, () => ["x0", "<i>x</i><sub>0</sub>", "the predicted clean latents"]],
  [/^z$/, () => ["z", "<i>z</i>", "fresh noise"]],
  [/^x_c$/, () => ["x_t", "<i>x</i><sub>c</sub>", "the corrected latents"]],
  [/^x_(\d+)$/, (k) => ["x_t", `<i>x</i><sub>t</sub><sup>(−${k})</sup>`, `the latents of ${AGO(k)}`]],
  [/^eps_(\d+)$/, (k) => ["eps", `<i>ε</i><sup>(−${k})</sup>`, `the predicted noise of ${AGO(k)}`]],
  [/^x0_(\d+)$/, (k) => ["x0", `<i>x</i><sub>0</sub><sup>(−${k})</sup>`, `the predicted clean latents of ${AGO(k)}`]],
  [/^d$/, () => ["eps", "<i>d</i>", "the slope here, which is the predicted noise"]],
  [/^d_(\d+)$/, (k) => ["eps", `<i>d</i><sup>(−${k})</sup>`, `the slope of ${AGO(k)}`]],
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

function setTerm(coefficient, name, first) {
  const [colour, html, what] = quantity(name);
  const size = Math.abs(coefficient ?? NaN), sign = coefficient < 0 ? "−" : first ? "" : "+";
  const number = Number.isNaN(size) ? "?" : size !== 0 && size < 0.0005 ? size.toExponential(1).replace("-", "−") : size.toFixed(3);
  return `${sign && `<span class="sign">${sign}</span>`}<span class="term q-${colour}" title="${what}"><span class="number">${number}</span>` +
    `<span class="dot">·</span>${html}</span>`;
}

const sum = (terms) => terms.map(([coefficient, name], i) => setTerm(coefficient, name, i === 0)).join(" ");
const left = (html) => `<span class="left q-x_t">${html}</span><span class="sign">=</span>`;

const stateEquation = (frame) =>
  left("<i>x</i><sub>t</sub>") + sum([[frame.alpha, "x0"], [frame.sigma, "eps"]]) + '<span class="gloss">what these latents are</span>';

function stepEquation(frame, form) {
  const terms = frame.forms[form] ?? Object.values(frame.forms)[0];
  const gloss = (text) => `<span class="gloss">${text}</span>`;
  if (!terms) return left("<i>x</i><sub>next</sub>") + gloss("nothing: the run ends here");
  return left("<i>x</i><sub>next</sub>") + sum(terms) + gloss("this step");
}

function stepLabel(frame) {
  return `step ${frame.i} of ${frame.n - 1} · t = ${compact(frame.t)} · α ${fixed(frame.alpha)} · σ ${fixed(frame.sigma)}`;
}

const XT = "<i>x</i><sub>t</sub>", X0 = "<i>x</i><sub>0</sub>";

// One or two sentences about what is on the screen at this step.
function caption(frame) {
  const noise = (100 * (frame.sigma ?? 0) ** 2) / level(frame) ** 2, share = noise < 1 ? "less than 1%" : `${Math.round(noise)}%`;
  if (frame.i === frame.n - 1)
    return "The last state: nothing is left to predict. The VAE decoded these latents into the picture.";
  const pull = frame.norms.cfg === null
    ? "One conditional call made this prediction; guidance is 1."
    : `With and without the prompt, the two predictions differ by ${fixed(frame.norms.cfg)} on average (root mean square); guidance multiplies that.`;
  if (frame.i === 0)
    return `The start: ${noise > 99.5 ? "pure noise" : `${share} noise`}. ${X0} is the model's first guess, an average of all that the prompt could mean. ${pull}`;
  return `At t = ${compact(frame.t)}, ${share} of what ${XT} shows is still noise (σ² of α² + σ², by variance). ${pull}`;
}

// Every channel of the three latents at one cell.
function readout(frame, before, at) {
  const [channels, height, width] = frame.shape;
  const columns = Array.from({ length: channels }, (_, c) => `<th scope="col" title="channel ${c}">ch ${c}</th>`).join("");
  const rows = ["x_t", "eps", "x0"].map((name) => {
    const plane = frame.planes[name], [colour, html] = quantity(name);
    const values = Array.from({ length: channels }, (_, c) =>
      `<td>${at && plane ? fixed(HALF[plane[c * height * width + at.y * width + at.x]], 2) : "–"}</td>`).join("");
    return `<tr class="q-${colour}"><th scope="row">${html}</th>${values}</tr>`;
  }).join("");
  const where = at ? `row ${at.y}, column ${at.x}` : "point at a pane";
  return `<table><thead><tr><th scope="col" class="where">${where}</th>${columns}</tr></thead><tbody>${rows}</tbody></table>`;
}
