// The dial, live. Joined after colour.js, large.js and words.js; scope: element, props, watch, server.
//
// A movement only notes what is wanted. One loop asks for the steps of the newest wanted value, one at a time; as soon as
// there is a newer one, nobody asks for the older one's next step, and that run stands still. "drawn" tells what was painted.

const RETRY = 150, SETTLE = 600, TRIED = 24, EMPTY = 6; // ms; ms after a change of the form; values kept; places kept for them

const root = element.querySelector(".guidance-live"), find = (selector) => root.querySelector(selector);
const slider = find(".turn"), canvas = find(".view canvas"), image = find(".view img"), enlarge = find(".view .enlarge");
const page = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-"); // of this page alone
const make = (tag, className, text = "") => Object.assign(document.createElement(tag), { className, textContent: text });
const signed = (w, digits = 1) => fixed(w, digits);
const [low, high] = props.span, share = (w) => (w - low) / (high - low);

let form = props.value ?? {}, turn = 0, wanted = null, asking = false, shown = null, settling = 0;
let tried = []; // {w, made, frame}, by w; `made` says what else the run was made of
root.painted = []; // [turn, step] in the order they were drawn, for tests and for the curious

// --- the dial ---

Object.assign(slider, { min: low, max: high, step: 0.1, value: props.first });
const at = (w) => `calc(9px + (100% - 18px) * ${share(w)})`; // under the middle of the thumb
for (const w of [-5, 0, 1, 5, 10, 15, 20, 25, 30]) {
  const tick = make("span", w === 0 || w === 1 ? "is-named" : "", signed(w, 0));
  tick.style.left = at(w);
  find(".numbers").append(tick);
}
for (const w of [0, 1]) {
  const mark = make("button", "mark");
  Object.assign(mark, { type: "button", title: `Set the dial to ${w}` });
  mark.dataset.w = w;
  mark.style.setProperty("--at", at(w));
  mark.addEventListener("click", () => { slider.value = w; move(); });
  find(".marks").append(mark);
}

function meant(w) {
  return props.meanings[form.negative_prompt ? "with" : "without"].findLast(([from]) => w >= from - 1e-9) ?? [low, "", ""];
}

function read() {
  const w = +slider.value, [, name, sentence] = meant(w);
  find(".w").textContent = `w = ${signed(w)}`;
  find(".named").textContent = name;
  find(".means").textContent = sentence;
  slider.setAttribute("aria-valuetext", `${signed(w)}, ${name}`);
  const [left, right] = [0, w].sort((a, b) => a - b).map((end) => `${100 * share(end)}%`); // filled from 0, no pull, on
  for (const [name, value] of [["--left", left], ["--right", right], ["--fill", w < 0 ? "var(--q-uncond)" : "var(--q-cond)"]]) slider.style.setProperty(name, value);
  const quoted = (text) => `“${text.length > 80 ? `${text.slice(0, 80)}…` : text}”`, against = form.negative_prompt ? ` against ${quoted(form.negative_prompt)}` : "";
  find(".from").textContent = `From the form: ${form.prompt ? quoted(form.prompt) : "no prompt"}${against}, seed ${form.seed ?? "–"}, ${form.sampler ?? ""}. ${props.steps} steps, w the same at each.`;
  for (const mark of root.querySelectorAll(".mark")) {
    mark.textContent = `${mark.dataset.w} ${meant(+mark.dataset.w)[1]}`; // with a negative prompt 0 means another thing
    mark.setAttribute("aria-pressed", +mark.dataset.w === w);
  }
}

// --- asking: the newest value wins ---

const made = () => JSON.stringify(form);
let asked = ""; // the form of the newest turn

function move() {
  read();
  const w = +slider.value, kept = tried.find((one) => one.w === w && one.made === made());
  turn++;
  asked = made();
  root.dataset.turn = turn;
  wanted = null;
  if (kept) { show(kept.frame, turn); phase("done"); return; }
  wanted = { turn, w, made: made(), form };
  phase("running");
  run();
}

async function run() {
  if (asking) return;
  asking = true;
  while (wanted) {
    const mine = wanted;
    const answer = await server.live({ ...mine.form, page, turn: mine.turn, guidance: mine.w }).catch(() => ({ error: "The server did not answer; turn the dial again." }));
    if (answer.busy) { await new Promise((done) => setTimeout(done, RETRY)); continue; }
    if (answer.error || answer.over) {
      if (wanted === mine) { wanted = null; phase(shown ? "done" : "empty"); say(answer.error ?? ""); }
      continue;
    }
    if (mine.turn >= (shown?.turn ?? 0) && (wanted || mine.turn === turn)) take(answer, mine);
    if (wanted === mine && answer.picture) { wanted = null; phase("done"); }
  }
  asking = false;
}

function take(answer, mine) {
  const planes = Object.fromEntries(Object.entries(answer.planes).map(([name, base64]) => [name, halves(base64)]));
  const frame = { ...answer, planes, x0: planes.x0 ?? (shown?.frame.turn === answer.turn ? shown.frame.x0 : null) };
  if (frame.picture) keep({ w: mine.w, made: mine.made, frame });
  show(frame, mine.turn);
}

// --- painting: at most once per animation frame, and the newest ---

let next = null;
function show(frame, of) {
  if (next === null) requestAnimationFrame(paint);
  next = { frame, turn: of };
}

function paint() {
  shown = next; next = null;
  const { frame, turn: of } = shown, [, height, width] = frame.shape;
  if (frame.x0) {
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
    paintColour(pixels, frame.x0, frame.shape, frame.preview, 1);
    context.putImageData(pixels, 0, 0);
  }
  image.hidden = !frame.picture;
  if (frame.picture) image.src = frame.picture;
  const last = frame.n - 1, what = frame.picture ? "decoded picture" : "clean latents";
  find(".view .title").textContent = what;
  find(".view .where").textContent = `w = ${signed(frame.w)} · ${frame.picture ? `after ${last} ${last === props.steps ? "steps" : "evaluations"}` : `step ${frame.i} of ${last} · t = ${Math.round(frame.t)}`}`;
  canvas.setAttribute("aria-label", `${what} at w = ${signed(frame.w)}, step ${frame.i} of ${last}`);
  find(".ticks").style.setProperty("--done", frame.i / last);
  enlarge.disabled = false;
  Object.assign(pane, { title: what, label: `w ${signed(frame.w)}`, at: `step ${frame.i}` });
  large.refresh();
  if (frame.picture) say(`At w = ${signed(frame.w)}, ${meant(frame.w)[1]}: ${Math.round(100 * frame.clipped)}% of the picture's values lie at 0 or 1, the ends of what can be shown (a plain black or white ground counts too), and its mean saturation is ${fixed(frame.saturation, 2)}.`);
  mark();
  root.painted.push([of, frame.i]);
  if (root.painted.length > 2048) root.painted.splice(0, 1024);
  root.dataset.painted = +root.dataset.painted + 1;
  root.dispatchEvent(new CustomEvent("drawn", { detail: { turn: of, i: frame.i, last, w: frame.w } }));
}

const pane = { canvas, picture: image, name: "x0", symbol: "<i>x</i><sub>0</sub>", title: "", large: true };
const large = buildLarge(find(".large"), root);
enlarge.addEventListener("click", () => large.open(pane));

const say = (text) => { if (text) find(".said").textContent = text; };
function phase(name) {
  root.dataset.phase = name;
  if (name === "running" && !shown) say("Running the first value.");
}

// --- the values tried so far ---

function keep(one) {
  tried = tried.filter((other) => other.made === one.made && other.w !== one.w); // of another form they don't compare
  tried.push(one);
  if (tried.length > TRIED) tried.shift();
  strip();
}

function strip() {
  const held = document.activeElement?.closest?.(".tried")?.contains(document.activeElement) ? document.activeElement.dataset.w : null;
  const buttons = [...tried].sort((a, b) => a.w - b.w).map(({ w, frame }) => {
    const button = make("button", "");
    Object.assign(button, { type: "button", title: `Back to w = ${signed(w)}, ${meant(w)[1]}` });
    button.dataset.w = w;
    button.setAttribute("aria-label", button.title);
    button.append(Object.assign(make("img", ""), { src: frame.picture, alt: "", draggable: false }), make("span", "", signed(w)));
    button.addEventListener("click", () => { slider.value = w; move(); });
    return button;
  });
  const places = Array.from({ length: Math.max(EMPTY - buttons.length, 0) }, () => make("span", "place"));
  find(".tried").replaceChildren(...buttons, ...places);
  if (held !== null) find(`.tried [data-w="${held}"]`)?.focus();
  mark();
}

function mark() {
  for (const button of root.querySelectorAll(".tried button")) {
    const current = +button.dataset.w === shown?.frame.w && shown.frame.picture;
    if (current) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
    if (current) bring(button);
  }
}

function bring(button) { // sideways only: the page stays where it is
  const list = find(".tried"), left = button.offsetLeft - list.offsetLeft, right = left + button.offsetWidth;
  if (left < list.scrollLeft || right > list.scrollLeft + list.clientWidth) list.scrollLeft = left - list.clientWidth / 2;
}

// --- the form ---

function formed() {
  form = props.value ?? {};
  read();
  clearTimeout(settling);
  settling = setTimeout(renew, SETTLE);
}

// What is shown is of the form: another one runs again, or when the fold is opened again.
const renew = () => { if (shown && asked !== made() && root.checkVisibility()) move(); };

slider.addEventListener("input", move);
// Opened and not yet turned, the dial stands where the chosen cell of the sweep above does.
new ResizeObserver(() => {
  const said = turn ? null : /w = ([−-]?[\d.]+)/.exec(document.querySelector(`#${props.stage} .lane.is-chosen .name`)?.textContent ?? "");
  if (said) { slider.value = +said[1].replace("−", "-"); read(); }
  renew();
}).observe(root);
find(".view .where").textContent = "nothing run yet";
say("Drag the dial, press a marked value, or use the arrow keys: each value is run at once.");
read();
strip();
watch("value", formed);
