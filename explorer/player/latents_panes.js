// The panes of the Latents stage: channels as heatmaps on one scale, the pictures and their difference. No state of the page.

const EYE = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M1 8c2-3.4 4.3-5 7-5s5 1.6 7 5c-2 3.4-4.3 5-7 5s-5-1.6-7-5z"/><circle cx="8" cy="8" r="2.2"/><path class="slash" d="M2.5 13.5l11-11"/></svg>';
const BINS_HIGH = 24;

// One channel: its heatmap, on which the brush paints, and what there is to say about it.
function buildChannel(c, open) {
  const node = make("div", "channel",
    `<div class="frame heat" tabindex="0" role="application"><canvas width="16" height="16"></canvas><span class="cell" hidden></span></div>
     <div class="about"><div class="head"><button type="button" class="name" aria-pressed="false" title="Choose it for the tools">channel ${c}</button>
     <button type="button" class="icon eye" aria-pressed="false" title="Mute: set to 0, the mean that the VAE’s training pulls towards" aria-label="Mute channel ${c}">${EYE}</button>${ENLARGE}</div>
     <p class="carries"></p><svg class="bars" viewBox="0 0 32 ${BINS_HIGH}" preserveAspectRatio="none" aria-hidden="true"><title></title><path class="outline"/><path class="rule" d="M16 0v${BINS_HIGH}"/></svg>
     <dl><div><dt>mean</dt><dd></dd></div><div><dt>std</dt><dd></dd></div><div><dt>min</dt><dd></dd></div><div><dt>max</dt><dd></dd></div></dl></div>`);
  node.dataset.channel = c;
  const find = (selector) => node.querySelector(selector), canvas = find("canvas");
  const made = { c, node, canvas, name: `channel-${c}`, symbol: "", title: `channel ${c}`, context: canvas.getContext("2d"),
    frame: find(".frame"), cell: find(".cell"), choose: find(".name"), eye: find(".eye"), carries: find(".carries"), bars: find(".outline"),
    svg: find(".bars"), numbers: [...node.querySelectorAll("dd")] };
  const enlarge = find(".enlarge");
  enlarge.disabled = false;
  enlarge.setAttribute("aria-label", `Enlarge channel ${c}`);
  enlarge.addEventListener("click", () => open(made));
  return made;
}

// One plane of planar (C, h, w) values; `sequential` where they are magnitudes, from zero up.
function paintPlane(into, values, [, height, width], range, colours) {
  if (into.canvas.width !== width || into.canvas.height !== height || !into.image) {
    Object.assign(into.canvas, { width, height });
    into.image = into.context.createImageData(width, height);
  }
  paintSigned(into.image, values.subarray(into.c * height * width, (into.c + 1) * height * width), range, colours);
  into.context.putImageData(into.image, 0, 0);
}

// What the server says of signed latents, for magnitudes from 0 to `top`: one record for each channel.
function factsOf(values, [count, height, width], top, bins = 32) {
  return Array.from({ length: count }, (_, c) => {
    const own = values.subarray(c * height * width, (c + 1) * height * width), counts = Array(bins).fill(0);
    const mean = own.reduce((a, b) => a + b, 0) / own.length;
    for (const value of own) counts[Math.min(Math.floor((bins * value) / top), bins - 1)]++;
    const std = Math.sqrt(own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / own.length);
    return { mean, std, min: Math.min(...own), max: Math.max(...own), counts, edges: [0, top] };
  });
}

// The numbers and the histogram of a channel; `most` is the largest count of any channel.
function describe(into, facts, most, digits) {
  into.numbers.forEach((node, i) => (node.textContent = round(facts[["mean", "std", "min", "max"][i]], digits)));
  const steps = facts.counts.map((count) => `V${(BINS_HIGH * (1 - Math.min(count / most, 1))).toFixed(2)}h1`);
  into.bars.setAttribute("d", `M0 ${BINS_HIGH}${steps.join("")}V${BINS_HIGH}z`);
  const first = facts.edges[0], last = facts.edges.at(-1), beyond = first < 0 ? "; the bars at the ends also hold what lies beyond" : "";
  into.svg.querySelector("title").textContent = `Histogram from ${round(first, digits)} to ${round(last, digits)}${beyond}`;
}

const LEVELS = [0.5, 1, 2, 3, 4, 6, 8, 12, 20, 50, 100, 1000];
// A scale for signed values that few of them leave.
function scaleOf(values) {
  const sizes = values.map(Math.abs).sort();
  return LEVELS.find((level) => level >= sizes[Math.floor(0.995 * (sizes.length - 1))]) ?? LEVELS.at(-1);
}

// A picture as numbers: {image, data, width, height}; ready before it is shown, so that nothing flashes.
async function loaded(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function showPicture(into, data) {
  if (into.canvas.width !== data.width || into.canvas.height !== data.height) Object.assign(into.canvas, { width: data.width, height: data.height });
  into.context.putImageData(data, 0, 0);
  into.button.disabled = false;
}

const FAR = [0.1, 0.25, 0.5, 1];
// How far two pictures are apart, pixel by pixel: the root mean square over the colours, 1 at most; on a scale that is returned.
function showDifference(into, a, b, colours) {
  const cells = a.width * a.height, apart = new Float32Array(cells);
  for (let p = 0, q = 0; p < cells; p++, q += 4) {
    const [r, g, blue] = [a.data[q] - b.data[q], a.data[q + 1] - b.data[q + 1], a.data[q + 2] - b.data[q + 2]];
    apart[p] = Math.sqrt((r * r + g * g + blue * blue) / 3) / 255;
  }
  const range = FAR.find((level) => level >= Float32Array.from(apart).sort()[Math.floor(0.99 * (cells - 1))]) ?? 1;
  if (into.canvas.width !== a.width || into.canvas.height !== a.height || !into.image) {
    Object.assign(into.canvas, { width: a.width, height: a.height });
    into.image = into.context.createImageData(a.width, a.height);
  }
  paintSigned(into.image, apart, range, colours);
  into.context.putImageData(into.image, 0, 0);
  into.button.disabled = false;
  return range;
}
