// Chain and jump: the state by t small steps beside the one by a single jump, and the number that says they are one.

const KINDS = [
  { name: "z", symbol: "<i>z</i>", title: "this step's noise", colour: "z" },
  { name: "x_chain", symbol: "<i>x</i><sub>t</sub>", title: "by the chain", colour: "x_t" },
  { name: "eps", symbol: "<i>ε</i>", title: "all noises as one", colour: "eps" },
  { name: "x_jump", symbol: "<i>x</i><sub>t</sub>", title: "by one jump", colour: "x_t" },
];
const links = KINDS.map((kind) => {
  const made = { ...pane(kind.colour, kind.symbol, kind.title), ...kind };
  made.figure.dataset.plane = kind.name;
  find(".chain").append(made.figure);
  return made;
});

function showWalk(answer, state) {
  const said = find(".walks .said"), t = state.t, fold = find(".walks");
  fold.classList.toggle("is-empty", Boolean(answer.error));
  find(".stepper .where").textContent = `step ${t} of ${state.schedule.steps}`;
  if (answer.error) { said.textContent = answer.error; forget(); return; }
  for (const one of links) if (answer[one.name]) mix(one, { x0: unhalved(answer[one.name]), eps: new Float32Array(answer.shape.reduce((a, b) => a * b)), shape: answer.shape }, 1, 0);
  const { difference, theory } = answer;
  find(".difference b").textContent = difference === 0 ? "0" : difference.toExponential(1).replace("-", "−");
  find(".difference small").textContent = "float32 itself rounds values of this size by about 10⁻⁷ at every step";
  const fill = (row, measured, wanted) => {
    const cells = find(`.facts .${row}`).querySelectorAll("td");
    cells[0].textContent = fixed(measured, 4); cells[1].textContent = fixed(wanted, 4);
  };
  fill("mean", answer.mean, theory.mean);
  fill("var", answer.var, theory.var);
  const beta = t ? (answer.beta ?? 0) : 0, alpha = t ? answer.alpha_bar : 1;
  find(".facts .formula").innerHTML = t
    ? `<span class="q-x_t"><i>x</i><sub>${t}</sub></span> = ${Math.sqrt(1 - beta).toFixed(4)}·<span class="q-x_t"><i>x</i><sub>${t - 1}</sub></span> + ${Math.sqrt(beta).toFixed(4)}·<span class="q-z"><i>z</i></span><br>` +
      `<span class="q-x_t"><i>x</i><sub>${t}</sub></span> = ${Math.sqrt(alpha).toFixed(4)}·<span class="q-x0"><i>x</i><sub>0</sub></span> + ${Math.sqrt(1 - alpha).toFixed(4)}·<span class="q-eps"><i>ε</i></span>`
    : "";
  said.innerHTML = t
    ? `After ${t} ${t === 1 ? "step" : "steps"} the chain and the jump differ by rounding alone. Theory: mean √<i>ᾱ</i>·mean(<i class="q-x0">x</i><sub>0</sub>), variance <i>ᾱ</i>·var(<i class="q-x0">x</i><sub>0</sub>) + 1 − <i>ᾱ</i>; the measured ones are of this one draw, so they scatter around it.`
    : "Nothing has been added yet. Take a step.";
}

// Numbers of another state would be taken for those of this one.
function forget() {
  for (const cell of find(".facts").querySelectorAll("td, .difference b")) cell.textContent = "–";
  for (const words of find(".facts").querySelectorAll(".formula, .difference small")) words.textContent = "";
}

const settleWalk = follower(find(".walks"), { of: (wanted) => server.walk(wanted), at: (state) => state.t }, showWalk, 60);
const go = (t) => stage?.state && stage.dispatchEvent(new CustomEvent("seek", { detail: t }));
const by = (steps) => go((stage?.state?.t ?? 0) + steps);
find(".stepper .on").addEventListener("click", () => by(1));
find(".stepper .back").addEventListener("click", () => by(-1));
find(".stepper .restart").addEventListener("click", () => go(0));
