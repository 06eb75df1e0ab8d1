// Opens another tab and has it show a kept run: Reverse as the tree of its branches brings one back, Latents as its own button
// for the last run does. A tab is built when it is first opened, so what is pressed there is waited for;
// on a narrow page some of the tabs are in a menu.
async (run, target) => {
  const part = (selector) => document.querySelector(selector), tab = (name) => [...document.querySelectorAll("[role=tab], .overflow-dropdown button")].find((one) => one.textContent.trim() === name);
  const until = async (test) => {
    for (const late = performance.now() + 8000; !test() && performance.now() < late; ) await new Promise((done) => setTimeout(done, 30));
    return test();
  };
  tab(target)?.click();
  if (target === "Latents") {
    if (await until(() => part("#latents-stage .latents")?.state)) part("#latents-last")?.click(); // after its first example
    return;
  }
  if (target === "Walk") { // its form is filled in; a press on Run walks
    await until(() => part("#walk-run"));
    return void part("#walk-run")?.focus();
  }
  if (!(await until(() => part("#reverse-player .player .frame canvas") && part("#reverse-branches .compare") && part("#reverse-branches-run")))) return;
  const player = part("#reverse-player .player");
  if (player.closest(".experiment").hasAttribute("data-running")) return;
  part("#reverse-branches .compare").dataset.asked = run;
  player.dispatchEvent(new CustomEvent("fork", { detail: "Bringing the run from the Guidance tab" }));
  player.dispatchEvent(new CustomEvent("again", { detail: run }));
  part("#reverse-branches-run").click();
  player.scrollIntoView({ block: "nearest" });
}
