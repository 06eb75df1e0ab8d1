// Resting on a step: after REST ms without a move, its x0 is decoded by the full VAE, once, and shown beside its preview.
// Scrubbing, playing and a run on its way ask for nothing.

const REST = 300, KEPT = 96; // ms; decodings of this run that the browser keeps
const decodings = new Map();  // "run index" → a promise of {picture} or {error}
let resting = 0, touched = false; // touched: a person has moved in this run; a run that merely stopped is no rest

function settle() {
  clearTimeout(resting);
  const over = phase === "done" || phase === "stopped";
  if (props.decodes && !frames[shown]?.pixels && touched && over && !playing && frames[shown]?.planes.x0 && !frames[shown].decoded) resting = setTimeout(rested, REST);
}

async function rested() {
  const frame = frames[shown], key = `${frame.run} ${frame.i}`, here = () => frames[shown] === frame && !playing;
  if (!decodings.has(key)) {
    decodings.set(key, server.decode_step([frame.run, frame.i]).catch(() => ({})));
    if (decodings.size > KEPT) decodings.delete(decodings.keys().next().value);
    stage.reveal(null, "half", "decoding");
  }
  const answer = await decodings.get(key);
  if (answer?.picture) {
    const image = new Image();
    image.src = answer.picture;
    await image.decode().catch(() => {}); // ready before it is shown: nothing flashes
    if (!here()) return;
    frame.decoded = answer.picture;
    stage.reveal(answer.picture, "half");
    large.refresh();
  } else {
    decodings.delete(key); // so that another rest asks again
    if (here()) stage.reveal(null, "half", answer?.error ?? "the decoder did not answer");
  }
}

// What is shown leaves with the step: coming back shows the preview first, and the decoding after another rest.
function leave() {
  clearTimeout(resting);
  for (const frame of frames) if (frame) delete frame.decoded;
}
