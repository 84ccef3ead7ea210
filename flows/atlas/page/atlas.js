"use strict";
// The map of an atlas. Every text goes into the page as text, never as HTML.
const $ = id => document.getElementById(id);
function unpack(text, Kind) { const said = atob(text), bytes = new Uint8Array(said.length); for (let i = 0; i < bytes.length; i++) bytes[i] = said.charCodeAt(i); return new Kind(bytes.buffer); }
ATLAS.maps = ATLAS.maps.map(axes => axes.map(axis => unpack(axis, Uint16Array)));
ATLAS.second = unpack(ATLAS.second, Float32Array);
for (const colour of Object.values(ATLAS.colours)) colour.codes = unpack(colour.codes, Uint32Array);
let [X, Y] = ATLAS.maps[0];
const N = ATLAS.id.length, canvas = $("map"), pen = canvas.getContext("2d", { alpha: false });
const FIRST = 14; // words with a colour of their own
const MOST_IDS = 5000; // in the SQL of a lasso
const palette = Array.from({ length: FIRST }, (_, i) => `hsl(${(i * 137.5) % 360} ${i % 2 ? 55 : 75}% ${i % 3 ? 48 : 58}%)`);
const OTHER = "#8a9493";
let by = Object.keys(ATLAS.colours)[0] || "", hidden = new Set(), chosen = null, path = null, lassoing = false, pinned = -1;
let view = { scale: 1, x: 0.5, y: 0.5 }; // scale 1 shows all; x and y are the middle of the canvas, 0 to 1
let width = 1, height = 1, waiting = false;

function text(parent, tag, said) { const made = document.createElement(tag); made.textContent = said; parent.append(made); return made; }
function side() { return Math.min(width, height) * 0.92 * view.scale; }
function screen(i) { const s = side(); return [(X[i] / 65535 - view.x) * s + width / 2, (view.y - Y[i] / 65535) * s + height / 2]; }
function group(i) { return by ? Math.min(ATLAS.colours[by].codes[i], FIRST) : FIRST; }
function seen(i) { return !hidden.has(groups[i]); }
let moving = 0; // a timer while the map is moved, when of many points some are drawn
function move() { clearTimeout(moving); moving = setTimeout(() => { moving = 0; redraw(); }, 150); redraw(); }
function redraw() { if (!waiting) { waiting = true; requestAnimationFrame(draw); } }

const scratch = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
function rgb(colour) { scratch.fillStyle = colour; scratch.fillRect(0, 0, 1, 1); return scratch.getImageData(0, 0, 1, 1).data; }
// a pixel as four bytes, of which the lowest is red
function pixel(over, under, share) { return [0, 1, 2].reduce((sum, c) => sum | (Math.round(over[c] * share + under[c] * (1 - share)) << (8 * c)), 255 << 24) >>> 0; }
let order = [], groups = [], frame = null;
function sort() { // the commonest come last, on top
  groups = new Uint8Array(N); for (let i = 0; i < N; i++) groups[i] = group(i);
  const starts = new Uint32Array(FIRST + 2); for (const g of groups) starts[FIRST - g + 1]++;
  for (let g = 1; g < starts.length; g++) starts[g] += starts[g - 1];
  order = new Uint32Array(N); for (let i = 0; i < N; i++) order[starts[FIRST - groups[i]]++] = i;
}

function draw() { // pixels are set one by one: a hundred thousand small rectangles take several times as long
  waiting = false;
  if (!canvas.width || !canvas.height) return;
  const style = getComputedStyle(document.body), back = rgb(style.getPropertyValue("--back"));
  const ratio = canvas.width / width, size = N > 300000 ? 1 : N > 30000 ? 2 : N > 3000 ? 3 : 6, square = Math.round(size * ratio), s = side();
  if (!frame || frame.width !== canvas.width || frame.height !== canvas.height) frame = pen.createImageData(canvas.width, canvas.height);
  const cells = new Uint32Array(frame.data.buffer), across = frame.width, down_ = frame.height;
  cells.fill(pixel(back, back, 1));
  const plain = [...palette, OTHER].map(rgb), bright = plain.map(c => pixel(c, back, 0.9)), faint = plain.map(c => pixel(c, back, 0.15));
  const off = plain.map((_, g) => hidden.has(g));
  const step = moving && N > 200000 ? 8 : 1;
  for (let k = 0; k < N; k += step) {
    const i = order[k], g = groups[i];
    if (off[g]) continue;
    const left = Math.round(((X[i] / 65535 - view.x) * s + width / 2) * ratio - square / 2);
    const top = Math.round(((view.y - Y[i] / 65535) * s + height / 2) * ratio - square / 2);
    if (left < 0 || top < 0 || left + square > across || top + square > down_) continue;
    const colour = (chosen && !chosen.has(i) ? faint : bright)[g];
    for (let y = top; y < top + square; y++) for (let at = y * across + left, end = at + square; at < end; at++) cells[at] = colour;
  }
  pen.putImageData(frame, 0, 0);
  pen.strokeStyle = style.getPropertyValue("--ink"); pen.lineWidth = 2;
  if (pinned >= 0) { const [x, y] = screen(pinned); pen.strokeRect(x - size, y - size, 2 * size, 2 * size); }
  if (path) { pen.beginPath(); path.forEach(([x, y], n) => n ? pen.lineTo(x, y) : pen.moveTo(x, y)); pen.stroke(); }
  document.documentElement.dataset.drawn = String(N);
}

function resize() {
  const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  width = box.width; height = box.height; canvas.width = width * ratio; canvas.height = height * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0); redraw();
}

function nearest(x, y, reach) { // in the map's own numbers: a million points are looked at while the mouse moves
  const s = side() / 65535, ax = 65535 * view.x + (x - width / 2) / s, ay = 65535 * view.y - (y - height / 2) / s;
  let best = -1, least = (reach / s) ** 2;
  for (let i = 0; i < N; i++) {
    const a = X[i] - ax, b = Y[i] - ay, d = a * a + b * b;
    if (d < least && seen(i)) { least = d; best = i; }
  }
  return best;
}

function word(name, i) { const c = ATLAS.colours[name]; return c.names[c.codes[i]]; }
function fact(list, name, said) { text(list, "dt", name); text(list, "dd", said); }

function show(i) {
  pinned = i; $("frame").hidden = i < 0; redraw();
  if (i < 0) return;
  $("picture").src = `pictures/${i}.jpg`;
  const facts = $("facts"); facts.replaceChildren();
  fact(facts, "frame", ATLAS.id[i]); fact(facts, "second", String(Number(ATLAS.second[i].toFixed(2))));
  for (const name of Object.keys(ATLAS.colours)) fact(facts, name, word(name, i));
  details(i);
}

function hover(i, x, y) {
  const tip = $("tip"); tip.hidden = i < 0;
  if (i < 0) return;
  if (tip.dataset.i !== String(i)) { tip.dataset.i = String(i); $("tip-picture").src = `pictures/${i}.jpg`; }
  $("tip-text").textContent = by ? `${by}: ${word(by, i)}` : ATLAS.id[i];
  tip.style.left = `${x > width - 200 ? x - 184 : x + 12}px`; tip.style.top = `${y > height - 180 ? y - 170 : y + 12}px`;
}

function inside(xs, ys, x, y) { // a polygon by the coordinates of its corners
  let odd = false;
  for (let a = 0, b = xs.length - 1; a < xs.length; b = a++) if ((ys[a] > y) !== (ys[b] > y) && x < (xs[b] - xs[a]) * (y - ys[a]) / (ys[b] - ys[a]) + xs[a]) odd = !odd;
  return odd;
}

function choose(points) {
  const found = [], s = side(), [xs, ys] = [0, 1].map(axis => Float64Array.from(points, point => point[axis]));
  const left = Math.min(...xs), right = Math.max(...xs), top = Math.min(...ys), bottom = Math.max(...ys);
  for (let i = 0; i < N; i++) {
    const x = (X[i] / 65535 - view.x) * s + width / 2, y = (view.y - Y[i] / 65535) * s + height / 2;
    if (x >= left && x <= right && y >= top && y <= bottom && seen(i) && inside(xs, ys, x, y)) found.push(i);
  }
  chosen = found.length ? new Set(found) : null; $("chosen").hidden = !chosen; redraw();
  if (!chosen) return;
  $("count").textContent = `${found.length.toLocaleString("en")} frames chosen`;
  const thumbs = $("thumbs"); thumbs.replaceChildren();
  const step = Math.max(1, Math.floor(found.length / 12));
  for (let k = 0; k < found.length && thumbs.childElementCount < 12; k += step) {
    const image = document.createElement("img"), i = found[k];
    image.src = `pictures/${i}.jpg`; image.alt = ATLAS.id[i]; image.onclick = () => show(i); thumbs.append(image);
  }
  const counts = $("counts"); counts.replaceChildren();
  if (by) {
    const tally = new Map(); for (const i of found) tally.set(word(by, i), (tally.get(word(by, i)) || 0) + 1);
    const sorted = [...tally].sort((a, b) => b[1] - a[1]);
    for (const [name, n] of sorted.slice(0, 12)) fact(counts, `${by} ${name}`, n.toLocaleString("en"));
    if (sorted.length > 12) fact(counts, "others", String(sorted.length - 12));
  }
  const ids = found.slice(0, MOST_IDS).map(i => `'${ATLAS.id[i].replaceAll("'", "''")}'`);
  const cut = found.length > MOST_IDS ? `-- the first ${MOST_IDS} of ${found.length}\n` : "";
  $("sql").value = `${cut}SELECT * FROM current_frames WHERE frame_id IN (${ids.join(", ")})`;
}

function clear() { chosen = null; path = null; $("chosen").hidden = true; show(-1); }
function zoom(factor, x, y) {
  const s = side(), ax = (x - width / 2) / s + view.x, ay = view.y - (y - height / 2) / s;
  view.scale = Math.min(400, Math.max(0.5, view.scale * factor));
  const t = side(); view.x = ax - (x - width / 2) / t; view.y = ay + (y - height / 2) / t; move();
}
function all() { view = { scale: 1, x: 0.5, y: 0.5 }; redraw(); }
function lasso(on) { lassoing = on; $("lasso").setAttribute("aria-pressed", String(on)); }

const down = new Map(); let moved = 0;
const at = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
canvas.onpointerdown = event => {
  canvas.setPointerCapture(event.pointerId); down.set(event.pointerId, at(event)); moved = 0; hover(-1);
  path = down.size === 1 && (lassoing || event.shiftKey) ? [at(event)] : null;
};
canvas.onpointermove = event => {
  const [x, y] = at(event), before = down.get(event.pointerId);
  if (!before) { if (event.pointerType === "mouse") hover(nearest(x, y, 10), x, y); return; }
  moved += Math.abs(x - before[0]) + Math.abs(y - before[1]); down.set(event.pointerId, [x, y]);
  if (path) { path.push([x, y]); move(); return; }
  if (down.size === 2) {
    const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const was = Math.hypot(before[0] - other[0], before[1] - other[1]), is = Math.hypot(x - other[0], y - other[1]);
    if (was > 0) zoom(is / was, (x + other[0]) / 2, (y + other[1]) / 2); return;
  }
  const s = side(); view.x -= (x - before[0]) / s; view.y += (y - before[1]) / s; move();
};
canvas.onpointerup = canvas.onpointercancel = event => {
  down.delete(event.pointerId);
  if (path && path.length > 2) { const points = path; path = null; choose(points); lasso(false); }
  else if (moved < 6 && event.type === "pointerup") { const [x, y] = at(event); path = null; show(nearest(x, y, 16)); }
};
canvas.onpointerleave = () => hover(-1);
canvas.onwheel = event => { event.preventDefault(); zoom(Math.exp(-event.deltaY / 400), ...at(event)); };
canvas.onkeydown = event => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (step) { view.x += step[0] * 0.1 / view.scale; view.y += step[1] * 0.1 / view.scale; move(); }
  else if (event.key === "+" || event.key === "=") zoom(1.4, width / 2, height / 2);
  else if (event.key === "-") zoom(1 / 1.4, width / 2, height / 2);
  else if (event.key === "0") all();
  else if (event.key === "l") lasso(!lassoing);
  else if (event.key === "Enter") show(nearest(width / 2, height / 2, Infinity));
  else if (event.key === "Escape") clear();
  else return;
  event.preventDefault();
};
$("lasso").onclick = () => lasso(!lassoing); $("all").onclick = all; $("clear").onclick = clear;
$("in").onclick = () => zoom(1.4, width / 2, height / 2); $("out").onclick = () => zoom(1 / 1.4, width / 2, height / 2);

function legend() {
  const box = $("legend"); box.replaceChildren(); hidden = new Set();
  if (!by) return;
  const { names, counts } = ATLAS.colours[by];
  const rows = names.slice(0, FIRST).map((name, g) => [name, counts[g]]);
  if (names.length > FIRST) rows.push([`${names.length - FIRST} others`, counts.slice(FIRST).reduce((a, b) => a + b, 0)]);
  rows.forEach(([name, count], g) => {
    const button = document.createElement("button"), dot = document.createElement("i");
    dot.style.background = g < FIRST ? palette[g] : OTHER; button.append(dot, `${name} (${count.toLocaleString("en")})`);
    button.setAttribute("aria-pressed", "true");
    button.onclick = () => {
      const off = !hidden.has(g); if (off) hidden.add(g); else hidden.delete(g);
      button.classList.toggle("off", off); button.setAttribute("aria-pressed", String(!off)); redraw();
    };
    box.append(button);
  });
}

async function ask() {
  const box = $("answer"); box.replaceChildren(); text(box, "p", "…");
  let told;
  try { told = await (await fetch("sql", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ statement: $("sql").value }) })).json(); }
  catch (error) { told = { error: `no answer: ${error.message}` }; }
  box.replaceChildren();
  if (told.error) { text(box, "p", told.error); return; }
  text(box, "p", `${told.num_rows.toLocaleString("en")} rows${told.rows.length < told.num_rows ? `, the first ${told.rows.length} shown` : ""}`);
  const table = document.createElement("table"), head = table.insertRow();
  for (const name of told.columns) text(head, "th", name);
  for (const row of told.rows) { const line = table.insertRow(); for (const name of told.columns) { const cell = line.insertCell(); cell.textContent = row[name] === null ? "" : typeof row[name] === "object" ? JSON.stringify(row[name]) : String(row[name]); } }
  box.append(table);
}

for (const note of ATLAS.notes) text($("notes"), "li", note);
for (const name of Object.keys(ATLAS.colours)) text($("by"), "option", name);
if (ATLAS.maps.length > 1) { // what is chosen or pinned stays so: where the other model puts it is what one wants to see
  $("which").hidden = false;
  ATLAS.encoders.forEach((name, n) => { text($("model"), "option", name).value = n; });
  $("model").onchange = () => { [X, Y] = ATLAS.maps[$("model").value]; redraw(); };
}
$("by").onchange = () => { by = $("by").value; legend(); sort(); redraw(); };
if (ATLAS.sql) { // the box for statements is there before anything is chosen
  $("asking").hidden = false; $("asking").prepend($("sql").parentElement); $("sql").value = "FROM funnel"; $("ask").onclick = ask;
}
legend(); sort(); new ResizeObserver(resize).observe(canvas);
