// The slider of "Denoise from here" and the note below it, from the settings of the Reverse tab: a run takes all of them.
(prompt, seed, steps, sampler, spacing, at) => {
  const MODEL = {}; // alphas_cumprod of its timesteps, its own spacing and offset; filled in by latents_form.py
  const count = Math.max(Math.round(+steps) || 1, 1), said = `${prompt}`.trim(), short = said.slice(0, 40).trimEnd();
  const named = said ? `“${short}${short === said ? "" : " …"}”` : "no prompt";

  // As far along as before where the number of steps changes. What was set here is remembered, so that 1 step in between loses nothing.
  const place = document.getElementById("latents-noised"), before = +place?.querySelector("input[type=range]")?.max + 1 || count;
  const share = +place?.dataset.at === at ? +place.dataset.share : at / before, k = Math.min(Math.round(share * count), count - 1);
  if (place) Object.assign(place.dataset, { at: k, share });

  const { alphas, own, offset } = MODEL, most = alphas.length;
  const t = { leading: ((count - 1 - k) * most) / count + offset, linspace: (most - 1) * (1 - k / Math.max(count - 1, 1)) }[spacing || own] ?? most * (1 - k / count) - 1;
  const noise = Math.round(100 * (1 - alphas[Math.min(Math.max(Math.round(t), 0), most - 1)]));
  const text = `Noised to step ${k}, about ${noise}% of the state’s variance is noise. The rest of the way goes with the Reverse tab’s settings: ` +
    `${named}, seed ${seed}, ${count} step${count === 1 ? "" : "s"} of ${sampler}. A prompt of another picture pulls this one towards its own.`;
  const slider = { __type__: "update", maximum: Math.max(count - 1, 1), value: k, label: `Noised to step k of ${count}` };
  return [slider, Object.assign(document.createElement("p"), { textContent: text }).outerHTML];
}
