// Puts a script on the clipboard and says so on its button; where that isn't allowed, shows it, selected, in a dialog.
async (text, id) => {
  const button = document.getElementById(id);
  try {
    await navigator.clipboard.writeText(text); // only on https and localhost, and soon after the press
    const label = [...button.childNodes].find((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!label || button.dataset.copied) return;
    const before = label.data;
    label.data = button.dataset.copied = "Copied";
    setTimeout(() => { label.data = before; delete button.dataset.copied; }, 1500);
  } catch {
    document.querySelector("dialog.script")?.remove();
    const make = (name, values) => Object.assign(document.createElement(name), values);
    const dialog = make("dialog", { className: "script" }), form = make("form", { method: "dialog" });
    const area = make("textarea", { value: text, readOnly: true, rows: 18, spellcheck: false, autofocus: true });
    dialog.ariaLabel = area.ariaLabel = "The run as a Python script";
    form.append(make("p", { textContent: "This browser does not let the page copy. The script is selected: press Ctrl+C, or ⌘C." }), area,
      make("button", { textContent: "Close" }));
    dialog.append(form);
    dialog.addEventListener("close", () => { dialog.remove(); button?.focus(); });
    button.closest(".gradio-container").append(dialog);
    dialog.showModal();
    area.select();
    area.scrollTop = 0;
  }
}
