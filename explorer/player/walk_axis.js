// The second axis: the denoising run of the frame under the cursor, from noise above to the finished picture below. It is
// asked for when a person rests on a frame, or moves this slider, once a frame; what came is kept as long as its film, up to a
// limit.

const REST = 250, THUMBS = 5; // ms; how many steps of the run are drawn beside the slider
const HELD = 2 ** 24; // numbers of all runs that are kept here; older ones are asked for again
const asked = new Map(); // "run frame" → its planes, or a promise of them, or a sentence
const thumbs = Array.from({ length: THUMBS }, () => find(".own-thumbs").appendChild(Object.assign(document.createElement("canvas"), { width: 16, height: 16 })));
let resting = 0, drawn = "";
root.asked = asked;

const forget = () => { asked.clear(); drawn = ""; };
const key = (one, i) => `${one.run} ${i}`;

// The planes of x0 at every evaluation of one frame; where they are not here, they are sent for.
function planes(one, i) {
  const known = asked.get(key(one, i));
  if (known === undefined) send(one, i);
  return Array.isArray(known) ? known : null;
}

async function send(one, i) {
  const name = key(one, i), waits = server.steps([one.run, i]).catch(() => ({}));
  asked.set(name, waits);
  const most = Math.max(8, Math.floor(HELD / (one.evaluations * one.shape.reduce((a, b) => a * b))));
  while (asked.size > most) asked.delete(asked.keys().next().value);
  const answer = await waits;
  if (asked.get(name) !== waits) return; // another film is on the stage
  if (answer?.planes) asked.set(name, answer.planes.map(halves));
  else if (answer?.busy) asked.delete(name); // the next rest asks again
  else asked.set(name, answer?.error ?? "The server did not answer; press Run again.");
  request();
}

function settle() {
  clearTimeout(resting);
  if (!playing) resting = setTimeout(() => { for (const one of films()) { const i = nearest(one, at); if (i >= 0 && one.frames[i].state === "filled") planes(one, i); } }, REST);
}

// The slider, the small pictures beside it and its label, for the frame that is shown (-1: none yet).
function axis(i) {
  const said = find(".own-place");
  if (i < 0) { if (drawn !== "empty") { drawn = "empty"; thumbs.forEach(quiet); } return; }
  const frame = film.frames[i], known = asked.get(key(film, i)), steps = film.evaluations, ready = Array.isArray(known);
  ownSlider.max = steps; ownSlider.disabled = frame.state !== "filled";
  ownSlider.value = own ?? steps;
  const end = own === null || own >= steps;
  said.textContent = typeof known === "string" ? known : playing && !ready ? "pause to see it" : frame.state === "making" ? `step ${frame.k} of ${steps}` : end ? "finished" : `step ${own} of ${steps}`;
  ownSlider.setAttribute("aria-valuetext", end ? `finished, after ${steps} steps` : `step ${own} of ${steps}`);
  const now = `${key(film, i)} ${ready} ${frame.state}`;
  if (now === drawn) return;
  drawn = now;
  thumbs.forEach((canvas, t) => {
    const k = Math.round((t * steps) / (THUMBS - 1));
    if (k === steps && frame.image?.naturalWidth) { fit(canvas, 64, 64); canvas.getContext("2d").drawImage(frame.image, 0, 0, 64, 64); }
    else if (ready) latent(canvas, known[Math.min(k, known.length - 1)], film);
    else quiet(canvas, t);
  });
}

// A disc that comes out of noise, at low contrast, where there is no run to show.
function quiet(canvas, t) {
  fit(canvas, 16, 16);
  const context = canvas.getContext("2d"), image = context.createImageData(16, 16);
  paintSketch(image, ["eps", "x_t", "x_t", "x0", "picture"][t], theme(root));
  context.putImageData(image, 0, 0);
}

// Another step of the denoising run; the frame under the cursor stays.
function look(k) {
  if (!film) return;
  touched = true;
  const steps = film.evaluations, next = Math.min(Math.max(k, 0), steps);
  own = next >= steps ? null : next;
  request();
}
ownSlider.addEventListener("input", () => look(+ownSlider.value));
