// The panes of the stage. A new pane is one entry of PANES: what it shows of a frame, and how it is coloured.

// The change from these latents to the next, both in VP form, so that it reads the same for every sampler.
function updateOf(frame, after) {
  if (!after) return null;
  const now = 1 / level(frame), then = 1 / level(after), next = after.planes.x_t;
  return Float32Array.from(frame.planes.x_t, (bits, p) => then * HALF[next[p]] - now * HALF[bits]);
}

// The smallest of 1, 2, 5 × a power of ten that the largest value fits under: a scale that is easy to read.
function niceRange(values) {
  let top = 0;
  for (const value of values) if (Math.abs(value) < Infinity) top = Math.max(top, Math.abs(value));
  const power = 10 ** Math.floor(Math.log10(top || 1));
  return power * [1, 2, 5, 10].find((step) => step * power >= top * 0.999);
}

const numbersOf = (name) => (frame) => frame.planes[name] && floats(frame.planes[name]);
const coloured = (frame) => (frame.pixels ? "as it is" : `${frame.shape[0]} channels as colours`);
const PANES = [
  { name: "x_t", symbol: "<i>x</i><sub>t</sub>", title: "latents now", paint: "colour", gain: (frame) => 1 / level(frame),
    hint: "Noise at first, the picture's latents in the end.",
    note: (frame) => (Math.abs(level(frame) - 1) < 0.01 ? coloured(frame) : `shown ÷ ${level(frame).toFixed(2)}`) },
  { name: "eps", symbol: "<i>ε</i>", title: "predicted noise", paint: "signed", numbers: numbersOf("eps"), range: () => 3,
    hint: "The noise that the model sees in the latents.",
    scale: "Noise along the direction of the latent that changes brightness, in standard deviations" },
  { name: "x0", symbol: "<i>x</i><sub>0</sub>", title: "clean latents", paint: "colour",
    hint: "What is left without that noise.", note: (frame) => coloured(frame) },
  { name: "update", symbol: "Δ<i>x</i>", title: "this step", paint: "signed", numbers: updateOf, range: niceRange,
    hint: "What one step changes.",
    scale: "The next latents minus these, both in VP form (÷ √(α² + σ²)), along the direction that changes brightness; the scale follows the step" },
  { name: "picture", plane: "x0", symbol: "", title: "picture", paint: "colour", large: true,
    hint: "Press Run: a picture comes out of noise here, one step at a time." },
];

const make = (tag, className, html = "") => Object.assign(document.createElement(tag), { className, innerHTML: html });

// Builds the panes named into `stage`; returns draw(), reveal(), sketch(), mark(cell) and the list for the pointer.
function buildPanes(stage, root, enlarge, names) {
  root.classList.toggle("has-picture", names.includes("picture"));
  let pixels = Boolean(props.pixels); // of the frame shown
  root.style.setProperty("--small", names.filter((name) => name !== "picture").length);
  const panes = names.map((name) => PANES.find((pane) => pane.name === name)).map((pane) => {
    const figure = make("figure", `pane ${pane.large ? "is-picture" : ""}`);
    figure.dataset.pane = pane.name;
    const head = make("figcaption", "", `<span class="symbol">${pane.symbol}</span><span class="title">${spoken(pane.title, pixels)}</span>`);
    const button = make("button", "icon enlarge",
      '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M9.5 2.5h4v4M13.5 2.5l-5 5M6.5 13.5h-4v-4M2.5 13.5l5-5"/></svg>');
    button.type = "button"; button.title = "Enlarge"; button.setAttribute("aria-label", `Enlarge ${spoken(pane.title, pixels)}`);
    button.disabled = true;
    const frame = make("div", "frame"), canvas = make("canvas"), cell = make("span", "cell"), hint = make("p", "hint"), past = make("span", "past");
    canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", `${spoken(pane.title, pixels)}: empty`);
    canvas.width = canvas.height = 16;
    hint.textContent = spoken(pane.hint, pixels);
    cell.hidden = true;
    const picture = make("img"); picture.alt = "the decoded picture"; picture.hidden = true; picture.draggable = false;
    frame.append(canvas, ...(pane.large ? [picture] : []), cell, past, hint);
    const foot = make("p", "foot", pane.scale ? '<span class="low"></span><span class="ramp"></span><span class="high"></span>' : "");
    if (pane.scale) foot.title = spoken(pane.scale, pixels);
    if (pane.large) foot.innerHTML = '<span class="of-preview"></span><input type="range" class="split" min="0" max="100" value="50" ' +
      'aria-label="Where the preview ends and the decoded picture begins" hidden><span class="of-decoded"></span>';
    head.append(button);
    figure.append(head, frame, foot);
    stage.append(figure);
    const built = { ...pane, figure, frame, canvas, cell, hint, picture, foot, button, past, context: canvas.getContext("2d") };
    button.addEventListener("click", () => enlarge(built));
    const split = foot.querySelector(".split");
    split?.addEventListener("input", () => frame.style.setProperty("--split", `${split.value}%`));
    return built;
  });

  const resize = (pane, width, height) => {
    if (pane.canvas.width === width && pane.canvas.height === height) return;
    pane.canvas.width = width; pane.canvas.height = height;
  };

  // A trace of the one kind may be opened on the page of the other.
  const speak = () => {
    for (const pane of panes) {
      pane.figure.querySelector(".title").textContent = spoken(pane.title, pixels);
      pane.button.setAttribute("aria-label", `Enlarge ${spoken(pane.title, pixels)}`);
      if (pane.scale) pane.foot.title = spoken(pane.scale, pixels);
    }
  };

  // A state without a prediction or, for the update, without a next state keeps the pane of the one before, and says so.
  const draw = (frame, before, after) => {
    const colours = theme(root), [, height, width] = frame.shape;
    if (pixels !== Boolean(frame.pixels)) { pixels = !pixels; speak(); }
    for (const pane of panes) {
      const own = pane.numbers ? pane.numbers(frame, after) : frame.planes[pane.plane ?? pane.name];
      const shown = own ?? (before && (pane.numbers ? pane.numbers(before, frame) : before.planes[pane.plane ?? pane.name]));
      pane.figure.classList.toggle("is-past", frame.i === frame.n - 1 && !own && !pane.large);
      pane.button.disabled = false;
      resize(pane, width, height);
      if (shown) {
        pane.hint.hidden = true;
        const image = pane.context.createImageData(width, height);
        if (pane.paint === "signed") {
          const values = alongBrightness(shown, frame.shape, frame.preview), range = pane.range(values);
          paintSigned(image, values, range, colours);
          pane.foot.querySelector(".low").textContent = `−${+range.toPrecision(1)}`;
          pane.foot.querySelector(".high").textContent = `+${+range.toPrecision(1)}`;
        } else paintColour(image, shown, frame.shape, frame.preview, pane.gain?.(frame) ?? 1);
        pane.context.putImageData(image, 0, 0);
      }
      pane.canvas.setAttribute("aria-label", `${spoken(pane.title, pixels)} at step ${frame.i}`);
      if (pane.large) reveal(frame.picture ?? frame.decoded, frame.picture ? "whole" : "half");
      if (pane.note) pane.foot.textContent = pane.note(frame);
      pane.past.textContent = own || pane.large || !before ? "" : `of ${counted(before)} ${before.i}`;
    }
  };

  // The decoded picture over its preview: the whole of it at the end of a run, its right half beside the preview where a
  // person rests. The foot is there before, so that nothing moves.
  const reveal = (uri, how, note = "") => {
    for (const pane of panes.filter((one) => one.large)) {
      const half = Boolean(uri) && how === "half";
      pane.picture.hidden = !uri;
      if (!uri) pane.picture.removeAttribute("src"); // so that the next one never flashes this one
      else if (pane.picture.getAttribute("src") !== uri) pane.picture.src = uri;
      pane.frame.classList.toggle("is-split", half);
      pane.foot.querySelector(".split").hidden = !half;
      pane.foot.querySelector(".of-preview").textContent = half ? "preview" : pixels ? (uri ? "the end of the run" : "x0, as it is") : uri ? "decoded by the VAE" : `preview: x0 as colours${note && ` · ${note}`}`;
      pane.foot.querySelector(".of-decoded").textContent = half ? "decoded" : "";
      pane.foot.title = half ? "Left: x0 through the linear preview. Right: the same x0 through the full VAE." : note;
    }
  };

  const sketch = () => {
    const colours = theme(root);
    for (const pane of panes) {
      const image = pane.context.createImageData(pane.canvas.width, pane.canvas.height);
      paintSketch(image, pane.name, colours);
      pane.context.putImageData(image, 0, 0);
    }
  };

  // Puts the cross-hair of the cell that is read on every pane at once.
  const mark = (at, shape) => {
    for (const pane of panes) {
      pane.cell.hidden = !at;
      if (!at) continue;
      Object.assign(pane.cell.style, { left: `${(100 * at.x) / shape[2]}%`, top: `${(100 * at.y) / shape[1]}%`,
        width: `${100 / shape[2]}%`, height: `${100 / shape[1]}%` });
    }
  };

  return { panes, draw, reveal, sketch, mark };
}
