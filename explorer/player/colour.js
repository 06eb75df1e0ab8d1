// From a record's base64 to numbers, and from numbers to pixels. Pure functions; nothing here touches the page but
// `theme`, which reads the three ends of the diverging map from the style sheet.

// Every float16, by its bits: decoding is one look-up, and history stays half the size of float32.
const HALF = (() => {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24
      : exponent === 31 ? (fraction ? NaN : Infinity)
      : (1 + fraction / 1024) * 2 ** (exponent - 15);
    table[bits] = bits & 0x8000 ? -size : size;
  }
  return table;
})();

const floats = (plane) => Float32Array.from(plane, (bits) => HALF[bits]);
const halves = (base64) => new Uint16Array(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);

// The scale that brings x_t back to unit variance: 1 for variance-preserving samplers.
const level = (frame) => Math.hypot(frame.alpha ?? 1, frame.sigma ?? 0) || 1;

// Latents as a colour picture: rgb = matrix · latent + offset.
function paintColour(image, plane, shape, preview, gain) {
  const [channels, height, width] = shape, cells = height * width, out = image.data;
  for (let p = 0; p < cells; p++) {
    for (let k = 0; k < 3; k++) {
      let value = preview.offset[k];
      for (let c = 0; c < channels; c++) value += gain * preview.matrix[k][c] * HALF[plane[c * cells + p]];
      out[4 * p + k] = 255 * value;
    }
    out[4 * p + 3] = 255;
  }
}

// Signed values along one direction of the latent, the one that changes brightness: one number a cell.
function alongBrightness(numbers, shape, preview) {
  const [channels, height, width] = shape, cells = height * width, out = new Float32Array(cells);
  const direction = Array.from({ length: channels }, (_, c) =>
    0.2126 * preview.matrix[0][c] + 0.7152 * preview.matrix[1][c] + 0.0722 * preview.matrix[2][c]);
  const norm = Math.hypot(...direction) || 1;
  for (let p = 0; p < cells; p++) for (let c = 0; c < channels; c++) out[p] += (direction[c] / norm) * numbers[c * cells + p];
  return out;
}

function paintSigned(image, values, range, colours) {
  const out = image.data;
  for (let p = 0; p < values.length; p++) {
    const share = Math.min(Math.abs(values[p] / range), 1) || 0, end = values[p] < 0 ? colours.negative : colours.positive;
    for (let k = 0; k < 3; k++) out[4 * p + k] = colours.zero[k] + share * (end[k] - colours.zero[k]);
    out[4 * p + 3] = 255;
  }
}

function theme(node) {
  const style = getComputedStyle(node);
  const rgb = (name) => [1, 3, 5].map((at) => parseInt(style.getPropertyValue(name).trim().slice(at, at + 2), 16));
  return { zero: rgb("--map-zero"), negative: rgb("--map-negative"), positive: rgb("--map-positive") };
}

// What an empty pane shows: a disc and noise, mixed as the process mixes them, at low contrast.
function paintSketch(image, kind, colours) {
  const size = image.width, out = image.data;
  let seed = 7;
  const uniform = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let p = 0; p < size * size; p++) {
    const x = (p % size) + 0.5 - size / 2, y = Math.floor(p / size) + 0.5 - size / 2;
    const disc = Math.min(Math.max((size * 0.34 - Math.hypot(x, y)) / 1.5, 0), 1);
    const noise = (uniform() + uniform() + uniform() - 1.5) * 1.6;
    const value = { x_t: 0.45 * disc + 0.8 * noise, eps: noise, x0: disc, update: 0.5 * (disc - noise), picture: disc }[kind];
    const end = value < 0 ? colours.negative : colours.positive, share = Math.min(Math.abs(value), 1) * 0.2;
    for (let k = 0; k < 3; k++) out[4 * p + k] = colours.zero[k] + share * (end[k] - colours.zero[k]);
    out[4 * p + 3] = 255;
  }
}
