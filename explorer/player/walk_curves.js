// What is measured along the walk, on the timeline of its frames and with the same cursor: in three rows the noise, the
// differences of neighbours, and the prompts. A series' values stand at frames, or `between` two of them.

const dashes = ["none", "6 4", "1.5 3.5"];
let rowsOf = []; // the rows on the screen: {svg, series: [{path, number, …}]}

const flat = (values) => values.filter((value) => value !== null && value !== undefined);

// Before the first film: what two independent noises give, at low contrast.
const QUIET = (() => {
  const at = Array.from({ length: props.frames }, (_, i) => i / (props.frames - 1));
  return { of: "noise", norm: at.map(() => 1), other_norm: at.map((t) => Math.hypot(t, 1 - t)), angle: at.map((t) => 90 * t), cosine: at.map((t) => 1 - 0.7 * t * t) };
})();

// Each row: its name and its series, {label, colour, dash, values(): numbers or nulls, between, own}; those without `own`
// share one scale, from `low` to the largest.
function layout() {
  const tracks = film?.tracks ?? QUIET, names = film?.names ?? { norm: "slerp", other: "lerp" };
  const of = tracks.of, pairs = (one, k) => (one ? Array.from({ length: one.n - (one.closed ? 0 : 1) }, (_, i) => one.pairs[i]?.[k] ?? null) : []);
  const noise = [{ label: `${of} norm${names.norm && `, ${names.norm}`}`, colour: "x_t", dash: 0, values: () => tracks.norm, digits: 3 }];
  if (names.other) noise.push({ label: `${of} norm, ${names.other}`, colour: "uncond", dash: 1, values: () => tracks.other_norm, digits: 3 });
  noise.push({ label: "angle, own scale", colour: "x_t", dash: 2, values: () => tracks.angle, own: true, digits: 0, unit: "°" });
  const next = [
    { label: spoken("change of latents", props.pixels), colour: "x0", dash: 0, values: () => pairs(film, 0), between: true, digits: 3 },
    { label: "1 − SSIM, own scale", colour: "update", dash: 1, values: () => pairs(film, 1), between: true, own: true, digits: 3 },
  ];
  const beside = second ? { label: `${spoken("latents", props.pixels)}, ${second.name.split(" ").at(-1)}`, values: () => pairs(second, 0) } : film?.before ? { label: spoken("latents, before", props.pixels), values: () => film.before } : null;
  if (beside) next.splice(1, 0, { ...beside, colour: "uncond", dash: 2, between: true, digits: 3 });
  const prompt = [{ label: "prompts' cosine", colour: "cond", dash: 0, values: () => tracks.cosine, digits: 3, top: 1 }];
  return props.prompts ? [noise, next, prompt] : [noise, next];
}

function chart() {
  rowsOf = layout().map((series) => {
    const box = make("div", "curve-row", '<dl></dl><div class="plot"><svg aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 1000 100"><line class="rule" x1="0" x2="1000" y1="97" y2="97"/><line class="rule" x1="0" x2="1000" y1="3" y2="3"/><g></g></svg><span class="top" aria-hidden="true"></span><span class="bottom" aria-hidden="true"></span></div>');
    const svg = box.querySelector("svg g");
    const made = series.map((one) => {
      const path = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
      path.setAttribute("class", `q-${one.colour}`);
      path.setAttribute("stroke-dasharray", dashes[one.dash]);
      const row = make("div", `q-${one.colour}`, `<dt><svg viewBox="0 0 18 8" aria-hidden="true"><path d="M0 4h18" stroke-dasharray="${dashes[one.dash]}"/></svg><span></span></dt><dd>–</dd>`);
      row.querySelector("span").textContent = one.label;
      box.querySelector("dl").append(row);
      return { ...one, path, number: row.querySelector("dd") };
    });
    return { box, series: made };
  });
  find(".curves").replaceChildren(...rowsOf.map((row) => row.box));
}

function curves() {
  const n = film?.n ?? props.frames;
  for (const { box, series } of rowsOf) {
    const common = series.filter((one) => !one.own).flatMap((one) => flat(one.values()));
    let top = Math.max(...common, series[0].top ?? 1e-9), bottom = series[0].between ? 0 : Math.min(...common, 0.6);
    if (series[0].between && !common.length) top = 1;
    for (const one of series) {
      const values = one.values(), most = Math.max(...flat(values), 1e-9);
      const y = (value) => 97 - (94 * (one.own ? value / most : (value - bottom) / (top - bottom || 1)));
      const x = (i) => (1000 * (i + (one.between ? 1 : 0.5))) / n;
      let pen = "M";
      one.path.setAttribute("d", values.map((value, i) => {
        if (value === null || value === undefined) { pen = "M"; return ""; }
        const to = `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = "L";
        return one.between && values[i - 1] == null && values[i + 1] == null ? `${to}h1` : to;
      }).join(""));
    }
    box.querySelector(".top").textContent = film && common.length ? fixed(top, 2) : "";
    box.querySelector(".bottom").textContent = film && common.length ? fixed(bottom, bottom ? 2 : 0) : "";
  }
}

// The numbers at the cursor; between two frames, of the one under the cursor and the next.
function cursor() {
  for (const { series } of rowsOf) for (const one of series) {
    const value = one.values()[at];
    one.number.textContent = value === null || value === undefined ? "–" : fixed(value, one.digits) + (one.unit ?? "");
  }
}

for (const type of ["pointerdown", "pointermove"]) find(".curves").addEventListener(type, (event) => {
  const plot = event.target.closest(".plot");
  if (!film || !plot || !event.buttons) return;
  const box = plot.getBoundingClientRect();
  seek(Math.floor(((event.clientX - box.left) / box.width) * film.n));
});
