// Statistics against theory: one small plot for each channel of a run, mean with its spread around it, and the radial
// spectrum at the cursor's state. Measured lines are solid, theory dashed.

const MARGIN = { left: 34, right: 8, top: 6, bottom: 18 }, SVG = "http://www.w3.org/2000/svg";
let measured = null, channelPlots = [], spectrumPlot = null;
const select = find(".of-run");

function listSelect() {
  const had = select.value;
  select.replaceChildren(...listed.map((one) => Object.assign(document.createElement("option"), { value: one.run, textContent: `${one.name}, ${one.detail}` })));
  if (!listed.length) select.append(Object.assign(document.createElement("option"), { value: "", textContent: "no run yet" }));
  select.disabled = !listed.length;
  if (listed.some((one) => one.run === had)) select.value = had;
  measure();
}

const askMeasure = newest("measure", (answer) => {
  find(".theory-form .doing").textContent = "";
  if (answer.error) { theoryFold.querySelector(".said").textContent = answer.error; return; }
  measured = answer;
  buildTheory();
  enable(theoryFold, measured.steps.length);
  moveTo(progress);
});
function measure() {
  if (!theoryFold.open || !select.value || measured?.run === select.value) return;
  find(".theory-form .doing").textContent = "measuring";
  askMeasure({ wanted: select.value });
}
select.addEventListener("change", measure);

// A plot in a box of its own: x and y are [low, high] of the data; draw() adds to it; at(x) puts the cursor.
function lines(node, { x, y, ticks, xTicks, log = false, seek = null, label }) {
  const svg = document.createElementNS(SVG, "svg"), WIDTH = 1000, HEIGHT = 1000;
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  const of = log ? Math.log10 : (value) => value, [low, high] = y.map(of);
  const px = (value) => (WIDTH * (value - x[0])) / (x[1] - x[0] || 1), py = (value) => HEIGHT * (1 - (Math.min(Math.max(of(value), low - 1), high + 1) - low) / (high - low || 1));
  const add = (tag, attributes) => {
    const shape = svg.appendChild(document.createElementNS(SVG, tag));
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
    return shape;
  };
  const plotted = make("div", "line-plot");
  for (const value of ticks) {
    add("line", { class: value === 0 || (log && value === 1) ? "rule zero" : "rule", x1: 0, x2: WIDTH, y1: py(value), y2: py(value) });
    const tick = make("span", "y-tick"); // thin minus, as elsewhere
    tick.textContent = log ? (value >= 0.01 && value < 1000 ? `${+value.toPrecision(1)}` : value.toExponential(0).replace("-", "−")) : `${+value.toPrecision(3)}`.replace("-", "−");
    tick.style.top = `${py(value) / 10}%`;
    plotted.append(tick);
  }
  for (const [value, text] of xTicks) {
    const tick = make("span", "x-tick");
    tick.textContent = text;
    tick.style.left = `${px(value) / 10}%`;
    plotted.append(tick);
  }
  const path = (xs, ys) => xs.map((value, i) => `${px(value).toFixed(1)},${py(ys[i]).toFixed(1)}`).join(" ");
  const cursor = add("line", { class: "cursor-line", x1: 0, x2: 0, y1: 0, y2: HEIGHT, visibility: "hidden" });
  if (seek) {
    const press = (event) => {
      const box = svg.getBoundingClientRect();
      seek(x[0] + ((event.clientX - box.left) / box.width) * (x[1] - x[0]));
    };
    svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); press(event); });
    svg.addEventListener("pointermove", (event) => event.buttons && press(event));
    svg.classList.add("is-pressed-on");
  }
  plotted.prepend(svg);
  node.replaceChildren(plotted);
  return {
    line: (name, xs, ys) => { const made = add("polyline", { class: name, points: path(xs, ys) }); svg.append(cursor); return made; },
    band: (name, xs, lows, highs) => add("polygon", { class: name, points: `${path(xs, highs)} ${path([...xs].reverse(), [...lows].reverse())}` }),
    redraw: (shape, xs, ys) => shape.setAttribute("points", path(xs, ys)),
    at: (value) => { cursor.setAttribute("x1", px(value)); cursor.setAttribute("x2", px(value)); cursor.setAttribute("visibility", "visible"); },
  };
}

// Three to six round values between two ends.
function roundTicks(low, high) {
  const raw = (high - low) / 4 || 1, power = 10 ** Math.floor(Math.log10(raw)), step = power * [1, 2, 5, 10].find((one) => one * power >= raw);
  const out = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) out.push(Math.abs(value) < step * 1e-6 ? 0 : value);
  return out;
}

function buildTheory() {
  const { steps } = measured, places = steps.map((_, i) => i), last = places.at(-1), count = steps[0].mean.length;
  const of = (name, channel) => steps.map((step) => step[name][channel]);
  const sums = (a, b, sign) => a.map((value, i) => value + sign * b[i]);
  const spans = Array.from({ length: count }, (_, channel) => ["", "_theory"].flatMap((kind) => [-1, 1].flatMap((sign) => sums(of(`mean${kind}`, channel), of(`std${kind}`, channel), sign)))).flat();
  const top = 1.04 * Math.max(...spans), bottom = 1.04 * Math.min(...spans), ticks = roundTicks(bottom, top);
  const node = find(".channels"), seek = (value) => moveTo(value / (last || 1));
  node.replaceChildren();
  channelPlots = Array.from({ length: count }, (_, channel) => {
    const figure = make("figure", "channel", `<figcaption><b>channel ${channel}</b><span></span></figcaption><div class="lines"></div>`);
    node.append(figure);
    const mean = of("mean", channel), std = of("std", channel), mean_theory = of("mean_theory", channel), std_theory = of("std_theory", channel);
    const plotted = lines(figure.querySelector(".lines"), { x: [0, last || 1], y: [bottom, top], ticks, xTicks: [[0, `step ${steps[0].index}`], [last || 1, `${steps.at(-1).index}`]], seek, label: `Channel ${channel}: mean and spread along the run, measured and in theory` });
    plotted.band("spread", places, sums(mean, std, -1), sums(mean, std, 1));
    plotted.line("measured", places, mean);
    for (const sign of [-1, 1]) plotted.line("edge", places, sums(mean, std, sign));
    plotted.line("theory", places, mean_theory);
    for (const sign of [-1, 1]) plotted.line("theory", places, sums(mean_theory, std_theory, sign));
    return { ...plotted, said: figure.querySelector("figcaption span") };
  });
  buildSpectrum();
  theoryFold.dataset.shown = measured.run;
}

// Bin 0 is the mean, which the plots above have; the rest on one scale for all states, so that moving compares.
function buildSpectrum() {
  const { steps, frequencies, x0 } = measured, f = frequencies.slice(1), figure = find(".spectrum");
  const every = [...steps.flatMap((step) => [...step.spectrum.slice(1), ...step.spectrum_theory.slice(1)]), ...x0.spectrum.slice(1)].filter((value) => value > 0);
  const floor = Math.floor(Math.log10(Math.max(Math.min(...every), 1e-4))), ceiling = Math.ceil(Math.log10(Math.max(...every)));
  const ticks = Array.from({ length: ceiling - floor + 1 }, (_, k) => 10 ** (floor + k));
  const plotted = lines(figure.querySelector(".lines"), { x: [0, f.at(-1)], y: [10 ** floor, 10 ** ceiling], ticks, log: true,
    xTicks: [0, 0.25, 0.5].filter((value) => value <= f.at(-1)).map((value) => [value, value ? `${value} cycles per cell` : "0"]), label: "Radial spectrum at this step, measured and in theory" });
  const empty = f.map(() => 1);
  spectrumPlot = { ...plotted, f, x0Line: plotted.line("of-x0", f, empty), epsLine: plotted.line("of-eps", f, empty), theoryLine: plotted.line("theory", f, empty), measuredLine: plotted.line("measured", f, empty) };
  figure.hidden = find(".keys").hidden = false;
}

const TINY = 1e-9;
function followTheory() {
  if (!measured) return;
  const { steps, x0 } = measured, i = Math.round(progress * (steps.length - 1)), step = steps[i], { f } = spectrumPlot;
  placeCursor(theoryFold, `step ${step.index} of ${steps.at(-1).index} · t = ${+step.timestep.toFixed(1)} · ᾱ ${decimals(step.alpha ** 2)}`);
  channelPlots.forEach((one, channel) => {
    one.at(i);
    one.said.textContent = `${decimals(step.mean[channel], 2)} ± ${decimals(step.std[channel], 2)}`;
    one.said.title = `theory ${decimals(step.mean_theory[channel], 2)} ± ${decimals(step.std_theory[channel], 2)}`;
  });
  const positive = (values) => values.slice(1).map((value) => Math.max(value, TINY));
  spectrumPlot.redraw(spectrumPlot.measuredLine, f, positive(step.spectrum));
  spectrumPlot.redraw(spectrumPlot.theoryLine, f, positive(step.spectrum_theory));
  spectrumPlot.redraw(spectrumPlot.x0Line, f, positive(x0.spectrum.map((value) => step.alpha ** 2 * value)));
  spectrumPlot.redraw(spectrumPlot.epsLine, f, f.map(() => Math.max(step.sigma ** 2, TINY)));
  theoryFold.querySelector(".said").textContent = judgedTheory(step, x0);
  theoryFold.dataset.state = i;
}

// Which channel is furthest from theory, in units of what chance alone does, and where noise takes over in the spectrum.
function judgedTheory(step, x0) {
  if (step === measured.steps.at(-1)) return "The end of the run. Theory takes these latents for the clean picture, so here it agrees by construction; look at the states before.";
  const off = step.std.map((value, c) => Math.abs(value - step.std_theory[c]) / (step.std_spread[c] || 1)), worst = off.indexOf(Math.max(...off));
  const ratio = step.std[worst] / step.std_theory[worst], spread = `channel ${worst} is furthest off, with a spread of ${decimals(step.std[worst], 2)} where theory says ${decimals(step.std_theory[worst], 2)}`;
  const judged = off[worst] < 2 ? "a difference within chance" : `${decimals(100 * Math.abs(ratio - 1), 0)}% ${ratio < 1 ? "less" : "more"}, beyond chance: the run's noise is not fresh, but what the model's predictions left of it`;
  const over = measured.frequencies.findIndex((_, bin) => bin && step.alpha ** 2 * x0.spectrum[bin] < step.sigma ** 2);
  const back = over > 0 && measured.frequencies.some((_, bin) => bin > over && step.alpha ** 2 * x0.spectrum[bin] > step.sigma ** 2);
  const cross = over < 0 ? "The picture outweighs the noise at every frequency." : over <= 1 ? "The noise outweighs the picture at every frequency." : `Up to ${decimals(measured.frequencies[over], 2)} cycles per cell the picture outweighs the noise; beyond, the noise does${back ? " for the most part" : ""}.`;
  return `Here ${percent(step.sigma ** 2)} of the weight is noise. Of the spreads, ${spread}, ${judged}. ${cross}`;
}
theoryFold.addEventListener("toggle", measure);
