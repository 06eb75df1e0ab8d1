// The rows of the Forward stage: x_0 times one number plus noise times another is x_t. Mixing and painting, no state of
// the page. Arrays are planar, (channels, height, width); `a` is sqrt(ᾱ), `s` is sqrt(1 − ᾱ).

const make = (tag, className, html = "") => Object.assign(document.createElement(tag), { className, innerHTML: html });
const ENLARGE = '<button type="button" class="enlarge" title="Enlarge" disabled><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M9.5 2.5h4v4M13.5 2.5l-5 5M6.5 13.5h-4v-4M2.5 13.5l5-5"/></svg></button>';

// A record may hold megabytes: a plain loop is several times quicker than Uint8Array.from.
function bytes(base64) {
  const text = atob(base64), out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

function unhalved(base64) {
  const bits = new Uint16Array(bytes(base64).buffer), out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = HALF[bits[i]];
  return out;
}

// {shape, x0, eps, mean, var} with numbers in place of base64; x0 of pixels comes as bytes that mean −1 … 1.
function space(sent) {
  const known = sent.preview ? unhalved(sent.x0) : Float32Array.from(bytes(sent.x0), (value) => value / 127.5 - 1);
  return { ...sent, x0: known, eps: unhalved(sent.eps) };
}

// RGB in −1 … 1 into an ImageData; what lies beyond is clamped, as a screen must.
function paintPixels(image, { x0, eps, shape }, a, s) {
  const cells = shape[1] * shape[2], out = image.data, grow = a * 127.5, noise = s * 127.5;
  for (let k = 0; k < 3; k++) {
    const plane = shape[0] === 3 ? k * cells : 0;
    for (let p = 0, q = k; p < cells; p++, q += 4) out[q] = grow * x0[plane + p] + noise * eps[plane + p] + 127.5;
  }
  for (let q = 3; q < out.length; q += 4) out[q] = 255;
}

// Latents through the linear preview.
function paintLatents(image, { x0, eps, shape, preview }, a, s) {
  const [channels, height, width] = shape, cells = height * width, out = image.data;
  for (let p = 0; p < cells; p++) for (let k = 0; k < 3; k++) {
    let value = preview.offset[k];
    for (let c = 0, at = p; c < channels; c++, at += cells) value += preview.matrix[k][c] * (a * x0[at] + s * eps[at]);
    out[4 * p + k] = 255 * value;
    if (!k) out[4 * p + 3] = 255;
  }
}

// One pane: a framed canvas with a caption, in the colour of its quantity.
function pane(name, symbol, title, open) {
  const figure = make("figure", `pane q-${name}`,
    `<figcaption><span class="symbol">${symbol}</span><span class="title"></span>${open ? ENLARGE : ""}</figcaption>` +
    '<div class="frame"><canvas width="16" height="16" role="img"></canvas></div>');
  figure.dataset.pane = name;
  const made = { name, symbol, title, figure, canvas: figure.querySelector("canvas"), heading: figure.querySelector(".title"), button: figure.querySelector(".enlarge") };
  made.heading.textContent = title;
  made.context = made.canvas.getContext("2d");
  made.canvas.setAttribute("aria-label", title);
  made.button?.setAttribute("aria-label", `Enlarge ${title}`); // forward.js has the row's name as well
  made.button?.addEventListener("click", () => open(made));
  return made;
}

// Paints a mixture into a pane; the ImageData is kept, so that a frame allocates nothing.
function mix(into, values, a, s) {
  const [, height, width] = values.shape;
  if (into.canvas.width !== width || into.canvas.height !== height || !into.image) {
    Object.assign(into.canvas, { width, height });
    into.image = into.context.createImageData(width, height);
  }
  (values.preview ? paintLatents : paintPixels)(into.image, values, a, s);
  into.context.putImageData(into.image, 0, 0);
  if (into.button) into.button.disabled = false;
}

// A row: number · x_0 + number · ε = x_t, and at its end whatever stands beside it.
function buildRow(kind, open, side) {
  const node = make("div", "row");
  node.dataset.row = kind;
  const number = (name) => make("span", `factor q-${name}`);
  const row = { kind, node, factors: { x0: number("x0"), eps: number("eps") },
    x0: pane("x0", "<i>x</i><sub>0</sub>", "", open), eps: pane("eps", "<i>ε</i>", "noise", open),
    x_t: pane("x_t", "<i>x</i><sub>t</sub>", "", open), side };
  node.append(row.factors.x0, row.x0.figure, row.factors.eps, row.eps.figure, make("span", "equals", "="), row.x_t.figure, side);
  return row;
}
