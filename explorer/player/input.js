// What a person does at the player: keys, buttons, the timeline, and pointing at a cell. Shares player.js's variables.

// --- moving through the run ---

function seek(i) {
  const target = Math.min(Math.max(i, nextFrame(-1)), newest); // a branch has no frames before its first
  if (!frames[target]) return;
  play(false);
  touched = true;
  following = target === newest;
  wanted = target;
  slider.value = target;
  request();
}

function play(on) {
  playing = on && newest > 0;
  if (playing) {
    touched = true; following = false;
    if (nextFrame(shown) < 0) wanted = nextFrame(-1);
    due = performance.now() + 1000 / +find(".speed select").value;
    settle();
    request();
  }
  const button = find(".play");
  button.classList.toggle("is-playing", playing);
  button.setAttribute("aria-label", playing ? "Pause" : "Play");
}

const here = () => wanted ?? shown; // keys come faster than animation frames
const moves = {
  ...Object.fromEntries([..."0123456789"].map((digit) => [digit, () => seek(Math.round((digit / 10) * (length - 1)))])),
  ArrowLeft: () => seek(previousFrame(here())), ArrowRight: () => seek(nextFrame(here()) < 0 ? newest : nextFrame(here())),
  Home: () => seek(0), End: () => seek(newest), " ": () => play(!playing),
};
moves.ArrowDown = moves.ArrowLeft; moves.ArrowUp = moves.ArrowRight;

root.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in moves) || event.target.matches("select, dialog *, .split")) return;
  if (event.key === " " && event.target.matches("button")) return;
  event.preventDefault();
  if (event.shiftKey && event.key.startsWith("Arrow")) return moveCell(event.key);
  moves[event.key]();
});
find(".previous").addEventListener("click", moves.ArrowLeft);
find(".next").addEventListener("click", moves.ArrowRight);
find(".play").addEventListener("click", moves[" "]);
slider.addEventListener("input", () => seek(+slider.value));
formPicker.addEventListener("change", () => { form = formPicker.value; wanted ??= shown; request(); });
find(".loop").addEventListener("click", (event) => event.currentTarget.setAttribute("aria-pressed", looping = !looping));
find(".smooth").addEventListener("click", (event) => {
  const on = root.classList.toggle("is-smooth");
  event.currentTarget.setAttribute("aria-pressed", on);
  large.refresh();
});

// --- reading one cell ---

function read(at) {
  cell = at;
  const frame = frames[shown];
  if (!frame) return;
  stage.mark(cell, frame.shape);
  find(".readout").innerHTML = readout(frame, frames[nextFrame(shown)], cell);
}

function moveCell(key) {
  const frame = frames[shown];
  if (!frame) return;
  const [, height, width] = frame.shape, { x, y } = cell ?? { x: width >> 1, y: height >> 1 };
  const dx = { ArrowLeft: -1, ArrowRight: 1 }[key] ?? 0, dy = { ArrowUp: -1, ArrowDown: 1 }[key] ?? 0;
  read({ x: Math.min(Math.max(x + dx, 0), width - 1), y: Math.min(Math.max(y + dy, 0), height - 1) });
}

for (const pane of stage.panes) {
  const point = (event) => {
    const frame = frames[shown];
    if (!frame) return;
    const box = pane.frame.getBoundingClientRect(), [, height, width] = frame.shape;
    const x = Math.floor(((event.clientX - box.left) / box.width) * width), y = Math.floor(((event.clientY - box.top) / box.height) * height);
    read({ x: Math.min(Math.max(x, 0), width - 1), y: Math.min(Math.max(y, 0), height - 1) });
  };
  pane.frame.addEventListener("pointermove", point);
  pane.frame.addEventListener("pointerdown", point);
  pane.frame.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && read(null));
}
