// The plot of the projection: plotly.js brought once, its colours the page's, two markers a run at the cursor, and the frame
// of the state under the pointer.

const plot = find(".plot"), floating = find(".at-pointer");
let bringing = null, dimensions = 2, firstMarker = 0, pointer = { x: 0, y: 0 };

// Plotly, from plotly.py's own package by the server: gzipped, and run from a blob.
function library() {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  bringing ??= (async () => {
    const answer = await ask("plotly", null);
    if (!answer.library) throw new Error(answer.error);
    const packed = Uint8Array.from(atob(answer.library), (character) => character.charCodeAt(0));
    const source = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).blob();
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    await new Promise((loadedIt, failed) => {
      const script = Object.assign(document.createElement("script"), { src: url, onload: loadedIt, onerror: failed });
      document.head.append(script);
    }).finally(() => URL.revokeObjectURL(url));
    return window.Plotly;
  })();
  bringing.catch(() => (bringing = null)); // so that another press asks again
  return bringing;
}

function colours() {
  const style = getComputedStyle(root), of = (name) => style.getPropertyValue(name).trim();
  return { ink: of("--ink"), soft: of("--ink-soft"), line: of("--line"), page: of("--page"), x_t: of("--q-x_t"), x0: of("--q-x0"), font: style.fontFamily };
}

const axisOf = (axis, { soft, line }) => ({ ...axis, color: soft, linecolor: line, gridcolor: line, tickfont: { size: 11, color: soft }, title: { ...axis.title, font: { size: 12, color: soft } } });

function layoutOf(figure) {
  const colour = colours(), { layout } = figure, wide = plot.clientWidth > 560;
  const made = { ...layout, width: plot.clientWidth, height: plot.clientHeight, font: { family: colour.font, size: 12, color: colour.ink },
    uirevision: `${projection.serial} ${dimensions}`, hoverlabel: { bgcolor: colour.page, bordercolor: colour.line, font: { color: colour.ink, family: colour.font } },
    showlegend: wide, legend: { ...layout.legend, font: { size: 12, color: colour.ink }, bgcolor: "rgba(0,0,0,0)" }, template: undefined };
  if (dimensions === 2) return { ...made, xaxis: axisOf(layout.xaxis, colour), yaxis: axisOf(layout.yaxis, colour) };
  const scene = { ...layout.scene };
  for (const axis of ["xaxis", "yaxis", "zaxis"]) scene[axis] = { ...axisOf(scene[axis], colour), showspikes: false, title: { ...axisOf(scene[axis], colour).title, text: `PC ${"xyz".indexOf(axis[0]) + 1}` } };
  return { ...made, legend: { ...made.legend, x: 0.012, y: 0.985, yanchor: "top" }, scene: { ...scene, camera: { eye: wide ? { x: 1.3, y: 1.3, z: 0.85 } : { x: 1.65, y: 1.65, z: 1.05 }, center: { x: 0, y: 0, z: -0.12 } } } };
}

// Where the cursor is on both paths of every run, one marker each.
function markers() {
  const colour = colours(), solid = dimensions === 3;
  return projection.runs.flatMap((one) => ["x_t", "x0"].map((kind) => ({
    ...placed(one, kind), type: solid ? "scatter3d" : "scatter", mode: "markers", hoverinfo: "skip", showlegend: false,
    // in 3-D outlines are hair-thin, so the marker is filled there
    marker: { size: solid ? 11 : 17, color: solid ? colour[kind] : colour.page, line: { color: solid ? colour.page : colour[kind], width: solid ? 1 : 4 }, opacity: 1, symbol: "circle" },
  })));
}

function placed(one, kind) {
  const i = stateOf(one), at = kind === "x_t" ? i : x0Of(one, i), point = (kind === "x_t" ? one.x_t : one.x0)[at] ?? [null, null, null];
  return { x: [point[0]], y: [point[1]], ...(dimensions === 3 && { z: [point[2]] }) };
}

// The frame at the pointer says what Plotly's own label would.
const silent = ({ hovertemplate, ...trace }) => ({ ...trace, hoverinfo: "none" });

async function drawPlot(anew = false) {
  if (!projection || !window.Plotly) return;
  if (anew) projection.serial = (root.serial = (root.serial ?? 0) + 1);
  const figure = projection.figures[dimensions];
  find(".plot-frame > .hint").hidden = true;
  firstMarker = figure.data.length;
  await window.Plotly.react(plot, [...figure.data.map(silent), ...markers()], layoutOf(figure), { displayModeBar: false, scrollZoom: dimensions === 3, responsive: false });
  if (!plot.dataset.watched) {
    plot.dataset.watched = "yes";
    plot.on("plotly_hover", hovered);
    plot.on("plotly_unhover", () => (floating.hidden = true));
    plot.on("plotly_click", ({ points }) => {
      const [run, step] = points[0].customdata ?? [];
      const one = projection.runs[run];
      if (one) moveTo(one.steps.indexOf(step) / (one.steps.length - 1 || 1));
    });
  }
  plot.setAttribute("aria-label", `Projection of ${projection.runs.map((one) => one.name).join(", ")} in ${dimensions} dimensions`);
  runsFold.dataset.drawn = `${dimensions} ${projection.serial}`;
}

function placeMarkers() {
  if (!plot.data) return;
  const points = projection.runs.flatMap((one) => ["x_t", "x0"].map((kind) => placed(one, kind)));
  const change = { x: points.map((point) => point.x), y: points.map((point) => point.y) };
  if (dimensions === 3) change.z = points.map((point) => point.z);
  window.Plotly.restyle(plot, change, points.map((_, i) => firstMarker + i));
}

function hovered({ points }) {
  const [run, step, kind] = points[0].customdata ?? [], one = projection?.runs[run];
  if (!one) return;
  const place = (kind === "x_t" ? one.steps : one.x0_steps).indexOf(step);
  if (place < 0) return;
  cut(floating.querySelector("canvas"), one, kind, place);
  floating.querySelector("span").innerHTML = `${kind === "x_t" ? "<i>x</i><sub>t</sub>" : "<i>x</i><sub>0</sub>"} at step ${+step}<small></small>`;
  floating.querySelector("small").textContent = projection.runs.length > 1 ? one.name : "";
  floating.className = `at-pointer q-${kind === "x_t" ? "x_t" : "x0"}`;
  floating.hidden = false;
  const box = find(".plot-frame").getBoundingClientRect(), left = pointer.x - box.left, top = pointer.y - box.top;
  const side = left > box.width - DRAWN_FRAME - 40 ? -DRAWN_FRAME - 28 : 20;
  Object.assign(floating.style, { left: `${left + side}px`, top: `${Math.min(Math.max(top - DRAWN_FRAME - 30, 0), box.height - DRAWN_FRAME - 34)}px` });
}
find(".plot-frame").addEventListener("pointermove", (event) => (pointer = { x: event.clientX, y: event.clientY }), true);
find(".plot-frame").addEventListener("pointerleave", () => (floating.hidden = true));

find(".dimensions").addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  dimensions = +button.dataset.dimensions;
  for (const one of find(".dimensions").children) one.setAttribute("aria-pressed", one === button);
  floating.hidden = true;
  await drawPlot();
  if (projection) followRuns();
});
themed.push(() => drawPlot());
new ResizeObserver(rested(() => projection && plot.clientWidth && drawPlot(), 120)).observe(find(".plot-frame"));
