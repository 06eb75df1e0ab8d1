// Lights the part at work: what the player's own phase and frame say, nothing is asked of the server.
const diagram = element.querySelector(".diagram");
const light = (...names) => {
  for (const part of diagram.querySelectorAll(".part")) part.classList.toggle("is-lit", names.includes(part.dataset.part));
};
const PARTS = { waiting: () => light("tokenizer", "text_encoder"), running: () => light("unet", "scheduler"), decoding: () => light("vae") };

function follow() {
  const player = document.querySelector(`#${diagram.dataset.player} .player`);
  if (!player) return void setTimeout(follow, 100); // mounted after this, in the same tab
  const tell = () => {
    const { phase, frame, last } = player.dataset;
    (PARTS[phase === "running" && last !== undefined && +frame >= +last - 1 ? "decoding" : phase] ?? light)();
  };
  new MutationObserver(tell).observe(player, { attributes: true, attributeFilter: ["data-phase", "data-frame"] });
  tell();
}
follow();
