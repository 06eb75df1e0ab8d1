// Presenter mode: what the stage shows and nothing else, in large type. It moves and changes no element of the page: all
// beside the stage is marked and thereby hidden, and leaving takes the marks away. tour.js, joined below, is the tour.

const sheet = new CSSStyleSheet();
sheet.replaceSync(props.css); // as written: a style sheet given to launch() loses its media rules outside Gradio's prefix
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

const page = document.documentElement, head = element.querySelector(".present-head"), tour = element.querySelector(".tour");
const PLAYER = ".player", SHOWN = ".player, .compare", STAGES = `${SHOWN}, .forward, .latents, .walk`, FOLDS = ".fold > button, .about-fold > button";
let on = false, before = null, shownAt = PLAYER; // before: what leaving puts back; shownAt: the timeline that keys move

// Elements of the tab that is open, or of the page around the tabs.
const all = (selector) => (selector instanceof Element ? [selector] : [...document.querySelectorAll(selector)]).filter((node) => node.closest(".tabitem")?.style.display !== "none");
const one = (selector) => all(selector)[0] ?? null;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
async function until(test, ms) {
  const late = performance.now() + ms;
  while (!test()) { if (performance.now() > late) return false; await wait(30); }
  return true;
}

// --- what is on the stage ---

function arrange(selectors) {
  clear("aside"); clear("path");
  const kept = selectors.flatMap(all), walk = (node) => {
    node.dataset.presentPath = "";
    for (const child of node.children) {
      if (kept.includes(child) || element.contains(child)) continue;
      if ([element, ...kept].some((region) => child.contains(region))) walk(child); else child.dataset.presentAside = "";
    }
  };
  const top = element.closest(".contain");
  if (kept.length) walk(top);
  for (const region of kept) region.dataset.presentShow = "";
}
function cover(selectors) {
  clear("cover");
  for (const node of selectors.flatMap(all)) node.dataset.presentCover = "";
}
function clear(what) {
  const names = what === "path" ? ["path", "show"] : [what];
  for (const name of names) for (const node of document.querySelectorAll(`[data-present-${name}]`)) node.removeAttribute(`data-present-${name}`);
}
function point(selectors) {
  clear("lit");
  const lit = selectors.flatMap(all);
  for (const node of lit) node.dataset.presentLit = "";
  return lit;
}

// --- folds and tabs, by what a person reads on them ---

const folds = () => [...document.querySelectorAll(FOLDS)];
const isOpen = (button) => button.nextElementSibling?.style.display !== "none";
const tabs = () => [...document.querySelectorAll("[role=tab]")];
const selected = () => tabs().find((tab) => tab.getAttribute("aria-selected") === "true");

// --- which run this is ---

const asked = new Map(); // the last runs → the controls' values when they were asked for
const number = (value) => String(value).replace("-", "−");
const describe = (values) => [`seed ${values.seed}`, `${values.steps} steps`, ...(props.guided ? [`guidance ${number(values.guidance)}`] : []), values.sampler].join(" · ");
function name(values) {
  const player = one(PLAYER), recorded = player?.dataset.run?.startsWith("recorded"), stage = one(shownAt);
  if (!values && stage?.matches(".compare")) return lanesTitle(stage);
  if (!values && stage && !stage.matches(SHOWN)) { // the stage says the rest itself
    title("", "");
    head.querySelector(".present-prompt").textContent = stage.getAttribute("aria-label") ?? "";
    return;
  }
  if (!values && recorded) { // the line beside the player says what it is
    const [, kind, prompt, rest] = /^\s*(.*?): .*“(.*)”, (.*);/s.exec(one(".recorded-line")?.textContent ?? "") ?? [];
    return title(prompt ?? "no prompt", `${rest ?? ""} · ${kind ? kind[0].toLowerCase() + kind.slice(1) : "recorded run"}`);
  }
  values ??= asked.get(player?.dataset.run);
  if (values) title(values.prompt, describe(values)); else title("", "");
}
function lanesTitle(compare) { // of a branch, the run it began in and what each fork changed; its lanes say the rest
  const line = [];
  for (let item = compare.querySelector(".node[aria-current]")?.parentElement; item?.matches("li"); item = item.parentElement.parentElement) line.unshift(item.firstChild.textContent);
  title("", line.slice(1).join(", then "));
  head.querySelector(".present-prompt").textContent = line[0] ?? compare.getAttribute("aria-label");
}
function title(prompt, settings) {
  head.querySelector(".present-prompt").textContent = prompt ? `“${prompt}”` : "";
  head.querySelector(".present-settings").textContent = settings;
}
document.addEventListener("run", async (event) => { // told to a player by its Run button, before any request
  const player = event.target;
  if (!player.matches?.(PLAYER)) return;
  const old = player.dataset.run, values = (await read())[openTab()];
  if (!(await until(() => player.dataset.run !== old, 60000))) return;
  asked.set(player.dataset.run, values);
  if (asked.size > 16) asked.delete(asked.keys().next().value);
  if (on && !touring()) name();
}, true);
const openTab = () => (selected()?.textContent ?? "").trim().toLowerCase();

// --- in and out ---

function enter(full) {
  if (on) return;
  on = true;
  before = { focus: document.activeElement, scroll: [scrollX, scrollY], tab: selected(),
    folds: new Map(folds().map((button) => [button, isOpen(button)])), values: null,
    players: new Map(all(SHOWN).filter((player) => player.keep).map((player) => [player, player.keep()])),
    branching: all("[data-branching]"), restored: "restored" in page.dataset };
  delete page.dataset.restored; // the address stays what it is (url.js)
  const here = document.activeElement.closest(STAGES); // what a person works with, else what comes first
  // Looked for before the page is marked, which lays out a player that a branch has hidden.
  shownAt = here ?? all(STAGES).find((node) => (node.querySelector(".timeline, .scrub") ?? node).checkVisibility()) ?? one(".tabitem");
  page.classList.add("presenting");
  arrange([shownAt]);
  head.hidden = false;
  name();
  scrollTo(0, 0);
  if (full) page.requestFullscreen?.().catch(() => {}); // refused in a frame, absent on a phone: the window is the stage then
}

async function leave() {
  if (!on) return;
  on = false;
  const { focus, scroll, tab, folds: open, values, players, branching, restored } = before;
  const running = endTour();
  if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
  page.classList.remove("presenting");
  head.hidden = true;
  for (const what of ["aside", "path", "lit", "cover"]) clear(what);
  for (const [button, was] of open) if (isOpen(button) !== was) button.click();
  if (tab?.getAttribute("aria-selected") === "false") tab.click();
  scrollTo(...scroll);
  (focus?.isConnected && focus !== document.body ? focus : document.querySelector("[data-present=stage]"))?.focus({ preventScroll: true });
  await running;
  if (on) return; // entered again meanwhile: that one has its own
  for (const player of all(SHOWN).filter((one) => one.keep)) {
    const kept = players.get(player) ?? { run: null }; // it may be in a fold that was opened first by the tour
    if (player.dataset.run !== (kept.run ?? undefined)) player.restore(kept); else seek(player, kept.shown);
  }
  await wait(0); // a player with another run on it has taken the stage back from a branch
  for (const experiment of branching) if (!experiment.hasAttribute("data-branching")) experiment.querySelector(".player .beside").click();
  if (values) await set(values);
  if (restored) setTimeout(() => { if (!on) page.dataset.restored = ""; }, 100);
}

document.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement) leave(); }); // Escape, told by the browser
document.addEventListener("click", (event) => {
  const what = event.target.closest?.("[data-present]")?.dataset.present;
  if (what === "leave") leave();
  if (what === "stage") enter(true);
  if (what === "tour" && props.stops.length) { enter(false); startTour(); }
});

// --- keys: a clicker's, an arrow's, and the two that enter ---

const TYPED = "textarea, select, [contenteditable], dialog, [role=listbox], input:not([type=range]):not([type=checkbox]):not([type=radio])";
const MOVES = { PageDown: "ArrowRight", PageUp: "ArrowLeft", ArrowRight: "ArrowRight", ArrowLeft: "ArrowLeft",
  ArrowUp: "ArrowUp", ArrowDown: "ArrowDown", Home: "Home", End: "End", " ": " " };
let sending = false;

function seek(timeline, step) {
  const slider = timeline?.querySelector(".timeline, .scrub");
  if (!slider || slider.disabled) return null;
  const last = +slider.max, target = Math.min(Math.max(step < 0 ? last + 1 + step : step, 0), last);
  slider.value = target;
  slider.dispatchEvent(new Event("input"));
  return target;
}

document.addEventListener("keydown", (event) => {
  if (sending || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest?.("dialog[open]")) return;
  const { key } = event, typed = event.target.closest?.(TYPED);
  const used = () => { event.preventDefault(); event.stopPropagation(); };
  if (!on) {
    if (typed || event.repeat) return;
    if (key === "p" || key === "P") { used(); enter(true); }
    if ((key === "t" || key === "T") && props.stops.length) { used(); enter(false); startTour(); }
    return;
  }
  if (key === "Escape") { used(); return void leave(); }
  if (typed) return;
  if (touring() && tourKey(event)) return used();
  if (key === "t" || key === "T") { used(); return startTour(); }
  if (!(key in MOVES) || event.shiftKey || event.target.matches?.(".split") || (key === " " && event.target.closest?.("button, summary"))) return;
  const timeline = one(shownAt);
  if (!timeline?.matches(STAGES)) return;
  used();
  sending = true;
  timeline.dispatchEvent(new KeyboardEvent("keydown", { key: MOVES[key] }));
  sending = false;
}, true);
