// Lights the part at work: what the player says of itself is enough, nothing is asked of the server.
const diagram = element.querySelector(".diagram");
const WORK = { waiting: ["tokenizer", "text_encoder"], running: ["unet", "scheduler"], forking: ["unet", "scheduler"], decoding: ["vae"] };

function follow() {
  const player = document.querySelector(`#${diagram.dataset.player} .player`);
  if (!player) return void setTimeout(follow, 100); // mounted after this, in the same tab
  const tell = () => {
    const { phase, run = "" } = player.dataset, last = player.querySelector(".timeline").max - 1;
    const played = phase === "running" && run.startsWith("recorded"); // nothing is at work then
    const now = played ? null : phase === "running" && player.painted.at(-1) >= last ? "decoding" : phase;
    for (const part of diagram.querySelectorAll(".part")) part.classList.toggle("is-lit", (WORK[now] ?? []).includes(part.dataset.part));
  };
  new MutationObserver(tell).observe(player, { attributes: true, attributeFilter: ["data-phase", "data-frame", "data-run"] });
  tell();
}
follow();
