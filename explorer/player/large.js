// The dialog that shows one pane large; returns open(pane) and refresh(), which redraws what is open.
function buildLarge(dialog, root) {
  const canvas = dialog.querySelector("canvas"), context = canvas.getContext("2d");
  let open = null;
  const words = (text) => text.split(" · ")[0].replace(/[^a-z0-9]+/gi, "-").replace(/^-|-$/g, "").toLowerCase();
  // In a comparison a pane has its lane's label and its own place, and two lanes have a pane of each name.
  const named = () => `diffuscope-${open.label ? `${words(open.label)}-` : ""}${open.name}-${words(open.at ?? `step ${root.dataset.frame}`)}.png`;
  const refresh = () => {
    if (!open || !dialog.open) return;
    const decoded = open.large && !open.picture.hidden, source = decoded ? open.picture : open.canvas;
    const width = source.naturalWidth ?? source.width, height = source.naturalHeight ?? source.height;
    const scale = Math.max(1, Math.floor(768 / Math.max(width, height)));
    canvas.width = width * scale; canvas.height = height * scale;
    context.imageSmoothingEnabled = decoded || root.classList.contains("is-smooth") || open.large;
    context.drawImage(source, 0, 0, canvas.width, canvas.height);
  };
  const blob = (use) => canvas.toBlob(use, "image/png");
  dialog.querySelector(".save").addEventListener("click", () => blob((file) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: named() });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }));
  const copy = dialog.querySelector(".copy");
  copy.hidden = !(navigator.clipboard && window.ClipboardItem); // only on https and localhost
  copy.addEventListener("click", () => blob(async (file) => {
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": file })]);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Not allowed";
    }
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  }));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  return {
    open: (pane) => {
      open = pane;
      dialog.dataset.pane = pane.name;
      dialog.querySelector(".large-title").innerHTML = `<span class="symbol">${pane.symbol}</span> ${pane.title}`;
      dialog.showModal();
      refresh();
    },
    refresh,
  };
}
