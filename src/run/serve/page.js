"use strict";
// The dashboard. What is known of the runs stands in `known`, what the reader chose in `chosen`; `draw` makes the page say so.

const known = { folder: "", problem: null, runs: new Map(), unreadable: new Map(), figures: new Map(), configs: new Map() };
const chosen = { ids: [], colours: new Map(), focus: null, axis: "step", smooth: 0, sort: { key: "name", down: false }, kind: null, place: new Map(), hover: null };
const COLOURS = 8;
// So many rows that came one by one are asked for anew, thinned.
const MANY_ROWS = 4000;
// A run that has said nothing for so long may have died on another machine.
const SILENT_SECONDS = 600;

const CHARTS = [
  { key: "loss", title: "Loss", unit: "nats", smooth: true, reference: run => run.ln_k, referenceWord: "ln K" },
  { key: "entropy", title: "Entropy of the teacher", unit: "nats", smooth: true },
  { key: "kl", title: "KL, teacher to student", unit: "nats", smooth: true },
  { key: "batch_entropy", title: "Entropy of the mean target", unit: "nats", smooth: true },
  { key: "rank", title: "Rank of the features", unit: "directions", evaluation: true, waiting: "not evaluated yet" },
  { key: "knn_top1", title: "k-NN top-1", unit: "%", evaluation: true, waiting: "not evaluated; pretrain with --val DIR" },
  { key: "lr", title: "Learning rate", unit: "" },
  { key: "images_per_second", title: "Speed", unit: "images/s", smooth: true, zero: true },
];

const find = id => document.getElementById(id);

/** An element with properties and children; text stays text. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Sets what differs only, so that nothing is drawn again that looks the same. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Words

const grouped = number => String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, "\u202f");

function short(number, digits = 4) {
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size < 1e-3) return number.toExponential(Math.max(digits - 3, 0)).replace(/\.?0+e/, "e");
  if (size >= 1e4) return grouped(number);
  return String(Number(number.toPrecision(digits)));
}

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

const age = run => (run.heartbeat ? (Date.now() - Date.parse(run.heartbeat)) / 1000 : null);
const percent = value => (value == null ? "–" : `${value.toFixed(1)} %`);
const stepsPerEpoch = run =>
  run.steps_per_epoch > 0 ? run.steps_per_epoch
    : run.epochs > 0 && run.total_steps > 0 ? run.total_steps / run.epochs : null;

// Asking the server

async function ask(address) {
  const answer = await fetch(address);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error || answer.statusText);
  return body;
}

const ofRun = (id, what) => ask(`api/runs/${id}/${what}`);

/** Asks for everything anew: at the beginning, and after something was missed. */
async function refresh() {
  let contents;
  try {
    contents = await ask("api/runs");
  } catch {
    return;
  }
  known.folder = contents.folder;
  known.problem = contents.problem;
  known.runs = new Map(contents.runs.map(run => [run.id, run]));
  known.unreadable = new Map(contents.unreadable.map(run => [run.id, run]));
  known.configs.clear();
  if (!known.asked) choose(atFirst());
  const first = !known.asked;
  known.asked = true;
  keepChoice();
  chosen.ids.forEach(loadFigures);
  loadFocus();
  draw();
  // Of many runs, the chosen one is to be seen.
  if (first) requestAnimationFrame(() => requestAnimationFrame(showChosenRow));
}

function showChosenRow() {
  const card = find("runs-card");
  const row = find("runs").querySelector("tr:has(input:checked)");
  if (row) card.scrollTop = Math.max(0, row.offsetTop - card.clientHeight / 2);
}

/** The runs that the address names, or else the one that shows life, or showed it last. */
function atFirst() {
  const named = location.hash.replace(/^#runs=/, "").split(",").filter(id => known.runs.has(id));
  if (named.length > 0) return named;
  const runs = [...known.runs.values()];
  const rank = run => (run.state === "running" ? "1" : "0") + (run.heartbeat ?? "");
  runs.sort((a, b) => rank(b).localeCompare(rank(a)));
  return runs.slice(0, 1).map(run => run.id);
}

async function loadFigures(id) {
  const before = known.figures.get(id);
  const figures = { steps: before?.steps ?? [], evaluations: before?.evaluations ?? [], every: before?.every ?? 1, late: [] };
  known.figures.set(id, figures);
  let answer;
  try {
    answer = await ofRun(id, "metrics");
  } catch {
    answer = null;
  }
  if (known.figures.get(id) !== figures) return;
  if (answer) {
    Object.assign(figures, { steps: [], evaluations: [], every: answer.every });
    append(figures, answer.rows);
  }
  // What came while the answer was on its way.
  append(figures, figures.late);
  figures.late = null;
  draw();
}

function append(figures, rows) {
  for (const row of rows) {
    const list = row.eval ? figures.evaluations : figures.steps;
    if (list.length === 0 || row.step > list.at(-1).step) list.push(row);
  }
}

function loadConfig(id) {
  if (known.configs.has(id)) return;
  known.configs.set(id, null);
  ofRun(id, "config").then(config => known.configs.set(id, config), () => known.configs.delete(id)).finally(draw);
}

/** Asks for what is shown of the run in focus; an answer that comes when another one is in focus is too late. */
function ofFocus(what, show) {
  const id = chosen.focus;
  if (id) ofRun(id, what).then(answer => { if (id === chosen.focus) show(answer, id); }, () => {});
}

const loadLog = () => ofFocus("log", showLog);
const loadPictures = () => ofFocus("pictures", showGallery);

function loadFocus() {
  loadLog();
  loadPictures();
}

function listen() {
  const events = new EventSource("api/events");
  events.addEventListener("hello", () => { connected(true); refresh(); });
  events.addEventListener("change", event => changed(JSON.parse(event.data)));
  events.onerror = () => {
    connected(false);
    // A browser gives up where the answer is an error; the page does not.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  };
}

function connected(is) {
  find("link").className = is ? "on" : "off";
  say(find("link-word"), is ? "live" : "no answer");
  const folder = known.folder || "runs";
  notice(is ? null : `The server does not answer. If it was stopped, start it again with \u201cdinoxide serve ${folder}\u201d; this page goes on by itself.`);
}

let noticeEnds;
function notice(text, seconds) {
  clearTimeout(noticeEnds);
  find("notice").hidden = text == null;
  find("notice").textContent = text ?? "";
  if (text != null && seconds) noticeEnds = setTimeout(() => notice(null), seconds * 1000);
}

function changed(change) {
  if (change.what === "problem") known.problem = change.problem;
  if (change.what === "unreadable") {
    known.runs.delete(change.run.id);
    known.unreadable.set(change.run.id, change.run);
  }
  if (change.what === "gone") {
    const run = known.runs.get(change.id);
    if (run && chosen.ids.includes(change.id)) notice(`The folder of ${run.name} was deleted.`, 8);
    known.runs.delete(change.id);
    known.unreadable.delete(change.id);
    known.figures.delete(change.id);
  }
  if (change.what === "run") runChanged(change);
  keepChoice();
  draw();
}

function runChanged({ run, rows, restarted }) {
  const before = known.runs.get(run.id);
  known.runs.set(run.id, run);
  known.unreadable.delete(run.id);
  if (restarted) known.configs.delete(run.id);
  if (!chosen.ids.includes(run.id)) {
    known.figures.delete(run.id);
    // The first run of an empty folder is looked at by itself.
    if (known.runs.size === 1) choose([run.id]);
    return;
  }
  const figures = known.figures.get(run.id);
  if (!figures || restarted || figures.steps.length > MANY_ROWS) loadFigures(run.id);
  else if (figures.late) figures.late.push(...rows);
  else append(figures, rows);
  if (run.id !== chosen.focus) return;
  if (before?.log !== run.log) loadLog();
  if (before?.pictures !== run.pictures) loadPictures();
}

// Choosing

function choose(ids) {
  chosen.ids = ids;
  for (const id of chosen.colours.keys()) if (!ids.includes(id)) chosen.colours.delete(id);
  for (const id of ids) {
    if (chosen.colours.has(id)) continue;
    const taken = new Set(chosen.colours.values());
    let colour = 0;
    while (taken.has(colour)) colour += 1;
    chosen.colours.set(id, colour);
  }
  if (!ids.includes(chosen.focus)) {
    chosen.focus = ids.at(-1) ?? null;
    forgetFocus();
    loadFocus();
  }
  for (const id of ids) if (!known.figures.has(id)) loadFigures(id);
  if (known.asked) history.replaceState(null, "", ids.length > 0 ? `#runs=${ids.join(",")}` : location.pathname);
  draw();
}

/** Lets go of chosen runs that are no more. */
function keepChoice() {
  const there = chosen.ids.filter(id => known.runs.has(id));
  if (there.length !== chosen.ids.length) choose(there);
}

const toggle = id => choose(chosen.ids.includes(id) ? chosen.ids.filter(other => other !== id) : [...chosen.ids, id]);

function look(id) {
  chosen.focus = id;
  forgetFocus();
  loadFocus();
  draw();
}

function forgetFocus() {
  shown.gallery = null;
  shown.log = null;
}

const colour = id => `c${(chosen.colours.get(id) ?? 0) % COLOURS}`;

// The table of runs

const order = { running: 0, failed: 1, interrupted: 2, finished: 3 };
const COLUMNS = [
  { name: "run", sort: run => run.name, key: "name" },
  { name: "state", sort: run => order[run.state], key: "state" },
  { name: "progress", sort: run => run.step / (run.total_steps || 1), key: "progress" },
  { name: "eta", sort: run => run.eta_seconds, key: "eta", number: true },
  { name: "loss", sort: run => run.loss, key: "loss", number: true },
  { name: "k-NN", sort: run => run.knn_top1, key: "knn", number: true },
  { name: "best", sort: run => run.best_knn_top1, key: "best", number: true },
  { name: "health", sort: run => run.findings.length, key: "health" },
  { name: "seen", sort: run => run.heartbeat, key: "seen" },
];

function makeHead() {
  const head = find("runs").tHead.rows[0];
  head.append(make("th", { className: "tick", scope: "col" }));
  head.firstChild.setAttribute("aria-label", "shown");
  for (const column of COLUMNS) {
    const button = make("button", { type: "button", textContent: column.name });
    button.onclick = () => {
      chosen.sort = { key: column.key, down: chosen.sort.key === column.key && !chosen.sort.down };
      shown.order = "";
      draw();
    };
    head.append(make("th", { scope: "col", className: column.number ? "number" : "" }, button));
  }
}

function makeRow(id) {
  const cell = (className, ...children) => make("td", { className }, ...children);
  const tick = make("input", { type: "checkbox" });
  const name = make("button", { type: "button" });
  const number = label => make("td", { className: label === "eta" ? "number eta" : "number", "data-label": label });
  const parts = {
    tick, name, about: make("small"), state: make("span"), bar: make("div"), steps: make("small"),
    eta: number("eta"), loss: number("loss"), knn: number("k-NN"), best: number("best"), health: cell("health"), seen: cell("seen"),
  };
  const bar = make("div", { className: "bar" }, parts.bar);
  const row = make("tr", {}, cell("tick", tick), cell("name", name, parts.about), cell("state-cell", parts.state),
    cell("progress", bar, parts.steps), parts.eta, parts.loss, parts.knn, parts.best, parts.health, parts.seen);
  row.dataset.id = id;
  tick.onchange = () => toggle(id);
  row.onclick = event => {
    if (event.target === tick || !known.runs.has(id)) return;
    if (event.target.closest(".tick") || event.ctrlKey || event.metaKey || event.shiftKey) toggle(id);
    else choose([id]);
  };
  row.parts = parts;
  return row;
}

function fillRow(row, run) {
  const { tick, name, about, state, bar, steps, eta, loss, knn, best, health, seen } = row.parts;
  const id = row.dataset.id;
  const is = chosen.ids.includes(id);
  row.className = is ? colour(id) : "";
  tick.checked = is;
  tick.disabled = false;
  tick.setAttribute("aria-label", `show ${run.name}`);
  say(name, run.name);
  say(about, `${run.model} · ${run.data.map(place => place.split("/").filter(Boolean).slice(-2).join("/")).join(", ")}`);
  about.title = run.data.join(", ");
  state.className = `state ${run.state}`;
  say(state, run.state);
  const share = run.total_steps > 0 ? Math.min(1, run.step / run.total_steps) : 0;
  bar.style.width = `${100 * share}%`;
  const each = stepsPerEpoch(run);
  const epoch = each ? ` · epoch ${Math.floor(run.step / each)} of ${Math.ceil(run.total_steps / each)}` : "";
  say(steps, `${grouped(run.step)} of ${run.total_steps > 0 ? grouped(run.total_steps) : "?"}${epoch}`);
  say(eta, run.eta_seconds == null ? "–" : duration(run.eta_seconds));
  say(loss, run.loss == null ? "–" : run.loss.toFixed(3));
  say(knn, percent(run.knn_top1));
  say(best, percent(run.best_knn_top1));
  best.title = run.best_epoch == null ? "" : `epoch ${run.best_epoch}`;
  fillHealth(health, run);
  fillSeen(seen, run);
}

function fillHealth(cell, run) {
  const words = run.findings.length > 0 ? run.findings : [{ name: run.step > 0 ? "ok" : "–", remedy: "" }];
  if (cell.textContent === words.map(word => word.name).join("")) return;
  const tone = word => (word.remedy === "" ? (run.step > 0 ? "good" : "soft") : word.collapse ? "bad" : "warn");
  cell.replaceChildren(...words.map(word => make("div", { className: tone(word), title: word.remedy, textContent: word.name })));
}

function fillSeen(cell, run) {
  const seconds = age(run);
  const silent = run.state === "running" && seconds > SILENT_SECONDS;
  cell.classList.toggle("warn", silent);
  cell.title = silent ? "It may have died on another machine." : run.heartbeat ?? "";
  // In steps of ten seconds, so that the page stays calm.
  const rounded = seconds < 60 ? Math.floor(seconds / 10) * 10 : seconds;
  say(cell, seconds == null ? "never" : rounded < 10 ? "now" : `${duration(rounded).split(" ").slice(0, 2).join(" ")} ago`);
}

function fillUnreadable(row, run) {
  const { tick, name, about, state, bar, steps, eta, loss, knn, best, health, seen } = row.parts;
  row.className = "unreadable";
  tick.checked = false;
  tick.disabled = true;
  tick.setAttribute("aria-label", `${run.name} cannot be shown`);
  say(name, run.name);
  say(about, run.reason);
  state.className = "state unreadable";
  say(state, "unreadable");
  bar.style.width = "0";
  for (const cell of [eta, loss, knn, best, seen, health]) say(cell, "–");
  say(steps, "mend config.toml, or delete the folder");
}

function drawTable() {
  const body = find("runs").tBodies[0];
  const all = new Map([...known.runs, ...known.unreadable]);
  for (const row of [...body.rows]) if (!all.has(row.dataset.id)) row.remove();
  const rows = new Map([...body.rows].map(row => [row.dataset.id, row]));
  for (const id of all.keys()) if (!rows.has(id)) rows.set(id, makeRow(id));
  for (const [id, row] of rows) {
    const run = known.runs.get(id);
    if (run) fillRow(row, run);
    else fillUnreadable(row, known.unreadable.get(id));
  }
  // Rows move when a reader sorts or a run is new, not whenever a number changes.
  const members = [...all.keys()].sort().join(",");
  if (shown.order !== members) {
    shown.order = members;
    // A row that stands right is not touched: it may have the keyboard.
    sorted(all).forEach((id, index) => {
      if (body.rows[index] !== rows.get(id)) body.insertBefore(rows.get(id), body.rows[index] ?? null);
    });
  }
  COLUMNS.forEach((column, index) => {
    const head = find("runs").tHead.rows[0].cells[index + 1];
    if (column.key !== chosen.sort.key) head.removeAttribute("aria-sort");
    else head.setAttribute("aria-sort", chosen.sort.down ? "descending" : "ascending");
  });
  find("runs-card").hidden = all.size === 0;
  say(find("count"), all.size === 0 ? "" : counted([...known.runs.values()], known.unreadable.size));
}

function counted(runs, unreadable) {
  const running = runs.filter(run => run.state === "running").length;
  const words = [`${runs.length} run${runs.length === 1 ? "" : "s"}`];
  if (running > 0) words.push(`${running} under way`);
  if (unreadable > 0) words.push(`${unreadable} unreadable`);
  return words.join(", ");
}

function sorted(all) {
  const { key, down } = chosen.sort;
  const value = COLUMNS.find(column => column.key === key).sort;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  const rank = id => (known.runs.has(id) ? value(known.runs.get(id)) : null);
  return [...all.keys()].sort((a, b) => {
    const [first, second] = [rank(a), rank(b)];
    // What has no value stands last, whichever way.
    if (first == null || second == null) return (first == null) - (second == null) || compare(all.get(a).name, all.get(b).name);
    return (down ? -1 : 1) * compare(first, second) || compare(all.get(a).name, all.get(b).name);
  });
}

function drawEmpty() {
  const none = known.runs.size + known.unreadable.size === 0;
  const text = JSON.stringify([none, known.problem, known.folder]);
  if (!known.asked || shown.empty === text) return;
  shown.empty = text;
  find("empty").hidden = !none && !known.problem;
  const folder = known.folder.replace(/\/$/, "");
  if (known.problem) {
    find("empty").replaceChildren(make("strong", { textContent: "The folder cannot be read." }), `${known.problem}. Runs appear here as soon as it can.`);
  } else {
    find("empty").replaceChildren(
      make("strong", { textContent: folder === "." ? "No runs in this folder yet." : `No runs in ${folder}/ yet.` }),
      "Start one, and it appears here by itself:",
      make("pre", { textContent: `dinoxide pretrain photos/ -o ${folder}/first\ndinoxide demo -o ${folder}/demo` }),
      "The second makes its own pictures. If your runs are elsewhere: ", make("code", { textContent: "dinoxide serve FOLDER" }), ".",
    );
  }
}

// Curves

/** A running mean that forgets; the first values count no more than the others. */
function smoothed(points, weight) {
  let sum = 0;
  let share = 1;
  return points.map(([x, y]) => {
    if (y == null) return [x, y];
    sum = weight * sum + (1 - weight) * y;
    share *= weight;
    return [x, sum / (1 - share)];
  });
}

function pointsOf(id, chart) {
  const run = known.runs.get(id);
  const figures = known.figures.get(id);
  if (!run || !figures) return [];
  const each = stepsPerEpoch(run);
  const place = row => (chosen.axis === "step" ? row.step : each ? row.step / each : row.epoch);
  const rows = chart.evaluation ? figures.evaluations : figures.steps;
  return rows.map(row => [place(row), Number.isFinite(row[chart.key]) ? row[chart.key] : null]);
}

/** About `count` round numbers from `low` to `high`. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(candidate => candidate >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

const axisWord = x => (Math.abs(x) >= 1e4 ? `${short(x / 1000)}k` : short(x));
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes = {}, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text != null) element.textContent = text;
  return element;
}

function makeCharts() {
  for (const chart of CHARTS) {
    chart.drawing = svg("svg", { role: "img", tabindex: 0 });
    chart.tip = make("div", { className: "tip", hidden: true });
    const title = make("h3", {}, chart.title, make("span", { textContent: chart.unit }));
    chart.card = make("div", { className: "card chart" }, title, chart.drawing, chart.tip);
    chart.card.dataset.chart = chart.key;
    find("charts").append(chart.card);
    chart.drawing.addEventListener("pointermove", event => hoverAt(chart, event));
    chart.drawing.addEventListener("pointerdown", event => hoverAt(chart, event));
    chart.drawing.addEventListener("pointerleave", () => hover(null));
    chart.drawing.addEventListener("blur", () => hover(null));
    chart.drawing.addEventListener("keydown", event => hoverByKey(chart, event));
  }
  new ResizeObserver(draw).observe(find("charts"));
}

function drawChart(chart) {
  const box = chart.drawing.getBoundingClientRect();
  const [width, height] = [Math.max(box.width, 200), box.height || 200];
  const series = chosen.ids.map(id => ({ id, raw: pointsOf(id, chart) })).filter(one => one.raw.some(([, y]) => y != null));
  for (const one of series) one.line = chart.smooth && chosen.smooth > 0 ? smoothed(one.raw, chosen.smooth) : one.raw;
  chart.series = series;
  chart.drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  if (series.length === 0) {
    const waiting = chosen.ids.some(id => known.figures.get(id)?.late) ? "reading" : chart.waiting ?? "no figures yet";
    chart.drawing.replaceChildren(svg("text", { class: "waiting", x: width / 2, y: height / 2 }, waiting));
    chart.drawing.setAttribute("aria-label", `${chart.title}: ${waiting}`);
    chart.scale = null;
    return;
  }
  const references = chart.reference ? [...new Set(series.map(one => chart.reference(known.runs.get(one.id))))].filter(level => level !== null) : [];
  chart.scale = scaleOf(chart, series, references, [width, height]);
  chart.drawing.replaceChildren(...frame(chart.scale), ...series.flatMap(one => curve(chart, one)), ...references.flatMap(value => reference(chart, value)));
  chart.pointer = svg("g");
  chart.drawing.append(chart.pointer);
  const last = series.map(one => `${known.runs.get(one.id).name} ${short(one.raw.findLast(([, y]) => y != null)[1])}`);
  chart.drawing.setAttribute("aria-label", `${chart.title}, last values: ${last.join(", ")}. Arrow keys read values.`);
}

function scaleOf(chart, series, references, [width, height]) {
  const values = series.flatMap(one => one.raw.map(([, y]) => y)).filter(y => y != null).concat(references);
  const places = series.flatMap(one => [one.raw[0][0], one.raw.at(-1)[0]]);
  let [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  if (chart.zero) low = Math.min(low, 0);
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  low = low === 0 || chart.zero ? low : low - room;
  if (low < 0 && values.every(value => value >= 0)) low = 0;
  high += room;
  const [left, right] = [Math.min(...places), Math.max(...places)];
  const marks = ticks(low, high, 4);
  const margin = { left: 12 + 6.6 * Math.max(...marks.map(mark => short(mark).length)), right: 10, top: 8, bottom: 22 };
  const span = right - left || 1;
  const inner = width - margin.left - margin.right;
  return {
    low, high, left, right, marks, margin, width, height,
    x: place => margin.left + ((place - left) / span) * inner,
    place: x => left + ((x - margin.left) / inner) * span,
    y: value => height - margin.bottom - ((value - low) / (high - low)) * (height - margin.top - margin.bottom),
  };
}

function frame({ marks, margin, width, height, left, right, x, y }) {
  const base = height - margin.bottom;
  const lines = marks.flatMap(mark => [
    svg("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: y(mark), y2: y(mark) }),
    svg("text", { x: margin.left - 6, y: y(mark) + 4, "text-anchor": "end" }, short(mark)),
  ]);
  const places = right > left ? ticks(left, right, Math.max(2, Math.floor(width / 95))) : [left];
  const words = places.map(place => svg("text", { x: Math.min(x(place), width - 14), y: base + 16, "text-anchor": "middle" }, axisWord(place)));
  return [...lines, svg("line", { class: "axis", x1: margin.left, x2: width - margin.right, y1: base, y2: base }), ...words];
}

function reference({ scale, referenceWord }, value) {
  const y = scale.y(value);
  return [
    svg("line", { class: "reference", x1: scale.margin.left, x2: scale.width - scale.margin.right, y1: y, y2: y }),
    svg("text", { class: "label", x: scale.width - scale.margin.right - 2, y: y < 26 ? y + 15 : y - 5, "text-anchor": "end" }, `${referenceWord} = ${short(value)}`),
  ];
}

function curve(chart, { id, raw, line }) {
  const path = points => {
    let pen = "M";
    return points.map(([x, y]) => {
      if (y == null) { pen = "M"; return ""; }
      const text = `${pen}${chart.scale.x(x).toFixed(1)} ${chart.scale.y(y).toFixed(1)}`;
      pen = "L";
      return text;
    }).join("");
  };
  const again = chosen.colours.get(id) >= COLOURS ? " again" : "";
  const parts = [svg("path", { class: `line ${colour(id)}${again}`, d: path(line), "data-run": id, "data-last": raw.at(-1)[0] })];
  if (line !== raw) parts.unshift(svg("path", { class: `line faint ${colour(id)}`, d: path(raw) }));
  // Few points are shown as such, and one alone would not be seen.
  if (raw.length <= 40 && (chart.evaluation || raw.length < 3)) {
    parts.push(...raw.filter(([, y]) => y != null).map(([x, y]) => svg("circle", { class: `point ${colour(id)}`, r: 2.6, cx: chart.scale.x(x), cy: chart.scale.y(y) })));
  }
  return parts;
}

function hoverAt(chart, event) {
  if (!chart.scale) return;
  const box = chart.drawing.getBoundingClientRect();
  hover({ chart, place: chart.scale.place(event.clientX - box.left) });
}

function hoverByKey(chart, event) {
  if (event.key === "Escape") return hover(null);
  const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (steps == null || !chart.scale) return;
  event.preventDefault();
  const places = [...new Set(chart.series.flatMap(one => one.raw.map(([x]) => x)))].sort((a, b) => a - b);
  const at = chosen.hover ? places.indexOf(nearest(places.map(x => [x, 0]), chosen.hover.place)[0]) : steps > 0 ? -1 : places.length;
  const next = Math.min(places.length - 1, Math.max(0, at + steps));
  hover({ chart, place: places[next] });
}

function nearest(points, place) {
  let best = null;
  for (const point of points) if (point[1] != null && (!best || Math.abs(point[0] - place) < Math.abs(best[0] - place))) best = point;
  return best;
}

function hover(at) {
  chosen.hover = at;
  CHARTS.forEach(drawHover);
}

/** The line under the pointer in every chart, the values in the one that it is on. */
function drawHover(chart) {
  const at = chosen.hover;
  chart.pointer?.replaceChildren();
  chart.tip.hidden = !at || at.chart !== chart || !chart.scale;
  if (!at || !chart.scale) return;
  const { x, y, left, right, margin, height, width } = chart.scale;
  const place = Math.min(right, Math.max(left, at.place));
  const found = chart.series.map(({ id, line }) => ({ id, point: nearest(line, place) })).filter(one => one.point);
  const line = svg("line", { class: "cursor", x1: x(place), x2: x(place), y1: margin.top, y2: height - margin.bottom });
  const marks = found.map(({ id, point }) => svg("circle", { class: `mark ${colour(id)}`, r: 4, cx: x(point[0]), cy: y(point[1]) }));
  chart.pointer.replaceChildren(line, ...marks);
  if (chart.tip.hidden) return;
  const where = nearest(found.map(one => one.point), place)[0];
  const head = chosen.axis === "step" ? `step ${grouped(where)}` : `epoch ${where.toFixed(2)}`;
  const value = ({ id, point }) => make("div", {}, make("span", { className: `swatch ${colour(id)}`, textContent: known.runs.get(id).name }), make("b", { textContent: short(point[1]) }));
  chart.tip.replaceChildren(make("div", { className: "soft", textContent: head }), ...found.map(value));
  const onRight = x(place) < width / 2;
  chart.tip.style.left = onRight ? `${x(place) + 28}px` : "auto";
  chart.tip.style.right = onRight ? "auto" : `${width - x(place) + 28}px`;
  chart.tip.style.top = "44px";
}

function drawCurves() {
  const names = chosen.ids.map(id => make("li", { className: colour(id), textContent: legendWord(id) }));
  if (find("legend").textContent !== names.map(name => name.textContent).join("") || shown.legend !== chosen.ids.join()) {
    shown.legend = chosen.ids.join();
    find("legend").replaceChildren(...names);
  }
  const ill = chosen.ids.map(id => known.runs.get(id)).flatMap(run => run.findings.map(finding => ({ run, finding })));
  const words = ill.map(({ run, finding }) => make("p", { className: finding.collapse ? "bad" : "warn" },
    make("strong", { textContent: `${run.name}: ${finding.name}. ` }), make("span", { textContent: `What helps: ${finding.remedy}.` })));
  if (find("health").textContent !== words.map(word => word.textContent).join("")) find("health").replaceChildren(...words);
  find("by-step").setAttribute("aria-pressed", chosen.axis === "step");
  find("by-epoch").setAttribute("aria-pressed", chosen.axis === "epoch");
  say(find("smooth-word"), chosen.smooth === 0 ? "off" : chosen.smooth.toFixed(2));
  CHARTS.forEach(drawChart);
  CHARTS.forEach(drawHover);
}

function legendWord(id) {
  const every = known.figures.get(id)?.every ?? 1;
  return known.runs.get(id).name + (every > 1 ? ` (1 of ${every} logged steps)` : "");
}

// What differs, pictures, log

const shown = { order: "", legend: "", empty: "", differences: "", chooser: "", gallery: null, log: null };

function drawDifferences() {
  const ids = chosen.ids;
  find("differences").hidden = ids.length < 2;
  if (ids.length < 2) return;
  ids.forEach(loadConfig);
  const configs = ids.map(id => known.configs.get(id)?.values);
  if (configs.some(values => !values)) return;
  const keys = [...new Set(configs.flatMap(values => Object.keys(values)))].sort();
  const differ = keys.filter(key => new Set(configs.map(values => values[key])).size > 1);
  const text = JSON.stringify([ids, ids.map(colour), differ.map(key => configs.map(values => values[key]))]);
  if (shown.differences === text) return;
  shown.differences = text;
  const head = make("thead", {}, make("tr", {}, make("th", { scope: "col", textContent: "key" }),
    ...ids.map(id => make("th", { scope: "col" }, make("span", { className: `swatch ${colour(id)}`, textContent: known.runs.get(id).name })))));
  const line = key => make("tr", {}, make("td", { textContent: key }), ...configs.map(values => make("td", { textContent: values[key] ?? "not set" })));
  const same = make("tr", {}, make("td", { colSpan: ids.length + 1, textContent: "Nothing: the configurations are the same." }));
  find("difference-table").replaceChildren(head, make("tbody", {}, ...(differ.length > 0 ? differ.map(line) : [same])));
}

function drawChooser() {
  find("chooser-row").hidden = chosen.ids.length < 2;
  const text = JSON.stringify([chosen.ids, chosen.ids.map(colour), chosen.focus]);
  if (shown.chooser === text) return;
  shown.chooser = text;
  const had = find("chooser").contains(document.activeElement);
  find("chooser").replaceChildren(...chosen.ids.map(id => {
    const button = make("button", { type: "button" }, make("span", { className: `swatch ${colour(id)}`, textContent: known.runs.get(id).name }));
    button.setAttribute("aria-pressed", id === chosen.focus);
    button.onclick = () => look(id);
    return button;
  }));
  if (had) find("chooser").querySelector("[aria-pressed=true]")?.focus();
  find("config").open = false;
  find("config-text").textContent = "";
}

const fileAddress = (id, { path, mark }) => `runs/${id}/${path.split("/").map(encodeURIComponent).join("/")}?v=${mark}`;

function showGallery(gallery, id) {
  const text = JSON.stringify([id, gallery]);
  if (shown.gallery?.text === text) return;
  shown.gallery = { text, id, kinds: gallery.kinds.map(kind => ({ ...kind, pictures: [...kind.epochs, ...(kind.latest ? [kind.latest] : [])] })) };
  find("report").hidden = !gallery.report;
  if (gallery.report) find("report").href = `runs/${id}/report`;
  drawKinds();
  showPicture();
}

function drawKinds() {
  const had = find("kinds").contains(document.activeElement);
  find("kinds").replaceChildren(...shown.gallery.kinds.map(({ kind }) => {
    const button = make("button", { type: "button", textContent: kind.replaceAll("_", " ") });
    button.setAttribute("aria-pressed", kind === kindShown().kind);
    button.onclick = () => { chosen.kind = kind; drawKinds(); showPicture(); };
    return button;
  }));
  if (had) find("kinds").querySelector("[aria-pressed=true]")?.focus();
}

/** The kind that the reader chose, or where the run has none of it, one that changes over the epochs. */
function kindShown() {
  const { kinds } = shown.gallery;
  const first = [({ kind }) => kind === chosen.kind, kind => kind.epochs.length > 0, ({ kind }) => kind === "attention", () => true];
  return first.map(test => kinds.find(test)).find(Boolean);
}

/** The picture of the chosen kind at the place of the slider, which stays at the end if it was there. */
function showPicture() {
  const { id } = shown.gallery;
  const kind = kindShown();
  const slider = find("epoch");
  find("epochs").hidden = !kind || kind.pictures.length < 2;
  if (!kind) {
    find("stage").replaceChildren(make("p", { className: "soft", textContent: "No pictures yet. A run draws them at its start and at its evaluations." }));
    return;
  }
  const last = kind.pictures.length - 1;
  const wanted = chosen.place.get(kind.kind);
  const at = wanted == null ? last : Math.min(wanted, last);
  slider.max = last;
  slider.value = at;
  const picture = kind.pictures[at];
  const word = picture.epoch == null ? "latest" : `${picture.epoch}`;
  say(find("epoch-word"), word);
  slider.setAttribute("aria-valuetext", word);
  const name = `${kind.kind}, ${known.runs.get(id)?.name ?? id}${picture.epoch == null ? "" : `, epoch ${picture.epoch}`}`;
  place(fileAddress(id, picture), picture, name);
}

function place(address, picture, name) {
  const stage = find("stage");
  const old = stage.firstElementChild;
  if (old?.dataset.address === address) return;
  if (picture.path.endsWith(".html")) {
    const page = make("iframe", { title: name, src: address, sandbox: "allow-scripts" });
    page.dataset.address = address;
    stage.replaceChildren(page);
    return;
  }
  const image = make("img", { alt: name, src: address });
  image.dataset.address = address;
  if (picture.size) [image.width, image.height] = picture.size;
  if (old?.tagName !== "IMG") return stage.replaceChildren(image);
  // The old one stays until the new one can be shown.
  stage.dataset.next = address;
  const show = () => { if (stage.dataset.next === address) stage.replaceChildren(image); };
  image.decode().then(show, show);
}

function showLog({ text, left_out: leftOut }) {
  if (shown.log === text) return;
  const box = find("log");
  const atEnd = shown.log == null || box.scrollTop + box.clientHeight >= box.scrollHeight - 24;
  shown.log = text;
  say(find("log-note"), leftOut > 0 ? `the last ${Math.round(text.length / 1024)} KiB of train.log` : "train.log");
  const line = whole => {
    const [, time, words] = /^(\d{4}-\d\d-\d\dT[\d:]+Z )?(.*)$/s.exec(whole);
    const tone = words.startsWith("warning") ? "warn" : words.startsWith("error") ? "bad" : "";
    return [...(time ? [make("time", { textContent: time.replace("T", " ").replace("Z", "") })] : []), make("span", { className: tone, textContent: `${words}\n` })];
  };
  const lines = text.split("\n").slice(0, -1).flatMap(line);
  box.replaceChildren(...(lines.length > 0 ? lines : ["Nothing yet."]));
  if (atEnd) box.scrollTop = box.scrollHeight;
}

async function showConfig() {
  const id = chosen.focus;
  if (!find("config").open || !id) return;
  const config = await ofRun(id, "config").catch(error => ({ toml: error.message }));
  if (id === chosen.focus) find("config-text").textContent = config.toml;
}

// Drawing

let planned = false;
function draw() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    say(find("folder"), known.folder);
    const running = [...known.runs.values()].filter(run => run.state === "running").length;
    document.title = running > 0 ? `(${running}) dinoxide` : "dinoxide";
    drawEmpty();
    drawTable();
    const some = chosen.ids.length > 0;
    find("none").hidden = some || known.runs.size === 0;
    find("detail").hidden = !some;
    if (!some) return;
    drawCurves();
    drawDifferences();
    drawChooser();
  });
}

makeHead();
makeCharts();
find("by-step").onclick = () => { chosen.axis = "step"; hover(null); draw(); };
find("by-epoch").onclick = () => { chosen.axis = "epoch"; hover(null); draw(); };
find("smooth").oninput = event => { chosen.smooth = Number(event.target.value); draw(); };
find("epoch").oninput = event => {
  const at = Number(event.target.value);
  // At the end it follows what is new.
  const { kind } = kindShown();
  if (at === Number(event.target.max)) chosen.place.delete(kind);
  else chosen.place.set(kind, at);
  showPicture();
};
find("config").ontoggle = showConfig;
addEventListener("hashchange", () => choose(atFirst()));
setInterval(draw, 10000);
listen();
