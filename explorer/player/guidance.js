// A sweep as a grid: cells to choose from, w(t) over the timeline, curves of the chosen cell. Joined after compare.js and
// guidance_microscope.js, whose variables it shares.

let hovered = null, hovering = 0; // the cell under the pointer, and the wait for it
let chosen = 3; // guided, with the scales that stand there at first
const strip = make("div", "dial", '<output class="dial-now" aria-live="off"></output><svg aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 1000 100"><g></g><line class="dial-cursor" x1="0" x2="0" y1="0" y2="100"/></svg><span class="dial-top"></span><span class="dial-bottom"></span>');
find(".bar").prepend(strip);
find(".lanes").setAttribute("role", "group");
find(".lanes").setAttribute("aria-label", "Cells: arrow keys choose one");

const wide = matchMedia("(min-width: 901px)"), fit = () => root.toggleAttribute("data-wide", wide.matches);
wide.addEventListener("change", fit);
fit();

const HOVER = 80; // ms that the pointer must stay over a cell, or off it
const NUMBERS = { angle: (value) => `${fixed(value, 1)}°`, clipped: (value) => `${fixed(100 * value, 1)}%` };
const across = (count) => (count === 4 ? 2 : count <= 3 ? count : count <= 6 ? 3 : 4);
const inspected = () => hovered ?? chosen; // whose microscope it is
root.looked = () => [run ?? "", chosen]; // what the buttons below the stage are about

// Three kinds of numbers, each on its own scale: none stands at the edges, where it would be read as that of all.
find(".distances").append(make("span", "own-scales", "each on its own scale, from 0"));

// --- the cells ---

// Each cell's picture is a button that chooses it; only the chosen one is a stop of the Tab key.
function decorate() {
  const cells = [...find(".lanes").children];
  if (!cells.length || cells[0].querySelector(".choose")) return;
  Object.assign(find(".lanes").dataset, { across: across(cells.length), down: Math.ceil(cells.length / across(cells.length)) });
  cells.forEach((cell, k) => {
    const button = make("button", "choose");
    button.type = "button";
    button.title = "Look into this cell";
    button.addEventListener("click", () => choose(k));
    cell.querySelector(".cells").append(button);
    const detail = frames.find(Boolean)?.lanes[k]?.detail ?? props.empty[k]?.detail ?? "";
    panes[k].detail.textContent = detail;
    button.setAttribute("aria-label", `Look into ${panes[k].kinds[0].label}${detail && `, ${detail}`}`);
  });
  choose(Math.min(chosen, cells.length - 1));
}

// The microscope follows the pointer from cell to cell, and goes back to the chosen one when it leaves.
function hover(k) {
  clearTimeout(hovering);
  if (k === hovered) return;
  hovering = setTimeout(() => { hovered = k; refused = ""; ring(); magnify(inspected()); }, HOVER);
}

function leave() {
  clearTimeout(hovering);
  hovered = null;
  ring();
}

const ring = () => [...find(".lanes").children].forEach((cell, k) => cell.classList.toggle("is-hovered", k === hovered));
find(".lanes").addEventListener("pointerover", ({ target, pointerType }) => {
  const k = [...find(".lanes").children].indexOf(target.closest(".lane"));
  if (pointerType !== "touch") hover(k < 0 ? null : k); // a finger chooses
});
find(".lanes").addEventListener("pointerleave", () => hover(null));
// Whoever goes on with the keys acts on the chosen cell, and sees that one.
root.addEventListener("keydown", () => { if (hovered !== null) { leave(); magnify(chosen); } }, true);

function choose(k) {
  const cells = [...find(".lanes").children], held = find(".lanes").contains(document.activeElement) && document.activeElement.matches(".choose");
  chosen = root.dataset.chosen = k;
  refused = "";
  leave();
  cells.forEach((cell, l) => {
    const button = cell.querySelector(".choose");
    cell.classList.toggle("is-chosen", l === k);
    button.setAttribute("aria-pressed", l === k);
    button.tabIndex = l === k ? 0 : -1;
  });
  if (held) cells[k].querySelector(".choose").focus();
  for (const frame of frames) if (frame) follow(frame);
  stale = true;
  if (shown >= 0) { wanted ??= shown; request(); } else magnify(k);
  dial();
}

find(".lanes").addEventListener("keydown", (event) => {
  const count = find(".lanes").children.length, by = across(count);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -by, ArrowDown: by, Home: -chosen, End: count - 1 - chosen }[event.key];
  if (!event.target.matches(".choose") || step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation(); // elsewhere the arrow keys move the time
  if (chosen + step >= 0 && chosen + step < count) choose(chosen + step);
});

// The curves are the chosen cell's.
const follow = (frame) => { frame.series = props.curves.map(({ label, colour, fact }) => ({ label, colour, value: frame.lanes[chosen]?.facts[fact] ?? null, own: true })); };

// --- w(t), one line a cell, the chosen one strong ---

const weightsOf = () => frames.find(Boolean)?.lanes.map((lane) => lane.weights ?? []) ?? props.empty.map(({ w }) => [w]);

function dial() {
  const all = weightsOf(), values = all.flat(), low = Math.min(0, ...values), high = Math.max(1, ...values);
  const y = (value) => (96 - (92 * (value - low)) / (high - low)).toFixed(1);
  const points = (weights) => weights.flatMap((value, i) => [i, i + 1].map((at) => `${((1000 * at) / weights.length).toFixed(1)},${y(value)}`)).join(" ");
  const order = all.map((_, k) => k).sort((a, b) => (a === chosen) - (b === chosen)); // the chosen one on top
  strip.querySelector("g").innerHTML = order.map((k) => `<polyline points="${points(all[k])}"${k === chosen ? ' class="is-chosen"' : ""}/>`).join("");
  strip.querySelector(".dial-top").textContent = +high.toFixed(2);
  strip.querySelector(".dial-bottom").textContent = `${+low.toFixed(2)}`.replace("-", "−");
  now();
}

function now() {
  const w = weightsOf()[chosen]?.[Math.max(shown, 0)], said = w === undefined ? "at the end" : `${+w.toFixed(2)}`.replace("-", "−");
  strip.querySelector(".dial-now").innerHTML = `<i>w</i>(<i>t</i>) <b>${said}</b>`;
  for (const end of ["x1", "x2"]) strip.querySelector(".dial-cursor").setAttribute(end, shown < 0 ? 0 : x(shown));
}

root.addEventListener("kept", ({ detail: frame }) => {
  if (frame.i === 0) chosen = Math.min(chosen, frame.lanes.length - 1);
  follow(frame);
  if (frame.i === 0) dial();
});
root.addEventListener("drawn", ({ detail }) => {
  now();
  magnify(inspected());
  props.curves.forEach(({ fact }, s) => { // each in its own unit
    const value = detail.series[s].value;
    if (value !== null && fact in NUMBERS) lines[s].number.textContent = NUMBERS[fact](value);
  });
});
new MutationObserver(decorate).observe(find(".lanes"), { childList: true }); // whoever builds the cells
new MutationObserver(() => { if (shown < 0) magnify(inspected()); }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
decorate();
