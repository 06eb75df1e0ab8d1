// What a person does: play, scrub, keys; and the first record, when all is there.

const still = matchMedia("(prefers-reduced-motion: reduce)");
let playing = false, touched = false, due = 0, way = 1, mode = "back";

function seek(i) {
  if (!film) return;
  touched = true;
  play(false);
  at = Math.min(Math.max(i, 0), film.n - 1);
  request();
}

const period = () => 1000 / +find(".fps").value;

function play(on) {
  playing = on && Boolean(film);
  due = performance.now() + period();
  find(".roll").classList.toggle("is-playing", playing);
  find(".roll").setAttribute("aria-label", playing ? "Pause" : "Play");
  request();
}

// One frame on, at its time; what is not made yet takes its time too, with the nearest frame in its place.
function advance(now) {
  if (now < due) return;
  due = Math.max(due + period(), now);
  if (mode === "loop") { at = (at + 1) % film.n; return; }
  if (at + way < 0 || at + way >= film.n) way = -way;
  at += film.n > 1 ? way : 0;
}

function turn(next) {
  mode = root.dataset.way = next;
  find(".turn").textContent = next === "loop" ? "loop" : "there and back";
  find(".turn").setAttribute("aria-pressed", next === "back");
}

const moves = {
  ...Object.fromEntries([..."0123456789"].map((digit) => [digit, () => seek(Math.round((digit / 10) * (film.n - 1)))])),
  ArrowLeft: () => seek(film.closed && at === 0 ? film.n - 1 : at - 1), ArrowRight: () => seek(film.closed && at === film.n - 1 ? 0 : at + 1),
  ArrowUp: () => look((own ?? film.evaluations) - 1), ArrowDown: () => look((own ?? film.evaluations) + 1),
  Home: () => seek(0), End: () => seek(film.n - 1), " ": () => { touched = true; play(!playing); },
};
root.addEventListener("keydown", (event) => {
  if (!film || event.ctrlKey || event.metaKey || event.altKey || !(event.key in moves) || event.target.closest("select, dialog")) return;
  if (event.key === " " && event.target.matches("button")) return;
  event.preventDefault();
  moves[event.key]();
});
const rate = () => { root.dataset.fps = find(".fps").value; };
find(".fps").addEventListener("change", rate);
find(".back").addEventListener("click", () => moves.ArrowLeft());
find(".on").addEventListener("click", () => moves.ArrowRight());
find(".roll").addEventListener("click", () => moves[" "]());
find(".turn").addEventListener("click", () => turn(mode === "loop" ? "back" : "loop"));
slider.addEventListener("input", () => seek(+slider.value));

new MutationObserver(() => { stale = true; drawn = ""; request(); }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
find(".hint").textContent = props.hint;
bare();
rate();
turn("back");
arrange();
request();
watch("value", () => accept(props.value));
accept(props.value);
