// One alert: what, how much, since when and why come first; then the picture, its life, what happened beside it; evidence and model after.

import { Act, Dialog, SaidOf } from "./acting.js";
import { Chart } from "./chart.js";
import { html, Trouble, useEffect, useMemo, useState } from "./lib.js";
import { useAgain } from "./marks.js";
import { address, change, show, stretch, useRoute } from "./route.js";
import { ask, known, useKnown, useNow } from "./store.js";
import { ago, end, finite, lasting, moment, number, shares } from "./words.js";

const CHANNELS_SHOWN = 6;
const BESIDE = 12;

export function Alert({ id, back }) {
  const changed = useKnown((k) => k.changed.get(id));
  const last = known.alerts.get(id);
  const [records, setRecords] = useState(null), [trouble, setTrouble] = useState("");
  const [points, setPoints] = useState(null);
  const [acted, act] = useState(0);
  const { query } = useRoute();
  const streams = useKnown((k) => k.rights.streams);
  const words = useDecided(last, records?.[0].evidence.offset, changed, acted);
  useNow(30_000);

  useEffect(() => {
    const gone = new AbortController();
    ask("alert", { id }, { signal: gone.signal }).then((r) => { setRecords(r); setTrouble(""); }, (error) => { if (!gone.signal.aborted) setTrouble(error.message); });
    return () => gone.abort();
  }, [id, changed]);

  // Where scores are published, the whole stretch can be drawn, with its band.
  const scored = last && streams.find((s) => s.name === last.stream)?.scores;
  useEffect(() => {
    if (!scored) return undefined;
    const gone = new AbortController();
    ask("points", { stream: last.stream, series: last.series }, { signal: gone.signal }).then((p) => setPoints(p.points), () => {});
    return () => gone.abort();
  }, [id, scored]);

  if (!last) return html`<p class="empty">${known.read ? "This alert is not kept here any more; " : "Reading the alert topic … "}<a href=${address("alerts")}>all alerts</a></p>`;
  const pinned = records?.find((r) => String(r.sequence) === query.get("at"));
  const record = pinned ?? last;
  const state = last.status === "resolved" ? "resolved" : last.severity;
  const lasted = Date.parse(last.last_seen) - Date.parse(last.starts_at);
  return html`<article class=${state}>
    <header class="head">
      <button type="button" class="back" onClick=${back}>← alerts</button>
      <h2>${last.series}</h2>
      <p class="sub"><span class="mark">${last.status}</span> <span>${last.severity}</span> <a href=${address("alerts", { stream: last.stream })}>${last.stream}</a>
        ${last.acknowledged ? html`<span>looked after by ${last.acknowledged}</span>` : null}${last.silenced ? html`<span>silenced</span>` : null}
        <a href=${address("series", { stream: last.stream, s: last.series, ...around(last) })}>series</a></p>
    </header>
    <p class="summary">${last.summary || `${last.kind || "unusual"} in ${last.series}`}</p>
    <dl class="tiles">
      <div><dt>what</dt><dd>${what(last)}</dd></div>
      <div><dt>how much</dt><dd>${much(last)}</dd></div>
      <div><dt>since</dt><dd>${moment(last.starts_at)}<small>${ago(last.starts_at)}${lasted > 0 ? `, anomalous for ${lasting(lasted)}` : ""}${last.ends_at ? `, over at ${end(last.ends_at, last.starts_at)}` : ""}</small></dd></div>
      <div><dt>why</dt><dd>${why(last)}</dd></div>
    </dl>
    ${labels(last)}
    <${Act} record=${last} acted=${() => act(acted + 1)} />
    <${SaidOf} stream=${last.stream} series=${last.series} alert=${last.id} />
    <${Trouble} text=${trouble} />
    ${records ? html`<${Pictures} records=${records} record=${record} last=${last} points=${points} range=${stretch(query)} /><${Row} pinned=${pinned} records=${records} />` : html`<p class="loading">reading its records …</p>`}
    ${records ? html`<${Life} records=${records} pinned=${pinned} words=${words} acted=${() => act(acted + 1)} />` : null}
    <${Beside} last=${last} />
    <details><summary>evidence and model</summary><${Facts} record=${pinned ?? records?.at(-1) ?? last} /></details>
  </article>`;
}

// The stretch of the series' view in which an alert is not small.
function around(r) {
  const from = Date.parse(r.starts_at), to = Date.parse(r.ends_at ?? r.as_of), room = Math.max(2 * (to - from), 100 * (r.evidence.interval_ms ?? 60_000));
  return { from: Math.round(from - room), to: Math.round(to + room) };
}

// Most kinds say their direction themselves.
const TOLD = /up|down|spike|drop|flat|no data/;
const what = (r) => [r.kind || "unusual", !r.kind || TOLD.test(r.kind) ? "" : r.direction].filter(Boolean).join(", ");

function much(r) {
  if (!finite(r.deviation)) return `score ${number(r.peak_score)}`;
  const observed = r.peak?.observed, expected = r.peak?.expected;
  const by = `${r.deviation > 0 ? "+" : ""}${number(r.deviation)}${finite(r.deviation_percent) ? ` (${r.deviation_percent > 0 ? "+" : ""}${number(Math.round(r.deviation_percent))} %)` : ""}`;
  return html`${by}<small>${finite(observed) ? `${number(observed)}, expected ${number(expected)} at the peak` : ""}</small>`;
}

function why(r) {
  const channels = shares(r);
  const members = r.members?.join(", ");
  return html`${channels || members || r.detector.name}<small>${channels && members ? members : r.observations ? `${r.observations} anomalous observation${r.observations > 1 ? "s" : ""}` : ""}</small>`;
}

function labels(r) {
  const pairs = Object.entries(r.labels ?? {});
  if (!pairs.length) return null;
  return html`<p class="labels">${pairs.map(([name, value]) => (/^https?:\/\//.test(value) ? html`<a class="label" href=${value} rel="noreferrer noopener" target="_blank">${name}</a>` : html`<span class="label">${name}: ${value}</span>`))}</p>`;
}

// The windows of all records put together: each reaches back from its own observation.
function stitched(records) {
  const at = new Map();
  for (const r of records) {
    const { window, interval_ms: step } = r.evidence, end = Date.parse(r.as_of);
    if (!window || !step) continue;
    window.forEach((values, i) => {
      const t = end - (window.length - 1 - i) * step;
      if (!at.has(t)) at.set(t, { t, values });
    });
    if (r.observed) at.set(end, { t: end, values: r.observed, expected: r.expected, lower: r.band?.lower, upper: r.band?.upper });
  }
  return [...at.values()].sort((a, b) => a.t - b.t);
}

function channel(points, c) {
  return points.map((p) => ({ t: p.t, observed: p.values?.[c] ?? null, expected: p.expected?.[c] ?? null, lower: p.lower?.[c] ?? null, upper: p.upper?.[c] ?? null }));
}

function Pictures({ records, record, last, points, range }) {
  const begins = Date.parse(last.starts_at), ends = Date.parse(last.ends_at ?? last.last_seen);
  const drawn = useMemo(() => {
    const own = stitched(records);
    const covers = points?.length && points[0].t <= begins && points.at(-1).t >= Math.min(ends, Date.parse(records.at(-1).as_of));
    if (!covers) return own;
    const around = Math.max(ends - begins, 24 * (own.length > 1 ? (own.at(-1).t - own[0].t) / own.length : 0), 3_600_000);
    return points.filter((p) => p.t >= begins - 2 * around && p.t <= ends + around).map((p) => ({ ...p, values: p.observed }));
  }, [records, points]);
  const spans = useMemo(() => [{ from: begins, to: ends, severity: last.severity }], [begins, ends, last.severity]);
  if (!drawn.length) {
    if (records.some((r) => r.evidence.row)) return null;
    const bare = [...records].reverse().find((r) => r.evidence.window);
    if (!bare) return html`<p class="empty">${last.kind === "no data" || last.reason === "silence" ? "The series fell silent: there is nothing to draw." : "These records hold no observations."}</p>`;
    const points_ = bare.evidence.window.map((values, i) => ({ t: Date.parse(bare.as_of) + (i - bare.evidence.window.length + 1) * 1000, values }));
    return html`<${Chart} points=${channel(points_, 0)} label="the last observations, in order (their step is not known)" />`;
  }
  const channels = drawn[0].values?.length ?? 1, names = leading(last, channels);
  return html`<div class="charts">${names.map(([c, name]) => {
    const of = channel(drawn, c), led = channels === 1 || last.peak?.channel === name;
    const peak = last.peak && led ? { t: Date.parse(last.peak.at), value: last.peak.observed, severity: last.severity } : null;
    return html`<${Chart} key=${c} points=${of} spans=${spans} peak=${peak} group="alert" range=${range} onrange=${show} height=${channels > 1 ? 180 : 260} label=${channels > 1 ? name : "observed, expected, and what is let pass"} />`;
  })}${channels > names.length ? html`<p class="quiet">${channels - names.length} more channels: the series has them all</p>` : null}
  ${pinnedNote(record, last)}</div>`;
}

function leading(last, channels) {
  if (channels === 1) return [[0, ""]];
  const name = (c) => last.detector_channels?.[c] ?? `channel ${c + 1}`;
  return Array.from({ length: Math.min(channels, CHANNELS_SHOWN) }, (_, c) => [c, name(c)]);
}

const pinnedNote = (record, last) => (record === last ? null : html`<p class="quiet">record ${record.sequence}: ${record.change || record.reason}, as of ${moment(record.as_of)}</p>`);

// Of a table: the row that the chosen record tells of, else the most anomalous one.
function Row({ pinned, records }) {
  const rows = records.filter((r) => r.evidence.row);
  if (!rows.length) return null;
  const held = pinned?.evidence.row ? pinned : rows.reduce((a, b) => ((b.score ?? 0) > (a.score ?? 0) ? b : a));
  const { row, features } = held.evidence, most = Math.max(...(features ?? []).map((f) => f.contribution), 1e-9);
  return html`<h3>columns that contributed most</h3>
    <table class="facts"><tbody>${(features ?? []).map((f) => html`<tr><th scope="row">${f.name}</th><td><span class="share" style=${{ width: `${Math.max(0, Math.min(1, f.contribution / most)) * 8}rem` }}></span> ${String(f.value)} (${number(f.contribution)})</td></tr>`)}</tbody></table>
    <details><summary>the whole row</summary><table class="facts"><tbody>${Object.entries(row).map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${String(value)}</td></tr>`)}</tbody></table></details>`;
}

// Its records, and between them what people decided and said meanwhile, where its partition took it.
function Life({ records, pinned, words, acted }) {
  const rights = useKnown((k) => k.rights), last = records.at(-1);
  const [undoing, undo] = useState(null);
  return html`<h3>its life</h3><ol class="life">${lived(records, words).map(({ record: r, before, word: m }) => (m
    ? html`<li key=${`word ${m.serial}`} class="word"><strong>${m.serial}</strong> ${m.undone ? html`<s>${said(m)}</s> (taken back)` : said(m)} <span class="quiet">by ${m.by}, ${moment(m.at)}${m.offset === null ? ", not taken yet" : ""}</span>
      ${rights.operator && m.undone === false && (m.text || last.status !== "resolved") ? html` <button type="button" class="small" aria-label=${`undo decision ${m.serial}`} onClick=${() => undo(m.serial)}>undo…</button>` : null}</li>`
    : html`<li key=${r.sequence} class=${r.status === "resolved" ? "resolved" : r.severity}>
      ${before ? html`<span class="quiet">${before} records between are not kept here</span>` : null}
      <button type="button" aria-pressed=${String(r === pinned)} onClick=${() => change({ at: r === pinned ? null : String(r.sequence) }, { quietly: true })}>
        <b>${r.change || r.reason}</b> ${r.status}, ${r.severity} <time datetime=${r.as_of}>${moment(r.as_of)}</time>${finite(r.score) ? ` score ${number(r.score)}` : ""}</button></li>`))}</ol>
    ${undoing ? html`<${Dialog} doing="undo" stream=${last.stream} serial=${undoing} done=${() => { undo(null); acted(); }} />` : null}`;
}

const said = (m) => (m.text ? html`<q>${m.text}</q>` : m.what);

// The kind of decision that leads to a record.
const LED = { acknowledged: "acknowledge", unacknowledged: "undo", closed: "close", forgotten: "forget", unsilenced: "lift" };

// In the order of the log: a decision stands before the first observation that knows of it, and before the record that it led to.
function lived(records, words) {
  const waiting = words.toSorted((a, b) => (a.offset ?? Infinity) - (b.offset ?? Infinity) || a.serial - b.serial), out = [];
  records.forEach((record, i) => {
    const led = LED[record.change] ? waiting.findIndex((m) => m.kind === LED[record.change]) : -1;
    const due = waiting.findIndex((m) => m.offset === null || m.offset > record.evidence.offset);
    for (const word of waiting.splice(0, Math.max(led + 1, due < 0 ? waiting.length : due))) out.push({ word });
    out.push({ record, before: i && record.sequence > records[i - 1].sequence + 1 ? record.sequence - records[i - 1].sequence - 1 : 0 });
  });
  return [...out, ...waiting.map((word) => ({ word }))];
}

// What was decided about its series while it was open, and what was said of it at any time; feedback stands above.
function useDecided(last, onset, changed, acted) {
  const decided = useKnown((k) => k.look?.streams.find((s) => s.name === last?.stream)?.decisions);
  const [marks, setMarks] = useState([]);
  const again = useAgain(marks);
  useEffect(() => {
    if (!decided || !last) return undefined;
    const gone = new AbortController(), { partition } = last.evidence;
    ask("marks", { stream: last.stream, series: last.series, partition, from: Date.parse(last.starts_at), to: Date.parse(last.as_of) }, { signal: gone.signal }).then(setMarks, () => {});
    return () => gone.abort();
  }, [last?.id, decided, changed, acted, again]);
  const open = last?.status !== "resolved";
  const meanwhile = (m) => (m.offset === null ? open : m.offset > onset && (open || m.offset <= last.evidence.offset + 1));
  return onset === undefined ? [] : marks.filter((m) => !m.of && (m.alert ? m.alert === last.id : meanwhile(m)));
}

// Alerts that overlap it in time: one cause is often seen in many series.
function Beside({ last }) {
  const version = useKnown((k) => k.version);
  const found = useMemo(() => {
    const from = Date.parse(last.starts_at), to = Date.parse(last.ends_at ?? last.as_of), slack = Math.max((to - from) * 0.25, 300_000), beside = [];
    for (const r of known.alerts.values()) {
      if (r.id === last.id) continue;
      if (Date.parse(r.starts_at) <= to + slack && Date.parse(r.ends_at ?? r.as_of) >= from - slack) beside.push([Math.abs(Date.parse(r.starts_at) - from), r]);
    }
    return beside.sort(([a], [b]) => a - b).map(([, r]) => r);
  }, [version, last]);
  if (!found.length) return null;
  return html`<h3>at the same time: ${found.length}</h3><ul class="beside">${found.slice(0, BESIDE).map((r) => html`<li class=${r.status === "resolved" ? "resolved" : r.severity}>
    <a href=${address("alerts", { alert: r.id })}>${r.series}</a> <span>${r.kind || "unusual"}, ${r.stream}, ${moment(r.starts_at)}</span></li>`)}</ul>
    ${found.length > BESIDE ? html`<p class="quiet">and ${found.length - BESIDE} more</p>` : null}`;
}

const at = (m) => m && `${m.channel ? `${m.channel} ` : ""}${number(m.observed)}, expected ${number(m.expected)}, ${moment(m.at)}`;

function Facts({ record: r }) {
  const e = r.evidence;
  const rows = [
    ["as of", moment(r.as_of)],
    ["observed", r.observed?.map(number).join(", ")],
    ["expected", r.expected?.map(number).join(", ")],
    ["let pass", r.band?.lower.map((l, c) => `${number(l)} … ${number(r.band.upper[c])}`).join(", ")],
    ["score", finite(r.score) && `${number(r.score)}${finite(r.threshold) ? ` (threshold ${number(r.threshold)})` : ""}, highest ${number(r.peak_score)}`],
    ["alarm", finite(r.alarm) && `${r.alarm.toFixed(2)} decades rarer than let pass`],
    ["at the onset", at(r.onset)],
    ["at the peak", at(r.peak)],
    ["opens again until", r.reopens_until && moment(r.reopens_until)],
    ["detector", `${r.detector.name}, version ${r.detector.version}`],
    ["model", r.detector.model.slice(0, 16)],
    ["where", `${e.topic}[${e.partition}], offset ${e.offset}`],
    ["alert", `${r.id}, record ${r.sequence}`],
  ];
  return html`<table class="facts"><tbody>${rows.filter(([, text]) => text).map(([name, text]) => html`<tr><th scope="row">${name}</th><td>${text}</td></tr>`)}
    ${r.next_id ? html`<tr><th scope="row">goes on as</th><td><a href=${address("alerts", { alert: r.next_id })}>${r.next_id}</a></td></tr>` : null}</tbody></table>`;
}
