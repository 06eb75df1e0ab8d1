
// The page around one recorded run: what gr.HTML gives the player's scripts, the theme, and keys that work at once.
(() => {
  const nothing = () => {}, node = document.querySelector("#run"), toggle = document.querySelector(".theme");
  const { panes, records } = JSON.parse(document.querySelector("#records").textContent);

  const system = matchMedia("(prefers-color-scheme: dark)");
  const dress = (dark) => { document.body.classList.toggle("dark", dark); toggle.textContent = dark ? "light" : "dark"; };
  toggle.addEventListener("click", () => dress(!document.body.classList.contains("dark")));
  system.addEventListener("change", () => dress(system.matches));
  dress(system.matches);
  toggle.hidden = false;

  const build = (element, props, server, watch, trigger, upload) => {
$player
    return { root, accept, seek };
  };
  const single = records.every((record) => (record.norms.cfg ?? null) === null);
  const { root, accept, seek } = build(node, { value: null, panes, decodes: false, pixels: records[0]?.pixels, single, said: "A run kept as a page" }, {}, nothing, nothing, nothing);
  for (const record of records) accept(record);

  const jump = () => { if (/^#\d{1,4}$$/.test(location.hash)) seek(+location.hash.slice(1)); };
  addEventListener("hashchange", jump);
  jump();

  // Where nothing has the focus, the player hears the keys.
  document.addEventListener("keydown", (event) => {
    if (event.target !== document.body) return;
    if (!root.dispatchEvent(new KeyboardEvent("keydown", event))) event.preventDefault();
  });
})();
