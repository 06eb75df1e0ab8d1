// The lanes of a comparison: one column a run, its panes from top to bottom, and how each plane is painted.

// What each plane is and how it is coloured. `range` is the end of a signed map's scale.
const PLANES = {
  x_t: { symbol: "<i>x</i><sub>t</sub>", title: "latents", colour: "x_t" },
  x0: { symbol: "<i>x</i><sub>0</sub>", title: "clean latents", colour: "x0", picture: true },
  eps: { symbol: "<i>ε</i>", title: "predicted noise", colour: "eps", range: 3 },
  true_eps: { symbol: "<i>ε</i><sub>true</sub>", title: "true noise", colour: "z", range: 3 },
  error: { symbol: "<i>ε</i> − <i>ε</i><sub>true</sub>", title: "error", colour: "uncond", range: 1.5 },
  dx_t: { symbol: "Δ<i>x</i><sub>t</sub>", title: "difference", colour: "uncond", range: 2 },
  dx0: { symbol: "Δ<i>x</i><sub>0</sub>", title: "difference", colour: "uncond", range: 2 },
};

const make = (tag, className, html = "") => Object.assign(document.createElement(tag), { className, innerHTML: html });
const ENLARGE = '<button type="button" class="enlarge" title="Enlarge" disabled><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M9.5 2.5h4v4M13.5 2.5l-5 5M6.5 13.5h-4v-4M2.5 13.5l5-5"/></svg></button>';
let panes = []; // of the lanes on the screen: {column, kinds, detail}

// Where lane l of a frame is in its own run: the places of a comparison count otherwise where the grids differ.
const placed = (frame, l) => (frame.lanes[l].place || frame.place || `step ${frame.i}`).split(" of ")[0];

function build(lanes) {
  const columns = lanes.map((lane) => {
    const column = make("div", "lane", '<p class="name"><b></b><span></span></p>');
    column.querySelector("b").textContent = column.querySelector("b").title = lane.label;
    const kinds = lane.show.map((name) => {
      const kind = PLANES[name], figure = make("figure", `q-${kind.colour}`,
        `<figcaption><span class="symbol">${kind.symbol}</span> <span class="title">${spoken(kind.title, props.pixels)}</span> <span class="past"></span>${ENLARGE}</figcaption>` +
        `<div class="cells"><canvas width="32" height="32" role="img"></canvas>${kind.picture ? '<img alt="the decoded picture" draggable="false" hidden>' : ""}</div>` +
        (kind.range ? `<p class="scale" title="${spoken("along the direction of the latent that changes brightness", props.pixels)}"><span>−${kind.range}</span><span class="map"></span><span>+${kind.range}</span></p>` : '<p class="scale"></p>'));
      figure.dataset.plane = name;
      column.append(figure);
      const pane = { ...kind, name, figure, label: lane.label, canvas: figure.querySelector("canvas"),
        picture: figure.querySelector("img"), large: Boolean(kind.picture), button: figure.querySelector(".enlarge") };
      pane.button.setAttribute("aria-label", `Enlarge ${spoken(kind.title, props.pixels)} of ${lane.label}`);
      pane.button.addEventListener("click", () => large.open(pane));
      return pane;
    });
    return { column, kinds, detail: column.querySelector(".name span") };
  });
  find(".lanes").replaceChildren(...columns.map((column) => column.column));
  find(".lanes").style.setProperty("--lanes", columns.length);
  root.dataset.rows = lanes[0].show.length;
  panes = columns;
}

// A state without this plane, as the last one has no prediction, keeps the pane of the last that has it and says so.
// earlier(l, name): that frame, if there is one.
function paint(frame, earlier) {
  const colours = theme(root), [, height, width] = frame.shape;
  frame.lanes.forEach((lane, l) => {
    panes[l].detail.textContent = lane.detail;
    for (const pane of panes[l].kinds) {
      const own = lane.planes[pane.name], before = own ? null : earlier(l, pane.name), plane = own ?? before?.lanes[l].planes[pane.name];
      if (plane) {
        if (pane.canvas.width !== width || pane.canvas.height !== height) Object.assign(pane.canvas, { width, height });
        const context = pane.canvas.getContext("2d"), image = context.createImageData(width, height);
        if (pane.range) paintSigned(image, alongBrightness(floats(plane), frame.shape, frame.preview), pane.range, colours);
        else paintColour(image, plane, frame.shape, frame.preview, pane.name === "x_t" ? 1 / level(lane) : 1);
        context.putImageData(image, 0, 0);
      }
      const decoded = pane.picture && lane.picture;
      if (pane.picture) {
        pane.picture.hidden = !decoded;
        if (decoded && pane.picture.src !== lane.picture) pane.picture.src = lane.picture;
      }
      const late = before && !decoded, last = late && pane.name === "dx0", said = decoded ? (frame.pixels ? "picture" : "decoded picture") : last ? "last predictions" : spoken(pane.title, frame.pixels);
      const title = pane.figure.querySelector(".title");
      title.textContent = said;
      title.title = last ? "The end predicts nothing: this is the difference of the last predictions" : "";
      pane.figure.querySelector(".past").textContent = late && !last ? `of ${placed(before, l)}` : "";
      pane.button.disabled = !plane;
      pane.canvas.setAttribute("aria-label", `${lane.label}: ${said} at ${placed(frame, l)}`);
      pane.at = placed(frame, l);
    }
  });
}

function sketch() {
  const colours = theme(root);
  for (const { kinds } of panes) for (const pane of kinds) {
    const context = pane.canvas.getContext("2d"), image = context.createImageData(pane.canvas.width, pane.canvas.height);
    paintSketch(image, pane.range ? "eps" : pane.name, colours);
    context.putImageData(image, 0, 0);
    pane.canvas.setAttribute("aria-label", `${pane.label}, ${pane.title}: empty`);
  }
}
