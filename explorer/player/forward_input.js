// What a person does at the Forward stage: keys, buttons, the timeline, resting (which decodes), and the curves' cursor.
// Shares forward.js's variables, and takes the first record when all is there.

function seek(t) {
  if (!schedule) return;
  play(false);
  touched = true;
  wanted = Math.min(Math.max(Math.round(t), 0), schedule.steps);
  request();
}

function play(on) {
  playing = on && Boolean(schedule);
  if (playing) {
    touched = true;
    from = shown >= schedule.steps ? 0 : Math.max(shown, 0); // pressed before the first state is drawn
    begun = performance.now();
    request();
  }
  const button = find(".play");
  button.classList.toggle("is-playing", playing);
  button.setAttribute("aria-label", playing ? "Pause" : "Play");
}

const here = () => wanted ?? shown; // keys come faster than animation frames
const moves = {
  ...Object.fromEntries([..."0123456789"].map((digit) => [digit, () => seek((digit / 10) * schedule.steps)])),
  ArrowLeft: () => seek(here() - 1), ArrowRight: () => seek(here() + 1),
  PageUp: () => seek(here() + schedule.steps / 20), PageDown: () => seek(here() - schedule.steps / 20),
  Home: () => seek(0), End: () => seek(schedule.steps), " ": () => play(!playing),
};
moves.ArrowDown = moves.ArrowLeft; moves.ArrowUp = moves.ArrowRight;

root.addEventListener("keydown", (event) => {
  if (!schedule || event.ctrlKey || event.metaKey || event.altKey || !(event.key in moves) || event.target.matches("select, dialog *")) return;
  if (event.key === " " && event.target.matches("button")) return;
  event.preventDefault();
  moves[event.key]();
});
find(".previous").addEventListener("click", moves.ArrowLeft);
find(".next").addEventListener("click", moves.ArrowRight);
find(".play").addEventListener("click", moves[" "]);
slider.addEventListener("input", () => seek(+slider.value));
root.addEventListener("seek", (event) => seek(event.detail));
find(".match").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  match = root.dataset.match = button.dataset.match;
  for (const one of root.querySelectorAll(".match button")) one.setAttribute("aria-pressed", one === button);
  wanted ??= shown;
  request();
});

// --- resting: the latents are decoded once, by the full VAE, where a person stays ---

const REST = 300, KEPT = 64; // ms; decodings that are kept
const decodings = new Map(); // "run t" → a promise of {picture} or {error}
let resting = 0;

function preview(row) {
  mix(decoded, row.values, row.a, row.s);
  decoded.picture.hidden = true;
  foot(playing ? "when paused" : "when you rest");
}

// Goes on from the pane's name, "decoded", where there is room for three words; a refusal lies over the picture.
function foot(words, refused = false) {
  decoded.foot.textContent = words;
  decoded.foot.toggleAttribute("data-refused", refused);
}

function unlook() {
  decodings.clear();
  decoded.picture.removeAttribute("src");
}

function settle() {
  clearTimeout(resting);
  if (!playing && !props.pixels) resting = setTimeout(rested, touched ? REST : 0);
}

async function rested() {
  const { run, at } = root.state, t = at.latents.t, of = schedule, key = `${run} ${t}`;
  const still = () => schedule === of && root.state.run === run && root.state.at.latents.t === t && !playing;
  if (!decodings.has(key)) {
    decodings.set(key, server.look([run, t]).catch(() => ({})));
    if (decodings.size > KEPT) decodings.delete(decodings.keys().next().value);
    foot("in a moment");
  }
  const answer = await decodings.get(key);
  if (!answer?.picture) {
    decodings.delete(key); // so that another rest asks again
    if (still()) foot(answer?.error ?? "the decoder did not answer", true);
    return;
  }
  const image = new Image();
  image.src = answer.picture;
  await image.decode().catch(() => {}); // ready before it is shown: nothing flashes
  if (!still()) return;
  decoded.picture.src = answer.picture;
  decoded.picture.alt = `the latents at t = ${t}, decoded`;
  decoded.picture.hidden = false;
  foot(Number.isFinite(answer.ms) ? `in ${Math.round(answer.ms)} ms` : "");
  large.refresh();
}

// --- the cursor over the curves: one line an x-axis, laid over the plot; pressing in the plot moves there ---

function cursor(t) {
  const plot = document.querySelector(`#${props.curves} .js-plotly-plot`), layout = plot?._fullLayout;
  if (!layout?._plots) return;
  if (!plot.dataset.followed) {
    plot.dataset.followed = "yes";
    plot.addEventListener("pointerdown", (event) => press(plot, event));
    plot.addEventListener("pointermove", (event) => event.buttons && press(plot, event));
    plot.on("plotly_afterplot", () => cursor(shown));
  }
  let layer = plot.querySelector(".forward-cursor");
  if (!layer) plot.querySelector(".svg-container").append((layer = make("div", "forward-cursor")));
  const lines = Object.values(layout._plots).map(({ xaxis, yaxis }) => {
    const line = make("span", "");
    Object.assign(line.style, { left: `${xaxis._offset + xaxis.c2p(t)}px`, top: `${yaxis._offset}px`, height: `${yaxis._length}px` });
    return line;
  });
  layer.replaceChildren(...lines);
}

function press(plot, event) {
  const box = plot.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  for (const { xaxis, yaxis } of Object.values(plot._fullLayout._plots)) {
    const inside = x >= xaxis._offset - 4 && x <= xaxis._offset + xaxis._length + 4 && y >= yaxis._offset && y <= yaxis._offset + yaxis._length;
    if (inside) return seek(xaxis.p2c(x - xaxis._offset));
  }
}

// The plot arrives when it likes: it is looked for until it has a cursor.
new MutationObserver(() => { if (shown >= 0 && document.querySelector(`#${props.curves} .js-plotly-plot:not([data-followed])`)) requestAnimationFrame(() => cursor(shown)); })
  .observe(root.closest(".stage-column") ?? document.body, { childList: true, subtree: true });

watch("value", () => accept(props.value));
accept(props.value);
