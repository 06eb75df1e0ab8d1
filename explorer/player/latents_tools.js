// The tools of the Latents stage: which channel, sliders, mute, swap, roll and flip. Shares latents.js's variables.

const SLIDERS = [
  { op: "scale", field: "factor", label: "Scale", min: -2, max: 4, step: 0.05, rest: 1 },
  { op: "shift", field: "amount", label: "Shift", min: -4, max: 4, step: 0.05, rest: 0 },
  { op: "blur", field: "sigma", label: "Blur", min: 0, max: 4, step: 0.1, rest: 0 },
  { op: "sharpen", field: "amount", label: "Sharpen", min: 0, max: 4, step: 0.1, rest: 0 },
  { op: "noise", field: "amount", label: "Noise", min: 0, max: 2, step: 0.05, rest: 0 },
];
let dragging = false;

// A slider shows, and goes on with, the newest edit where that is its own, of the chosen channel; else it starts anew.
const own = ({ op }) => (newest()?.op === op && newest().channel === chosen ? newest() : null);

function buildSlider({ label, min, max, step, rest }, input) {
  const node = make("label", "slider", `<span>${label} <output></output></span><input type="range" min="${min}" max="${max}" step="${step}" value="${rest}">`);
  const slider = node.querySelector("input"), said = node.querySelector("output");
  slider.setAttribute("aria-label", label);
  const set = (value) => {
    slider.value = value;
    said.textContent = round(+slider.value, step < 0.1 ? 2 : 1);
    slider.style.setProperty("--at", `${(100 * (slider.value - min)) / (max - min)}%`);
  };
  slider.addEventListener("input", () => { set(slider.value); input(+slider.value); });
  set(rest);
  return { node, slider, set };
}

const sliders = SLIDERS.map((row) => {
  const made = buildSlider(row, (value) => {
    if (!record) return;
    const before = own(row), [done, mutes] = parted(), rest = before ? done.slice(0, -1) : done;
    const seed = before?.seed ?? 1 + edits.filter((edit) => edit.op === "noise").length;
    const next = { op: row.op, channel: chosen, [row.field]: value, ...(row.op === "noise" && { seed }) };
    commit([...rest, ...(value === row.rest ? [] : [next]), ...mutes], `${row.op} ${chosen}`);
  });
  made.slider.addEventListener("pointerdown", () => { // one drag is one undo step, however long it rests
    dragging = true;
    last.token = "";
    for (const over of ["pointerup", "pointercancel"]) window.addEventListener(over, () => { dragging = false; last.token = ""; }, { once: true });
  });
  made.node.dataset.op = row.op;
  find(".sliders").append(made.node);
  return { ...made, row };
});

function offerSliders() {
  for (const { row, set, slider } of sliders) {
    const value = own(row)?.[row.field] ?? row.rest;
    if (+slider.value !== value) set(value);
  }
}

// --- which channel ---

function buildTargets(count) {
  const target = (channel, label) => {
    const button = make("button", "", label);
    Object.assign(button, { type: "button", title: channel === null ? "All channels" : `Channel ${channel}` });
    button.setAttribute("aria-label", button.title);
    button.dataset.target = channel ?? "";
    button.addEventListener("click", () => choose(channel));
    return button;
  };
  find(".targets").replaceChildren(target(null, "All"), ...channels.map(({ c }) => target(c, `${c}`)));
  find(".with").replaceChildren(...channels.map(({ c }) => new Option(`channel ${c}`, c)));
  for (const one of channels) {
    one.choose.addEventListener("click", () => choose(chosen === one.c ? null : one.c));
    one.eye.addEventListener("click", () => mute(one.c));
  }
  find(".targets").hidden = count < 2;
  choose(null);
}

function choose(channel) {
  chosen = channel;
  for (const button of root.querySelectorAll(".targets button")) button.setAttribute("aria-pressed", button.dataset.target === `${channel ?? ""}`);
  for (const one of channels) {
    one.choose.setAttribute("aria-pressed", one.c === channel);
    one.node.classList.toggle("is-chosen", one.c === channel);
  }
  find(".swap").disabled = channel === null;
  for (const option of find(".with").options) option.disabled = +option.value === channel;
  if (find(".with").selectedOptions[0]?.disabled) find(".with").value = [...find(".with").options].find((option) => !option.disabled)?.value;
  last.token = "";
  offerSliders();
}

// --- buttons ---

function mute(channel) {
  commit(isMuted(channel) ? edits.filter((edit) => edit.op !== "mute" || edit.channel !== channel) : [...edits, { op: "mute", channel }]);
}

find(".swap").addEventListener("click", () => record && add({ op: "swap", a: chosen, b: +find(".with").value }));

// Cells that were rolled one after another are one edit, by all of them.
for (const button of root.querySelectorAll("[data-roll]")) button.addEventListener("click", () => {
  if (!record) return;
  const [dx, dy] = button.dataset.roll.split(",").map(Number), before = newest(), [, height, width] = record.shape;
  const [done, mutes] = parted(), known = before?.op === "roll" ? before : { dx: 0, dy: 0 };
  const rest = before?.op === "roll" ? done.slice(0, -1) : done;
  const next = { op: "roll", dx: (known.dx + dx) % width, dy: (known.dy + dy) % height };
  commit([...rest, ...(next.dx || next.dy ? [next] : []), ...mutes]);
});
for (const button of root.querySelectorAll("[data-flip]")) button.addEventListener("click", () => {
  if (!record) return;
  const axis = button.dataset.flip, before = newest(), [done, mutes] = parted();
  commit(before?.op === "flip" && before.axis === axis ? [...done.slice(0, -1), ...mutes] : [...done, { op: "flip", axis }, ...mutes]);
});
