// Whether the form still says what is on the stage. Joined after guidance.js; the page says "formed" with the form's values
// when one of them changes, and "asked" when Run is pressed.

const CHANGED = "The form has changed; press Run to see it.";
const line = make("p", "formed");
line.setAttribute("role", "status");
find(".bar").append(line);
let formed = null, pressed = null, ran = null; // the values as text: now, of the newest press of Run, of the cells shown

// What is run of a form: the scales as numbers, and of w(t) only the settings that its shape takes.
function wish(values) {
  const kept = { ...values, scales: String(values.scales).replaceAll("−", "-").split(/[\s,;]+/).filter(Boolean).map(Number) };
  const used = props.takes[values.dial] ?? [];
  for (const name of Object.values(props.takes).flat()) if (!used.includes(name)) delete kept[name];
  return JSON.stringify(kept);
}

function compareForm() {
  const said = ran === null || formed === ran ? "" : CHANGED;
  if (line.textContent !== said) line.textContent = said;
}

root.addEventListener("formed", ({ detail }) => { formed = wish(detail); compareForm(); });
root.addEventListener("asked", ({ detail }) => { formed = pressed = wish(detail); compareForm(); });
root.addEventListener("begun", () => { ran = pressed; compareForm(); });
