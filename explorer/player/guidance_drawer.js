// The editor of w(t): knots over a board, straight lines between them. Every knot is a slider to the keyboard. What is drawn
// obeys the limits of explorer/dial.py, so that it can't be refused.

const root = element.querySelector(".guidance-drawer"), find = (selector) => root.querySelector(selector);
const MOST = 12, LEAST = 2, APART = 0.01, SOON = 90; // knots; least distance of places; ms between two messages while dragging
let knots = [[0, 0], [0.25, 1], [0.75, 1], [1, 0]], chosen = 0, dragged = false, timer = 0, last = 0;
let said = []; // values told lately: they come back by way of the text field, and may be old by then

const round = (value) => Math.round(value * 100) / 100;
const bound = (value, from, to) => Math.min(Math.max(value, from), to);
const words = ([place, share]) => `share ${share} of the way from w = 1 to the cell's w, ${Math.round(100 * place)}% into the run`;

function tell() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    last = performance.now();
    said.push(JSON.stringify(knots));
    props.value = { knots: knots.map((knot) => [...knot]) };
    trigger("input");
  }, Math.max(0, SOON - (performance.now() - last)));
}

function move(i, place, share) {
  const before = knots[i - 1], after = knots[i + 1];
  const at = !before ? 0 : !after ? 1 : round(bound(place, before[0] + APART, after[0] - APART));
  const next = [at, round(bound(share, 0, 1))];
  if (next.join() === knots[i].join()) return;
  knots[i] = next;
  draw();
  tell();
}

function draw() {
  find(".line").setAttribute("d", `M${knots.map(([place, share]) => `${(300 * place).toFixed(1)} ${(120 * (1 - share)).toFixed(1)}`).join("L")}`);
  const board = find(".knots");
  while (board.children.length > knots.length) board.lastChild.remove();
  while (board.children.length < knots.length) board.append(knob());
  knots.forEach((knot, i) => {
    const node = board.children[i];
    node.style.cssText = `left:${100 * knot[0]}%;top:${100 * (1 - knot[1])}%`;
    node.classList.toggle("is-chosen", i === chosen);
    const said = { label: `Knot ${i + 1} of ${knots.length}`, valuemin: 0, valuemax: 1, valuenow: knot[1], valuetext: words(knot) };
    for (const [name, value] of Object.entries(said)) node.setAttribute(`aria-${name}`, value);
  });
  find(".add").disabled = knots.length >= MOST;
  find(".remove").disabled = chosen === 0 || chosen === knots.length - 1;
  find(".reading").textContent = `Knot ${chosen + 1} of ${knots.length}: ${words(knots[chosen])}.`;
}

function knob() {
  const node = Object.assign(document.createElement("span"), { className: "knot", tabIndex: 0 });
  node.setAttribute("role", "slider");
  const index = () => [...find(".knots").children].indexOf(node);
  node.addEventListener("focus", () => { chosen = index(); draw(); });
  node.addEventListener("pointerdown", (event) => {
    event.preventDefault(); // no selecting of text
    node.setPointerCapture(event.pointerId);
    dragged = true;
    node.focus();
  });
  node.addEventListener("pointermove", (event) => {
    if (!dragged || !event.buttons) return;
    const box = find(".knots").getBoundingClientRect();
    move(index(), (event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height);
  });
  for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => { if (dragged) { dragged = false; tell(); } });
  node.addEventListener("keydown", (event) => {
    const i = index(), [place, share] = knots[i], step = event.shiftKey ? 0.1 : 0.02;
    const act = { ArrowUp: () => move(i, place, share + step), ArrowDown: () => move(i, place, share - step),
      ArrowLeft: () => move(i, place - step, share), ArrowRight: () => move(i, place + step, share), Delete: drop, Insert: add }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  return node;
}

function changed() {
  draw();
  find(".knots").children[chosen].focus();
  tell();
}

function add() {
  if (knots.length >= MOST) return;
  let widest = 1;
  for (let i = 2; i < knots.length; i++) if (knots[i][0] - knots[i - 1][0] > knots[widest][0] - knots[widest - 1][0] + 1e-9) widest = i;
  const [[x0, y0], [x1, y1]] = [knots[widest - 1], knots[widest]];
  if (x1 - x0 < 2 * APART) return;
  knots.splice(widest, 0, [round((x0 + x1) / 2), round((y0 + y1) / 2)]);
  chosen = widest;
  changed();
}

function drop() {
  if (knots.length <= LEAST || chosen === 0 || chosen === knots.length - 1) return;
  knots.splice(chosen--, 1);
  changed();
}
find(".add").addEventListener("click", add);
find(".remove").addEventListener("click", drop);

// A value from outside (an address, the text field): taken where it is one.
function take(value) {
  if (dragged || !Array.isArray(value?.knots) || value.knots.length < LEAST) return;
  if (performance.now() - last > 1500) said = [];
  if ([...said, JSON.stringify(knots)].includes(JSON.stringify(value.knots))) return;
  knots = value.knots.map((knot) => [...knot]); chosen = Math.min(chosen, knots.length - 1);
  draw();
}
watch("value", () => take(props.value));
take(props.value);
draw();
