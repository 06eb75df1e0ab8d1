// A clicked prompt becomes the component's value, and the listener in common.py copies it into the text box; the last
// button shows the ones that are folded away.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.classList.contains("others")) {
    const folded = [...element.querySelectorAll("button[hidden]")];
    for (const one of folded) one.hidden = false;
    folded[0].focus();
    button.remove();
    return;
  }
  props.value = button.textContent;
  trigger("click");
});
