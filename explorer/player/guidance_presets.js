// A clicked preset's text becomes the component's value; the listener in guidance.py copies it into the text box.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  props.value = button.dataset.text;
  trigger("click");
});
