// What the Forward stage says: label, formulas with this step's numbers, the sentence, the warning. Names that come from
// the server are set as text, never as markup.

const XT = "<i>x</i><sub>t</sub>", X0 = "<i>x</i><sub>0</sub>";
const signed = (value, digits = 1) => (Number.isFinite(value) ? (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits) : value < 0 ? "−∞" : "∞");
const decibels = (value) => `${signed(value)} dB`;
const small = (value) => (value === 0 ? "0" : value < 0.001 ? value.toExponential(1).replace("-", "−") : value.toFixed(value < 0.1 ? 4 : 3));

const alphaBar = (schedule, t) => (t ? schedule.alphas_cumprod[t - 1] : 1);
const betaOf = (schedule, t) => (t ? 1 - alphaBar(schedule, t) / alphaBar(schedule, t - 1) : 0);
// The measured SNR, ᾱ·Var(x_0) / (1 − ᾱ), in dB: ∞ where there is no noise, −∞ where a flat picture has no signal.
const snrDb = (alpha, variance) => (alpha === 1 ? Infinity : 10 * Math.log10((alpha * variance) / (1 - alpha)));
const stageOf = (db) => (props.stages.find(([floor]) => floor === null || db >= floor) ?? props.stages.at(-1))[1];

// The state of another row whose measured SNR is nearest. SNR falls with t, so the search is by halves. Neither row is flat.
function matching(db, schedule, variance) {
  if (db === Infinity) return 0;
  let low = 1, high = schedule.steps;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (snrDb(alphaBar(schedule, middle), variance) <= db) high = middle; else low = middle + 1;
  }
  const away = (t) => Math.abs(snrDb(alphaBar(schedule, t), variance) - db);
  return low > 1 && away(low - 1) <= away(low) ? low - 1 : low;
}

const normal = (mean, of, variance) =>
  `<span class="call">𝒩(<span class="q-x_t">${XT}</span>; <span class="q-x0">${mean}<span class="dot">·</span>${of}</span>, <span class="q-eps">${variance}<span class="dot">·</span><b>I</b></span>)</span>`;
const before = "<i>x</i><sub>t−1</sub>", bar = "<i>ᾱ</i><sub>t</sub>";

function jumpEquation(schedule, t) {
  const alpha = alphaBar(schedule, t);
  return `<span class="left">q(<span class="q-x_t">${XT}</span> | <span class="q-x0">${X0}</span>)</span><span class="general"> = ${normal(`√${bar}`, X0, `(1 − ${bar})`)}</span>` +
    ` = ${normal(Math.sqrt(alpha).toFixed(3), X0, small(1 - alpha))}<span class="gloss">one jump; <i>ᾱ</i><sub>t</sub> is the product of all <i>α</i> = 1 − <i>β</i> up to t</span>`;
}

function stepEquation2(schedule, t) {
  const head = `<span class="left">q(<span class="q-x_t">${XT}</span> | <span class="q-x0">${before}</span>)</span><span class="general"> = ${normal("√(1 − <i>β</i><sub>t</sub>)", before, "<i>β</i><sub>t</sub>")}</span>`;
  if (!t) return `${head}<span class="gloss">begins at t = 1</span>`;
  const beta = betaOf(schedule, t);
  const grid = gridOf(schedule), many = (grid / schedule.steps).toFixed(grid % schedule.steps ? 1 : 0);
  return `${head} = ${normal(Math.sqrt(1 - beta).toFixed(beta < 0.001 ? 5 : 4), before, small(beta))}<span class="gloss">one ${grid ? `step, rescaled: it does the work of ${many}` : "small step"}</span>`;
}

// Of how many steps a rescaled schedule keeps some; 0 where it keeps all, or is drawn as ᾱ and so has no β of its own.
function gridOf({ rescaled, timesteps, steps, formula }) {
  const grid = timesteps.at(-1) + 1;
  return rescaled && grid > steps && !formula.startsWith("log-SNR") ? grid : 0;
}

function scheduleNote(schedule) {
  const { name, formula, source, rescaled, steps } = schedule, grid = gridOf(schedule);
  const largest = grid && Math.max(...Array.from({ length: steps }, (_, k) => betaOf(schedule, k + 1)));
  const changed = grid ? `. Rescaled from its ${grid} steps to ${steps}: ᾱ is read at ${steps} of them, so that it still ends in noise, each step does the work of several, and β here goes up to ${largest.toFixed(2)}`
    : rescaled ? "" : ", the same betas in fewer steps";
  return `Schedule: ${name}, ${formula} (${source})${changed}.`;
}

function labelOf(schedule, t, db) {
  if (t && db === -Infinity) return `t = ${t} of ${schedule.steps} · ᾱ ${small(alphaBar(schedule, t))} · no SNR: the picture is flat`;
  if (!t) return `t = 0 of ${schedule.steps} · the picture itself`;
  return `t = ${t} of ${schedule.steps} · ᾱ ${small(alphaBar(schedule, t))} · SNR ${decibels(db)} · ${noiseOf(db)}${stageOf(db) === "none" ? " (stage: none)" : ""}`;
}

const noiseOf = (db) => `${stageOf(db) === "none" ? "hardly any" : stageOf(db)} noise`;
const flat = ({ pixels, latents }) => !pixels.var || !latents.var;

// `at`: t and SNR of the latent row and of the second schedule's row.
function sentence(picture, schedule, t, db, at, match) {
  if (!t) return `The picture itself, before any noise${props.pixels ? "" : ", in pixels and as the VAE's latents"}. Drag the timeline: every state is the picture times one number plus noise times another.`;
  const share = 1 - alphaBar(schedule, t);
  const percent = share > 0.995 ? (share < 0.9995 ? (100 * share).toFixed(1) : "over 99.9") : share < 0.01 ? "less than 1" : Math.round(100 * share);
  const lead = `At t = ${t}, the noise has ${percent}% of the weight (1 − ᾱ).`;
  if (flat(picture)) return `${lead} ${flatly(picture, match)}`;
  const { pixels, latents } = picture, other = at.second && ` Under ${at.second.name} the same ${match === "snr" ? "SNR is reached at" : "time,"} t = ${at.second.t}${match === "snr" ? "" : `, is at ${decibels(at.second.db)}`}.`;
  const spread = ` The latents vary by ${latents.var.toFixed(2)}`, [, high, wide] = latents.shape;
  const eye = ` The same SNR per number is not the same for the eye: it averages over many neighbouring pixels that repeat each other, and ${wide}×${high} cells have no neighbours to spare.`;
  const rest = match === "snr"
    ? `${spread}, so they reach that SNR at t = ${at.latents.t}${Math.abs(at.latents.db - db) > 0.5 ? ` (nearest: ${decibels(at.latents.db)})` : ""}.`
    : `${spread}: at the same t they are at ${decibels(at.latents.db)}.`;
  return `${lead} Of this picture's own variance, ${pixels.var.toFixed(2)}, that leaves ${decibels(db)} of signal to noise: ${noiseOf(db)}.${props.pixels ? "" : rest + eye}${other || ""}`;
}

function flatly({ pixels }, match) {
  const what = pixels.var ? "The latents are flat: all their values are the same" : "This picture is flat: all its values are the same";
  return `${what}, so there is no variance, and with the first noise the SNR is zero (−∞ dB). Only its mean fades, by √ᾱ.` +
    (match === "snr" ? " By SNR there is nothing to match, so the rows are matched by timestep." : "");
}

// One line, as markup of numbers alone, and as text what a fold below it explains.
function warningOf(schedule, pixels) {
  const { db, rest } = schedule.terminal, left = Math.sqrt(alphaBar(schedule, schedule.steps));
  return [
    `<i>x</i><sub>T</sub> is not pure noise: √ᾱ = ${small(left)} of the picture is left in it${db === null ? "" : `, a terminal SNR of ${decibels(db)}`}.`,
    `With it stays ${signed(rest, 3)} of the picture's mean brightness, ${signed(pixels.mean, 2)}. ` +
      (left < 0.02 ? "That little is barely seen; with more, a" : "A") + " model trained so is always told the brightness, starts from noise that doesn't tell it, and its pictures come out middling, neither dark nor bright (arXiv:2305.08891).",
  ];
}
