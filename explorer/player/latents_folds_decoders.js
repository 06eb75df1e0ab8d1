// Three decoders, one latent: pictures, what each misses, and what it costs. Follows the stage while it is open.

const DECODERS = [
  { name: "linear preview", hint: "one matrix, 4 numbers to 3, at each cell" },
  { name: "tiny decoder", hint: "a small network that imitates the VAE" },
  { name: "full VAE", hint: "the decoder that the model was trained with" },
];
const decodersFold = find(".decoders");
const decodedBy = DECODERS.map(({ name, hint }) => {
  const picture = framed(name, name, hint), full = name === "full VAE";
  const miss = framed(`${name} difference`, full ? "the reference" : "difference", full ? "The others are compared with this one." : "where it is brighter or darker than the full VAE");
  const column = make("div", "decoder"), numbers = make("dl", "numbers"), map = scale();
  column.dataset.decoder = name;
  for (const term of ["MAE", "PSNR", "SSIM", "time"]) numbers.append(make("div", "", `<dt>${term}</dt><dd>–</dd>`));
  miss.figure.classList.toggle("is-reference", full);
  miss.figure.append(map);
  map.classList.toggle("is-silent", full);
  column.append(picture.figure, numbers, miss.figure);
  find(".of-decoders").append(column);
  return { name, picture, miss, numbers: [...numbers.querySelectorAll("dd")], map, column };
});
const TITLES = ["mean absolute error, of pixels in 0 … 1", "peak signal-to-noise ratio", "structural similarity, 1 is equal", "median of three decodings"];
for (const one of decodedBy) one.numbers.forEach((cell, i) => (cell.parentElement.title = TITLES[i]));

const milliseconds = (ms) => `${ms < 10 ? decimals(ms, 1) : Math.round(ms)} ms`;

async function showDecoders(answer, asked) {
  const said = decodersFold.querySelector(".said");
  delete decodersFold.dataset.asking;
  if (answer.error) { said.textContent = answer.error; return; }
  const images = await Promise.all(answer.rows.map((row) => loaded(row.picture)));
  const rows = new Map(answer.rows.map((row, i) => [row.name, { ...row, image: images[i] }]));
  for (const one of decodedBy) {
    const row = rows.get(one.name);
    one.column.classList.toggle("is-missing", !row);
    one.numbers.forEach((cell) => (cell.textContent = "–"));
    if (!row) {
      one.picture.hint.textContent = "This model has no tiny decoder beside its VAE.";
      continue;
    }
    show(one.picture, row.image);
    const full = one.name === "full VAE";
    one.numbers[0].textContent = full ? "0" : decimals(row.mae, 4);
    one.numbers[1].textContent = full || row.psnr === null ? "∞" : `${decimals(row.psnr, 1)} dB`;
    one.numbers[2].textContent = decimals(row.ssim, 3);
    one.numbers[3].textContent = milliseconds(row.ms);
  }
  decodersFold.answer = answer;
  paintMisses();
  said.textContent = judgedDecoders(rows);
  decodersFold.dataset.shown = JSON.stringify(asked.wanted);
}

// One scale for all, so that they can be compared.
function paintMisses() {
  if (!decodersFold.answer) return;
  const full = decodedBy.at(-1).picture, there = decodedBy.filter((one) => one.picture.figure.classList.contains("is-drawn") && one.name !== "full VAE" && !one.column.classList.contains("is-missing"));
  const values = there.map((one) => brighter(one.picture, full)), range = roundUp(...values);
  there.forEach((one, i) => { paintMap(one.miss, values[i], full.canvas.width, full.canvas.height, range); setScale(one.map, range); });
}

function judgedDecoders(rows) {
  const full = rows.get("full VAE"), parts = [];
  for (const name of ["linear preview", "tiny decoder"]) {
    const row = rows.get(name);
    if (!row) { parts.push(`This model has no ${name}.`); continue; }
    const times = full.ms / Math.max(row.ms, 0.01), faster = times >= 1.5 ? `${times < 10 ? decimals(times, 1) : +times.toPrecision(2)} times as fast as` : times > 0.67 ? "about as fast as" : "slower than";
    parts.push(`The ${name} is off by ${decimals(100 * row.mae, 1)}% of the brightness range on average, and is ${faster} the full VAE.`);
  }
  return parts.join(" ");
}

const askDecoders = newest("decoders", showDecoders);
const followDecoders = rested(() => {
  const wanted = onStage();
  if (!decodersFold.open || !wanted || decodersFold.dataset.shown === JSON.stringify(wanted)) return;
  decodersFold.dataset.asking = "";
  askDecoders({ wanted });
});
decodersFold.addEventListener("toggle", followDecoders);
followers.push(followDecoders);
themed.push(paintMisses);
