// A clicked thumbnail becomes the component's value; the pressed one is the value, whoever set it.
const show = () => {
  for (const button of element.querySelectorAll("[data-name]")) button.setAttribute("aria-pressed", button.dataset.name === props.value);
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-name]");
  if (!button) return;
  props.value = button.dataset.name;
  show();
});
watch("value", show);
show();
