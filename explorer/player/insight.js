// What you are looking at: two or three sentences about one step, with numbers measured in the browser from its planes.

const XT = "<i>x</i><sub>t</sub>", X0 = "<i>x</i><sub>0</sub>";
const CORNERS = ["upper left", "upper right", "lower left", "lower right"];
const TWIN = 1e-6; // timesteps closer than this are one timestep, evaluated twice

const repeats = (frame, before) => Boolean(before) && frame.i === before.i + 1 && frame.i < frame.n - 1 && Math.abs(frame.t - before.t) < TWIN;

// Root mean square of the difference of two planes: of all of it, of each quarter of the picture, of each channel.
function differ(a, b, [channels, height, width]) {
  const corners = [0, 0, 0, 0], sizes = [0, 0, 0, 0], layers = Array(channels).fill(0), middle = { y: height >> 1, x: width >> 1 };
  let p = 0, all = 0;
  for (let c = 0; c < channels; c++) for (let y = 0; y < height; y++) for (let x = 0; x < width; x++, p++) {
    const square = (HALF[a[p]] - HALF[b[p]]) ** 2, corner = 2 * (y >= middle.y) + (x >= middle.x);
    corners[corner] += square; sizes[corner]++; layers[c] += square; all += square;
  }
  return { all: Math.sqrt(all / p), corners: corners.map((sum, k) => Math.sqrt(sum / (sizes[k] || 1))),
    channels: layers.map((sum) => Math.sqrt(sum / (height * width))) };
}

const largest = (values) => values.indexOf(Math.max(...values));
const channelOf = (frame, c) => (frame.pixels && frame.shape[0] === 3 ? number("channel", RGB[c]) : `channel ${number("channel", c)}`);
const number = (what, value) => `<span class="value" data-of="${what}">${value}</span>`;

// `final` is the last frame of a run that is over; until it is there, distances are measured from the first guess.
function insight(frame, before, first, final) {
  if (frame.i === frame.n - 1) return theEnd(frame, before, first);
  const noise = (100 * (frame.sigma ?? 0) ** 2) / level(frame) ** 2, end = final?.planes.x_t, x0 = frame.planes.x0;
  const share = noise > 0 && noise < 1 ? "less than 1%" : noise > 99.5 && noise < 100 ? "over 99%" : `${number("noise", Math.round(noise))}%`;
  const guessed = first?.i > 0 ? "the branch's first guess" : "the first guess";
  const away = (guess) => number("distance", fixed(differ(guess, end, frame.shape).all));
  if (!before) {
    const lead = frame.i > 0 ? `The branch begins here, at t = ${compact(frame.t)}: ${share} of what ${XT} shows is noise (by variance). ${X0} is the model's guess in this state` :
      `The start: ${noise > 99.5 ? "nothing but noise" : `${share} noise`}. ${X0} is the model's first guess, an average of all that it may become`;
    return lead +
      (end ? `; its latents are ${away(x0)} (root mean square) from where this run ends.` : ".");
  }
  const again = repeats(frame, before);
  const lead = again ? `A second look at t = ${compact(frame.t)}, from a new place: ${share} of what ${XT} shows is noise.`
    : noise > 80 ? `At t = ${compact(frame.t)}, ${share} of what ${XT} shows is noise (by variance), and ${X0} is a guess.`
    : noise > 20 ? `At t = ${compact(frame.t)}, ${share} of what ${XT} shows is still noise (by variance), the rest is ${X0}.`
    : `At t = ${compact(frame.t)}, only ${share} of what ${XT} shows is noise (by variance), the rest is ${X0}.`;
  const moved = differ(x0, before.planes.x0, frame.shape), corner = largest(moved.corners), channel = largest(moved.channels);
  const change = `Since ${counted(before)} ${before.i}, ${X0} changed by ${number("moved", fixed(moved.all))} (root mean square), most in the ` +
    `${number("corner", CORNERS[corner])} (${number("corner-moved", fixed(moved.corners[corner]))}) and in ` +
    `${channelOf(frame, channel)} (${number("channel-moved", fixed(moved.channels[channel]))}).`;
  if (!end) return `${lead} ${change} Since ${guessed} it has moved ${number("since-first", fixed(differ(x0, first.planes.x0, frame.shape).all))}.`;
  return `${lead} ${change} It is ${away(x0)} from where this run ends; ${guessed} was ${number("first-distance", fixed(differ(first.planes.x0, end, frame.shape).all))} away.`;
}

function theEnd(frame, before, first) {
  const said = "The last state: nothing is left to predict.";
  const decoded = !frame.picture ? "" : frame.pixels ? " They are the picture." : " The VAE decoded these latents into the picture.";
  if (!before?.planes.x0 || !first?.planes.x0) return said + decoded;
  const from = (one) => fixed(differ(one.planes.x0, frame.planes.x_t, frame.shape).all);
  return `${said} Its latents are ${number("distance", from(before))} (root mean square) from the last ${X0}, and ` +
    `${number("first-distance", from(first))} from the ${first.i > 0 ? "branch's " : ""}first guess.${decoded}`;
}
