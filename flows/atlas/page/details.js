"use strict";
// What stands behind the points. Parts are scripts that call told(), which a page can load from a folder too.
const parts = new Map();
function told(name, content) { parts.get(name)?.done(content); }
function part(name) {
  if (!parts.has(name)) {
    const made = {}, script = document.createElement("script");
    made.promise = new Promise((done, failed) => { made.done = done; script.onerror = () => failed(new Error("no answer; if frames were removed from the lake, start the atlas again")); });
    parts.set(name, made); script.src = `parts/${name}.js`; document.head.append(script);
    made.promise.catch(() => parts.delete(name)).finally(() => script.remove());
  }
  return parts.get(name).promise;
}

function add(parent, tag, attributes = {}) { const made = document.createElement(tag); for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value); parent.append(made); return made; }
function drawing(parent, w, h, label) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("viewBox", `0 0 ${w} ${h}`); made.setAttribute("role", "img"); made.setAttribute("aria-label", label); parent.append(made); return made;
}
function bar(svg, x, y, w, h, said) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "rect"), title = document.createElementNS("http://www.w3.org/2000/svg", "title");
  for (const [name, value] of Object.entries({ x, y, width: w, height: h })) made.setAttribute(name, value);
  title.textContent = said; made.append(title); svg.append(made); return made;
}
function number(value) { return value.toLocaleString("en"); }
function pictures(parent, points, said = i => ATLAS.id[i]) {
  const box = add(parent, "div", { class: "pictures" });
  for (const i of points) {
    const button = add(box, "button", { class: "picture", "aria-label": `frame ${ATLAS.id[i]}` }), image = add(button, "img", { src: `pictures/${i}.jpg`, alt: "", loading: "lazy" });
    image.title = said(i); button.onclick = () => { show(i); $("frame").scrollIntoView({ block: "nearest" }); };
  }
  return box;
}
function table(parent, head, rows) {
  const made = add(add(parent, "div", { class: "wide" }), "table"), top = made.insertRow();
  for (const name of head) text(top, "th", name);
  for (const row of rows) { const line = made.insertRow(); for (const value of row) line.insertCell().textContent = typeof value === "number" ? number(value) : String(value); }
  return made;
}

function near(box, found, common = new Set()) {
  const cosines = new Map(found), grid = pictures(box, found.map(([j]) => j), j => `${cosines.get(j)} ${ATLAS.id[j]}`);
  found.forEach(([j], n) => grid.children[n].classList.toggle("common", common.has(j)));
}
function beside(box, frame) { // two models: what each finds nearest, with what both find outlined
  const others = new Set(frame.near_beside.map(([j]) => j)), common = new Set(frame.near.map(([j]) => j).filter(j => others.has(j)));
  text(box, "p", `${common.size} of the ${frame.near.length} nearest are so by both models; they are outlined.`);
  const two = add(box, "div", { class: "two" });
  [frame.near, frame.near_beside].forEach((found, n) => { const side = add(two, "div"); text(side, "h3", `Nearest by ${ATLAS.encoders[n]}`); near(side, found, common); });
}

async function details(i) {
  const box = $("more"); box.replaceChildren(); $("framed").querySelectorAll("i").forEach(mark => mark.remove());
  let frame;
  try { frame = await part(`frames/${i}`); } catch (error) { if (pinned === i) text(box, "p", error.message); return; }
  if (pinned !== i) return;
  for (const [x, y, w, h] of frame.boxes) {
    const mark = add($("framed"), "i", { class: "mark" }), [across, down_] = frame.size;
    mark.style.left = `${100 * x / across}%`; mark.style.top = `${100 * y / down_}%`; mark.style.width = `${100 * w / across}%`; mark.style.height = `${100 * h / down_}%`;
  }
  const facts = add(box, "dl");
  fact(facts, "text boxes", frame.boxes.length ? String(frame.boxes.length) : "none");
  if (!ATLAS.colours["imaging mode"]) fact(facts, "imaging mode", frame.mode);
  for (const [name, value] of Object.entries(frame.scores)) fact(facts, name.replaceAll("_", " "), value === null ? "not a number" : String(value));
  if (frame.near_beside.length) beside(box, frame); else { text(box, "h3", "Nearest on the map"); near(box, frame.near); }
  text(box, "h3", "Made of it"); const uses = add(box, "ul");
  for (const each of frame.datasets) text(uses, "li", `dataset ${each.name}, ${number(each.num_images)} images, tar ${each.shard}`);
  for (const each of frame.models) text(uses, "li", `model ${each.run_id} step ${each.step}, ${each.validation_metric} ${each.validation_score?.toFixed(3)}, ${each.num_scores} scores`);
  if (!uses.childElementCount) text(uses, "li", "nothing yet");
  const line = add(box, "div");
  try { timeline(line, await part(`videos/${frame.video}`), i); } catch (error) { text(line, "p", error.message); }
}

function timeline(box, video, i, at = NaN) {
  text(box, "h3", `Video ${video.id} over time`);
  const n = video.seconds.length, end = Math.max(1, video.seconds[n - 1]), svg = drawing(box, 340, 46, `${n} sampled frames over ${end} seconds`), tally = new Map();
  video.seconds.forEach((second, k) => {
    const fate = video.fates[k], point = video.points[k], x = 340 * second / end * (n - 1) / n;
    tally.set(fate, (tally.get(fate) || 0) + 1);
    const made = bar(svg, x, fate === "kept" ? 2 : 22, Math.max(0.6, 340 / n - 0.4), fate === "kept" ? 18 : 12, `${second} s: ${fate}`);
    made.setAttribute("class", `${fate === "kept" ? "kept" : "dropped"}${(point >= 0 && point === i) || second === at ? " here" : ""}`);
    if (point >= 0) { made.classList.add("open"); made.onclick = () => show(point); }
  });
  const facts = add(box, "dl"); for (const [fate, count] of [...tally].sort((a, b) => b[1] - a[1])) fact(facts, fate.replaceAll("_", " "), number(count));
  fact(facts, "flagged", video.flags.join("; ") || "no");
  const row = add(box, "p"), kept = video.points.filter(point => point >= 0), here = kept.indexOf(i);
  for (const [said, to] of [["Earlier", kept[here - 1]], ["Later", kept[here + 1]]]) { const button = text(row, "button", said); button.disabled = to === undefined; button.onclick = () => show(to); row.append(" "); }
}

const MOST_CLUSTERS = 60; // of one cluster above that are listed
async function clusters(box) {
  const { levels } = await part("clusters");
  if (!levels.length) { text(box, "p", "There is no dataset yet, and so no tree of clusters."); return; }
  text(box, "p", "Frames of each cluster before and after sampling, the largest first. Bars grow as the square root. Clusters without a frame on the map are left out.");
  const largest = Math.max(1, ...levels.flat().map(([, before]) => before));
  function list(parent, level, above) {
    const members = levels[level].map((each, place) => [each, place]).filter(([each]) => above < 0 || each[4] === above);
    for (const [[id, before, after, points], place] of members.slice(0, MOST_CLUSTERS)) {
      const node = add(parent, "details"), head = add(node, "summary");
      text(head, "span", `level ${levels.length - level}, cluster ${id}: ${number(before)} frames, ${number(after)} chosen`);
      const svg = drawing(head, 100, 6, `${before} before and ${after} after sampling`);
      bar(svg, 0, 0, 100 * Math.sqrt(before / largest), 3, `${before} before`); bar(svg, 0, 3, 100 * Math.sqrt(after / largest), 3, `${after} after`).setAttribute("class", "kept");
      node.ontoggle = () => { if (!node.open || node.dataset.full) return; node.dataset.full = "1"; pictures(node, points); if (level + 1 < levels.length) list(node, level + 1, place); };
    }
    if (members.length > MOST_CLUSTERS) text(parent, "p", `${number(members.length - MOST_CLUSTERS)} smaller ones`);
  }
  list(box, 0, -1);
}

async function datasets(box) {
  const names = await part("datasets");
  if (!names.length) { text(box, "p", "There is no dataset yet."); return; }
  if (names.length < 2) { text(box, "p", `There is one dataset, ${names[0]}. A second one can be compared with it.`); return; }
  const pick = add(box, "p"), sides = [0, 1].map(place => { const made = add(pick, "select", { "aria-label": place ? "second dataset" : "first dataset" }); names.forEach((name, n) => { text(made, "option", name).value = n; }); made.value = place; pick.append(" "); return made; });
  const out = add(box, "div");
  async function compare() {
    out.replaceChildren(); const [a, b] = sides.map(made => made.value);
    if (a === b) { text(out, "p", "Choose two different datasets."); return; }
    let both; try { both = await part(`datasets/${a}-${b}`); } catch { text(out, "p", "This pair was not exported."); return; }
    const facts = add(out, "dl"); fact(facts, "in both", number(both.both)); both.names.forEach((name, n) => fact(facts, `only in ${name}`, number(both.only[n])));
    for (const [column, rows] of Object.entries(both.by)) { text(out, "h3", `Images by ${column}`); table(out, [column, ...both.names], rows); }
    both.names.forEach((name, n) => { if (both.points[n].length) { text(out, "h3", `Only in ${name}`); pictures(out, both.points[n]); } });
  }
  sides.forEach(made => { made.onchange = compare; }); await compare();
}

async function showNights(box) {
  const rows = await part("nights");
  if (!rows.length) { text(box, "p", "Nothing has run yet."); return; }
  const last = rows.slice(-60), most = Math.max(1, ...last.map(row => row.num_frames_kept)), w = 340 / last.length;
  text(box, "h3", "Frames kept by night"); const svg = drawing(box, 340, 80, "frames kept in each night");
  last.forEach((row, n) => bar(svg, n * w, 78 - 76 * row.num_frames_kept / most, Math.max(1, Math.min(40, w - 1)), 2 + 76 * row.num_frames_kept / most, `${row.night}: ${row.num_frames_kept}`).setAttribute("class", row.num_failed ? "dropped" : "kept"));
  table(box, ["night", "videos", "hours", "kept", "rejects", "failed"], last.reverse().map(row => [row.night, row.num_videos, row.video_hours, row.num_frames_kept, row.num_rejects, row.num_failed]));
}

async function dropped(reason) {
  const box = $("dropped"); box.replaceChildren(); text(box, "p", "…");
  let found; try { found = await part(`reasons/${reason}`); } catch (error) { box.replaceChildren(); text(box, "p", error.message); return; }
  box.replaceChildren(); text(box, "h3", `Dropped: ${reason.replaceAll("_", " ")}`);
  text(box, "p", found.pictures.length ? `${found.pictures.length} of ${number(found.num)} frames. Click one for its video over time.` : `No picture of these ${number(found.num)} frames may be shown or was kept.`);
  const grid = add(box, "div", { class: "pictures" }), line = add(box, "div");
  for (const each of found.pictures) {
    const button = add(grid, "button", { class: "picture", "aria-label": `frame ${each.id}, second ${each.second} of video ${each.video}` });
    add(button, "img", { src: `data:image/jpeg;base64,${each.jpeg}`, alt: "" }).title = `${each.second} s of video ${each.video}, frame ${each.id}`;
    button.onclick = async () => {
      line.replaceChildren(); text(line, "p", `Frame ${each.id}, second ${each.second}`);
      if (each.place < 0) { text(line, "p", `Video ${each.video} has no frame on the map.`); return; }
      try { timeline(line, await part(`videos/${each.place}`), -1, each.second); line.scrollIntoView({ block: "nearest" }); } catch (error) { text(line, "p", error.message); }
    };
  }
}

for (const [step, count] of ATLAS.funnel) {
  const [what, reason] = step.split(": ");
  fact($("funnel"), step, number(count));
  if (what !== "dropped" || !reason) continue;
  const word = $("funnel").querySelector("dt:last-of-type"); word.replaceChildren();
  text(word, "button", step.replaceAll("_", " ")).onclick = () => dropped(reason);
}

const TABS = { map: null, clusters, datasets, nights: showNights };
async function openTab(name) {
  for (const each of Object.keys(TABS)) { $(`panel-${each}`).hidden = each !== name; $(`tab-${each}`).setAttribute("aria-selected", String(each === name)); $(`tab-${each}`).tabIndex = each === name ? 0 : -1; }
  const box = $(`panel-${name}`);
  if (!TABS[name] || box.dataset.full) return;
  box.dataset.full = "1";
  try { await TABS[name](box); } catch (error) { delete box.dataset.full; box.replaceChildren(); text(box, "p", error.message); }
}
Object.keys(TABS).forEach((name, n, all_) => {
  const tab = $(`tab-${name}`); tab.onclick = () => openTab(name); tab.tabIndex = n ? -1 : 0;
  tab.onkeydown = event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]; if (!step) return;
    const next = all_[(n + step + all_.length) % all_.length]; openTab(next); $(`tab-${next}`).focus(); event.preventDefault();
  };
});

if (ATLAS.sql) {
  $("searching").hidden = false;
  $("similar").onchange = async () => {
    const [file] = $("similar").files, box = $("found"); if (!file) return;
    box.replaceChildren(); text(box, "p", "Looking; the first picture takes some seconds …");
    let near; try { near = await (await fetch("similar", { method: "POST", body: file })).json(); } catch (error) { near = { error: `no answer: ${error.message}` }; }
    box.replaceChildren();
    if (!near.near) { text(box, "p", near.error || near.detail || "no answer"); return; }
    pictures(box, near.near.map(([i]) => i), i => `${near.near.find(([j]) => j === i)[1]} ${ATLAS.id[i]}`);
    select(near.near.map(([i]) => i));
  };
}
