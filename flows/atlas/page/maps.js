"use strict";
// One map, or two beside each other with one selection: each has a model's positions, and shows all frames or those in or out of a dataset.
let moving = 0; // a timer while a map is moved, when of many points some are drawn
let waiting = false, lassoing = false;
const panes = [1, 2].map(number => {
  const canvas = $(`map-${number}`), pen = canvas.getContext("2d", { alpha: false });
  // scale 1 shows all; x and y are the middle of the canvas, 0 to 1; of `only` an even number is "in" a dataset, the next one "not in" it
  return { number, canvas, pen, model: 0, only: -1, view: whole(), width: 1, height: 1, frame: null, path: null, down: new Map(), moved: 0 };
});

function whole() { return { scale: 1, x: 0.5, y: 0.5 }; }
function isTwo() { return !$("pane-2").hidden; }
function side(pane) { return Math.min(pane.width, pane.height) * 0.92 * pane.view.scale; }
function screen(pane, i) {
  const s = side(pane), [X, Y] = ATLAS.maps[pane.model], { view } = pane;
  return [(X[i] / 65535 - view.x) * s + pane.width / 2, (view.y - Y[i] / 65535) * s + pane.height / 2];
}
function allowed(pane, i) { return pane.only < 0 || ((ATLAS.members[pane.only >> 1].bits[i >> 3] >> (i & 7)) & 1) !== (pane.only & 1); }
function seen(pane, i) { return !hidden.has(groups[i]) && allowed(pane, i); }
function move(pane) { // two maps of one model move together
  for (const other of panes) if (other.model === pane.model) other.view = { ...pane.view };
  clearTimeout(moving); moving = setTimeout(() => { moving = 0; redraw(); }, 150); redraw();
}
function redraw() { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; panes.forEach(draw); }); } }

const scratch = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
function rgb(colour) { scratch.fillStyle = colour; scratch.fillRect(0, 0, 1, 1); return scratch.getImageData(0, 0, 1, 1).data; }
// a pixel as four bytes, of which the lowest is red
function pixel(over, under, share) { return [0, 1, 2].reduce((sum, c) => sum | (Math.round(over[c] * share + under[c] * (1 - share)) << (8 * c)), 255 << 24) >>> 0; }
function draw(pane) { // pixels are set one by one: a hundred thousand small rectangles take several times as long
  const { canvas, pen, view, width, height } = pane, [X, Y] = ATLAS.maps[pane.model];
  if (!canvas.width || !canvas.height) return;
  const style = getComputedStyle(document.body), back = rgb(style.getPropertyValue("--back"));
  const ratio = canvas.width / width, size = N > 300000 ? 1 : N > 30000 ? 2 : N > 3000 ? 3 : 6, square = Math.round(size * ratio), s = side(pane);
  if (!pane.frame || pane.frame.width !== canvas.width || pane.frame.height !== canvas.height) pane.frame = pen.createImageData(canvas.width, canvas.height);
  const cells = new Uint32Array(pane.frame.data.buffer), across = pane.frame.width, down = pane.frame.height;
  cells.fill(pixel(back, back, 1));
  const plain = [...palette, OTHER].map(rgb), bright = plain.map(c => pixel(c, back, 0.9)), faint = plain.map(c => pixel(c, back, 0.15));
  const off = plain.map((_, g) => hidden.has(g)), grey = pixel(rgb(OTHER), back, 0.2);
  const step = moving && N > 200000 ? 8 : 1;
  for (let others = pane.only < 0 ? 0 : 1; others >= 0; others--) { // below the frames that the map is about the others lie in grey
    for (let k = 0; k < N; k += step) {
      const i = order[k], g = groups[i];
      if (off[g] || (pane.only >= 0 && allowed(pane, i) === (others === 1))) continue;
      const left = Math.round(((X[i] / 65535 - view.x) * s + width / 2) * ratio - square / 2);
      const top = Math.round(((view.y - Y[i] / 65535) * s + height / 2) * ratio - square / 2);
      if (left < 0 || top < 0 || left + square > across || top + square > down) continue;
      const colour = others ? grey : (chosen && !chosen.has(i) ? faint : bright)[g];
      for (let y = top; y < top + square; y++) for (let at = y * across + left, end = at + square; at < end; at++) cells[at] = colour;
    }
  }
  pen.putImageData(pane.frame, 0, 0);
  pen.strokeStyle = style.getPropertyValue("--ink"); pen.lineWidth = 2;
  if (pinned >= 0) { const [x, y] = screen(pane, pinned); pen.strokeRect(x - size, y - size, 2 * size, 2 * size); }
  if (pane.path) { pen.beginPath(); pane.path.forEach(([x, y], n) => n ? pen.lineTo(x, y) : pen.moveTo(x, y)); pen.stroke(); }
  if (!moving) count(pane);
  document.documentElement.dataset.drawn = String(N);
}

function count(pane) {
  let shown = 0, taken = 0;
  for (let i = 0; i < N; i++) if (seen(pane, i)) { shown++; if (chosen?.has(i)) taken++; }
  $(`told-${pane.number}`).textContent = `${shown.toLocaleString("en")} frames${chosen ? `, ${taken.toLocaleString("en")} chosen` : ""}`;
}

function resize(pane) {
  const box = pane.canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  pane.width = box.width; pane.height = box.height; pane.canvas.width = box.width * ratio; pane.canvas.height = box.height * ratio;
  pane.pen.setTransform(ratio, 0, 0, ratio, 0, 0); redraw();
}

function nearest(pane, x, y, reach) { // in the map's own numbers: a million points are looked at while the mouse moves
  const [X, Y] = ATLAS.maps[pane.model], { view } = pane;
  const s = side(pane) / 65535, ax = 65535 * view.x + (x - pane.width / 2) / s, ay = 65535 * view.y - (y - pane.height / 2) / s;
  let best = -1, least = (reach / s) ** 2;
  for (let i = 0; i < N; i++) {
    const a = X[i] - ax, b = Y[i] - ay, d = a * a + b * b;
    if (d < least && seen(pane, i)) { least = d; best = i; }
  }
  return best;
}

function hover(pane, i, x, y) {
  const tip = $("tip"); tip.hidden = i < 0;
  if (i < 0) return;
  if (tip.parentElement !== pane.canvas.parentElement) pane.canvas.parentElement.append(tip);
  if (tip.dataset.i !== String(i)) { tip.dataset.i = String(i); $("tip-picture").src = `pictures/${i}.jpg`; }
  $("tip-text").textContent = by ? `${by}: ${said(by, i)}` : ATLAS.id[i];
  tip.style.left = `${x > pane.width - 200 ? x - 184 : x + 12}px`; tip.style.top = `${y > pane.height - 180 ? y - 170 : y + 12}px`;
}

function inside(xs, ys, x, y) { // a polygon by the coordinates of its corners
  let odd = false;
  for (let a = 0, b = xs.length - 1; a < xs.length; b = a++) if ((ys[a] > y) !== (ys[b] > y) && x < (xs[b] - xs[a]) * (y - ys[a]) / (ys[b] - ys[a]) + xs[a]) odd = !odd;
  return odd;
}

function choose(pane, points) {
  const found = [], s = side(pane), [X, Y] = ATLAS.maps[pane.model], { view, width, height } = pane;
  const [xs, ys] = [0, 1].map(axis => Float64Array.from(points, point => point[axis]));
  const left = Math.min(...xs), right = Math.max(...xs), top = Math.min(...ys), bottom = Math.max(...ys);
  for (let i = 0; i < N; i++) {
    const x = (X[i] / 65535 - view.x) * s + width / 2, y = (view.y - Y[i] / 65535) * s + height / 2;
    if (x >= left && x <= right && y >= top && y <= bottom && seen(pane, i) && inside(xs, ys, x, y)) found.push(i);
  }
  select(found);
}

function zoom(pane, factor, x, y) {
  const s = side(pane), { view, width, height } = pane, ax = (x - width / 2) / s + view.x, ay = view.y - (y - height / 2) / s;
  view.scale = Math.min(400, Math.max(0.5, view.scale * factor));
  const t = side(pane); view.x = ax - (x - width / 2) / t; view.y = ay + (y - height / 2) / t; move(pane);
}
function each(action) { // once for each way the frames lie, for maps of one model move together
  for (const pane of panes) if (pane.number === 1 || pane.model !== panes[0].model) action(pane);
}
function zoomAll(factor) { each(pane => zoom(pane, factor, pane.width / 2, pane.height / 2)); }
function all() { for (const pane of panes) pane.view = whole(); redraw(); }
function lasso(on) { lassoing = on; $("lasso").setAttribute("aria-pressed", String(on)); }

function listen(pane) {
  const { canvas, down } = pane;
  const at = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.onpointerdown = event => {
    canvas.setPointerCapture(event.pointerId); down.set(event.pointerId, at(event)); pane.moved = 0; hover(pane, -1);
    pane.path = down.size === 1 && (lassoing || event.shiftKey) ? [at(event)] : null;
  };
  canvas.onpointermove = event => {
    const [x, y] = at(event), before = down.get(event.pointerId);
    if (!before) { if (event.pointerType === "mouse") hover(pane, nearest(pane, x, y, 10), x, y); return; }
    pane.moved += Math.abs(x - before[0]) + Math.abs(y - before[1]); down.set(event.pointerId, [x, y]);
    if (pane.path) { pane.path.push([x, y]); move(pane); return; }
    if (down.size === 2) {
      const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const was = Math.hypot(before[0] - other[0], before[1] - other[1]), is = Math.hypot(x - other[0], y - other[1]);
      if (was > 0) zoom(pane, is / was, (x + other[0]) / 2, (y + other[1]) / 2); return;
    }
    const s = side(pane); pane.view.x -= (x - before[0]) / s; pane.view.y += (y - before[1]) / s; move(pane);
  };
  canvas.onpointerup = canvas.onpointercancel = event => {
    down.delete(event.pointerId);
    if (pane.path && pane.path.length > 2) { const points = pane.path; pane.path = null; choose(pane, points); lasso(false); }
    else if (pane.moved < 6 && event.type === "pointerup") { const [x, y] = at(event); pane.path = null; show(nearest(pane, x, y, 16)); }
  };
  canvas.onpointerleave = () => hover(pane, -1);
  canvas.onwheel = event => { event.preventDefault(); zoom(pane, Math.exp(-event.deltaY / 400), ...at(event)); };
  canvas.onkeydown = event => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key], { view, width, height } = pane;
    if (step) { view.x += step[0] * 0.1 / view.scale; view.y += step[1] * 0.1 / view.scale; move(pane); }
    else if (event.key === "+" || event.key === "=") zoom(pane, 1.4, width / 2, height / 2);
    else if (event.key === "-") zoom(pane, 1 / 1.4, width / 2, height / 2);
    else if (event.key === "0") all();
    else if (event.key === "l") lasso(!lassoing);
    else if (event.key === "Enter") show(nearest(pane, width / 2, height / 2, Infinity));
    else if (event.key === "Escape") { pane.path = null; clear(); }
    else return;
    event.preventDefault();
  };
  new ResizeObserver(() => resize(pane)).observe(canvas);
}
$("lasso").onclick = () => lasso(!lassoing); $("all").onclick = all; $("clear").onclick = clear;
$("in").onclick = () => zoomAll(1.4); $("out").onclick = () => zoomAll(1 / 1.4);

function set(pane, setting, value) { pane[setting] = value; $(`${setting}-${pane.number}`).value = String(value); all(); }
function two(on) {
  $("pane-2").hidden = !on; $("two").setAttribute("aria-pressed", String(on));
  const several = ATLAS.maps.length > 1; // else two datasets are compared, or what is in one and what is not
  set(panes[1], "model", on && several ? 1 - panes[0].model : panes[0].model);
  if (several) return;
  set(panes[0], "only", on ? 0 : -1); set(panes[1], "only", on ? (ATLAS.members.length > 1 ? 2 : 1) : -1);
}
for (const pane of panes) {
  ATLAS.encoders.forEach((name, n) => { text($(`model-${pane.number}`), "option", name).value = n; });
  $(`model-${pane.number}`).hidden = ATLAS.maps.length < 2;
  const only = $(`only-${pane.number}`); only.hidden = !ATLAS.members.length; text(only, "option", "all frames").value = -1;
  ATLAS.members.forEach(({ name }, n) => { text(only, "option", `in ${name}`).value = 2 * n; text(only, "option", `not in ${name}`).value = 2 * n + 1; });
  for (const setting of ["model", "only"]) $(`${setting}-${pane.number}`).onchange = event => set(pane, setting, Number(event.target.value));
  listen(pane);
}
$("two").hidden = ATLAS.maps.length < 2 && !ATLAS.members.length;
$("two").onclick = () => two(!isTwo());
legend(); sort(); if (ATLAS.maps.length > 1) two(true);
