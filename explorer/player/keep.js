// What presenter mode sets aside while it runs other things here, and puts back when it is left. Shares player.js's variables.
root.keep = () => ({ run, frames, length, shown, newest, took, phase: newest >= 0 && newest === length - 1 ? "done" : "stopped" });
root.restore = (kept) => {
  if (!kept.run) return; // nothing was here
  closed.add(run);
  ({ run, frames, length, newest, took } = kept);
  shown = -1; wanted = kept.shown; following = false; touched = false;
  play(false);
  root.dataset.run = run;
  slider.max = length - 1;
  curvesStale = true;
  enter(kept.phase);
  request();
};
