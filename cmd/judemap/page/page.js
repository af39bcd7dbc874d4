// The page: a table of all segments and streams, and more of the one that is chosen. It only asks this machine.
// Everything that comes from the server is set as text; nothing is made from it as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const minute = 60; // samples of a sparkline
const rows = new Map(); // by id: what is known and shown of a segment or stream
let order = "bytes", ascending = false;
let chosen = ""; // an id
let sample = null; // the newest
let paused = false;
let events = null; // the EventSource
let lookTimer = 0, looking = false;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function element(name, attributes, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) e.setAttribute(key, value);
  e.append(...children);
  return e;
}

function svg(name, attributes) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) e.setAttribute(key, value);
  return e;
}

// text sets the text of an element, where it is another one: a change of nothing would be work, and noise.
function text(e, value) {
  value = String(value);
  if (e.textContent !== value) e.textContent = value;
}

function attribute(e, name, value) {
  if (e.getAttribute(name) !== value) e.setAttribute(name, value);
}

function rateText(rate) {
  if (rate === 0) return "0";
  if (rate < 9.95) return rate.toFixed(1);
  return Math.round(rate).toLocaleString("en");
}

function bytesText(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
  let i = 0;
  while (bytes >= 999.5 && i < units.length - 1) { bytes /= 1000; i++; }
  return (i === 0 ? Math.round(bytes) : Number(bytes.toPrecision(3)).toFixed(bytes < 9.995 ? 2 : bytes < 99.95 ? 1 : 0)) + " " + units[i];
}

function ageText(row) {
  if (row.age_seconds === null) return "–";
  const s = row.age_seconds;
  if (s < 0.5 && !row.age_at_least) return "now";
  const t = s < 120 ? Math.round(s) + " s" : s < 7200 ? Math.round(s / 60) + " min" : s < 172800 ? Math.round(s / 3600) + " h" : Math.round(s / 86400) + " d";
  return (row.age_at_least ? "> " : "") + t;
}

function tensorText(row) {
  if (row.problem || !row.dtype) return row.problem || "";
  return row.dtype + " " + shapeText(row.shape);
}

const shapeText = (shape) => `[${(shape || []).join(" ")}]`;
const count = (n, one, many) => Number(n).toLocaleString("en") + " " + (n === 1 ? one : many);

// The table.

function newRow(id) {
  const button = element("button", { type: "button" });
  const kind = element("small");
  const spark = svg("svg", { class: "spark", viewBox: "0 0 120 24", preserveAspectRatio: "none", "aria-hidden": "true" });
  const area = svg("path", { class: "area" }), path = svg("path");
  spark.append(area, path);
  const cell = (kind) => element("td", kind ? { class: kind } : {});
  const cells = { tensor: cell("tensor wide3"), spark: cell("wide2"), commits: cell("number wide0"), bytes: cell("number"), age: cell("number"),
    readers: cell("number wide1"), missed: cell("number wide1"), writer: cell("wide1") };
  cells.spark.append(spark);
  const tr = element("tr", {}, element("th", { scope: "row" }, button, kind), ...Object.values(cells));
  button.addEventListener("click", (event) => { event.stopPropagation(); choose(id === chosen ? "" : id, button); });
  tr.addEventListener("click", () => { if (getSelection().isCollapsed) choose(id, button); });
  return { id, tr, button, kind, area, path, cells, history: [] };
}

function update(r) {
  const { row, cells } = r;
  text(r.button, row.label);
  attribute(r.button, "title", row.label);
  attribute(r.button, "aria-expanded", String(r.id === chosen));
  attribute(r.button, "aria-controls", "detail");
  text(r.kind, row.kind ? row.kind + (row.every_frame ? ", every frame" : "") : row.problem);
  r.kind.className = row.kind ? "" : "bad";
  r.tr.className = r.id === chosen ? "chosen" : "";
  text(cells.tensor, tensorText(row));
  attribute(cells.tensor, "title", tensorText(row));
  const still = row.commits_per_second === 0 ? " still" : "";
  text(cells.commits, row.kind ? rateText(row.commits_per_second) : "–");
  text(cells.bytes, row.kind ? bytesText(row.bytes_per_second) : "–");
  cells.commits.className = "number wide0" + still;
  cells.bytes.className = "number" + still;
  text(cells.age, ageText(row));
  text(cells.readers, row.slots ? (row.dead_readers ? `${row.readers - row.dead_readers}, ${row.dead_readers} dead` : row.readers) : "–");
  cells.readers.className = "number wide1" + (row.dead_readers ? " bad" : row.slots ? "" : " still");
  text(cells.missed, row.slots ? row.missed.toLocaleString("en") : "–");
  cells.missed.className = "number wide1" + (row.slots ? "" : " still");
  text(cells.writer, row.writer || "–");
  cells.writer.className = "wide1" + (row.writer === "died" ? " bad" : row.writer === "none" ? " still" : "");
  attribute(r.area, "d", line(r.history, 120, 24, true));
  attribute(r.path, "d", line(r.history, 120, 24, false));
}

// line returns the path of a history, with room for a minute of it, the newest at the right.
function line(history, width, height, closed) {
  const most = 1.15 * Math.max(...history, 0); // so that what is steady is not at the edge
  if (!history.length || most === 0) return "";
  const x = (i) => (width - (history.length - 1 - i) * width / (minute - 1)).toFixed(1);
  const y = (v) => (height - 1 - (height - 2) * v / most).toFixed(1);
  const points = history.map((v, i) => x(i) + " " + y(v));
  if (closed) return `M${x(0)} ${height}L${points.join("L")}L${x(history.length - 1)} ${height}Z`;
  return "M" + points.join("L");
}

// rank returns what a row is sorted by. Rates that are nearly the same rank the same, so that rows don't change places all
// the time.
const ranks = {
  name: (r) => r.row.label,
  commits: (r) => Math.round(4 * Math.log2(1 + smooth(r, (row) => row.commits_per_second))),
  bytes: (r) => Math.round(4 * Math.log2(1 + smooth(r, (row) => row.bytes_per_second))),
  age: (r) => r.row.age_seconds === null ? -1e12 : -r.row.age_seconds - (r.row.age_at_least ? 1e9 : 0),
  readers: (r) => r.row.slots ? r.row.readers : -1,
  missed: (r) => r.row.slots ? Math.round(4 * Math.log2(1 + r.row.missed)) : -1,
  writer: (r) => r.row.writer || "",
};

function smooth(r, of) {
  return r.row.kind ? of(r.row) : -0.5;
}

function sort(force) {
  const body = $("rows");
  // Rows stay where they are while somebody points at one, or has come to one by keyboard.
  if (!force && (body.matches(":hover") || body.querySelector(":focus-visible"))) return;
  const rank = ranks[order];
  const wordy = order === "name" || order === "writer";
  const sorted = [...rows.values()].sort((a, b) => {
    const x = rank(a), y = rank(b);
    const d = wordy ? (x < y ? -1 : x > y ? 1 : 0) : x - y;
    return (ascending ? d : -d) || (a.row.label < b.row.label ? -1 : 1);
  });
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  let at = body.firstChild;
  for (const r of sorted) {
    if (r.tr === at) at = at.nextSibling;
    else body.insertBefore(r.tr, at);
  }
  if (focused && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

// filter shows the rows whose names have what is looked for, and says what all of them together are.
function filter() {
  const wanted = $("filter").value.toLowerCase();
  let shown = 0, active = 0, commits = 0, bytes = 0;
  for (const r of rows.values()) {
    r.tr.hidden = !r.row.label.toLowerCase().includes(wanted);
    if (r.tr.hidden) continue;
    shown++;
    if (r.row.commits_per_second > 0) active++;
    commits += r.row.commits_per_second;
    bytes += r.row.bytes_per_second;
  }
  if (sample) text($("totals"), `${shown === rows.size ? shown : `${shown} of ${rows.size}`} shown, ${active} written to · ${rateText(commits)} commits/s · ${bytesText(bytes)}/s`);
  $("table").hidden = $("legend").hidden = shown === 0;
  $("empty").hidden = shown !== 0 || !sample;
  if (sample && sample.problem) text($("empty"), sample.problem);
  else if (rows.size) text($("empty"), `No name has “${$("filter").value}” in it.`);
  else text($("empty"), "There are no segments or streams on this machine that you may read. They appear here when a program makes one.");
}

function take(message) {
  sample = message;
  const there = new Set();
  for (const row of message.rows || []) {
    there.add(row.id);
    let r = rows.get(row.id);
    if (!r) {
      r = newRow(row.id);
      rows.set(row.id, r);
      $("rows").append(r.tr);
    }
    r.row = row;
    if (message.interval_seconds > 0) r.history.push(row.bytes_per_second);
    if (r.history.length > minute) r.history.shift();
    update(r);
  }
  for (const [id, r] of rows) {
    if (there.has(id)) continue;
    const focused = r.tr.contains(document.activeElement);
    r.tr.remove();
    rows.delete(id);
    if (focused) $("list").focus();
  }
  sort(false);
  filter();
  if (chosen) {
    const r = rows.get(chosen);
    if (r) showRate(r);
    else gone();
  } else if (location.hash.length > 1 && rows.has(location.hash.slice(1))) choose(location.hash.slice(1));
}

for (const th of document.querySelectorAll("#table th[data-sort]")) {
  th.querySelector("button").addEventListener("click", () => {
    const by = th.dataset.sort;
    ascending = by === order ? !ascending : by === "name" || by === "writer";
    order = by;
    showOrder();
    sort(true);
  });
}

function showOrder() {
  for (const th of document.querySelectorAll("#table th[data-sort]")) {
    if (th.dataset.sort === order) th.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    else th.removeAttribute("aria-sort");
  }
}

// The one that is chosen.

function choose(id, from) {
  if (id === chosen) return;
  const before = rows.get(chosen);
  chosen = id;
  if (before) update(before);
  clearTimeout(lookTimer);
  $("main").classList.toggle("two", id !== "");
  $("detail").hidden = id === "";
  history.replaceState(null, "", id ? "#" + id : location.pathname);
  if (!id) {
    if (before && before.tr.isConnected) before.button.focus();
    return;
  }
  const r = rows.get(id);
  update(r);
  clearDetail(r);
  showRate(r);
  if (from && getComputedStyle($("list")).display === "none") {
    $("detail").focus(); // the list made room for it
    scrollTo(0, 0);
  }
  look();
}

function clearDetail(r) {
  text($("detail-name"), r.row.label);
  text($("detail-what"), whatText(r.row));
  for (const id of ["picture", "values", "stream", "pace", "header-box"]) $(id).hidden = true;
  $("picture-image").removeAttribute("src");
  $("picture-image").dataset.key = "";
  showProblem(r.row.problem || "");
  facts($("facts"), []);
  $("detail").scrollTop = 0;
}

function whatText(row) {
  const kind = !row.kind ? "Can't be opened" : row.kind === "stream" ? "Stream, " + (row.every_frame ? "every frame counts" : "the newest frame wins") : "Segment";
  return kind + (row.dtype ? ` · ${row.dtype} ${shapeText(row.shape)}` : "");
}

function showProblem(problem) {
  $("detail-problem").hidden = !problem;
  text($("detail-problem"), problem ? problem[0].toUpperCase() + problem.slice(1) + "." : "");
}

// gone says that what was chosen is there no more.
function gone() {
  clearTimeout(lookTimer);
  lookTimer = 0;
  showProblem("it was removed");
  say($("detail-name").textContent + " was removed.");
}

// facts fills a list of terms and their values, and keeps its elements where the terms are the same.
function facts(list, pairs) {
  while (list.children.length > pairs.length) list.lastChild.remove();
  pairs.forEach(([term, value, bad], i) => {
    if (!list.children[i]) list.append(element("div", {}, element("dt"), element("dd")));
    const [dt, dd] = list.children[i].children;
    text(dt, term);
    text(dd, value);
    dd.className = bad ? "bad" : "";
  });
}

// tableRows fills the body of a table with texts.
function tableRows(body, lines, classes) {
  while (body.children.length > lines.length) body.lastChild.remove();
  lines.forEach((line, i) => {
    if (!body.children[i]) body.append(element("tr", {}, ...line.map((_, j) => element(j === 0 ? "th" : "td", j === 0 ? { scope: "row", class: classes[j] } : { class: classes[j] }))));
    line.forEach((value, j) => text(body.children[i].children[j], value));
  });
}

function showRate(r) {
  text($("detail-what"), whatText(r.row));
  const chart = $("rate-chart");
  if (!chart.firstChild) chart.append(svg("path", { class: "area" }), svg("path"));
  attribute(chart.firstChild, "d", line(r.history, 600, 100, true));
  attribute(chart.lastChild, "d", line(r.history, 600, 100, false));
  const most = Math.max(...r.history, 0);
  text($("rate-text"), most ? `Now ${bytesText(r.row.bytes_per_second)}/s, at most ${bytesText(most)}/s.` : "No commit was seen in the last minute.");
}

async function look() {
  clearTimeout(lookTimer);
  if (!chosen || paused || document.hidden || looking) return;
  const id = chosen;
  looking = true;
  try {
    const answer = await fetch("look?id=" + encodeURIComponent(id));
    if (id !== chosen) return;
    if (answer.ok) await show(await answer.json());
    else if (answer.status === 404) gone();
    else showProblem((await answer.text()).trim().replace(/\.$/, ""));
  } catch {
    // The events tell of a lost connection.
  } finally {
    looking = false;
    // What was removed is looked at again when it is back. A calm page has its picture change less often.
    lookTimer = rows.has(chosen) ? setTimeout(look, id !== chosen ? 0 : calm.matches ? 5000 : 400) : 0;
  }
}

async function show(seen) {
  if (seen.picture && $("picture-image").dataset.key !== seen.picture.key) await showPicture(seen);
  if (seen.id !== chosen || paused) return;
  const row = rows.get(chosen)?.row;
  if (!row) return;
  $("picture").hidden = !seen.picture;
  showProblem(seen.problem || "");
  facts($("facts"), [
    ["Commits", Math.floor(Number(seen.version) / 2).toLocaleString("en")],
    ["Last commit", { "–": "none yet", now: "now" }[ageText(row)] || ageText(row) + " ago"],
    ["Writer", seen.writer, seen.writer === "died"],
    ["Tensor", seen.tensor ? bytesText(seen.tensor.bytes) : "none"],
    [row.slots ? "Room in a slot" : "Room", bytesText(seen.capacity)],
    ["File", bytesText(seen.size)],
    ...(row.slots ? [["Slots held", `${row.held_slots} of ${row.slots}`], ["Readers", row.dead_readers ? `${row.readers - row.dead_readers} and ${row.dead_readers} dead` : row.readers, row.dead_readers > 0]] : []),
  ]);
  const p = seen.pace;
  $("pace").hidden = !p;
  if (p) text($("pace"), `Time between commits: median ${ms(p.median_ms)}, least ${ms(p.least_ms)}, greatest ${ms(p.greatest_ms)}. Looked at every 2 ms for the last ${Math.max(1, Math.round(p.seconds))} s.`);
  showValues(seen.tensor);
  showStream(seen);
  $("header-box").hidden = false;
  tableRows($("header"), seen.header.map((f) => [f.offset, f.field, f.value, f.meaning]), ["", "", "", "meaning"]);
}

const ms = (v) => (v < 10 ? v.toFixed(1) : Math.round(v).toLocaleString("en")) + " ms";

// showPicture loads a picture before it shows it, so that the one before stays until then.
async function showPicture(seen) {
  const { width, height, whole_width, whole_height, key } = seen.picture;
  const image = new Image();
  image.src = `picture?id=${encodeURIComponent(seen.id)}&key=${encodeURIComponent(key)}`;
  try { await image.decode(); } catch { return; }
  if (seen.id !== chosen) return;
  const shown = $("picture-image");
  shown.src = image.src;
  shown.dataset.key = key;
  shown.width = width;
  shown.height = height;
  shown.className = Math.max(width, height) < 128 ? "small" : "";
  attribute(shown, "alt", `The tensor of ${seen.label} as a picture`);
  text($("picture-text"), `${whole_width} × ${whole_height} pixels` + (whole_width > width ? `, shown as ${width} × ${height}` : ""));
}

function showValues(tensor) {
  const bins = tensor && tensor.histogram;
  $("values").hidden = !tensor || tensor.elements === 0;
  if ($("values").hidden) return;
  const odd = [];
  if (tensor.nan) odd.push(["NaN", tensor.nan.toLocaleString("en"), true]);
  if (tensor.infinite) odd.push(["Infinite", tensor.infinite.toLocaleString("en"), true]);
  text($("values-title"), tensor.of ? `Values: ${tensor.of} of ${count(tensor.elements, "element", "elements")}` : `Values of ${count(tensor.elements, "element", "elements")}`);
  facts($("numbers"), [...(bins ? [["Least", tensor.min], ["Greatest", tensor.max], ["Mean", tensor.mean]] : []), ...odd]);
  const chart = $("histogram"), same = !bins || tensor.low === tensor.high;
  for (const e of [chart, $("histogram-text"), chart.nextElementSibling]) e.toggleAttribute("hidden", !bins || same && e !== $("histogram-text"));
  if (!bins) return;
  if (same) { text($("histogram-text"), `All are ${tensor.min}.`); return; }
  const most = Math.max(...bins), wide = 600 / bins.length;
  bins.forEach((n, i) => {
    if (!chart.children[i]) chart.append(svg("rect", { x: i * wide + 0.75, width: wide - 1.5 }));
    const high = n ? Math.max(1, 98 * n / most) : 0;
    attribute(chart.children[i], "y", (100 - high).toFixed(1));
    attribute(chart.children[i], "height", high.toFixed(1));
  });
  text($("low"), tensor.low);
  text($("high"), tensor.high);
  const at = bins.indexOf(most), low = Number(tensor.low), step = Number(tensor.high) / bins.length - low / bins.length;
  const short = (v) => Number(v.toPrecision(3));
  text($("histogram-text"), `Histogram in ${bins.length} equal parts. The largest, from ${short(low + at * step)} to ${short(low + (at + 1) * step)}, has ${count(most, "element", "elements")}.`);
}

function showStream(seen) {
  $("stream").hidden = !seen.slots;
  if (!seen.slots) return;
  tableRows($("slots"), seen.slots.map((s) => [s.slot, s.version,
    s.version % 2 ? "being written" : s.version === 0 ? "none" : `${s.dtype} ${shapeText(s.shape)}`,
    s.pinned_by.length ? "reader " + s.pinned_by.join(", ") : "nobody"]), ["", "number", "", ""]);
  $("no-readers").hidden = seen.readers.length > 0;
  $("readers-box").hidden = seen.readers.length === 0;
  tableRows($("readers"), seen.readers.map((r) => [r.reader, r.process, r.behind.toLocaleString("en"), r.held, r.dead ? "dead" : "alive"]),
    ["", "number", "number", "number", ""]);
}

// The connection.

// say has a screen reader say something, once.
function say(message) { text($("said"), message); }

function notice(message) {
  if (message) say(message);
  else if ($("notice").textContent) say("The connection is back.");
  $("notice").classList.toggle("shown", message !== "");
  text($("notice"), message);
}

function connect() {
  if (events) events.close();
  events = new EventSource("events");
  events.addEventListener("sample", (event) => {
    notice("");
    if (!paused) take(JSON.parse(event.data));
    if (!paused && !looking) lookAgain();
  });
  events.addEventListener("error", () => {
    if (document.hidden) return;
    text($("totals"), sample ? `Last seen at ${new Date(sample.time).toLocaleTimeString("en-GB")}` : "Not connected");
    // The browser tries again by itself, unless the server has refused it.
    if (events.readyState !== EventSource.CLOSED) notice("The connection is lost. Is “judemap serve” still running? The page tries again every second.");
    else {
      notice("The server refuses this page. If “judemap serve” was started anew, open the address that it has printed now.");
      setTimeout(() => { if (events.readyState === EventSource.CLOSED && !document.hidden) connect(); }, 5000);
    }
  });
}

// lookAgain goes on where looks have ended, for one that came back.
function lookAgain() {
  if (chosen && rows.has(chosen) && !lookTimer) look();
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  if (!paused) look();
});
$("close").addEventListener("click", () => choose(""));
$("filter").addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chosen && event.target !== $("filter")) choose("");
});
// A page that nobody sees asks for nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { if (events) events.close(); return; }
  connect();
  look();
});
showOrder();
if (!document.hidden) connect();
