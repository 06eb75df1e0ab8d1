// The model menu: a dialog below the model's name. Choosing a model has the server load it, told here as it goes, and then
// goes to its page; what a person set in this one's forms comes along. Closed meanwhile, the name says how far it is, and nothing is left.

const menu = element.querySelector(".model-menu"), find = (name) => menu.querySelector(`.menu-${name}`);
const home = location.pathname.replace(/models\/[^/]*\/?$/, ""); // of the first page; this one may be at models/<slug>/
const HEADINGS = { embedded: "Built in", recent: "Recent", allowed: "Offered here" };
const button = () => document.querySelector("[data-menu]");
let token = 0, busy = false, target = null; // of the loading that is listened to; its page, once it is there

// --- open and closed ---

function open() {
  if (menu.open) return;
  place();
  menu.showModal();
  button()?.setAttribute("aria-expanded", "true");
  list();
}
function place() { // below the name, inside the window; on a phone the style sheet has it at the bottom
  const box = button()?.getBoundingClientRect();
  if (!box) return;
  menu.style.setProperty("--menu-top", `${Math.round(box.bottom + 6)}px`);
  menu.style.setProperty("--menu-right", `${Math.round(Math.max(document.documentElement.clientWidth - box.right, 12))}px`);
}
menu.addEventListener("close", () => {
  const opener = button();
  opener?.setAttribute("aria-expanded", "false");
  opener?.focus({ preventScroll: true });
});
menu.addEventListener("keydown", (event) => { if (event.key !== "Tab") event.stopPropagation(); }); // the page has keys too
document.addEventListener("click", (event) => {
  if (event.target.closest?.("[data-menu]")) open();
  if (event.target === menu || event.target.closest?.(".menu-close")) menu.close(); // the backdrop is the dialog itself
});

// --- what there is ---

async function list() {
  let known;
  try { known = await server.catalog(); } catch { known = null; }
  if (!known?.rows) return wrong("The server does not answer; the page may be older than it.");
  find("form").hidden = !known.free;
  const focused = document.activeElement?.dataset?.load;
  find("lists").replaceChildren(...Object.entries(HEADINGS).flatMap(([group, heading]) => {
    const rows = known.rows.filter((row) => row.group === group);
    return rows.length ? [section(group, heading, rows)] : [];
  }));
  if (focused !== undefined) choices().find((one) => one.dataset.load === focused)?.focus();
  else if (document.activeElement === find("close") || document.activeElement === menu) (choices()[0] ?? find("close")).focus();
  lock();
}
const make = (name, values, ...children) => { const node = Object.assign(document.createElement(name), values); node.append(...children); return node; };
const choices = () => [...menu.querySelectorAll(".menu-choice")];
function section(group, heading, rows) {
  const title = make("h3", { id: `model-menu-${group}`, textContent: heading }), items = make("ul", {}, ...rows.map(item));
  items.setAttribute("aria-labelledby", title.id);
  return make("section", {}, title, items);
}
function item(row) {
  const here = row.name === props.here, facts = [here ? "this page" : "", row.size, row.state || "not loaded yet"].filter(Boolean).join(" · ");
  const choice = make("button", { type: "button", className: "menu-choice" }, make("span", { className: "menu-name", textContent: row.name }), make("span", { className: "menu-facts", textContent: facts }));
  choice.dataset.load = row.load;
  if (here) choice.setAttribute("aria-current", "page");
  choice.addEventListener("click", () => { if (here) menu.close(); else ask(row.load, row.name); });
  return make("li", {}, choice);
}
menu.addEventListener("keydown", (event) => { // up and down the list, as in a menu
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], all = choices(), at = all.indexOf(document.activeElement);
  if (!step || at < 0) return;
  event.preventDefault();
  all[(at + step + all.length) % all.length].focus();
});

// --- loading ---

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const source = menu.querySelector("#model-menu-source").value.trim();
  if (source) ask(source, source); else wrong("Type a Hub id like owner/name, or a folder.");
});
find("cancel").addEventListener("click", () => { token += 1; trigger("stopped"); done(); list(); (choices()[0] ?? find("close")).focus(); });

function ask(source, name) {
  if (busy) return;
  wrong("");
  busy = true;
  token += 1;
  target = null;
  show({ line: `Loading ${name}`, done: 0, total: 0 });
  find("cancel").focus();
  props.value = { load: source, token };
  trigger("wanted");
}
watch("value", () => {
  const record = props.value;
  if (!busy || record?.token !== token || "load" in record) return;
  if (record.error) { done(); wrong(record.error); list(); if (menu.open) (find("form").hidden ? find("close") : menu.querySelector("#model-menu-source")).focus(); else say("not loaded"); return; }
  if ("page" in record) return ready(record);
  show(record);
});
function show(record) {
  find("loading").hidden = false;
  find("bar").hidden = false;
  find("open").hidden = true;
  find("line").textContent = record.line;
  const bar = menu.querySelector("progress");
  if (record.total > 0) bar.value = record.done / record.total; else bar.removeAttribute("value");
  lock();
  say(record.total > 0 ? `${Math.floor((100 * record.done) / record.total)}%` : "loading");
}
function ready(record) {
  if (!record.new && home + record.page === location.pathname) { done(); menu.close(); return; } // this one
  target = address(record.page);
  if (menu.open) return show({ line: record.line, done: 1, total: 1 });
  done(); // its page waits until it is wanted
  find("loading").hidden = false;
  find("bar").hidden = true;
  find("line").textContent = record.line;
  find("open").hidden = false;
  find("open").href = target;
  say("ready");
}
menu.addEventListener("over", () => { if (target && busy) { done(); location.assign(target); } }); // after the stream's end
function address(page) {
  const url = new URL(home + page, location.origin);
  const given = new URL(location).searchParams, own = props.own[given.get("tab")] ?? Object.values(props.own)[0] ?? {};
  for (const [name, value] of given) {
    const kept = name === "run" || name === "missing" || (name in own && String(own[name] ?? "") === value); // the other model has its own
    if (!kept) url.searchParams.append(name, value);
  }
  return url.href;
}
function done() {
  busy = false;
  find("loading").hidden = true;
  lock();
  say();
}
function lock() { // one at a time
  for (const one of [...choices(), menu.querySelector("#model-menu-source"), find("load")]) one.disabled = busy && one.getAttribute("aria-current") !== "page";
}
function wrong(sentence) {
  find("wrong").textContent = sentence;
  find("wrong").hidden = !sentence;
}
function say(state = "") { // beside the name, for who closed the menu meanwhile
  const said = document.querySelector(".model-state"), text = state && ` · ${state}`;
  if (said && said.textContent !== text) said.textContent = text;
}

// --- an address whose page is not here ---

const missing = new URL(location).searchParams.get("missing");
if (missing !== null) requestAnimationFrame(() => {
  const url = new URL(location);
  url.searchParams.delete("missing");
  history.replaceState(history.state, "", url);
  if (missing) wrong(`There is no page “${missing}” on this server now; choose a model here, and its page is made.`);
  open();
});
