// Whether the form still says what is on the stage. The page says "formed" with the form's values when one of them changes,
// and "asked" when Run is pressed; a film keeps the wish that it was made for.

const CHANGED = "The form has changed; press Run to see it.";
const IDLE = { // what a kind of walk doesn't take
  stations: ["angle", "strength", "first", "second"], circle: ["angle", "strength", "first", "second", "moves", "prompt_path"],
  sphere: ["strength", "first", "second", "moves", "noise_path", "prompt_path"], pictures: ["angle", "moves", "prompt_path"],
};
let formed = null; // as text

function wish(values) {
  const kept = { ...values };
  for (const name of IDLE[values.kind] ?? []) delete kept[name];
  return JSON.stringify(kept);
}

function compareForm() {
  const said = film?.wish && formed && formed !== film.wish && !("running" in (trial?.dataset ?? {})) ? CHANGED : "";
  if (find(".formed").textContent !== said) find(".formed").textContent = said;
}

root.addEventListener("formed", ({ detail }) => { formed = wish(detail); compareForm(); });
root.addEventListener("asked", ({ detail }) => { formed = pressed = wish(detail); });
