// The Forward stage: takes a picture and its noise once, and mixes, paints and describes any state of it in the browser.
// Its files are joined in the order colour, words, large, forward_rows, forward_words, forward_histogram, forward,
// forward_input, and run with gr.HTML's scope: element, props, server, watch.
//
// Other parts of the page (the folds) follow it by its event "drawn", whose detail is `root.state`, and move it by
// dispatching "seek" with a t. The curves' cursor is laid over the plot whose id is props.curves.

const root = element.querySelector(".forward"), find = (selector) => root.querySelector(selector);
const slider = find(".timeline"), narrow = matchMedia("(max-width: 900px)"); // as in forward.css: there the curves are stacked

let picture = null, schedule = null;      // of the records; schedule.second where there is a third row
let shown = -1, wanted = null;            // timeline positions: 0 is x_0, schedule.steps the last
let share = null, match = "timestep";     // where on the timeline a new record is shown; how rows are matched
let serial = 0; // of the records: what the folds were told about another one is stale
let told = "";  // the run, schedule and prompt on the stage
let playing = false, begun = 0, from = 0, ticking = false, touched = false;
root.painted = [];                        // positions in the order they were drawn, for tests and for the curious
root.took = [];                           // ms of each draw

// --- the rows ---

const large = buildLarge(find(".large"), root), histogram = buildHistogram();
const decoded = pane("decoded", "", "decoded latents", large.open);
decoded.heading.textContent = "decoded";
decoded.button.setAttribute("aria-label", "Enlarge the decoded latents");
decoded.heading.after(make("span", "foot", ""));
decoded.figure.querySelector(".frame").append(Object.assign(make("img", ""), { alt: "", hidden: true, draggable: false }));
Object.assign(decoded, { large: true, picture: decoded.figure.querySelector("img"), foot: decoded.figure.querySelector(".foot") });
Object.defineProperty(decoded, "title", { get: () => (decoded.picture.hidden ? "noised latents, not decoded yet" : "decoded latents") });
const rows = {
  pixels: buildRow("pixels", large.open, histogram.figure),
  latents: buildRow("latents", large.open, decoded.figure),
  second: buildRow("second", large.open, make("p", "beside")),
};
const origin = make("p", "origin"); // which picture, and what was done to it
rows.pixels.node.prepend(origin);
find(".rows").append(...Object.values(rows).map((row) => row.node));
rows.second.node.hidden = true;
rows.latents.node.hidden = root.classList.toggle("in-pixels", Boolean(props.pixels)); // the first row is what the model works on

const channels = ([count, height, width]) => (count === 3 ? `${width}×${height}` : `${count}×${height}×${width}`);
function title() {
  const of = ({ shape }) => (schedule.second ? "" : ` ${channels(shape)}`), size = of(picture.pixels); // three rows are small
  rows.pixels.x0.heading.textContent = `pixels${size}`;
  rows.latents.x0.heading.textContent = `latents${of(picture.latents)}`;
  rows.second.x0.heading.textContent = `pixels${size}`;
  for (const row of Object.values(rows)) row.eps.canvas.setAttribute("aria-label", `the noise of the ${row.kind === "latents" ? "latents" : "pixels"}`);
  for (const row of Object.values(rows)) row.x0.canvas.setAttribute("aria-label", `the picture, ${picture.name}${row.kind === "latents" ? ", in latents" : ""}`);
  for (const row of Object.values(rows)) for (const one of [row.x0, row.eps, row.x_t]) entitle(one, row.kind);
}

// What the dialog and a screen reader call a pane: as a heading it stands in its row, and needs less.
function entitle(one, kind) {
  const space = kind === "latents" ? "latents" : "pixels", other = kind === "second" ? " in the third row" : "";
  one.title = `${{ x0: "clean ", eps: "noise of the ", x_t: "noised " }[one.name]}${space}${other}`;
  one.button.setAttribute("aria-label", `Enlarge the ${one.title}`);
}

// --- drawing: at most once per animation frame ---

const request = () => { if (!ticking) { ticking = true; requestAnimationFrame(tick); } };

function tick(now) {
  ticking = false;
  if (playing) {
    const t = Math.round(from + ((now - begun) / (1000 * +find(".length select").value)) * schedule.steps);
    wanted = Math.min(t, schedule.steps);
    if (t >= schedule.steps) play(false);
    else request();
    if (wanted === shown) wanted = null;
  }
  if (wanted !== null) { const t = wanted; wanted = null; draw(t); }
}

// Which state each row shows when the first row, pixels, shows t.
function placed(t) {
  const db = snrDb(alphaBar(schedule, t), picture.pixels.var);
  const place = (other, variance) => {
    const at = match === "snr" && !flat(picture) ? matching(db, other, variance) : Math.round((t * other.steps) / schedule.steps);
    return { t: at, db: snrDb(alphaBar(other, at), variance), name: other.name };
  };
  return { t, db, latents: place(schedule, picture.latents.var), second: schedule.second && place(schedule.second, picture.pixels.var) };
}

function draw(t) {
  if (!picture || !schedule) return;
  const start = performance.now(), at = placed(t);
  const mixed = {
    pixels: mixRow(rows.pixels, picture.pixels, schedule, t),
    latents: mixRow(rows.latents, picture.latents, schedule, at.latents.t),
    second: at.second && mixRow(rows.second, picture.pixels, schedule.second, at.second.t),
  };
  histogram.draw(mixed.pixels, mixed.latents);
  preview(mixed.latents);
  say(t, at);
  shown = t;
  share = t / schedule.steps;
  root.dataset.frame = t;
  root.state = { run: picture.run, serial, t, at, schedule, picture };
  root.painted.push(t);
  root.took.push(performance.now() - start);
  if (root.painted.length > 4096) { root.painted.splice(0, 2048); root.took.splice(0, 2048); }
  root.dataset.painted = +root.dataset.painted + 1;
  large.refresh();
  root.dispatchEvent(new CustomEvent("drawn", { detail: root.state }));
  cursor(t);
  settle();
}

function mixRow(row, values, of, t) {
  const a = Math.sqrt(alphaBar(of, t)), s = Math.sqrt(1 - alphaBar(of, t));
  mix(row.x_t, values, a, s);
  const space = row.kind === "latents" ? "latents" : "pixels";
  row.x_t.heading.innerHTML = `<span class="space">${space}, </span>t = ${t}`;
  row.x_t.canvas.setAttribute("aria-label", `${space} at t = ${t}`);
  row.factors.x0.innerHTML = `${a.toFixed(2)}<i>·</i>`;
  row.factors.eps.innerHTML = `<b>+</b>${s.toFixed(2)}<i>·</i>`;
  return { values, a, s };
}

function say(t, at) {
  slider.value = t;
  slider.style.setProperty("--shown", `${(100 * t) / schedule.steps}%`);
  find(".label").textContent = labelOf(schedule, t, at.db);
  slider.setAttribute("aria-valuetext", find(".label").textContent);
  find(".caption").textContent = sentence(picture, schedule, t, at.db, at, match);
  find(".jump-equation").innerHTML = jumpEquation(schedule, t);
  find(".step-equation").innerHTML = stepEquation2(schedule, t);
  if (at.second) rows.second.side.textContent = `${at.second.name}, t = ${at.second.t}: ${t ? decibels(at.second.db) : "no noise"} in pixels, beside ${t ? decibels(at.db) : "no noise"} under ${schedule.name}.`;
}

// --- records ---

function accept(record) {
  if (record?.kind === "picture" && record.pixels) {
    picture = { ...record, pixels: space(record.pixels), latents: space(record.latents) };
    root.dataset.run = record.run;
    unlook();
  } else if (record?.kind !== "schedule" || record.run !== picture?.run) return;
  const news = JSON.stringify([record.run, record.schedule, record.prompt]);
  if (news === told) return; // nothing of it is new: the controls were asked for once more
  told = news;
  schedule = record.schedule;
  serial++;
  root.dataset.schedule = schedule.name;
  title();
  rows.second.node.hidden = !schedule.second;
  root.classList.toggle("has-second", Boolean(schedule.second));
  for (const [name, row] of Object.entries(rows)) {
    const values = name === "latents" ? picture.latents : picture.pixels;
    mix(row.x0, values, 1, 0);
    mix(row.eps, values, 0, 1);
  }
  slider.max = schedule.steps;
  slider.disabled = false;
  for (const button of root.querySelectorAll("button:disabled")) button.disabled = false;
  if (share === null) share = middle() / schedule.steps; // the first picture is shown half dissolved
  mark();
  play(false);
  const notes = picture.notes?.length ? `What was done to the picture: ${picture.notes.join(", ")}. ` : "";
  find(".notes").textContent = `${notes}${scheduleNote(schedule)} Noise of seed ${picture.seed}.`;
  const done = picture.notes ?? [], cropped = done.find((note) => note.startsWith("cropped"));
  origin.replaceChildren(...[picture.name, cropped && `, ${cropped}`].filter(Boolean).map((words) => Object.assign(make("span", ""), { textContent: words })));
  origin.title = [picture.name, ...done].join(", ");
  find(".warning").hidden = !schedule.terminal;
  if (schedule.terminal) [find(".warning summary").innerHTML, find(".warning p").textContent] = warningOf(schedule, picture.pixels);
  root.dataset.phase = "ready";
  decodings.clear(); // states of another schedule
  wanted = Math.round(share * schedule.steps);
  request();
  plot();
}

const middle = () => (picture.pixels.var ? matching(2, schedule, picture.pixels.var) : Math.round(schedule.steps / 5));

// The curves are the server's figure of this picture and these schedules: asked for where they are not what was asked last.
let plotted = "";
function plot() {
  const of = [schedule, schedule.second].filter(Boolean).map(({ name, alphas_cumprod }) => [name, alphas_cumprod]);
  const asked = JSON.stringify([narrow.matches, picture.pixels.var, of]);
  if (asked !== plotted) trigger("curves");
  plotted = asked;
}
narrow.addEventListener("change", () => setTimeout(() => schedule && plot(), 300)); // once it stays so: answers may overtake each other

// The four stages under the rail, by the pixels' measured SNR.
function mark() {
  const spans = [], stages = Array.from({ length: schedule.steps + 1 }, (_, t) => stageOf(snrDb(alphaBar(schedule, t), picture.pixels.var)));
  if (!picture.pixels.var) spans.push(Object.assign(make("span", "stage-mark", "no stages: the picture is flat"), { style: "--from:0;--to:1" }));
  else for (const [level, [floor, name]] of props.stages.entries()) {
    const first = stages.indexOf(name), last = stages.lastIndexOf(name);
    if (first < 0) continue;
    const span = make("span", "stage-mark"), begin = Math.max(first - 0.5, 0), end = Math.min(last + 0.5, schedule.steps);
    span.dataset.level = level;
    const words = name === "none" ? "none: hardly any" : name, room = (end - begin) / schedule.steps;
    if (room > 0.04) span.textContent = room > 0.2 ? words : name; // the tooltip has it in any case
    span.title = `${words}: SNR ${floor === null ? `below ${decibels(props.stages[level - 1][0])}` : `${decibels(floor)} and more`}, t = ${first} … ${last}`;
    span.style.setProperty("--from", begin / schedule.steps);
    span.style.setProperty("--to", end / schedule.steps);
    spans.push(span);
  }
  find(".stages").replaceChildren(...spans);
}

new MutationObserver(() => shown >= 0 && cursor(shown)).observe(document.body, { attributes: true, attributeFilter: ["class"] });
