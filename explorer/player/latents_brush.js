// The brush: paints on a channel's heatmap with the pointer or with keys. Shares latents.js's variables, and takes the first
// record when all is there.

const MOST = 2048; // cells of one stroke
let stroke = null; // the edit that is being painted
let pen = !matchMedia("(pointer: coarse)").matches; // a finger that drags there scrolls the page, unless it is asked to paint

const value = buildSlider({ label: "Value", min: -4, max: 4, step: 0.1, rest: 3 }, () => {});
const radius = buildSlider({ label: "Radius", min: 0, max: 4, step: 0.5, rest: 1 }, () => {});
find(".brush").append(value.node, radius.node);

function setPen(on) {
  pen = on;
  root.classList.toggle("has-pen", on);
  find(".pen").setAttribute("aria-pressed", on);
}
find(".pen").addEventListener("click", () => setPen(!pen));
setPen(pen);

// What the server will make of a stroke, at once: the value in every cell at most a radius from a painted one.
function stamp(into, { channel, value, radius, cells }) {
  if (isMuted(channel)) return;
  const [, height, width] = record.shape, reach = Math.floor(radius), plane = channel * height * width;
  for (const [x, y] of cells) for (let dy = -reach; dy <= reach; dy++) for (let dx = -reach; dx <= reach; dx++) {
    const inside = x + dx >= 0 && x + dx < width && y + dy >= 0 && y + dy < height && dx * dx + dy * dy <= radius * radius;
    if (inside) into[plane + (y + dy) * width + x + dx] = value;
  }
}

function dot(channel, at, goesOn) {
  if (!goesOn || stroke?.channel !== channel) {
    stroke = { op: "paint", channel, value: +value.slider.value, radius: +radius.slider.value, cells: [] };
    last.token = "";
  }
  const known = stroke.cells.some(([x, y]) => x === at.x && y === at.y);
  if (known || stroke.cells.length >= MOST) return;
  const begun = newest() === stroke, [done, mutes] = parted(); // not where it was undone meanwhile, or another picture came
  stroke = { ...stroke, cells: [...stroke.cells, [at.x, at.y]] };
  if (view === "mean") { stamp(planes, stroke); paint(); }
  commit([...(begun ? done.slice(0, -1) : done), stroke, ...mutes], "stroke");
}

// Every cell on the way, so that a quick stroke has no gaps.
function line(channel, from, to) {
  const steps = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y), 1);
  for (let i = 1; i <= steps; i++) dot(channel, { x: Math.round(from.x + ((to.x - from.x) * i) / steps), y: Math.round(from.y + ((to.y - from.y) * i) / steps) }, true);
}

function brushOn(one) {
  const { c, frame, cell } = one;
  let at = null, pressed = false;
  const mark = (to) => {
    at = to;
    const [, height, width] = record.shape;
    cell.hidden = !to;
    if (!to) { find(".reading").textContent = ""; return; }
    Object.assign(cell.style, { left: `${(100 * to.x) / width}%`, top: `${(100 * to.y) / height}%`, width: `${100 / width}%`, height: `${100 / height}%` });
    find(".reading").textContent = reading(to, (view === "spread" ? spread : planes)[(c * height + to.y) * width + to.x]);
  };
  const under = (event) => {
    const box = frame.getBoundingClientRect(), [, height, width] = record.shape, edge = frame.clientLeft;
    const place = (along, length, count) => Math.min(Math.max(Math.floor(((along - edge) / (length - 2 * edge)) * count), 0), count - 1);
    return { x: place(event.clientX - box.left, box.width, width), y: place(event.clientY - box.top, box.height, height) };
  };
  frame.addEventListener("pointerdown", (event) => {
    if (!planes || event.button) return;
    mark(under(event));
    if (!pen) return;
    pressed = dragging = true;
    frame.setPointerCapture(event.pointerId);
    dot(c, at, false);
    mark(at);
  });
  frame.addEventListener("pointermove", (event) => {
    if (!planes) return;
    const to = under(event);
    if (pressed && (to.x !== at.x || to.y !== at.y)) line(c, at, to);
    mark(to);
  });
  const end = () => { if (pressed) { pressed = dragging = false; stroke = null; last.token = ""; } };
  for (const over of ["pointerup", "pointercancel"]) frame.addEventListener(over, end);
  frame.addEventListener("pointerleave", (event) => !pressed && event.pointerType === "mouse" && document.activeElement !== frame && mark(null));
  frame.addEventListener("blur", () => { stroke = null; if (record) mark(null); });
  frame.addEventListener("keydown", (event) => {
    if (!planes || event.ctrlKey || event.metaKey || event.altKey) return;
    const [, height, width] = record.shape, here = at ?? { x: width >> 1, y: height >> 1 };
    const dx = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0, dy = { ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0;
    const paints = event.key === " " || event.key === "Enter";
    if (!dx && !dy && !paints) return;
    event.preventDefault();
    const to = { x: Math.min(Math.max(here.x + dx, 0), width - 1), y: Math.min(Math.max(here.y + dy, 0), height - 1) };
    if (paints) dot(c, here, false);
    else if (event.shiftKey) line(c, here, to);
    mark(to);
  });
}

watch("value", () => accept(props.value));
accept(props.value);
