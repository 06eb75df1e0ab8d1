// Branches on the stage: who is there, the player or the comparison; the buttons that fork; the tree. Joined after
// compare.js, whose variables it shares. The buttons of the player are its own in player.html, and work only with this.

const MOST = 24; // nodes of the tree; the oldest branch without branches of its own goes first
const experiment = root.closest(".experiment"), tree = find(".tree"), nodes = new Map(); // run → {label, origin, lost}
let player = null, current = null, pending = null, at = null; // pending: which of props.asks is pressed and not over

const busy = () => "running" in experiment.dataset;
const branching = () => experiment.hasAttribute("data-branching");

// The run and the Step under the cursor of what is on the stage.
root.cursor = () => (branching() ? at : [player.dataset.run ?? "", +player.dataset.frame]);

// From here until "over" or "lost" Cancel is where Run was, and whoever has the stage says what is waited for.
function press(what) {
  const said = what === "fork" ? "A branch is being made" : "Waiting for the model";
  pending = what;
  player.dispatchEvent(new CustomEvent("fork", { detail: said }));
  root.dispatchEvent(new CustomEvent("run"));
  enter("waiting", said);
  document.getElementById(props.asks[what])?.click();
}

function finished() {
  pending = null;
  for (const one of [player, root]) one.dispatchEvent(new CustomEvent("end"));
}

// One of the two has the stage; the keyboard's focus goes along.
function look(on) {
  if (on === branching()) return;
  const [from, to] = on ? [player, slider] : [root, player.querySelector(".timeline")], held = from.contains(document.activeElement);
  experiment.toggleAttribute("data-branching", on);
  mine();
  if (held) to.focus({ preventScroll: true });
}

// The player says which branch has its place: what is saved then is the branch.
const mine = () => { if (branching()) player.dataset.branch = current; else delete player.dataset.branch; };

// Where the run ends there is nothing to go on from: there the button goes back to where a change still shows.
function offer(button, unit, index, end) {
  button.textContent = end ? "Rewind to fork" : `Fork from ${unit} ${index}`;
  button.title = end ? "The run ends here: go back halfway, where a change still shows" : "Go on from here with what the form says now";
  button.classList.toggle("is-end", end);
}

function ask(run) {
  root.dataset.asked = run;
  if (nodes.get(run).origin) return run === current ? look(true) : press("branch");
  if (run === player.dataset.run) {
    look(false);
    player.querySelector(".stage").scrollIntoView({ block: "nearest" });
    if (player.dataset.phase === "done") return;
  }
  press("run");
  player.dispatchEvent(new CustomEvent("again", { detail: run }));
}

const buttons = () => [find(".fork"), player.querySelector(".fork"), ...tree.querySelectorAll(".node")];

// What can't be pressed now says so, and keeps the focus.
function bar() {
  for (const button of buttons()) button.setAttribute("aria-disabled", busy() || Boolean(nodes.get(button.dataset.run)?.lost));
}

function grow() {
  const held = tree.contains(document.activeElement) && document.activeElement.dataset.run;
  const limbs = (origin) => {
    const list = make("ul", "");
    for (const [run, node] of nodes) if (node.origin === origin) {
      const item = make("li", ""), button = make("button", "node");
      const title = origin ? "Bring this branch back, beside its origin" : "Bring this run back";
      Object.assign(button, { type: "button", textContent: node.label, title: node.lost ? "No longer kept here" : title });
      button.dataset.run = run;
      if (run === current) button.setAttribute("aria-current", "true");
      const more = limbs(run);
      item.append(button, ...(more.children.length ? [more] : []));
      list.append(item);
    }
    return list;
  };
  const title = make("p", "tree-title");
  title.textContent = "Runs and their branches";
  tree.replaceChildren(title, limbs(null));
  tree.hidden = nodes.size === 0;
  if (held) [...tree.querySelectorAll(".node")].find((node) => node.dataset.run === held)?.focus();
  const back = player.querySelector(".beside"), count = [...nodes.values()].filter((node) => node.origin).length;
  back.hidden = count === 0;
  back.textContent = count === 1 ? "1 branch" : `${count} branches`;
  bar();
}

// A run that is there already keeps its place; that it is shown says that it isn't lost.
function add(run, label, origin) {
  if (nodes.has(run)) nodes.get(run).lost = false; else nodes.set(run, { label, origin, lost: false });
}

function prune() {
  const leaf = () => [...nodes].find(([run]) => run !== current && ![...nodes.values()].some((node) => node.origin === run));
  while (nodes.size > MOST && leaf()) nodes.delete(leaf()[0]);
}

root.addEventListener("begun", ({ detail: { branch, n, at: first } }) => {
  at = first;
  branch.line.forEach(([run, label], i) => add(run, label, i ? branch.line[i - 1][0] : null));
  current = root.dataset.branch = branch.run;
  prune(); grow();
  const mark = find(".mark");
  mark.setAttribute("visibility", "visible");
  for (const end of ["x1", "x2"]) mark.setAttribute(end, (1000 * branch.begins) / Math.max(n - 1, 1));
  look(true);
  mine();
  find(".lanes").scrollIntoView({ block: "nearest" }); // on a phone what was pressed is below them
});
root.addEventListener("drawn", ({ detail: frame }) => {
  at = frame.at;
  const [unit, index] = frame.place.split(" ");
  offer(find(".fork"), unit, index, frame.i === frame.n - 1);
});
root.addEventListener("over", finished);
root.addEventListener("lost", () => { // Gradio says so after a cancel too
  if (pending) nodes.get(root.dataset.asked).lost = true;
  grow();
  finished();
});
tree.addEventListener("click", ({ target }) => {
  const node = target.closest(".node");
  if (node?.getAttribute("aria-disabled") === "false") ask(node.dataset.run);
});

// What the player draws: a fork is offered from there; a run that was brought back names the one whose place it took.
function drawn({ detail: frame }) {
  offer(player.querySelector(".fork"), counted(frame), frame.i, frame.i === frame.n - 1);
  if (!frame.left || nodes.has(frame.left[0])) return;
  add(...frame.left, null);
  prune(); grow();
}

function join() {
  player = document.querySelector(`#${props.player} .player`);
  if (!player) return void setTimeout(join, 100); // mounted after this, in the same tab
  const own = find(".fork"), its = player.querySelector(".fork");
  const rewind = () => seek((frames.find(Boolean).branch.begins + length - 1) >> 1);
  for (const [button, back] of [[own, rewind], [its, () => player.dispatchEvent(new CustomEvent("rewind"))]]) {
    button.hidden = false;
    button.addEventListener("click", () => { if (!busy()) (button.classList.contains("is-end") ? back() : press("fork")); });
  }
  bar();
  player.querySelector(".beside").addEventListener("click", () => look(true));
  player.addEventListener("drawn", drawn);
  player.addEventListener("run", () => look(false)); // its status is about that run from now on
  player.addEventListener("cancel", () => { if (pending) root.dispatchEvent(new CustomEvent("cancel")); pending = null; });
  new MutationObserver(() => look(false)).observe(player, { attributes: true, attributeFilter: ["data-run"] });
  new MutationObserver(bar).observe(experiment, { attributes: true, attributeFilter: ["data-running"] });
  new MutationObserver(() => { find(".doing").textContent = "waiting" in player.dataset ? "Waiting for the model" : ""; })
    .observe(player, { attributes: true, attributeFilter: ["data-waiting"] });
}
find(".lanes").tabIndex = -1; // on a phone the section itself has no box that could take the focus
join();
