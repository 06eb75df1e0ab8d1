// The folds below the Latents stage. This file: what they share, and the link to the stage. Its files are joined in the
// order colour, latents_folds, _decoders, _mix, _runs, _plot, _lines, _files, and run with gr.HTML's scope.

const root = element.querySelector(".latents-folds"), find = (selector) => root.querySelector(selector);
const all = (selector) => [...root.querySelectorAll(selector)];
const make = (tag, className, html = "") => Object.assign(document.createElement(tag), { className, innerHTML: html });
const PAUSE = 250; // ms that the stage must rest before anything is asked
const SILENT = { error: "The server did not answer; try again." };
let stage = null; // the Latents stage, once it is on the page

// What is on the stage, as the server is asked for it; null where nothing is.
const onStage = () => (stage?.state?.key ? [stage.state.key, stage.state.edits ?? []] : null);

const decimals = (value, digits = 3) => (Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "–");
const percent = (share) => (share < 0.005 ? "less than 1%" : `${Math.round(100 * share)}%`);

// Asks, a busy server some times, and answers with {error} rather than with a rejection.
async function ask(name, wanted, tries = 20) {
  const answer = await server[name](wanted).then((given) => given ?? SILENT, () => SILENT);
  if (!answer.busy || !tries) return answer;
  await new Promise((done) => setTimeout(done, PAUSE * (0.5 + Math.random())));
  return ask(name, wanted, tries - 1);
}

// A frame for a picture and one for a map below it; `name` gives its data-pane.
function framed(name, title, hint, colour = "ink") {
  const figure = make("figure", `pane q-${colour}`, `<figcaption></figcaption><div class="frame"><canvas width="16" height="16" role="img"></canvas><p class="hint"></p></div>`);
  figure.dataset.pane = name;
  const made = { name, title, figure, canvas: figure.querySelector("canvas"), hint: figure.querySelector(".hint"), heading: figure.querySelector("figcaption") };
  made.context = made.canvas.getContext("2d", { willReadFrequently: true });
  made.heading.textContent = title;
  made.hint.textContent = hint;
  made.canvas.setAttribute("aria-label", `${title}: empty`);
  return made;
}

// A data URI, ready to be drawn.
async function loaded(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
}

function fit(pane, width, height) {
  if (pane.canvas.width !== width || pane.canvas.height !== height) Object.assign(pane.canvas, { width, height });
  pane.hint.hidden = true;
  pane.figure.classList.add("is-drawn");
}

function show(pane, image) {
  fit(pane, image.naturalWidth, image.naturalHeight);
  pane.context.drawImage(image, 0, 0);
  pane.canvas.setAttribute("aria-label", pane.title);
}

// How much brighter the first is than the second, cell by cell, −1 … 1; both are panes of one size.
function brighter(one, other) {
  const [a, b] = [one, other].map((pane) => pane.context.getImageData(0, 0, pane.canvas.width, pane.canvas.height).data);
  const out = new Float32Array(a.length / 4);
  for (let p = 0, q = 0; p < out.length; p++, q += 4) {
    out[p] = (0.299 * (a[q] - b[q]) + 0.587 * (a[q + 1] - b[q + 1]) + 0.114 * (a[q + 2] - b[q + 2])) / 255;
  }
  return out;
}

// The smallest of 1, 2, 5 × a power of ten that all but one in a hundred of a list's values fit under, at least 0.01.
function roundUp(...lists) {
  const most = (values) => Float32Array.from(values, Math.abs).sort()[Math.floor(0.99 * values.length)];
  const top = Math.max(0.01, ...lists.map(most));
  const power = 10 ** Math.floor(Math.log10(top));
  return power * [1, 2, 5, 10].find((step) => step * power >= top * 0.999);
}

function paintMap(pane, values, width, height, range) {
  fit(pane, width, height);
  const image = pane.context.createImageData(width, height);
  paintSigned(image, values, range, theme(root));
  pane.context.putImageData(image, 0, 0);
  pane.canvas.setAttribute("aria-label", `${pane.title}, from −${range} to +${range}`);
}

const scale = () => make("p", "scale", '<span class="low">−</span><span class="map"></span><span class="high">+</span>');
function setScale(node, range) {
  node.querySelector(".low").textContent = `−${+range.toPrecision(1)}`;
  node.querySelector(".high").textContent = `+${+range.toPrecision(1)}`;
}

// What is quiet until something rests: each call puts it off.
function rested(work, pause = PAUSE) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(work, pause); };
}

// One question at a time, and of those that came meanwhile only the newest. An answer is shown where nothing newer waits, or
// where it is `partial`, one of a movement that is to be seen.
function newest(name, shown) {
  let waiting = null, busy = false;
  async function next() {
    if (busy || !waiting) return;
    const asked = waiting;
    waiting = null; busy = true;
    const answer = await ask(name, asked.wanted);
    busy = false;
    if (!waiting || asked.partial) await shown(answer, asked);
    next();
  }
  return (asked) => { waiting = asked; next(); };
}

// --- the link to the stage: it is another component, and may be mounted after this one ---

const followers = []; // called when the stage shows something else, or a fold opens
const themed = []; // called when the page's colours change

function link(tries = 0) {
  stage = document.querySelector(`#${props.stage} .latents`);
  if (!stage) return tries < 600 && requestAnimationFrame(() => link(tries + 1));
  stage.addEventListener("drawn", () => followers.forEach((follow) => follow()));
  followers.forEach((follow) => follow());
}
new MutationObserver(() => themed.forEach((paint) => paint())).observe(document.body, { attributes: true, attributeFilter: ["class"] });
requestAnimationFrame(() => link()); // when the files below have said what follows
