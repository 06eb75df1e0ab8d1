// The tour's card: the question, the guesses, the answer, and what a person presses on it. Shares tour.js's variables.

const say = (text) => { part("status").textContent = text; progress(null); };
function progress(timeline) { // apart from the status, which is read aloud
  const slider = timeline?.querySelector(".timeline, .scrub"), share = parseFloat(slider?.style.getPropertyValue("--newest"));
  part("progress").textContent = share >= 0 ? `, ${Math.round((share * slider.max) / 100)} of ${slider.max}` : "";
}
// A text with the page's numbers in it; null where one of them isn't there.
function fill(text, numbers = {}) {
  const values = Object.fromEntries(Object.entries(numbers).map(([name, place]) => [name, one(place)?.textContent]));
  return Object.values(values).some((value) => !value || value === "–") ? null : text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// The field's letters as the page sets them, in the colour of their quantity; all else stays text.
const LETTERS = { x_t: ["x", "t", "x_t"], x0: ["x", "0", "x0"], "ε": ["ε", "", "eps"], "α": ["α", "", "x0"], "σ": ["σ", "", "eps"] };
function typeset(node, text) {
  node.replaceChildren(...text.split(/(x_t|x0|[εασ])/).map((piece) => {
    if (!(piece in LETTERS)) return piece;
    const [letter, low, quantity] = LETTERS[piece], span = document.createElement("span");
    span.append(Object.assign(document.createElement("i"), { textContent: letter }), Object.assign(document.createElement("sub"), { textContent: low }));
    span.style.color = `var(--q-${quantity})`;
    return span;
  }));
}

function card() {
  const stop = props.stops[at];
  part("count").textContent = `${at + 1} of ${props.stops.length}`;
  part("title").textContent = stop.title;
  typeset(part("question"), stop.question);
  for (const [i, dot] of [...part("dots").querySelectorAll("button")].entries()) {
    dot.toggleAttribute("data-seen", guesses[i] !== undefined && guesses[i] !== null);
    if (i === at) dot.setAttribute("aria-current", "step"); else dot.removeAttribute("aria-current");
  }
  if (part("guesses").contains(document.activeElement)) part("on").focus({ preventScroll: true });
  part("guesses").replaceChildren(...stop.guesses.map((text, i) => {
    const button = document.createElement("button"), key = document.createElement("kbd"), label = document.createElement("span"), mark = document.createElement("em");
    Object.assign(button, { type: "button", className: "tour-guess" });
    key.textContent = i + 1;
    label.textContent = text;
    button.append(key, label, mark);
    button.addEventListener("click", () => guess(i));
    return button;
  }));
  part("text").textContent = "";
  part("on").textContent = "Reveal";
  presses = 0;
  marks();
}

function marks() {
  const stop = props.stops[at];
  part("back").disabled = at === 0 && !revealed && !showing;
  part("skip").hidden = !showing || !runs(stop);
  for (const [i, button] of [...part("guesses").children].entries()) {
    const chosen = guesses[at] === i, right = revealed && stop.answer === i;
    button.setAttribute("aria-pressed", chosen);
    button.setAttribute("aria-disabled", revealed || showing); // not disabled: that would drop the focus
    button.toggleAttribute("data-right", right);
    button.querySelector("em").textContent = revealed ? [right && "right", chosen && "your guess"].filter(Boolean).join(", ") : "";
  }
}

function guess(i) {
  if (revealed || showing || i >= props.stops[at].guesses.length) return;
  guesses[at] = guesses[at] === i ? null : i;
  keep();
  marks();
  part("dots").children[at]?.firstChild.toggleAttribute("data-seen", guesses[at] !== null);
}

async function go(i) {
  const my = ++turn;
  await halt();
  if (my !== turn || !on) return;
  at = Math.min(Math.max(i, 0), props.stops.length - 1);
  revealed = showing = false;
  keep();
  say("");
  card();
  tour.dataset.state = "setting";
  scene = show(props.stops[at], props.stops[at].scene, my).then((done) => {
    if (my === turn && tour.dataset.state === "setting") tour.dataset.state = "asking";
    return done;
  });
}

const runs = (stop) => Boolean(stop.scene.settings ?? stop.reveal.settings);

async function reveal() {
  const my = turn, stop = props.stops[at];
  showing = true;
  tour.dataset.state = "running";
  part("on").textContent = "Running…";
  marks();
  const ran = await scene; // it may still be running what it shows
  if (my !== turn || !on) return;
  const done = await show(stop, stop.reveal, my);
  if (my === turn && on) told(stop.reveal.settings ? done : ran);
}

// Stops the run, and tells what is true without it, beside what is still on the stage.
async function skip() {
  const my = ++turn, stop = props.stops[at], { scene: asked, reveal: answered } = stop;
  presses = 2;
  say("Stopping the run");
  if (document.activeElement === part("skip")) part("on").focus({ preventScroll: true });
  await halt();
  if (my !== turn || !on) return;
  shownAt = asked.timeline ?? PLAYER;
  if (!answered.settings && answered.show) await show(stop, answered, my);
  else { arrange(asked.show ?? [PLAYER]); cover([]); name(); }
  if (my !== turn || !on) return;
  say("The run was skipped, so this is only what holds in general.");
  told(false);
}

// ran: whether all of the run that the text speaks of is on the stage.
function told(ran) {
  const { reveal: answered, scene: asked } = props.stops[at], last = at === props.stops.length - 1, right = props.stops.filter((s, i) => guesses[i] === s.answer).length;
  const text = (ran && fill(answered.text, answered.numbers)) || answered.skipped || answered.text;
  revealed = true;
  showing = false;
  tour.dataset.state = "told";
  const score = last && guesses.some((g) => Number.isInteger(g)) ? ` Of ${props.stops.length} you guessed ${right}.` : "";
  typeset(part("text"), text + score);
  part("on").textContent = last ? "Finish" : "Next";
  marks();
  part("body").scrollTop = part("body").scrollHeight;
  focusOn(ran || !answered.skipped ? answered : { look: [] }); // the sheet has grown with the text
}

// Reveal, then the next stop; while the answer runs one press waits for it, and the next skips it.
function forward() {
  if (revealed && at === props.stops.length - 1) { at = 0; guesses = []; keep(); return void leave(); }
  if (revealed) return void go(at + 1);
  if (!showing) return void reveal();
  if (!runs(props.stops[at])) return;
  presses++;
  if (presses === 2) return void skip();
  if (presses > 2) return;
  say("Running");
  part("on").textContent = "Skip the run";
}

function tourKey(event) {
  const { key } = event;
  if (key === "PageDown") forward();
  else if (key === "PageUp") go(revealed || showing ? at : at - 1);
  else if (/^[1-9]$/.test(key)) guess(+key - 1);
  else return false;
  return true;
}

function startTour() {
  if (touring() || !props.stops.length) return;
  page.classList.add("touring");
  tour.hidden = false;
  part("on").focus({ preventScroll: true });
  go(at);
}

function endTour() {
  turn++;
  page.classList.remove("touring");
  tour.hidden = true;
  return halt();
}

for (const button of document.querySelectorAll("[data-present=tour]")) button.hidden = !props.stops.length; // none fits this model
part("dots").append(...props.stops.map((stop, i) => {
  const item = document.createElement("li"), dot = document.createElement("button");
  Object.assign(dot, { type: "button", title: stop.title });
  dot.setAttribute("aria-label", `${i + 1}: ${stop.title}`);
  dot.addEventListener("click", () => go(i));
  item.append(dot);
  return item;
}));
part("on").addEventListener("click", forward);
part("skip").addEventListener("click", () => { if (showing && presses < 2) skip(); });
part("note").textContent = props.note;
part("back").addEventListener("click", () => go(revealed || showing ? at : at - 1));
new ResizeObserver(measure).observe(tour);
