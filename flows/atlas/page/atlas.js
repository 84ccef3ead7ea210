"use strict";
// What the maps of an atlas have in common: colours, what is chosen, the frame that is pinned, questions. Every text goes into the page as text, never as HTML.
const $ = id => document.getElementById(id);
function unpack(text, Kind) { const said = atob(text), bytes = new Uint8Array(said.length); for (let i = 0; i < bytes.length; i++) bytes[i] = said.charCodeAt(i); return new Kind(bytes.buffer); }
ATLAS.maps = ATLAS.maps.map(axes => axes.map(axis => unpack(axis, Uint16Array)));
ATLAS.second = unpack(ATLAS.second, Float32Array);
for (const each of Object.values(ATLAS.predictions)) each.probability = unpack(each.probability, Uint8Array);
for (const colour of Object.values(ATLAS.colours)) colour.codes = unpack(colour.codes, Uint32Array);
for (const each of ATLAS.members) each.bits = unpack(each.bits, Uint8Array);
const N = ATLAS.id.length;
const FIRST = 14; // words with a colour of their own
const MOST_IDS = 5000; // in the SQL of a lasso
const palette = Array.from({ length: FIRST }, (_, i) => `hsl(${(i * 137.5) % 360} ${i % 2 ? 55 : 75}% ${i % 3 ? 48 : 58}%)`);
const OTHER = "#8a9493";
let by = Object.keys(ATLAS.colours)[0] || "", hidden = new Set(), chosen = null, pinned = -1;

function text(parent, tag, said) { const made = document.createElement(tag); made.textContent = said; parent.append(made); return made; }
function group(i) { return by ? Math.min(ATLAS.colours[by].codes[i], FIRST) : FIRST; }
let order = [], groups = [];
function sort() { // the commonest come last, on top
  groups = new Uint8Array(N); for (let i = 0; i < N; i++) groups[i] = group(i);
  const starts = new Uint32Array(FIRST + 2); for (const g of groups) starts[FIRST - g + 1]++;
  for (let g = 1; g < starts.length; g++) starts[g] += starts[g - 1];
  order = new Uint32Array(N); for (let i = 0; i < N; i++) order[starts[FIRST - groups[i]]++] = i;
}

function word(name, i) { const c = ATLAS.colours[name]; return c.names[c.codes[i]]; }
function said(name, i) { // a prediction with its probability
  const told = ATLAS.predictions[name], what = told?.only ?? word(name, i);
  return told ? `${what} (${(told.probability[i] / 255).toFixed(2)})` : what;
}
function fact(list, name, said) { text(list, "dt", name); text(list, "dd", said); }

function show(i) {
  pinned = i; $("frame").hidden = i < 0; redraw();
  if (i < 0) return;
  $("picture").src = `pictures/${i}.jpg`;
  const facts = $("facts"); facts.replaceChildren();
  fact(facts, "frame", ATLAS.id[i]); fact(facts, "second", String(Number(ATLAS.second[i].toFixed(2))));
  for (const name of Object.keys(ATLAS.colours)) if (!ATLAS.predictions[name]) fact(facts, name, word(name, i));
  for (const name of Object.keys(ATLAS.predictions)) fact(facts, name, said(name, i));
  details(i);
}

function select(found) {
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

function clear() { chosen = null; $("chosen").hidden = true; show(-1); }

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
$("by").onchange = () => { by = $("by").value; legend(); sort(); redraw(); };
if (ATLAS.sql) { // the box for statements is there before anything is chosen
  $("asking").hidden = false; $("asking").prepend($("sql").parentElement); $("sql").value = "FROM funnel"; $("ask").onclick = ask;
}
