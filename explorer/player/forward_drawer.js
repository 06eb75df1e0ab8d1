// The editor of a schedule drawn by hand: knots over a board, straight lines between their values. Every knot is a
// slider to the keyboard. What is drawn obeys the limits of explorer/noising.py, so that it can't be refused.

const root = element.querySelector(".forward-drawer"), find = (selector) => root.querySelector(selector);
const MOST = 12, LEAST = 2, APART = 0.01, SOON = 90; // knots; least distance of places; ms between two messages while dragging
const KINDS = {
  "log-SNR": {
    low: -60, high: 60, ticks: [60, 30, 0, -30, -60], falls: true, step: 1, digits: 1, unit: " dB",
    first: [[0, 40], [0.25, 12], [0.6, -4], [1, -40]],
    share: (value) => (60 - value) / 120, value: (share) => 60 - 120 * share,
  },
  beta: { // on a scale of powers of ten
    low: 1e-5, high: 0.9, ticks: [1e-1, 1e-2, 1e-3, 1e-4, 1e-5], falls: false, step: 1.1, digits: 6, unit: "",
    first: [[0, 0.0001], [0.5, 0.008], [1, 0.02]],
    share: (value) => -Math.log10(Math.min(Math.max(value, 1e-5), 1)) / 5, value: (share) => 10 ** (-5 * share),
  },
};
let kind = "log-SNR", knots = [], chosen = 0, dragged = false, timer = 0, last = 0;
let said = []; // values told lately: they come back by way of the text field, and may be old by then

const round = (value, digits) => (kind === "beta" ? +value.toPrecision(3) : +value.toFixed(digits));
const minus = (number) => String(number).replace("-", "−");
const shown = (value) => (kind === "beta" ? `β ${minus(value < 0.001 ? value.toExponential(1) : value.toFixed(4))}` : `ᾱ / (1 − ᾱ) ${minus(value)} dB`);

function tell() {
  clearTimeout(timer);
  const send = () => {
    last = performance.now();
    said.push(JSON.stringify({ kind, knots }));
    props.value = { kind, knots: knots.map((knot) => [...knot]) };
    trigger("input");
  };
  timer = setTimeout(send, Math.max(0, SOON - (performance.now() - last)));
}

// Moves a knot within its limits: between its neighbours, and for log-SNR below the one before it.
function move(i, place, value) {
  const { low, high, falls, digits } = KINDS[kind], before = knots[i - 1], after = knots[i + 1];
  const bound = (wanted, from, to) => Math.min(Math.max(wanted, from), to);
  const at = !before ? 0 : !after ? 1 : round2(bound(place, before[0] + APART, after[0] - APART));
  const top = falls && before ? before[1] - 0.5 : high, bottom = falls && after ? after[1] + 0.5 : low;
  const next = round(bound(value, bottom, top), digits);
  if (at === knots[i][0] && next === knots[i][1]) return;
  knots[i] = [at, next];
  draw();
  tell();
}
const round2 = (value) => Math.round(value * 1000) / 1000;

function draw() {
  const { share, ticks, value } = KINDS[kind];
  const points = [];
  for (let i = 1; i < knots.length; i++) {
    const [[x0, y0], [x1, y1]] = [knots[i - 1], knots[i]];
    for (let k = 0; k <= 24; k++) points.push(`${(300 * (x0 + ((x1 - x0) * k) / 24)).toFixed(1)} ${(170 * share(y0 + ((y1 - y0) * k) / 24)).toFixed(1)}`);
  }
  find(".line").setAttribute("d", `M${points.join("L")}`);
  find(".grid").innerHTML = ticks.map((tick) => `<line x1="0" x2="300" y1="${170 * share(tick)}" y2="${170 * share(tick)}"/>`).join("");
  find(".y-axis").innerHTML = ticks.map((tick) => `<span style="top:${100 * share(tick)}%">${kind === "beta" ? `10<sup>${Math.log10(tick).toFixed(0).replace("-", "−")}</sup>` : String(tick).replace("-", "−")}</span>`).join("");
  const board = find(".knots");
  while (board.children.length > knots.length) board.lastChild.remove();
  while (board.children.length < knots.length) board.append(knob());
  knots.forEach(([place, level], i) => {
    const node = board.children[i];
    node.style.cssText = `left:${100 * place}%;top:${100 * share(level)}%`;
    node.classList.toggle("is-chosen", i === chosen);
    node.setAttribute("aria-label", `Knot ${i + 1} of ${knots.length}`);
    node.setAttribute("aria-valuemin", KINDS[kind].low);
    node.setAttribute("aria-valuemax", KINDS[kind].high);
    node.setAttribute("aria-valuenow", level);
    node.setAttribute("aria-valuetext", `${shown(level)} at ${Math.round(100 * place)}% of T`);
  });
  for (const button of root.querySelectorAll(".kinds button")) button.setAttribute("aria-pressed", button.textContent === kind);
  find(".add").disabled = knots.length >= MOST;
  find(".remove").disabled = knots.length <= LEAST || chosen === 0 || chosen === knots.length - 1;
  find(".reading").textContent = `Knot ${chosen + 1} of ${knots.length}: ${shown(knots[chosen][1])} at ${Math.round(100 * knots[chosen][0])}% of T. Drag it, or use the arrow keys.`;
}

function knob() {
  const node = Object.assign(document.createElement("span"), { className: "knot", tabIndex: 0 });
  node.setAttribute("role", "slider");
  const index = () => [...find(".knots").children].indexOf(node);
  node.addEventListener("focus", () => { chosen = index(); draw(); });
  node.addEventListener("pointerdown", (event) => {
    event.preventDefault(); // no selecting of text
    node.setPointerCapture(event.pointerId); chosen = index();
    dragged = true;
    node.focus();
  });
  node.addEventListener("pointermove", (event) => {
    if (!dragged || !event.buttons) return;
    const box = find(".knots").getBoundingClientRect(), inside = (share) => Math.min(Math.max(share, 0), 1);
    move(index(), (event.clientX - box.left) / box.width, KINDS[kind].value(inside((event.clientY - box.top) / box.height)));
  });
  for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => { if (dragged) { dragged = false; tell(); } });
  node.addEventListener("keydown", (event) => {
    const i = index(), [place, value] = knots[i], many = event.shiftKey ? 5 : 1, up = (n) => (kind === "beta" ? value * 1.1 ** n : value + n);
    const act = { ArrowUp: () => move(i, place, up(many)), ArrowDown: () => move(i, place, up(-many)),
      ArrowLeft: () => move(i, place - 0.01 * many, value), ArrowRight: () => move(i, place + 0.01 * many, value), Delete: drop, Insert: add }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  return node;
}

function add() {
  if (knots.length >= MOST) return;
  let widest = 1;
  for (let i = 2; i < knots.length; i++) if (knots[i][0] - knots[i - 1][0] > knots[widest][0] - knots[widest - 1][0] + 1e-9) widest = i;
  const [[x0, y0], [x1, y1]] = [knots[widest - 1], knots[widest]];
  if (x1 - x0 < 2 * APART || (KINDS[kind].falls && y0 - y1 < 1)) return;
  knots.splice(widest, 0, [round2((x0 + x1) / 2), round((y0 + y1) / 2, 1)]);
  chosen = widest;
  draw();
  find(".knots").children[chosen].focus();
  tell();
}

function drop() {
  if (knots.length <= LEAST || chosen === 0 || chosen === knots.length - 1) return;
  knots.splice(chosen, 1);
  chosen--;
  draw();
  find(".knots").children[chosen].focus();
  tell();
}

find(".add").addEventListener("click", add);
find(".remove").addEventListener("click", drop);
find(".kinds").append(...props.kinds.map((name) => Object.assign(document.createElement("button"), { type: "button", textContent: name })));
find(".kinds").addEventListener("click", (event) => {
  const name = event.target.closest("button")?.textContent;
  if (!(name in KINDS) || name === kind) return;
  kind = name; knots = KINDS[kind].first.map((knot) => [...knot]); chosen = 0;
  draw();
  tell();
});

// A value from outside (an address, another editor of the same): taken where it is one.
function take(value) {
  if (dragged || !value || !(value.kind in KINDS) || !Array.isArray(value.knots) || value.knots.length < LEAST) return;
  if (performance.now() - last > 1500) said = [];
  if ([...said, JSON.stringify({ kind, knots })].includes(JSON.stringify({ kind: value.kind, knots: value.knots }))) return;
  kind = value.kind; knots = value.knots.map((knot) => [...knot]); chosen = Math.min(chosen, knots.length - 1);
  draw();
}
watch("value", () => take(props.value));
take(props.value);
if (!knots.length) take({ kind: "log-SNR", knots: KINDS["log-SNR"].first });
