// What presenter mode sets aside while it runs other things here, and puts back when it is left. Shares compare.js's variables.
root.keep = () => ({ run, frames, length, shown, newest, phase: phase === "done" ? "done" : "stopped", summary: find(".summary").textContent });
root.restore = (kept) => {
  closed.add(run);
  ({ run, frames = [], length = 0, newest = -1 } = kept);
  shown = -1; wanted = kept.shown; following = false;
  play(false);
  find(".summary").textContent = kept.summary ?? "";
  if (run) {
    build(frames.find(Boolean).lanes);
    chart(frames.find(Boolean).series);
    root.dataset.run = run;
    slider.max = length - 1;
    stale = true;
    enter(kept.phase, kept.phase === "stopped" ? "Stopped" : "");
    request();
    return;
  }
  build(props.empty); // as before the first run
  chart(props.curves);
  delete root.dataset.run;
  root.dataset.frame = -1;
  for (const part of [".top", ".bottom", ".forms"]) find(part).replaceChildren();
  find(".place").textContent = "no run yet";
  find(".said").textContent = props.hint;
  slider.value = 0;
  for (const control of [slider, ...root.querySelectorAll(".steps button")]) control.disabled = true;
  for (const property of ["--shown", "--newest"]) slider.style.removeProperty(property);
  wanted = null;
  enter("empty", "");
  sketch();
};
