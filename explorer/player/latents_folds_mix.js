// Mix two pictures: latents mixed and then decoded, beside pictures faded into each other. The fade is the browser's own;
// a mixture is asked for while the slider moves, one question at a time, the newest winning.

const mixFold = find(".mix"), slider = mixFold.querySelector(".share input");
const mixPanes = {
  a: framed("a", "on the stage", "the latent on the stage, decoded"),
  mix: framed("mix", "latents mixed", "Drag the slider: the mixture, decoded, will be here.", "x0"),
  fade: framed("fade", "pixels mixed", "The same share, pixel by pixel.", "uncond"),
  apart: framed("apart", "difference", "Where the mixture of latents is brighter or darker."),
  b: framed("b", "second picture", "the second picture, through the VAE"),
};
const mixScale = scale();
mixPanes.apart.figure.append(mixScale);
find(".of-mix").append(...Object.values(mixPanes).map((pane) => pane.figure));

let second = props.examples[1][0], wished = false, held = null, kind = "slerp", pair = null;

const secondButtons = props.examples.map(([name, label]) => {
  const button = make("button", "", "");
  button.type = "button"; button.dataset.second = name; button.textContent = label;
  return button;
});
const holdButton = make("button", "hold", "hold what is on the stage");
holdButton.type = "button"; holdButton.title = "Keep the latent on the stage, edits included, as the second picture";
find(".second").append(...secondButtons, holdButton);

const labelOf = (name) => props.examples.find(([one]) => one === name)[1];
const secondWanted = () => (second === null ? held : second);
const share = () => +slider.value;

function pressSecond() {
  for (const button of secondButtons) button.setAttribute("aria-pressed", button.dataset.second === second);
  holdButton.setAttribute("aria-pressed", second === null);
  const label = second === null ? "what was held" : labelOf(second);
  mixPanes.b.title = mixPanes.b.heading.textContent = label;
  mixFold.querySelector(".last").textContent = label;
}
pressSecond();

// --- both ends: asked for once for a pair ---

async function showEnds(answer, asked) {
  delete mixFold.dataset.asking;
  if (answer.error) {
    pair = null;
    slider.disabled = true;
    mixFold.querySelector(".said").textContent = answer.error;
    return;
  }
  const [a, b] = await Promise.all([loaded(answer.a), loaded(answer.b)]);
  pair = { ...answer, images: [a, b], wanted: asked.wanted };
  show(mixPanes.a, a); show(mixPanes.b, b);
  slider.disabled = false;
  drawNorms();
  mixed();
}
const askEnds = newest("ends", showEnds);
const followMix = rested(() => {
  const first = onStage();
  if (!mixFold.open || !first) return;
  if (!wished && stage.state.name === labelOf(second)) { // a picture mixed with itself says nothing
    second = props.examples.find(([, label]) => label !== stage.state.name)[0];
    pressSecond();
  }
  const wanted = [first, secondWanted()];
  if (pair && JSON.stringify(pair.wanted) === JSON.stringify(wanted)) return;
  mixFold.dataset.asking = "";
  askEnds({ wanted });
}, 150);

// --- the mixture ---

function fade(pane, weight) {
  const [a, b] = pair.images;
  fit(pane, a.naturalWidth, a.naturalHeight);
  pane.context.globalAlpha = 1;
  pane.context.drawImage(a, 0, 0);
  pane.context.globalAlpha = weight;
  pane.context.drawImage(b, 0, 0, pane.canvas.width, pane.canvas.height);
  pane.context.globalAlpha = 1;
  pane.canvas.setAttribute("aria-label", `${pane.title}: ${percent(weight)} of the second`);
}

async function showMix(answer, { weight, by, of }) {
  if (of !== pair) return;
  if (answer.error) { mixFold.querySelector(".said").textContent = answer.error; return; }
  const image = await loaded(answer.picture);
  if (of !== pair) return;
  show(mixPanes.mix, image);
  fade(faded, weight);
  mixFold.difference = brighter(mixPanes.mix, faded);
  paintApart();
  mixFold.querySelector(".said").textContent = judgedMix(answer, weight, by);
  mixFold.dataset.shown = `${weight} ${by}`;
  mixFold.dataset.painted = +(mixFold.dataset.painted ?? 0) + 1;
}
const faded = framed("faded", "", ""); // never on the page: the fade at the share of the mixture that came last

function paintApart() {
  if (!mixFold.difference) return;
  const apartRange = Math.max(0.1, roundUp(mixFold.difference)); // steadier while the slider moves
  paintMap(mixPanes.apart, mixFold.difference, faded.canvas.width, faded.canvas.height, apartRange);
  setScale(mixScale, apartRange);
}

function judgedMix({ apart, between, norm }, weight, by) {
  if (weight === 0 || weight === 1) return "At this end there is nothing to mix: both ways show one of the two pictures. Drag towards the middle.";
  const part = apart / (between || 1), off = `${decimals(100 * apart, 1)}% of the brightness range on average`;
  const judged = part < 0.1 ? `hardly differ, by ${off}: here the decoder is nearly linear, and the mixture shows two ghosts as mixed pixels do`
    : part < 0.3 ? `differ by ${off}: mostly the same two ghosts, with other contrasts and edges`
    : `differ by ${off}, a good part of the ${decimals(100 * between, 1)}% between the two pictures: here the decoder is far from linear`;
  const straight = lerpNorm(weight), length = by === "lerp" ? `The straight line is ${decimals(norm, 1)} long here` : `The great circle keeps a length of ${decimals(norm, 1)} here, where the straight line would have ${decimals(straight, 1)}`;
  return `The two ways ${judged}. ${length}; the ends have ${decimals(pair.norms[0], 1)} and ${decimals(pair.norms[1], 1)}.`;
}

const askMix = newest("mix", showMix);
function mixed() {
  const weight = share();
  mixFold.querySelector(".share output").textContent = `${Math.round(100 * weight)}%`;
  slider.setAttribute("aria-valuetext", `${Math.round(100 * weight)}% of the second picture`);
  slider.style.setProperty("--shown", `${100 * weight}%`);
  if (!pair) return;
  fade(mixPanes.fade, weight);
  placeNorms(weight);
  askMix({ wanted: [...pair.wanted, weight, kind], weight, by: kind, of: pair, partial: true });
}

// --- lengths: closed forms of the two ends' lengths and the angle between them ---

const lerpNorm = (weight) => {
  const [a, b] = pair.norms, cosine = Math.cos((pair.angle * Math.PI) / 180);
  return Math.sqrt(((1 - weight) * a) ** 2 + (weight * b) ** 2 + 2 * weight * (1 - weight) * a * b * cosine);
};
const slerpNorm = (weight) => (pair.angle < 0.01 || pair.angle > 179.99 ? lerpNorm(weight) : (1 - weight) * pair.norms[0] + weight * pair.norms[1]);
const normHeight = (norm) => 96 - (92 * norm) / (1.1 * Math.max(...pair.norms) || 1);

function drawNorms() {
  const line = (name, of) => `<polyline class="${name}" points="${Array.from({ length: 41 }, (_, i) => `${2.5 * i},${normHeight(of(i / 40)).toFixed(2)}`).join(" ")}"/>`;
  find(".norm-plot svg").innerHTML = `<line class="rule" x1="0" x2="100" y1="96" y2="96"/>${line("lerp", lerpNorm)}${line("slerp", slerpNorm)}`;
  find(".norm-plot .top").textContent = decimals(1.1 * Math.max(...pair.norms), 0);
  find(".norm-plot .bottom").textContent = "0";
  find(".norms .angle").textContent = `${Math.round(pair.angle)}°`;
}

function placeNorms(weight) {
  for (const [name, of] of [["lerp", lerpNorm], ["slerp", slerpNorm]]) {
    Object.assign(find(`.norm-plot .dot.${name}`).style, { left: `${100 * weight}%`, top: `${normHeight(of(weight))}%`, visibility: "visible" });
    find(`.norms .of-${name} dd`).textContent = decimals(of(weight), 1);
  }
}

slider.addEventListener("input", mixed);
mixFold.querySelector(".kinds").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  kind = button.dataset.kind;
  for (const one of mixFold.querySelectorAll(".kinds button")) one.setAttribute("aria-pressed", one === button);
  mixed();
});
find(".second").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  wished = true;
  if (button === holdButton) {
    if (!onStage()) return;
    held = structuredClone(onStage());
    second = null;
  } else second = button.dataset.second;
  pressSecond();
  followMix();
});
mixFold.addEventListener("toggle", followMix);
followers.push(followMix);
themed.push(paintApart);
