// What is on the screen: the frames, the marks of the timeline, and the second film beside the first.

const panes = Object.fromEntries(["first", "second"].map((name) => {
  const figure = find(`.film[data-film="${name}"]`), canvas = figure.querySelector("canvas");
  const pane = { figure, canvas, name, symbol: "", title: "", label: "walk", at: "", large: true, picture: { hidden: true }, badge: figure.querySelector(".badge") };
  figure.querySelector(".enlarge").addEventListener("click", () => large.open(pane));
  return [name, pane];
}));
const lines = { first: find(".marks"), second: find(".marks.second") };
root.painted = []; // frames in the order they were shown, for tests and for the curious

const request = () => { if (!ticking) { ticking = true; requestAnimationFrame(tick); } };

function tick(now) {
  ticking = false;
  if (playing) advance(now);
  if (film) show(); else sketch();
  if (playing) request();
}

// --- one film in its frame ---

function paint(pane, one) {
  const i = nearest(one, at);
  pane.figure.querySelector(".film-name").textContent = one.name;
  if (i < 0) return -1; // nothing of it yet
  const frame = one.frames[i], k = own === null || own >= one.evaluations ? null : own;
  const early = k === null || frame.state !== "filled" ? null : planes(one, i)?.[k], plane = early ?? (frame.image ? null : frame.plane);
  if (plane) latent(pane.canvas, plane, one);
  else if (frame.image?.naturalWidth) {
    fit(pane.canvas, frame.image.naturalWidth, frame.image.naturalHeight);
    pane.canvas.getContext("2d").drawImage(frame.image, 0, 0);
  }
  const words = [];
  if (i !== at) words.push(`frame ${i + 1}, the nearest that is there`);
  if (frame.state === "making") words.push(`being made: step ${frame.k} of ${one.evaluations}`);
  else if (early) words.push(`x0 at step ${k} of ${one.evaluations}`);
  else if (k !== null && frame.state === "filled") words.push(`step ${k} comes in a moment`);
  pane.badge.textContent = words.join(" · ");
  pane.badge.hidden = !words.length;
  pane.at = `frame ${i + 1}`; pane.title = one.name;
  pane.canvas.setAttribute("aria-label", `${one.name}: frame ${i + 1} of ${one.n}${words.length ? `, ${words.join(", ")}` : ""}`);
  pane.figure.querySelector(".enlarge").disabled = false;
  return i;
}

function latent(canvas, plane, one) {
  const [, height, width] = one.shape;
  fit(canvas, width, height);
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  paintColour(image, plane, one.shape, one.preview, 1);
  context.putImageData(image, 0, 0);
}

const fit = (canvas, width, height) => { if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height }); };

function show() {
  const i = paint(panes.first, film);
  if (second) paint(panes.second, second);
  if (stale) { curves(); compass(); stale = false; }
  slider.value = at;
  const there = film.frames[at].state;
  find(".place").textContent = `frame ${at + 1} of ${film.n}`;
  slider.setAttribute("aria-valuetext", `frame ${at + 1} of ${film.n}${there === "filled" ? "" : `, ${{ empty: "not made yet", making: "being made" }[there]}`}`);
  root.style.setProperty("--at", (at + 0.5) / film.n);
  cursor();
  needle();
  axis(i);
  find(".said").innerHTML = sentence(film, at);
  find(".summary").textContent = films().map((one) => one.said).filter(Boolean).join(" ");
  large.refresh();
  if (root.painted.at(-1) !== i) root.painted.push(i);
  Object.assign(root.dataset, { frame: at, shown: i, own: own ?? film.evaluations, painted: root.painted.length });
  settle();
}

// --- the marks: one a frame, empty, being made or with its picture ---

function arrange() {
  [["first", film], ["second", second]].forEach(([name, one]) => {
    lines[name].hidden = name === "second" && !one;
    panes[name].figure.hidden = name === "second" && !one;
    lines[name].replaceChildren(...(one ? one.frames.map(() => make("span", "mark", "<canvas></canvas>")) : name === "first" ? Array.from({ length: props.frames }, (_, i) => ghost(i / (props.frames - 1))) : []));
    if (one) one.frames.forEach((_, i) => mark(one, i));
  });
  root.toggleAttribute("data-two", Boolean(second));
  root.style.setProperty("--n", film?.n ?? props.frames);
  posts();
  chart();
  stale = true;
}

// A mark before the first film: a shape that becomes another, at low contrast.
function ghost(t) {
  const node = make("span", "mark", "<canvas></canvas>"), canvas = node.querySelector("canvas"), size = 32, colours = theme(root);
  node.dataset.state = "ghost";
  fit(canvas, size, size);
  const context = canvas.getContext("2d"), mix = (k) => Math.round(colours.zero[k] + 0.28 * (colours.negative[k] + t * (colours.positive[k] - colours.negative[k]) - colours.zero[k]));
  context.fillStyle = `rgb(${[0, 1, 2].map(mix).join()})`;
  context.beginPath();
  for (let a = 0; a < 64; a++) { // from a square to a disc
    const angle = (a * Math.PI) / 32, square = 1 / Math.max(Math.abs(Math.cos(angle)), Math.abs(Math.sin(angle)));
    const radius = size * 0.32 * ((1 - t) * square * 0.86 + t);
    context.lineTo(size / 2 + radius * Math.cos(angle), size / 2 + radius * Math.sin(angle));
  }
  context.fill();
  return node;
}

function mark(one, i) {
  const node = (one === film ? lines.first : one === second ? lines.second : null)?.children[i], frame = one.frames[i];
  if (!node) return;
  node.dataset.state = frame.state;
  const canvas = node.querySelector("canvas");
  if (frame.state === "making") latent(canvas, frame.plane, one);
  if (frame.state !== "filled" || !frame.image?.naturalWidth) return;
  fit(canvas, 64, 64);
  const side = Math.min(frame.image.naturalWidth, frame.image.naturalHeight);
  canvas.getContext("2d").drawImage(frame.image, (frame.image.naturalWidth - side) / 2, (frame.image.naturalHeight - side) / 2, side, side, 0, 0, 64, 64);
}

// The stations below the marks, each as wide as there is room for it.
function posts() {
  const stations = (film ?? props).stations, n = film?.n ?? props.frames;
  const where = stations.map(({ place }) => (film ? frameAt(film, place) : place * (n - 1)) + 0.5);
  find(".posts-line").replaceChildren(...stations.map(({ label }, k) => {
    const node = make("span", "post"), gap = Math.min(where[k] - (where[k - 1] ?? -n), (where[k + 1] ?? 2 * n) - where[k]);
    node.textContent = node.title = label;
    const from = Math.max(0, where[k] - gap / 2), to = Math.min(n, where[k] + gap / 2);
    const side = where[k] < 1 ? "start" : where[k] > n - 1 ? "end" : "center";
    Object.assign(node.style, { left: `${(100 * (side === "start" ? 0 : from)) / n}%`, width: `${(100 * (to - from)) / n}%`, textAlign: side });
    return node;
  }));
}

find(".part").addEventListener("click", () => { closed.add(second?.run); second = null; arrange(); refresh(); slider.focus(); });

// --- before the first film ---

// What the page says where there is no film, as it was opened or after a run that was stopped at once.
function bare() {
  play(false);
  panes.first.figure.querySelector(".film-name").textContent = "The film";
  panes.first.canvas.setAttribute("aria-label", "No film yet");
  for (const { badge, figure } of Object.values(panes)) { badge.hidden = true; figure.querySelector(".enlarge").disabled = true; }
  find(".place").textContent = find(".own-place").textContent = "no run yet";
  ownSlider.disabled = true;
  find(".said").textContent = props.about;
  find(".summary").textContent = "";
  needle();
}

function sketch() {
  const context = panes.first.canvas.getContext("2d"), image = context.createImageData(panes.first.canvas.width, panes.first.canvas.height);
  paintSketch(image, "x_t", theme(root));
  context.putImageData(image, 0, 0);
  if (stale) { curves(); compass(); if (!film) lines.first.replaceChildren(...Array.from({ length: props.frames }, (_, i) => ghost(i / (props.frames - 1)))); stale = false; }
  axis(-1);
}
