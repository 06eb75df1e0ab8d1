// One plain sentence or two of what is on the screen, with its numbers.

const quoted = (text) => (text ? `“${escaped(text)}”` : "no prompt");
const percent = (share) => `${Math.round(100 * share)}%`;

// Where a frame is on the path.
function whereabouts(one, i) {
  const place = one.places[i], stations = one.stations, on = stations.findIndex((station) => Math.abs(station.place - place) < 1e-9);
  if (one.kind === "sphere") return `This frame begins ${Math.round(one.angle)}° away from the noise in the middle, ${Math.round(360 * place)}° around it`;
  if (one.kind === "circle") return on >= 0 ? `This is ${escaped(stations[on].said)}, ${Math.round(360 * place)}° around the circle` : `${Math.round(360 * place)}° around the circle`;
  if (on >= 0 && one.kind === "pictures") return `This begins in the latents of ${escaped(stations[on].said)} itself, and makes ${one.evaluations} of its steps anew`;
  if (on >= 0) return `This is ${escaped(stations[on].said)} itself: a plain run, to rounding`;
  const k = stations.findLastIndex((station) => station.place <= place), from = stations[k], to = stations[k + 1];
  return `${percent((place - from.place) / (to.place - from.place))} of the way from ${escaped(from.said)} to ${escaped(to.said)}`;
}

const sentence = (one, i) => spoken(sentenceOf(one, i), props.pixels);
function sentenceOf(one, i) {
  const { norm, other_norm: other, angle } = one.tracks, said = [`${whereabouts(one, i)}.`], names = one.names, what = one.tracks.of;
  if (angle.at(-1) >= 1) {
    const lost = other && Math.abs(other[i] - norm[i]) >= 0.005;
    said.push(`Its ${what === "noise" ? "noise has the norm" : "latents have the norm"} <b class="q-x_t">${fixed(norm[i], 2)}</b>` +
      (lost ? `; by ${names.other} it would be <b class="q-uncond">${fixed(other[i], 2)}</b>.` : other ? `, by ${names.other} too.` : "."));
  } else said.push(`Its noise is that of every frame; the prompt's cosine with the first is <b class="q-cond">${fixed(one.tracks.cosine[i], 2)}</b>.`);
  const known = one.pairs.filter(Boolean).map((pair) => pair[0]), here = one.pairs[i]?.[0];
  if (here !== undefined && known.length > 2) {
    const mean = known.reduce((a, b) => a + b, 0) / known.length, times = here / (mean || 1);
    said.push(`To the next frame the latents change by <b class="q-x0">${fixed(here, 2)}</b>, ${times > 1.5 ? `${fixed(times, 1)} times the film's average: here it jumps` : times < 0.67 ? `only ${fixed(times, 1)} of the film's average` : "about the film's average"}.`);
  }
  return said.join(" ");
}
