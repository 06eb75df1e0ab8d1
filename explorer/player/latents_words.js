// What the Latents stage says, from the numbers of a record. Pure functions.

const times = (shape) => shape.join("×");
const many = (number) => number.toLocaleString("en-US");
const round = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits).replace(/^-(0(\.0+)?)$/, "$1").replace("-", "−"));

function compressionSentence(c) {
  const [channels, height, width] = c.picture_shape, fewer = c.picture_bytes / c.latents_bytes_float16;
  return `${width}×${height}×${channels} = <b>${many(c.picture_numbers)}</b> numbers → ${times(c.latents_shape)} = <b>${many(c.latents_numbers)}</b>: ` +
    `<b>${+c.ratio.toFixed(1)} times fewer</b><span class="in-bytes">, or in bytes ${many(c.picture_bytes)} (8 bits a number) → ${many(c.latents_bytes_float16)} (16 bits): ${+fewer.toFixed(1)} times fewer</span>`;
}

// What a channel carries: the colour axis of the picture with which it goes along most. The number comes first: a narrow
// page cuts off the end.
const AXES = { luminance: "luminance", blue_yellow: "blue − yellow", red_green: "red − green" };
function carries(facts) {
  const known = Object.keys(AXES).filter((name) => facts[name] !== null);
  if (!known.length) return "is the same everywhere";
  const best = known.reduce((a, b) => (Math.abs(facts[b]) > Math.abs(facts[a]) ? b : a)), r = round(facts[best]);
  return Math.abs(facts[best]) < 0.3 ? `no colour axis, r = ${r} at most` : `r = ${r} with ${AXES[best]}`;
}
const allAxes = (facts) => Object.entries(AXES).map(([name, said]) => `${said} r = ${round(facts[name])}`).join(", ");

function fidelityWords({ psnr, ssim }) {
  if (psnr === null) return '<span title="No pixel differs: PSNR would be infinite, SSIM is 1">None: both are the decoding.</span>';
  return `<span title="Peak signal-to-noise ratio">PSNR <b>${round(psnr, 1)} dB</b></span> <span title="Structural similarity, 1 at most">SSIM <b>${round(ssim, 3)}</b></span>`;
}

const reading = (at, value) => `row ${at.y}, column ${at.x}: ${round(value, Math.abs(value) < 0.1 ? 3 : 2)}`;

// What stands below the stage: where the picture is from, and how to read what is shown.
const SPREAD = "Spread: the encoder gives no single latent but, for each number, a mean and a standard deviation. This is the standard deviation, the VAE’s own uncertainty.";
const SHARED = "r says how a channel, edits included, goes along with a colour axis of the picture at the left; no channel owns one property alone.";
const NO_ORIGINAL = "These latents came without a picture: the one at the left is what they decode to before any edit.";
function notesOf(record, hasSpread, view) {
  const made = record.notes.length ? `What was done to the picture: ${record.notes.join(", ")}.` : hasSpread ? "" : NO_ORIGINAL;
  return [made, view === "spread" ? SPREAD : SHARED].filter(Boolean).join(" ");
}
