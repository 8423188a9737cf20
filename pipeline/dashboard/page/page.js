// The page of `tidewatch dashboard`: records come as server-sent events; what is shown is made of them alone.
// All text goes in as text nodes, so a series may be called what it likes.

import { finite, span, ticks } from "./axis.js";

const STATUSES = ["all", "pending", "firing", "resolved"];
const SVG = "http://www.w3.org/2000/svg";
const MAX_ALERTS = 1000;
const CHANNELS_SHOWN = 6;

const alerts = new Map(); // id -> records, by sequence
const shown = { status: "all", search: "", id: null, sequence: null };
const at = (id) => document.getElementById(id);

// Elements

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((c) => c !== null));
  return made;
}

function shape(tag, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  return made;
}

// Text

const time = (text) => text.replace("T", " ").replace(/(\.000)?Z$/, "");
const number = (value) => (value === null || Number.isNaN(value) ? "–" : Number(value.toPrecision(6)).toLocaleString("en-US", { maximumSignificantDigits: 6 }));
const numbers = (values) => (values === null ? "–" : values.map(number).join(", "));

function duration(ms) {
  if (ms <= 0) return "";
  const minutes = Math.round(ms / 60000);
  if (minutes < 1) return `${Math.round(ms / 1000)} s`;
  if (minutes < 120) return `${minutes} min`;
  return minutes < 2880 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} d`;
}

// What is known

function take(record) {
  const records = alerts.get(record.id) ?? [];
  if (records.some((r) => r.sequence === record.sequence)) return;
  records.push(record);
  records.sort((a, b) => a.sequence - b.sequence);
  alerts.delete(record.id); // to the end: something happened to it
  alerts.set(record.id, records);
  if (alerts.size > MAX_ALERTS) alerts.delete(alerts.keys().next().value);
  schedule();
}

const newest = (records) => records[records.length - 1];

function wanted(record) {
  const text = `${record.series} ${record.stream}`.toLowerCase();
  return (shown.status === "all" || record.status === shown.status) && text.includes(shown.search);
}

// The list

function drawStatuses() {
  const counts = { all: alerts.size, pending: 0, firing: 0, resolved: 0 };
  for (const records of alerts.values()) counts[newest(records).status] += 1;
  at("statuses").replaceChildren(
    ...STATUSES.map((status) =>
      element("button", {
        type: "button",
        "aria-pressed": String(shown.status === status),
        "data-status": status,
        onclick: () => { shown.status = status; draw(); },
      }, `${status} ${counts[status]}`)),
  );
  document.title = counts.firing ? `(${counts.firing}) Tidewatch alerts` : "Tidewatch alerts";
}

function card(record, records) {
  const current = record.id === shown.id;
  const lasted = duration(Date.parse(record.last_seen) - Date.parse(record.starts_at));
  return element("li", {},
    element("button", {
      type: "button",
      class: `alert ${record.severity} ${record.status}`,
      "aria-current": String(current),
      "data-id": record.id,
      onclick: () => choose(record.id),
    },
    element("span", { class: "series" }, record.series),
    element("span", { class: `mark ${record.status === "resolved" ? "resolved" : record.severity}` }, record.status),
    element("span", { class: "when" }, [time(record.starts_at), lasted].filter(Boolean).join(", ")),
    element("span", { class: "peak" }, record.peak_score.toFixed(1)),
    element("span", { class: "what" }, `${record.stream} · ${record.severity}${record.kind ? ` · ${record.kind}` : ""} · ${records.length} record${records.length > 1 ? "s" : ""}`)));
}

function drawList() {
  const focused = document.activeElement?.dataset?.id;
  const rows = [...alerts.values()]
    .map((records) => [newest(records), records])
    .filter(([record]) => wanted(record))
    .sort(([a], [b]) => (a.starts_at < b.starts_at ? 1 : a.starts_at > b.starts_at ? -1 : a.series < b.series ? -1 : 1));
  at("list").replaceChildren(...rows.map(([record, records]) => card(record, records)));
  at("none").hidden = rows.length > 0;
  at("none").textContent = alerts.size ? "No alert fits." : "No alerts yet. They appear here as they come.";
  if (focused) at("list").querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
}

function choose(id) {
  shown.id = id;
  shown.sequence = null;
  draw();
}

// The chosen alert

function drawDetail() {
  const records = alerts.get(shown.id);
  if (!records) return;
  const pinned = records.find((r) => r.sequence === shown.sequence);
  const record = pinned ?? [...records].reverse().find((r) => r.evidence.window || r.evidence.row) ?? newest(records);
  const last = newest(records);
  at("detail").className = record.severity;
  at("detail").replaceChildren(
    element("h2", {}, last.series),
    element("p", { class: "sub" },
      `stream ${last.stream} · `,
      element("span", { class: `mark ${last.status === "resolved" ? "resolved" : last.severity}` }, `${last.status}, ${last.severity}`),
      ` · since ${time(last.starts_at)}${last.ends_at ? ` until ${time(last.ends_at)}` : ""} UTC`),
    ...(last.summary ? [element("p", { class: "summary" }, last.summary)] : []),
    timeline(records, record),
    ...charts(record),
    ...row(record),
    facts(record),
  );
}

function timeline(records, record) {
  return element("div", { id: "records", role: "group", "aria-label": "records of this alert" },
    ...records.map((r) =>
      element("button", {
        type: "button",
        "aria-pressed": String(r === record),
        onclick: () => { shown.sequence = r.sequence; drawDetail(); },
      }, `${r.sequence} · ${r.status} (${r.change || r.reason})`)));
}

const moment = (m) => m && `${m.channel ? `${m.channel} ` : ""}${m.observed === null ? "–" : number(m.observed)}, expected ${m.expected === null ? "–" : number(m.expected)}, ${time(m.at)} UTC`;

function facts(record) {
  const evidence = record.evidence;
  const rows = [
    ["as of", `${time(record.as_of)} UTC`],
    ["observed", record.observed && numbers(record.observed)],
    ["expected", record.expected && numbers(record.expected)],
    ["expected band", record.band && record.band.lower.map((l, c) => `${number(l)} … ${number(record.band.upper[c])}`).join(", ")],
    ["score", record.score !== null && `${record.score.toFixed(2)}${record.threshold === null ? "" : ` (threshold ${record.threshold.toFixed(2)})`}`],
    ["alarm", record.alarm !== undefined && `${record.alarm.toFixed(2)} decades rarer than let pass`],
    ["peak score", record.peak_score.toFixed(2)],
    ["kind", record.kind && [record.kind, record.direction].filter(Boolean).join(", ")],
    ["deviation", record.deviation !== null && `${number(record.deviation)}${record.deviation_percent === null ? "" : ` (${number(record.deviation_percent)} %)`}`],
    ["at the onset", moment(record.onset)],
    ["at the peak", moment(record.peak)],
    ["lasted", record.lasted_ms > 0 && `${duration(record.lasted_ms)}, ${record.observations} anomalous observations`],
    ["channels", record.channels.map((c) => `${c.name} ${Math.round(100 * c.share)} %`).join(", ")],
    ["said by", record.members.join(", ")],
    ["goes on as", record.next_id],
    ["last anomalous", `${time(record.last_seen)} UTC`],
    ["detector", `${record.detector.name}, version ${record.detector.version}`],
    ["model", record.detector.model.slice(0, 16)],
    ["evidence", `${evidence.topic}[${evidence.partition}], offset ${evidence.offset}`],
    ["alert", `${record.id}, record ${record.sequence}`],
  ];
  return element("table", { id: "facts" }, element("tbody", {},
    ...rows.filter(([, text]) => text).map(([name, text]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, text)))));
}

function row(record) {
  const { row: columns, features } = record.evidence;
  if (!columns) return [];
  const most = Math.max(...(features ?? []).map((f) => f.contribution), 1e-9);
  const shares = (features ?? []).map((f) =>
    element("tr", {}, element("th", { scope: "row" }, f.name),
      element("td", {}, element("meter", { min: 0, max: most, value: f.contribution }), `${f.value} (${number(f.contribution)})`)));
  return [
    element("h3", {}, "columns that contributed most"),
    element("table", { id: "features" }, element("tbody", {}, ...shares)),
    element("h3", {}, "the row"),
    element("table", { id: "row" }, element("tbody", {},
      ...Object.entries(columns).map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, String(value)))))),
    element("h3", {}, "the record"),
  ];
}

// Charts: one per channel

function charts(record) {
  const window = record.evidence.window;
  if (!window) return record.reason === "silence" ? [element("p", { class: "hint" }, "The series fell silent: no observation ended this alert.")] : [];
  const channels = window[0].length;
  const figures = [];
  for (let c = 0; c < Math.min(channels, CHANNELS_SHOWN); c += 1) figures.push(chart(record, window.map((v) => v[c]), c, channels));
  return figures;
}

function chart(record, values, c, channels) {
  const W = 760, H = 250, left = 62, right = 26, top = 10, bottom = 24;
  const n = values.length;
  const expected = record.expected?.[c] ?? null;
  const lower = record.band?.lower[c] ?? null;
  const upper = record.band?.upper[c] ?? null;
  const [low, high] = span([...values, expected, lower, upper]);
  const x = (i) => left + (n > 1 ? i / (n - 1) : 1) * (W - left - right);
  const y = (v) => H - bottom - Math.max(0, Math.min(1, (v - low) / (high - low))) * (H - top - bottom);
  const step = record.evidence.interval_ms;
  const end = Date.parse(record.as_of);
  const label = (i) => (step ? time(new Date(end - (n - 1 - i) * step).toISOString()) : i === n - 1 ? time(record.as_of) : `${n - 1 - i} before`);

  const svg = shape("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img" });
  svg.append(shape("title", {}, `${record.series}: the ${n} observations up to ${time(record.as_of)}`));
  for (const t of ticks(low, high)) {
    svg.append(shape("line", { class: "grid", x1: left, x2: W - right, y1: y(t), y2: y(t) }));
    svg.append(shape("text", { x: left - 8, y: y(t) + 4, "text-anchor": "end" }, number(t)));
  }
  svg.append(shape("text", { x: left, y: H - 6 }, label(0)));
  svg.append(shape("text", { x: W - right, y: H - 6, "text-anchor": "end" }, label(n - 1)));
  if (step) { // what is anomalous of this window
    const first = Math.max(0, n - 1 - (end - Date.parse(record.starts_at)) / step);
    const last = Math.max(0, n - 1 - (end - Date.parse(record.last_seen)) / step);
    if (last > 0) svg.append(shape("rect", { class: "span", x: x(first) - 3, width: x(last) - x(first) + 6, y: top, height: H - top - bottom }));
  }
  svg.append(shape("polyline", { class: "values", points: values.map((v, i) => (finite(v) ? `${x(i)},${y(v)}` : "")).filter(Boolean).join(" ") }));
  if (lower !== null && upper !== null) {
    svg.append(shape("rect", { class: "band", x: x(n - 1) - 9, width: 18, y: y(upper), height: Math.max(y(lower) - y(upper), 1) }));
  }
  if (expected !== null) svg.append(shape("line", { class: "expected", x1: x(n - 1) - 9, x2: x(n - 1) + 9, y1: y(expected), y2: y(expected) }));
  if (finite(values[n - 1])) svg.append(shape("circle", { class: "observed", cx: x(n - 1), cy: y(values[n - 1]), r: 5 }));

  const pointer = shape("line", { class: "pointer", y1: top, y2: H - bottom, visibility: "hidden" });
  svg.append(pointer);
  const reading = element("span", { class: "reading" }, channels > 1 ? `channel ${c + 1} of ${channels}` : "");
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const i = Math.round((((event.clientX - box.left) / box.width) * W - left) / (W - left - right) * (n - 1));
    if (i < 0 || i >= n) return;
    pointer.setAttribute("visibility", "visible");
    pointer.setAttribute("x1", x(i));
    pointer.setAttribute("x2", x(i));
    reading.textContent = `${label(i)}: ${number(values[i])}`;
  });
  const key = (name, text) => element("span", {}, element("span", { class: `key ${name}` }), text);
  return element("figure", {}, svg, element("figcaption", {},
    element("span", {}, key("observed", `observed ${number(values[n - 1])}`)),
    expected === null ? null : key("expected", `expected ${number(expected)}`),
    lower === null ? null : key("band", "expected band"),
    reading));
}

// Drawing, at most once a frame

let due = false;

function schedule() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; draw(); });
}

function draw() {
  drawStatuses();
  drawList();
  drawDetail();
}

// Light and dark

function switchTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch { /* private window */ }
}

try {
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch { /* private window */ }

at("theme").addEventListener("click", switchTheme);
at("search").addEventListener("input", (event) => { shown.search = event.target.value.trim().toLowerCase(); draw(); });
at("list").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const cards = [...at("list").querySelectorAll(".alert")];
  const next = cards[cards.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1)];
  if (next) { event.preventDefault(); next.focus(); choose(next.dataset.id); }
});

function listen() {
  const events = new EventSource("alerts");
  events.addEventListener("open", () => { at("connection").textContent = "live"; at("connection").className = "live"; });
  events.addEventListener("error", () => {
    at("connection").textContent = "connecting again";
    at("connection").className = "";
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000); // turned away: the browser itself would not ask again
  });
  events.addEventListener("alert", (event) => take(JSON.parse(event.data)));
}

listen();
draw();
