// A clicked prompt becomes the component's value; the listener in common.py copies it into the text box.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  props.value = button.textContent;
  trigger("click");
});
