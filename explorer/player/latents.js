// The Latents stage: takes a picture and its latents as one record, keeps the list of edits, and asks what they make of it.
// Its files are joined in the order colour, words, large, forward_rows, latents_words, latents_panes, latents,
// latents_edits, latents_tools, latents_brush, and run with gr.HTML's scope: element, props, server, trigger, watch.
//
// Other parts of the page (the folds) follow it by its event "drawn", whose detail is `root.state`.

const root = element.querySelector(".latents"), find = (selector) => root.querySelector(selector);

let record = null, answer = null;   // what was given; what the edits make of it, as far as it is painted
let edits = [];                     // what is asked for, ahead of `answer`
let planes = null, base = null, spread = null, original = null; // numbers: (C, h, w) now, before, the posterior's; the picture
let view = "mean", chosen = null;   // chosen: the channel that tools change, null for all
let range = 3, channels = [];
root.painted = 0;                   // answers that were painted, for tests and for the curious

const large = buildLarge(find(".large"), root);
const pictures = Object.fromEntries(["original", "difference", "decoded"].map((name) => [name, pane(name, "", name, large.open)]));
for (const name of ["original", "decoded"]) Object.assign(pictures[name], { large: true, picture: { hidden: true } }); // smooth, enlarged
const apart = make("div", "scale", '<span class="low">0</span><span class="ramp is-size"></span><span class="high">1</span>');
const fidelity = make("p", "fidelity");
find(".given").append(pictures.original.figure, pictures.difference.figure);
pictures.difference.figure.append(apart, fidelity);
find(".result").append(pictures.decoded.figure);

// --- records ---

async function accept(given) {
  if (given?.kind !== "latents") return;
  const picture = await loaded(given.original);
  if (props.value !== given && props.value?.key !== given.key) return; // another one came meanwhile
  record = given;
  original = picture;
  base = unhalved(given.base);
  spread = given.spread && unhalved(given.spread);
  range = scaleOf(base);
  if (channels.length !== given.shape[0]) rebuild(given.shape[0]);
  root.dataset.key = given.key;
  root.style.setProperty("--ratio", given.shape[2] / given.shape[1]); // a run's latents may be no square
  root.toggleAttribute("data-encoded", Boolean(spread)); // no run's end, and no file
  root.dataset.phase = "ready";
  find(".compression").innerHTML = compressionSentence(given.compression);
  find(".grid-head .title").textContent = `latents ${times(given.shape)}, one scale`;
  pictures.original.heading.textContent = `${spread ? "original" : "as it came"}, ${given.name}`; // a run's end has no original
  pictures.original.heading.title = given.name;
  pictures.original.canvas.setAttribute("aria-label", `the picture, ${given.name}`);
  for (const one of [...channels, ...Object.values(pictures)]) one.at = given.name;
  const hasSpread = find('[data-view="spread"]');
  hasSpread.disabled = !spread;
  hasSpread.title = spread ? "The standard deviation that the encoder gives each number" : "Not here: only a picture that was encoded has a spread; these latents came without one";
  if (!spread) view = "mean";
  showPicture(pictures.original, original);
  begin(given.edits);
  await show(given);
}

function rebuild(count) {
  channels = Array.from({ length: count }, (_, c) => buildChannel(c, large.open));
  find(".channels").replaceChildren(...channels.map((one) => one.node));
  root.style.setProperty("--channels", count);
  chosen = null;
  buildTargets(count);
  channels.forEach(brushOn);
}

// --- asking: one question at a time, and the newest edits are the next one ---

const SILENT = { error: "The server did not answer; try that again." };
const TRIES = 20, PAUSE = 150; // how often a busy server is asked again, and ms before each
let asking = false, again = false;
async function ask() {
  again = true;
  if (asking) return;
  asking = true;
  for (let tries = 0; again;) {
    again = false;
    const key = record.key;
    const got = await server.touch([key, edits]).then((answer) => answer ?? SILENT, () => SILENT); // gradio has nothing for no answer
    if (record.key !== key) continue;
    if (got.busy && ++tries < TRIES) {
      again = true;
      await new Promise((done) => setTimeout(done, PAUSE * (1 + Math.random())));
      continue;
    }
    tries = 0;
    say(got.error ?? "");
    if (!got.error) await show(got).catch(() => say(SILENT.error));
    else if (!again) takeBack(); // what can't be made is not in the list
  }
  asking = false;
}

let beside = ""; // what stays true whatever is answered: that the address can't hold it all
const say = root.say = (sentence) => { find(".status").textContent = sentence || beside; };

// --- painting ---

async function show(got) {
  const decoded = await loaded(got.picture), key = record.key;
  if (got.key !== key) return;
  answer = got;
  planes = unhalved(got.planes);
  if (again) for (const edit of edits.slice(Math.max(got.edits.length - parted()[1].length - 1, 0))) if (edit.op === "paint") stamp(planes, edit); // ahead of the answer
  showPicture(pictures.decoded, decoded);
  pictures.decoded.data = decoded;
  pictures.decoded.heading.textContent = `decoded in ${Math.round(got.ms)} ms`;
  pictures.decoded.canvas.setAttribute("aria-label", got.words.length ? `the latents decoded: ${got.words.join(", ")}` : "the latents decoded");
  fidelity.innerHTML = fidelityWords(got.fidelity);
  got.facts.forEach((facts, c) => {
    channels[c].carries.textContent = carries(facts);
    channels[c].carries.title = `Correlation of channel ${c}, edits included, with the picture at the left, from −1 to 1: ${allAxes(facts)}. No channel owns one property alone.`;
  });
  paint();
  list(got.words);
  root.state = { ...record, ...got, channel: chosen };
  root.dataset.painted = ++root.painted;
  large.refresh();
  root.dispatchEvent(new CustomEvent("drawn", { detail: root.state }));
}

function paint() {
  if (!planes) return;
  const colours = theme(root), sizes = view === "spread", values = sizes ? spread : planes;
  const span = sizes ? niceTop(spread) : range;
  const facts = sizes ? factsOf(spread, record.shape, span) : answer.facts;
  const most = Math.max(1, ...facts.filter(({ std }) => std > 1e-6).flatMap(({ counts }) => counts)); // a muted one is one bar
  for (const one of channels) {
    describe(one, facts[one.c], most, sizes ? 4 : 2);
    paintPlane(one, values, record.shape, span, colours);
    one.frame.setAttribute("aria-label", `Channel ${one.c}, ${view}. Arrows move, space paints.`);
  }
  root.dataset.view = view;
  find(".notes").textContent = notesOf(record, Boolean(spread), view);
  find(".grid .low").textContent = sizes ? "0" : `−${span}`;
  find(".grid .high").textContent = sizes ? `${+span.toPrecision(1)}` : `${span}`;
  find(".grid .ramp").classList.toggle("is-size", sizes);
  for (const button of root.querySelectorAll(".views button")) button.setAttribute("aria-pressed", button.dataset.view === view);
  if (original && pictures.decoded.data && original.width === pictures.decoded.data.width)
    apart.querySelector(".high").textContent = showDifference(pictures.difference, pictures.decoded.data, original, colours);
}

// The smallest of 1, 2, 5 × a power of ten that all values fit under.
function niceTop(values) {
  const top = values.reduce((a, b) => Math.max(a, b), 1e-6), power = 10 ** Math.floor(Math.log10(top));
  return power * [1, 2, 5, 10].find((step) => step * power >= top * 0.999);
}

find(".views").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  view = button.dataset.view;
  paint();
  large.refresh();
});

new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
