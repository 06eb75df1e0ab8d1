// The values of x_t as a histogram, against the normal density that they tend to. Live: a fixed sample of the values is
// mixed and counted again at every frame.

const BINS = 64, REACH = 3.5, TALL = 0.62, SAMPLE = 16384; // bins in −REACH … REACH; density at the top

function buildHistogram() {
  const figure = make("figure", "pane histogram", '<figcaption><span class="title">values of all channels</span></figcaption>' +
    '<div class="frame"><svg viewBox="0 0 640 400" preserveAspectRatio="none" role="img"><path class="bars"/><path class="outline"/><path class="density"/></svg><small class="cut" hidden>goes on above</small>' +
    `<span class="tick" style="left:0">−${REACH}</span><span class="tick" style="left:50%">0</span><span class="tick" style="left:100%">${REACH}</span></div>` +
    '<dl><div class="of-pixels"><dt>pixels</dt><dd></dd></div><div class="of-latents"><dt>latents</dt><dd></dd></div><div class="of-normal"><dt>𝒩(0, 1)</dt><dd>mean 0, var 1</dd></div></dl>');
  const find = (selector) => figure.querySelector(selector), y = (density) => 400 - 400 * Math.min(density / TALL, 1.02);
  const x = (value) => ((value + REACH) / (2 * REACH)) * 640;
  let path = "";
  for (let k = 0; k <= 100; k++) {
    const value = -REACH + (2 * REACH * k) / 100;
    path += `${k ? "L" : "M"}${x(value).toFixed(1)} ${y(Math.exp((-value * value) / 2) / Math.sqrt(2 * Math.PI)).toFixed(1)}`;
  }
  find(".density").setAttribute("d", path);
  const counts = new Uint32Array(BINS);

  // → the steps of the histogram as a path, and the mean and variance of the sample
  const measure = ({ x0, eps }, a, s) => {
    counts.fill(0);
    const stride = Math.max(1, Math.ceil(x0.length / SAMPLE)) | 1; // odd: no channel or column is left out
    let n = 0, sum = 0, squares = 0;
    for (let p = 0; p < x0.length; p += stride, n++) {
      const value = a * x0[p] + s * eps[p], bin = ((value + REACH) * BINS) / (2 * REACH);
      sum += value; squares += value * value;
      if (bin >= 0 && bin < BINS) counts[bin | 0]++;
    }
    let d = "M0 400", top = 0;
    for (let k = 0; k < BINS; k++) {
      const density = (counts[k] / n) * (BINS / (2 * REACH)), level = y(density).toFixed(1);
      top = Math.max(top, density);
      d += `L${(640 * k) / BINS} ${level}H${(640 * (k + 1)) / BINS}`;
    }
    const mean = sum / n;
    return { d: `${d}L640 400`, mean, top, variance: squares / n - mean * mean };
  };

  return {
    figure,
    draw: (pixels, latents) => {
      let highest = 0;
      for (const [name, shape, row] of [["pixels", ".bars", pixels], ["latents", ".outline", latents]]) {
        const { d, mean, variance, top } = measure(row.values, row.a, row.s);
        highest = Math.max(highest, top);
        find(shape).setAttribute("d", d);
        find(`.of-${name} dd`).textContent = `mean ${fixed(mean, 2)}, var ${fixed(variance, 2)}`;
      }
      find(".cut").hidden = highest <= TALL; // the axis stays, so that states compare; what is beyond it is said
      find("svg").setAttribute("aria-label", `Histogram; pixels: ${find(".of-pixels dd").textContent}` + (props.pixels ? "" : `; latents: ${find(".of-latents dd").textContent}`));
    },
  };
}
