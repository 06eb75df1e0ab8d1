// The idea: a drop of ink whose dots move by the formula of the timeline. And the link to the stage, since all folds are there.

const DOTS = 2600, SCALE = 57; // dots; pixels of one standard deviation: few enough that no dot ever leaves the water
const water = find(".water"), pen = water.getContext("2d");
const drop = (() => { // the drop's shape, centred, and one noise a dot; always the same
  let seed = 11;
  const uniform = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const gauss = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  const out = new Float32Array(4 * DOTS);
  for (let i = 0; i < DOTS; i++) {
    let x, y;
    do { // a falling drop: a disc below, drawn out to a point above
      x = 2 * uniform() - 1; y = 3.2 * uniform() - 2.2;
    } while (y > 0 ? x * x + y * y > 1 : Math.abs(x) > (1 + y / 2.2) ** 1.4);
    out.set([0.9 * x, 0.9 * (y + 0.35), gauss(), gauss()], 4 * i);
  }
  return out;
})();
let spreading = 0;

function pour(a, s) {
  const { width, height } = water, style = getComputedStyle(root);
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = style.getPropertyValue("--q-x_t");
  pen.globalAlpha = 0.55;
  for (let i = 0; i < drop.length; i += 4) {
    const x = width / 2 + SCALE * (a * drop[i] + s * drop[i + 2]), y = height / 2 + SCALE * (a * drop[i + 1] + s * drop[i + 3]);
    pen.fillRect(x - 1.5, y - 1.5, 3, 3);
  }
  pen.globalAlpha = 1;
}

function showInk() {
  if (!find(".ink").open || !stage?.state) return;
  const { t, schedule } = stage.state, alpha = t ? schedule.alphas_cumprod[t - 1] : 1, a = Math.sqrt(alpha), s = Math.sqrt(1 - alpha);
  pour(a, s);
  find(".ink-formula").innerHTML = `<span class="q-x_t"><i>x</i><sub>t</sub></span> = ${a.toFixed(2)}·<span class="q-x0"><i>x</i><sub>0</sub></span> + ${s.toFixed(2)}·<span class="q-eps"><i>ε</i></span>`;
  water.setAttribute("aria-label", `A drop of ink at t = ${t}: ${Math.round(100 * (1 - alpha))}% noise`);
}
find(".ink").addEventListener("toggle", showInk);
find(".spread").addEventListener("click", () => {
  if (!stage?.state) return;
  const { schedule } = stage.state, begun = performance.now(), seconds = 5;
  cancelAnimationFrame(spreading);
  const step = (now) => {
    const t = Math.round(Math.min((now - begun) / (1000 * seconds), 1) * schedule.steps);
    go(t);
    if (t < schedule.steps && find(".ink").open) spreading = requestAnimationFrame(step);
  };
  spreading = requestAnimationFrame(step);
});
root.addEventListener("pointerdown", (event) => event.target.closest(".spread") || cancelAnimationFrame(spreading));

// The stage is another component: it may be mounted after this one.
function link(tries = 0) {
  stage = document.querySelector(`#${props.stage} .forward`);
  if (!stage) return tries < 600 && requestAnimationFrame(() => link(tries + 1));
  const follow = () => { settleSeen(); settleWalk(); showInk(); };
  stage.addEventListener("drawn", follow);
  new MutationObserver(follow).observe(document.body, { attributes: true, attributeFilter: ["class"] }); // another theme
  sketch([...tests, ...views, ...links]);
  follow();
}
link();
