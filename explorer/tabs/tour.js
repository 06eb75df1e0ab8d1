// The guided tour: asks, waits for a guess, and answers by running it. Its stops are the server's tour.json; where a person is in
// it stays in the browser.

const part = (name) => tour.querySelector(`.tour-${name}`);
const STORE = props.store; // a tour of fewer stops has a place of its own
let at = 0, guesses = [], revealed = false, showing = false, turn = 0; // turn: what is shown by an older turn is dropped
let presses = 0;            // on the button, while the answer runs: the first waits for it, the next skips it
let mine = null;            // the timeline whose run the tour has asked for
let scene = Promise.resolve();
const staged = new WeakMap(); // timeline → [its run, the settings of it]
try { ({ at = 0, guesses = [] } = JSON.parse(localStorage.getItem(STORE)) ?? {}); } catch { /* nothing kept, or storage refused */ }
const keep = () => { try { localStorage.setItem(STORE, JSON.stringify({ at, guesses })); } catch { /* a private window */ } };
const touring = () => !tour.hidden;

// --- through Gradio to the controls, and back ---

// The listeners of present.py call these with the values of all controls, in the order of props.places.
tour.read = (...now) => {
  const values = {};
  props.places.forEach(([tab, name], i) => ((values[tab] ??= {})[name] = now[i]));
  tour.dispatchEvent(new CustomEvent("read", { detail: values }));
};
tour.write = (wanted, ...now) => props.places.map(([tab, name], i) => (name in (wanted?.[tab] ?? {}) ? wanted[tab][name] : now[i]));

const answer = (event, ask) => new Promise((done) => {
  tour.addEventListener(event, ({ detail }) => done(detail), { once: true });
  ask();
});
const read = () => answer("read", () => trigger("asked"));  // → {tab: {name: value}}
const set = (wanted) => answer("written", () => { props.value = wanted; trigger("wanted"); });

// --- one view: the fold, the stage, the run, the step, what to look at ---

async function show(stop, view, my) {
  const current = () => my === turn && on, timelineAt = view.timeline ?? PLAYER;
  const tab = tabs().find((tab) => tab.textContent.trim().toLowerCase() === stop.tab);
  if (tab?.getAttribute("aria-selected") === "false") tab.click();
  if (view.open) {
    const fold = folds().find((button) => button.textContent.trim().startsWith(view.open));
    if (fold && !isOpen(fold)) fold.click();
  }
  const stage = view.show ?? [PLAYER];
  await until(() => stage.every((selector) => one(selector)) && !one(".forward[data-phase=empty]"), 5000); // its first picture comes a moment after it
  if (!current()) return;
  for (const box of document.querySelectorAll("details[open]")) if (!view.expand && box.closest(".diagram")) box.open = false;
  if (view.expand) one(view.expand).open = true;
  shownAt = timelineAt;
  arrange(stage);
  cover(view.cover ?? []);
  focusOn(view);
  let done = true;
  if (view.settings) done = await run(stop, view, current); else if (view.show) title("", ""); // no run is on the stage then
  if (!current()) return;
  const timeline = one(timelineAt), step = view.step === undefined ? null : seek(timeline, view.step);
  if (step !== null) await until(() => +timeline.dataset.frame === step, 3000);
  if (!current()) return;
  focusOn(view);
  return done;
}

const measure = () => page.style.setProperty("--sheet", `${tour.offsetHeight}px`);
function focusOn(view) {
  measure(); // on a phone the sheet's height is the room below what is pointed at
  point(view.look ?? [])[0]?.scrollIntoView({ block: innerWidth <= 900 ? "start" : "nearest", behavior: "instant" });
}

// Runs a view's settings, unless that very run is on its stage; false where it came to no end.
async function run(stop, view, current) {
  const timeline = one(view.timeline ?? PLAYER), values = { ...props.defaults[stop.tab], ...view.settings };
  const wanted = JSON.stringify(values), [made, settings] = staged.get(timeline) ?? [], named = () => title(values.prompt, describe(values));
  if (timeline.dataset.run === made && settings === wanted) { named(); return true; }
  const box = timeline.closest(".experiment, .trial"), busy = () => "running" in box.dataset, old = timeline.dataset.run;
  say("Running it now, live");
  await until(() => !busy() || !current(), 120000); // a run that was under way when the tour began
  if (!current()) return false;
  before.values ??= await read();
  if (!current()) return false;
  await set({ [stop.tab]: values });
  if (!current()) return false;
  const hold = ({ detail }) => { if (view.step >= 0 && detail.i > view.step) seek(timeline, view.step); }; // what comes later may be the answer
  if (view.step >= 0) seek(timeline, view.step);
  timeline.addEventListener("drawn", hold);
  mine = timeline;
  document.querySelector(view.press ?? `#${props.runs[stop.tab]}`).click();
  await until(busy, 2000);
  const fresh = () => timeline.dataset.run !== old;
  await until(() => fresh() || !busy() || !current(), 3600000);
  if (fresh() && current()) named();
  await until(() => { if (current()) progress(fresh() ? timeline : null); return !busy() || !current(); }, 3600000);
  timeline.removeEventListener("drawn", hold);
  if (!current()) return false;
  mine = null;
  const whole = fresh() && timeline.dataset.phase === "done";
  if (whole) staged.set(timeline, [timeline.dataset.run, wanted]);
  say(whole ? "" : "The run came to no end, so this is only what holds in general.");
  return whole;
}

// Stops a run that the tour asked for; over when it is.
async function halt() {
  const box = mine?.closest(".experiment, .trial");
  mine = null;
  if (!box || !("running" in box.dataset)) return;
  box.querySelector(".when-running, .trial-cancel")?.click();
  await until(() => !("running" in box.dataset), 20000);
}
