// The panes of the stage. A new pane is one entry of PANES: what it shows of a frame, and how it is coloured.

const PANES = [
  { name: "x_t", symbol: "<i>x</i><sub>t</sub>", title: "latents now", paint: "colour", gain: (frame) => 1 / level(frame),
    hint: "Noise at first, the picture's latents in the end.",
    note: (frame) => (Math.abs(level(frame) - 1) < 0.01 ? "4 channels as colours" : `shown ÷ ${level(frame).toFixed(2)}`) },
  { name: "eps", symbol: "<i>ε</i>", title: "predicted noise", paint: "signed", hint: "The noise that the model sees in the latents.",
    scale: true },
  { name: "x0", symbol: "<i>x</i><sub>0</sub>", title: "clean latents", paint: "colour",
    hint: "What is left without that noise.", note: () => "4 channels as colours" },
  { name: "picture", plane: "x0", symbol: "", title: "picture", paint: "colour", large: true,
    hint: "Press Run: a picture comes out of noise here, one step at a time.",
    note: (frame) => (frame.picture ? "decoded by the VAE" : "x0 as colours, until the VAE decodes") },
];

const make = (tag, className, html = "") => Object.assign(document.createElement(tag), { className, innerHTML: html });

// Builds the panes into `stage`; returns draw(frame, before), sketch(), mark(cell) and the list for the pointer.
function buildPanes(stage, root, enlarge) {
  const panes = PANES.map((pane) => {
    const figure = make("figure", `pane ${pane.large ? "is-picture" : ""}`);
    figure.dataset.pane = pane.name;
    const head = make("figcaption", "", `<span class="symbol">${pane.symbol}</span><span class="title">${pane.title}</span><span class="past"></span>`);
    const button = make("button", "icon enlarge",
      '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M9.5 2.5h4v4M13.5 2.5l-5 5M6.5 13.5h-4v-4M2.5 13.5l5-5"/></svg>');
    button.type = "button"; button.title = "Enlarge"; button.setAttribute("aria-label", `Enlarge ${pane.title}`);
    button.disabled = true;
    const frame = make("div", "frame"), canvas = make("canvas"), cell = make("span", "cell"), hint = make("p", "hint");
    canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", `${pane.title}: empty`);
    canvas.width = canvas.height = 16;
    hint.textContent = pane.hint;
    cell.hidden = true;
    const picture = make("img"); picture.alt = "the decoded picture"; picture.hidden = true; picture.draggable = false;
    frame.append(canvas, ...(pane.large ? [picture] : []), cell, hint);
    const foot = make("p", "foot");
    foot.innerHTML = pane.scale ? `<span>−${SIGNED_RANGE}</span><span class="ramp"></span><span>+${SIGNED_RANGE}</span>` : "";
    if (pane.scale) foot.title = "Noise along the direction of the latent that changes brightness, in standard deviations";
    head.append(button);
    figure.append(head, frame, foot);
    stage.append(figure);
    const built = { ...pane, figure, frame, canvas, cell, hint, picture, foot, button, past: head.querySelector(".past"), context: canvas.getContext("2d") };
    button.addEventListener("click", () => enlarge(built));
    return built;
  });

  const resize = (pane, width, height) => {
    if (pane.canvas.width === width && pane.canvas.height === height) return;
    pane.canvas.width = width; pane.canvas.height = height;
  };

  // The last Step has no prediction: its panes keep the one before, and say so.
  const draw = (frame, before) => {
    const colours = theme(root), [, height, width] = frame.shape;
    for (const pane of panes) {
      const name = pane.plane ?? pane.name, own = frame.planes[name], plane = own ?? before?.planes[name];
      pane.figure.classList.toggle("is-past", !own && !pane.large);
      pane.hint.hidden = true;
      pane.button.disabled = false;
      resize(pane, width, height);
      if (plane) {
        const image = pane.context.createImageData(width, height);
        if (pane.paint === "signed") paintSigned(image, plane, frame.shape, frame.preview, colours);
        else paintColour(image, plane, frame.shape, frame.preview, pane.gain?.(frame) ?? 1);
        pane.context.putImageData(image, 0, 0);
      }
      pane.canvas.setAttribute("aria-label", `${pane.title} at step ${frame.i}`);
      if (pane.large) {
        pane.picture.hidden = !frame.picture;
        if (frame.picture && pane.picture.src !== frame.picture) pane.picture.src = frame.picture;
      }
      if (pane.note) pane.foot.textContent = pane.note(frame);
      pane.past.textContent = own || pane.large || !before ? "" : `of step ${before.i}`;
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

  return { panes, draw, sketch, mark };
}

// The dialog that shows one pane large; returns open(pane) and refresh(), which redraws what is open.
function buildLarge(dialog, root) {
  const canvas = dialog.querySelector("canvas"), context = canvas.getContext("2d");
  let open = null;
  const refresh = () => {
    if (!open || !dialog.open) return;
    const decoded = open.large && !open.picture.hidden, source = decoded ? open.picture : open.canvas;
    const width = source.naturalWidth ?? source.width, height = source.naturalHeight ?? source.height;
    const scale = Math.max(1, Math.floor(768 / Math.max(width, height)));
    canvas.width = width * scale; canvas.height = height * scale;
    context.imageSmoothingEnabled = decoded || root.classList.contains("is-smooth") || open.large;
    context.drawImage(source, 0, 0, canvas.width, canvas.height);
  };
  const blob = (use) => canvas.toBlob(use, "image/png");
  dialog.querySelector(".save").addEventListener("click", () => blob((file) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file),
      download: `diffuscope-${open.name}-step-${root.dataset.frame}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }));
  const copy = dialog.querySelector(".copy");
  copy.hidden = !(navigator.clipboard && window.ClipboardItem); // only on https and localhost
  copy.addEventListener("click", () => blob(async (file) => {
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": file })]);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Not allowed";
    }
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  }));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  return {
    open: (pane) => {
      open = pane;
      dialog.dataset.pane = pane.name;
      dialog.querySelector(".large-title").innerHTML = `<span class="symbol">${pane.symbol}</span> ${pane.title}`;
      dialog.showModal();
      refresh();
    },
    refresh,
  };
}
