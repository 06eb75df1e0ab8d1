// The strip under the timeline: how signal, noise and the predictions change over the run, with a cursor at the step shown.

const CURVES = [
  { key: "signal", colour: "x0", label: "<i>α</i> signal, VP", of: (frame) => (frame.alpha ?? 0) / level(frame), value: (frame) => (frame.alpha ?? 0) / level(frame), top: 1 },
  { key: "noise", colour: "eps", label: "<i>σ</i> noise, VP", of: (frame) => (frame.sigma ?? 0) / level(frame), value: (frame) => (frame.sigma ?? 0) / level(frame), top: 1 },
  { key: "state", colour: "x_t", label: "|<i>x</i><sub>t</sub>|", of: (frame) => frame.norms.x_t / level(frame), value: (frame) => frame.norms.x_t / level(frame), dash: "9 3",
    hint: "root mean square of the latents in VP form (÷ √(α² + σ²)), on a scale of its own" },
  { key: "eps", colour: "eps", label: "|<i>ε</i>|", of: (frame) => frame.norms.eps, value: (frame) => frame.norms.eps, dash: "5 4",
    hint: "root mean square of the predicted noise, on a scale of its own" },
  { key: "cfg", colour: "cond", label: "|cond − uncond|", of: (frame) => frame.norms.cfg, value: (frame) => frame.norms.cfg, dash: "1.5 3.5",
    hint: "root mean square of what the prompt changes, on a scale of its own" },
];

// Builds legend and lines; returns update(frames, n) for new data, at(frame) for the cursor, and clear().
function buildCurves(node, seek) {
  const plot = node.querySelector(".plot"), legend = node.querySelector(".legend"), ns = "http://www.w3.org/2000/svg";
  const add = (tag, attributes) => {
    const shape = plot.appendChild(document.createElementNS(ns, tag));
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
    return shape;
  };
  for (const y of [4, 96]) add("line", { x1: 0, x2: 1000, y1: y, y2: y, class: "rule" });
  const lines = CURVES.map((curve) => {
    const path = add("polyline", { class: `curve q-${curve.colour}`, "stroke-dasharray": curve.dash ?? "none" });
    const row = make("div", `q-${curve.colour}`, `<dt><svg viewBox="0 0 18 8" aria-hidden="true"><path d="M0 4h18" ${
      curve.dash ? `stroke-dasharray="${curve.dash}"` : ""}/></svg><span>${curve.label}</span></dt><dd>–</dd>`);
    if (curve.hint) row.title = spoken(curve.hint, props.pixels);
    row.hidden = curve.key === "cfg" && Boolean(props.pixels || props.single); // until a run has it
    legend.append(row);
    return { ...curve, path, row, number: row.querySelector("dd") };
  });
  const cursor = add("line", { x1: 0, x2: 0, y1: 0, y2: 100, class: "cursor" });

  let length = 0;
  const x = (i) => (length > 1 ? (1000 * i) / (length - 1) : 0);
  const drag = (event) => {
    if (!event.buttons || length < 2) return;
    const box = plot.getBoundingClientRect();
    seek(Math.round(((event.clientX - box.left) / box.width) * (length - 1)));
  };
  plot.addEventListener("pointerdown", (event) => { plot.setPointerCapture(event.pointerId); drag(event); });
  plot.addEventListener("pointermove", drag);

  return {
    update: (frames, n) => {
      length = n;
      for (const curve of lines) {
        const points = [];
        let top = curve.top ?? 0;
        if (!curve.top) for (const frame of frames) if (frame) top = Math.max(top, curve.of(frame) ?? 0);
        for (const frame of frames) {
          const value = frame && curve.of(frame);
          if (value !== null && value !== undefined) points.push(`${x(frame.i).toFixed(1)},${(96 - (92 * value) / (top || 1)).toFixed(1)}`);
        }
        curve.path.setAttribute("points", points.join(" "));
        if (curve.key === "cfg") curve.row.hidden = !points.length && Boolean(props.pixels || props.single);
      }
    },
    at: (frame) => {
      cursor.setAttribute("x1", x(frame.i)); cursor.setAttribute("x2", x(frame.i));
      for (const curve of lines) curve.number.textContent = fixed(curve.value(frame), 3);
    },
  };
}
