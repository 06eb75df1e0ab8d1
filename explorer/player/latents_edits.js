// The list of edits: undo, redo, reset, and what was done in words. Shares latents.js's variables.

const TOLD = 250, JOINED = 700, PAST = 256; // ms until the address follows; ms within which keys are one step; undo steps
let past = [], future = [];                 // lists of edits
let last = { token: "", at: 0 }, telling = 0;
const written = [];                         // what the address was told and will say back
let told = "";

// A new list of edits. Those of one drag have one token and are one undo step.
function commit(next, token = "") {
  const now = performance.now(), joins = token && token === last.token && (dragging || now - last.at < JOINED);
  if (!joins) {
    past.push(edits);
    if (past.length > PAST) past.shift();
  }
  last = { token, at: now };
  future = [];
  to(next);
}

// A muted channel stays muted: the mutes at the end of the list stay there, and what is done now goes before them.
function parted() {
  let end = edits.length;
  while (end && edits[end - 1].op === "mute") end--;
  return [edits.slice(0, end), edits.slice(end)];
}
const newest = () => parted()[0].at(-1);
function add(edit) {
  const [done, mutes] = parted();
  commit([...done, edit, ...mutes]);
}

// Whether a channel is 0 in the end: a list from elsewhere may go on to fill a muted one.
const FILLS = ["shift", "noise", "paint"];
function isMuted(channel) {
  const at = edits.findLastIndex((edit) => edit.op === "mute" && (edit.channel === channel || edit.channel === null));
  const fills = ({ op, channel: of, a, b }) => (op === "swap" ? [a, b].includes(channel) : FILLS.includes(op) && [channel, null].includes(of));
  return at >= 0 && !edits.slice(at + 1).some(fills);
}

function to(next) {
  edits = next;
  view = "mean";
  offer();
  ask();
  tell();
}

function undo() { if (past.length) { future.push(edits); last.token = ""; to(past.pop()); } }
function redo() { if (future.length) { past.push(edits); last.token = ""; to(future.pop()); } }

// A new record begins with the edits that it was made with.
function begin(made) {
  edits = made;
  past = []; future = []; last.token = ""; beside = "";
  say("");
  offer();
  tell();
}

// What could not be made is left out again.
function takeBack() {
  if (past.at(-1) === answer.edits || JSON.stringify(past.at(-1)) === JSON.stringify(answer.edits)) past.pop();
  edits = answer.edits;
  planes = unhalved(answer.planes); // a stroke is painted before it is asked for
  last.token = "";
  offer();
  paint();
  tell();
}

// The address follows once nothing moves any more.
function tell() {
  clearTimeout(telling);
  telling = setTimeout(() => trigger("edited"), TOLD);
}
root.edits = () => (edits.length ? JSON.stringify(edits) : "");
root.wrote = (text) => { // empty also where it is too long
  const stays = !text && edits.length ? "The address can’t hold as much as this." : "";
  if (stays !== beside) { beside = stays; say(""); }
  if (text !== told) written.push(text);
  if (written.length > 8) written.shift();
  return (told = text);
};
root.addEventListener("edits", ({ detail }) => {
  const at = written.indexOf(detail);
  if (at >= 0) { written.splice(at, 1); return; }
  if (!record || detail === root.edits()) return;
  try { commit(detail ? JSON.parse(detail) : []); } catch { /* the server has said so already */ }
});

// --- what the buttons and the list show ---

function offer() {
  find(".undo").disabled = !past.length;
  find(".redo").disabled = !future.length;
  find(".reset").disabled = !edits.length;
  for (const one of channels) {
    const muted = isMuted(one.c);
    one.eye.setAttribute("aria-pressed", muted);
    one.eye.title = muted ? "Bring it back" : "Mute: set to 0, the mean that the VAE’s training pulls towards";
    one.node.classList.toggle("is-muted", muted);
  }
  offerSliders();
  if (document.activeElement?.disabled && root.contains(document.activeElement)) root.focus({ preventScroll: true }); // keys go on
}

function list(words) {
  const made = find(".made"), focused = [...made.querySelectorAll(".take")].indexOf(document.activeElement);
  const items = words.map((said, i) => {
    const item = make("li", ""), button = Object.assign(make("button", "take"), { type: "button", title: "Leave this one out", textContent: said });
    button.addEventListener("click", () => edits.length === words.length && commit(edits.filter((_, k) => k !== i)));
    item.append(button);
    return item;
  });
  if (!items.length) items.push(Object.assign(make("li", "nothing"), { textContent: spread ? "Nothing is changed: this is the VAE’s own reconstruction." : "Nothing is changed: this is what the VAE decodes." }));
  made.replaceChildren(...items);
  if (focused >= 0) (made.querySelectorAll(".take")[Math.min(focused, words.length - 1)] ?? root).focus();
  else made.scrollLeft = made.scrollWidth;
}

find(".undo").addEventListener("click", undo);
find(".redo").addEventListener("click", redo);
find(".reset").addEventListener("click", () => commit([]));
root.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.target.matches("dialog *")) return;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  (key === "y" || event.shiftKey ? redo : undo)();
});
