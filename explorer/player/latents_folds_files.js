// A latent as a file: saved by the browser, and read by it too, so that one that is too large never travels.

const filesFold = find(".latent-files"), fileInput = filesFold.querySelector("input"), fileSaid = filesFold.querySelector(".said");

filesFold.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button?.classList.contains("open")) fileInput.click();
  if (!button?.classList.contains("save")) return;
  const wanted = onStage();
  if (!wanted) { fileSaid.textContent = "Nothing is on the stage yet; choose a picture first."; return; }
  const answer = await ask("save", [...wanted, button.dataset.format]);
  if (answer.error) { fileSaid.textContent = answer.error; return; }
  const content = Uint8Array.from(atob(answer.data), (character) => character.charCodeAt(0));
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([content])), download: answer.name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  fileSaid.textContent = `Saved as ${answer.name}, ${answer.bytes} bytes.`;
});

fileInput.addEventListener("change", async () => {
  const [file] = fileInput.files;
  if (!file) return;
  if (file.size > props.largest) {
    fileSaid.textContent = `The file has ${(file.size / 2 ** 20).toFixed(0)} MB; a latent has at most ${(props.largest / 2 ** 20).toFixed(0)}.`;
  } else {
    const address = await new Promise((read, failed) => {
      const reader = Object.assign(new FileReader(), { onload: () => read(reader.result), onerror: failed });
      reader.readAsDataURL(file);
    }).catch(() => null);
    root.file = address && { name: file.name, data: address.slice(address.indexOf(",") + 1) };
    fileSaid.textContent = root.file ? `Reading ${file.name}` : "The file could not be read; choose it again.";
    if (root.file) trigger("upload");
  }
  fileInput.value = ""; // so that the same file can be given again
});
root.addEventListener("opened", () => (fileSaid.textContent = `${root.file?.name ?? "The latent"} is on the stage.`));
root.addEventListener("refused", () => (fileSaid.textContent = "The file was refused; what is on the stage stays."));
followers.push(() => { for (const button of filesFold.querySelectorAll(".save")) button.disabled = !onStage(); });
