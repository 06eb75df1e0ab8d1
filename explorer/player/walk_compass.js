// Where the noise lies: its distance from zero is its norm, and the angle is what it has covered since the first frame. The
// sphere on which noise lives is the circle; a straight line between two noises cuts inside it.

const SAMPLES = 24; // of an arc
const toRadians = (degrees) => (degrees * Math.PI) / 180;
const point = (radius, angle) => [100 * radius * Math.sin(angle), -100 * radius * Math.cos(angle)]; // 0 is upwards
const polyline = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// Before the first film: a quarter turn, as two independent noises lie.
const QUARTER = { of: "noise", norm: [1, 1], other_norm: [1, 1], angle: [0, 90] };
let needles = null; // [x, y] of every frame

// The value at a place between two frames.
const between = (values, f) => { const i = Math.min(Math.floor(f), values.length - 1); return values[i] + (f - i) * ((values[i + 1] ?? values[i]) - values[i]); };

// From post to post: by lerp a straight line, by slerp an arc.
function leg(from, to, way) {
  if (way === "lerp") return [point(...from), point(...to)];
  return Array.from({ length: SAMPLES + 1 }, (_, i) => point(from[0] + (i / SAMPLES) * (to[0] - from[0]), from[1] + (i / SAMPLES) * (to[1] - from[1])));
}

function compass() {
  const tracks = film?.tracks ?? QUARTER, total = tracks.angle.at(-1), latents = tracks.of === "latents", round = film?.kind === "circle";
  if (film?.kind === "sphere") return ring();
  const scale = latents ? 1 / Math.max(...tracks.norm, 1e-9) : 1, middle = round ? 0 : total / 2;
  const polar = (f) => [scale * between(tracks.norm, f), toRadians(between(tracks.angle, f) - middle)];
  const frames = tracks.norm.map((_, i) => polar(i)), places = film ? film.stations.map(({ place }) => frameAt(film, place)) : [0, 1];
  const posts = places.map(polar), names = film?.names ?? { norm: "slerp", other: "lerp" };
  if (round) posts.push([posts[0][0], toRadians(360)]);
  const legs = (way) => polyline(posts.slice(1).flatMap((post, i) => leg(posts[i], post, way)));
  needles = frames.map((at) => point(...at));
  const way = names.norm ? legs(names.norm) : polyline(needles);
  const other = names.other && total >= 1 ? `<path class="q-uncond" stroke-dasharray="5 4" d="${legs(names.other)}"/>` : "";
  find(".ways").innerHTML = `${other}<path class="q-x_t" d="${way}"/>`;
  find(".posts").innerHTML = dots() + posts.slice(0, places.length).map((post) => { const [x, y] = point(...post); return `<circle class="post-dot" cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="4"/>`; }).join("");
  find(".compass-title").textContent = latents ? "Where its latents lie" : "Where its noise lies";
  find(".compass-said").textContent = total < 1 ? "The noise stands still here; only the prompt moves."
    : `The distance from the middle is the norm; ${latents ? "" : "noise lies on the circle, and "}the angle is what the path has covered.${names.other ? ` Violet: by ${names.norm}. Dashed: by ${names.other}. Slerp follows the circle, lerp is the straight line.` : ""}`;
}

// Where every frame lies on the path: close together where an even pace has put more of them.
const dots = () => (film ? needles.map(([x, y], i) => `<circle class="frame-dot" data-state="${film.frames[i].state}" cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="2.4"/>`).join("") : "");

// A walk around one noise, seen from above: that noise in the middle, and how far from it the frames begin.
function ring() {
  const radius = Math.sin(toRadians(film.angle));
  needles = film.places.map((place) => point(radius, 2 * Math.PI * place));
  find(".ways").innerHTML = `<circle class="q-x_t" r="${(100 * radius).toFixed(1)}"/>`;
  find(".posts").innerHTML = dots();
  find(".compass-title").textContent = "Where its noise lies";
  find(".compass-said").textContent = `In the middle the noise of the station; on the ring, noises ${film.angle}° away from it; on the outer circle, 90°, as two independent noises are.`;
}

function needle() {
  const dot = find(".compass .dot"), radius = find(".compass .radius"), there = film && needles ? needles[at] : null;
  for (const part of [dot, radius]) part.setAttribute("visibility", there ? "visible" : "hidden");
  if (!there) return;
  dot.setAttribute("cx", there[0]); dot.setAttribute("cy", there[1]);
  radius.setAttribute("x2", there[0]); radius.setAttribute("y2", there[1]);
}
