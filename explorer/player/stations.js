// The editor of stations: a row each, with its prompt and its seed. Its value is {text, kind, moves}, where the text has one
// station a line, "prompt @ seed": only those rows that this kind of walk has, while the others are kept for another kind.

const root = element.querySelector(".stations"), find = (selector) => root.querySelector(selector);
const MOST = 8, SOON = 30; // stations; ms between a key and what is told
const COUNTS = { stations: [2, MOST], circle: [2, 2], pictures: [1, 1], sphere: [1, 1] };
const BARE = { stations: "Noises, by their seeds", circle: "The two noises", pictures: "Noise", sphere: "Noise in the middle" }; // no prompts
root.toggleAttribute("data-bare", props.bare);
const TITLES = props.bare ? BARE : { stations: "Stations", circle: "Prompt, and the two noises", pictures: "Prompt and noise", sphere: "Prompt and noise in the middle" };
let rows = [], kind = "stations", moves = "both", timer = 0, last = 0;
let said = []; // texts told lately: they come back by way of the text field, and may be old by then

const shown = () => rows.slice(0, COUNTS[kind][1]);
const written = () => shown().map(({ prompt, seed }, i) => `${(kind === "circle" ? rows[0].prompt : prompt).trim()} @ ${`${seed}`.trim()}`).join("\n");
const roll = () => `${Math.floor(Math.random() * 100000)}`;

function read(text) {
  return text.split("\n").filter((line) => line.trim()).slice(0, MOST).map((line) => {
    const at = line.lastIndexOf("@");
    return at < 0 ? { prompt: line.trim(), seed: "" } : { prompt: line.slice(0, at).trim(), seed: line.slice(at + 1).trim() };
  });
}

function tell(now = false) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const text = written();
    last = performance.now();
    said = [...said.slice(-20), text];
    props.value = { text, kind, moves };
    trigger("input");
  }, now ? 0 : SOON);
}

function draw() {
  const visible = shown(), box = find(".rows"), [least, most] = COUNTS[kind];
  root.dataset.kind = kind;
  root.dataset.moves = kind === "stations" ? moves : "both";
  find(".stations-title").textContent = TITLES[kind];
  while (box.children.length > visible.length) box.lastChild.remove();
  while (box.children.length < visible.length) box.append(row());
  visible.forEach((station, i) => {
    const node = box.children[i], prompt = node.querySelector(".prompt"), seed = node.querySelector(".seed");
    if (prompt.value !== station.prompt && document.activeElement !== prompt) prompt.value = station.prompt;
    if (seed.value !== `${station.seed}` && document.activeElement !== seed) seed.value = station.seed;
    const fixed = (kind === "circle" && i > 0) || (kind === "stations" && moves === "noise" && i > 0);
    prompt.disabled = fixed;
    prompt.placeholder = fixed ? "the first one's" : "no prompt";
    if (fixed) prompt.value = rows[0].prompt;
    seed.disabled = kind === "stations" && moves === "prompt" && i > 0;
    prompt.setAttribute("aria-label", `Prompt of station ${i + 1}`);
    seed.setAttribute("aria-label", `Seed of station ${i + 1}`);
    node.querySelector(".remove").hidden = visible.length <= least;
    node.querySelector(".remove").setAttribute("aria-label", `Remove station ${i + 1}`);
    node.querySelector(".nth").textContent = i + 1;
  });
  find(".stations-foot").hidden = least === most;
  find(".add").disabled = visible.length >= most;
  find(".presets").hidden = kind !== "stations";
}

function row() {
  const node = document.createElement("div"), index = () => [...find(".rows").children].indexOf(node);
  node.className = "station";
  node.innerHTML = '<span class="nth" aria-hidden="true"></span><input type="text" class="prompt" list="walk-prompts" maxlength="5000" autocomplete="off"><input type="text" class="seed" inputmode="numeric" maxlength="12" placeholder="seed" autocomplete="off"><button type="button" class="remove" title="Takes this station away"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="m4 4 8 8M12 4l-8 8"/></svg></button>';
  node.querySelector(".prompt").addEventListener("input", (event) => { rows[index()].prompt = event.target.value; if (index() === 0) draw(); tell(); });
  node.querySelector(".seed").addEventListener("input", (event) => { rows[index()].seed = event.target.value; tell(); });
  for (const input of node.querySelectorAll("input")) input.addEventListener("keydown", (event) => { if (event.key === "Enter") { tell(true); setTimeout(() => root.closest(".trial:not([data-running])")?.querySelector(".trial-run")?.click(), 200); } });
  node.querySelector(".remove").addEventListener("click", () => {
    const i = index();
    rows.splice(i, 1);
    draw();
    find(".rows").children[Math.min(i, shown().length - 1)].querySelector(props.bare ? ".seed" : ".prompt").focus();
    tell(true);
  });
  return node;
}

find(".add").addEventListener("click", () => {
  rows.splice(shown().length, 0, { prompt: shown().at(-1).prompt, seed: roll() });
  draw();
  const field = find(".rows").lastChild.querySelector(props.bare ? ".seed" : ".prompt");
  field.focus();
  field.select();
  tell(true);
});
find(".seeds").addEventListener("click", () => { rows.forEach((station, i) => (station.seed = roll())); draw(); tell(true); });
find(".presets").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  rows = read(button.dataset.text);
  draw();
  tell(true);
});
find(".as-text").addEventListener("click", () => {
  const on = root.toggleAttribute("data-text");
  find(".as-text").setAttribute("aria-pressed", on);
});

// A value from outside: an address, the text field, another kind.
function take(value) {
  if (typeof value?.text !== "string") return;
  const turned = value.kind !== kind || value.moves !== moves, ours = rows.length > 0 && value.text === written();
  if (value.kind in COUNTS) kind = value.kind;
  moves = value.moves;
  if (performance.now() - last > 1500) said = [];
  const fresh = !ours && value.text !== written() && !said.includes(value.text);
  if (fresh || !rows.length) {
    const next = read(value.text);
    rows = next.length ? [...next, ...(turned ? rows.slice(next.length) : [])] : rows;
  }
  while (rows.length < COUNTS[kind][0]) rows.push({ prompt: rows[0]?.prompt ?? "", seed: roll() });
  draw();
  const typing = root.closest(".trial")?.querySelector(".stations-text")?.contains(document.activeElement);
  const fits = value.text.split("\n").filter((line) => line.trim()).length === shown().length; // an address may have too few or many
  if ((turned || !(fits || typing)) && written() !== value.text) tell(true);
}
watch("value", () => take(props.value));
take(props.value);
