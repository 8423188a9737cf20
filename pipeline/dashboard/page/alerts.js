// The alerts: those that fire first, then pending, then those that are over, the newest first; only the rows in sight are drawn.

import { Alert } from "./alert.js";
import { html, visible, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./lib.js";
import { change, useRoute } from "./route.js";
import { known, useKnown, useNow } from "./store.js";
import { ago, clock, day, lasting } from "./words.js";

const ROW = 62; // px
const BEYOND = 6; // rows drawn out of sight
const STATUSES = ["all", "firing", "pending", "resolved"];
const RANK = { firing: 0, pending: 1, resolved: 2 };
const SEVERE = { critical: 0, warning: 1, info: 2 };
const SINCE = { "": "any time", "3600000": "last hour", "86400000": "last day", "604800000": "last week" };

function ordered(a, b) {
  const rank = RANK[a.status] - RANK[b.status];
  if (rank) return rank;
  if (a.status === "firing" && a.severity !== b.severity) return SEVERE[a.severity] - SEVERE[b.severity];
  return a.starts_at < b.starts_at ? 1 : a.starts_at > b.starts_at ? -1 : a.series < b.series ? -1 : 1;
}

// Those that overlap in time next to one another, as one cause may be seen in many series: groups in which something fires first, then the newest.
// Of each alert its place in its group: {at, of}.
function together(records) {
  const begins = (r) => Date.parse(r.starts_at), ends = (r) => (r.status === "resolved" ? Date.parse(r.ends_at ?? r.last_seen) : Infinity);
  const groups = [];
  let until = -Infinity;
  for (const r of records.toSorted((a, b) => begins(a) - begins(b))) {
    if (begins(r) > until) groups.push([]);
    groups.at(-1).push(r);
    until = Math.max(until, ends(r));
  }
  const rank = (group) => group.reduce((least, r) => Math.min(least, RANK[r.status]), RANK.resolved);
  groups.reverse().sort((a, b) => rank(a) - rank(b));
  const places = new Map();
  for (const group of groups) group.sort(ordered).forEach((r, at) => places.set(r.id, { at, of: group.length }));
  return [groups.flat(), places];
}

function wanted(query) {
  const text = (query.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const status = query.get("status") ?? "all", severity = query.get("severity"), stream = query.get("stream"), kind = query.get("kind");
  const since = Number(query.get("since") ?? 0);
  const from = since ? newest() - since : null;
  return [
    (r) => (!severity || r.severity === severity) && (!stream || r.stream === stream) && (!kind || r.kind === kind)
      && (from === null || Date.parse(r.as_of) >= from)
      && (!text.length || text.every((t) => `${r.series} ${r.stream} ${r.kind} ${r.summary} ${Object.entries(r.labels ?? {}).map((p) => p.join("=")).join(" ")}`.toLowerCase().includes(t))),
    (r) => status === "all" || r.status === status,
  ];
}

// The newest event time: a replay of 2014 has its own "last hour".
function newest() {
  let most = 0;
  for (const r of known.alerts.values()) most = Math.max(most, Date.parse(r.as_of));
  return most;
}

// One alert, with the whole of its picture; null: none.
export const choose = (id, options) => change({ alert: id, at: null, from: null, to: null }, options);

export function Alerts() {
  const { query } = useRoute();
  const version = useKnown((k) => k.version), read = useKnown((k) => k.read);
  const chosen = query.get("alert");
  const filters = ["q", "status", "severity", "stream", "kind", "since", "by"].map((n) => query.get(n) ?? "").join("\n");
  const { rows, places, counts, streams, kinds } = useMemo(() => {
    const [fits, state] = wanted(query), counted = { all: 0, firing: 0, pending: 0, resolved: 0 }, found = [];
    const streamNames = new Set(), kindNames = new Set();
    for (const record of known.alerts.values()) {
      streamNames.add(record.stream);
      if (record.kind) kindNames.add(record.kind);
      if (!fits(record)) continue;
      counted.all += 1;
      counted[record.status] += 1;
      if (state(record)) found.push(record);
    }
    const [sorted, at] = query.get("by") === "time" ? together(found) : [found.sort(ordered), new Map()];
    return { rows: sorted, places: at, counts: counted, streams: [...streamNames].sort(), kinds: [...kindNames].sort() };
  }, [version, filters]);

  useEffect(() => {
    const press = (event) => {
      if (event.target.closest("input, select, textarea, dialog, .plot") || event.ctrlKey || event.metaKey || event.altKey) return;
      const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
      if (!step || !rows.length) return;
      event.preventDefault();
      const at = rows.findIndex((r) => r.id === chosen);
      const next = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + step))];
      choose(next.id, { quietly: true });
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [rows, chosen]);

  const one = (name) => (event) => change({ [name]: event.currentTarget.value || null });
  return html`<div class=${chosen ? "split chosen" : "split"}>
    <section class="pane list" aria-label="alerts">
      <form class="filters" role="search" onSubmit=${(e) => e.preventDefault()}>
        <input id="search" type="search" placeholder="series, kind, words ( / )" aria-label="search" value=${query.get("q") ?? ""} onInput=${(e) => change({ q: e.currentTarget.value }, { quietly: true })} />
        <div class="chips" role="group" aria-label="status">
          ${STATUSES.map((s) => html`<button type="button" aria-pressed=${String((query.get("status") ?? "all") === s)} onClick=${() => change({ status: s === "all" ? null : s })}>${s} <b>${counts[s]}</b></button>`)}
        </div>
        <div class="selects">
          <${Select} name="severity" label="any severity" value=${query.get("severity")} of=${["critical", "warning", "info"]} set=${one("severity")} />
          <${Select} name="kind" label="any kind" value=${query.get("kind")} of=${kinds} set=${one("kind")} />
          <${Select} name="stream" label="all streams" value=${query.get("stream")} of=${streams} set=${one("stream")} />
          <select aria-label="time" value=${query.get("since") ?? ""} onChange=${one("since")}>${Object.entries(SINCE).map(([v, t]) => html`<option value=${v}>${t}</option>`)}</select>
          <select aria-label="order" value=${query.get("by") ?? ""} onChange=${one("by")}><option value="">by state</option><option value="time">together in time</option></select>
        </div>
      </form>
      ${rows.length
        ? html`<${List} rows=${rows} places=${places} chosen=${chosen} />`
        : html`<p class="empty">${known.alerts.size ? "No alert fits." : read ? "No alerts yet. They appear here as they come." : "Reading the alert topic …"}</p>`}
    </section>
    <section class="pane detail" aria-label="the chosen alert" tabindex="-1">
      ${chosen
        ? html`<${Alert} key=${chosen} id=${chosen} back=${() => choose(null)} />`
        : html`<p class="empty">Choose an alert: a click, or <kbd>j</kbd> and <kbd>k</kbd>. <kbd>/</kbd> searches.</p>`}
    </section>
  </div>`;
}

function Select({ name, label, value, of, set }) {
  return html`<select aria-label=${name} value=${value ?? ""} onChange=${set}>
    <option value="">${label}</option>
    ${(value && !of.includes(value) ? [...of, value] : of).map((v) => html`<option value=${v}>${v}</option>`)}
  </select>`;
}

function List({ rows, places, chosen }) {
  const box = useRef(null);
  const [{ top, height }, set] = useState({ top: 0, height: 800 });
  useNow(30_000);

  useLayoutEffect(() => {
    const look = () => set({ top: box.current.scrollTop, height: box.current.clientHeight });
    const size = new ResizeObserver(look);
    size.observe(box.current);
    look();
    return () => size.disconnect();
  }, []);

  // What is chosen is brought into sight when it is chosen, not whenever something happens.
  useLayoutEffect(() => {
    const at = rows.findIndex((r) => r.id === chosen), view = box.current;
    if (at < 0) return;
    if (at * ROW < view.scrollTop) view.scrollTop = at * ROW;
    else if ((at + 1) * ROW > view.scrollTop + view.clientHeight) view.scrollTop = (at + 1) * ROW - view.clientHeight;
  }, [chosen]);

  const first = Math.max(0, Math.floor(top / ROW) - BEYOND), last = Math.min(rows.length, Math.ceil((top + height) / ROW) + BEYOND);
  const shown = rows.slice(first, last);
  return html`<div class="rows" ref=${box} onScroll=${(e) => set({ top: e.currentTarget.scrollTop, height: e.currentTarget.clientHeight })}
      role="listbox" tabindex="0" aria-label=${`${rows.length} alerts`} aria-activedescendant=${shown.some((r) => r.id === chosen) ? `alert-${chosen}` : undefined}>
    <div class="all" role="presentation" style=${{ height: `${rows.length * ROW}px` }}>
      ${shown.map((r, i) => html`<${Row} key=${r.id} record=${r} place=${places.get(r.id)} at=${first + i} of=${rows.length} chosen=${r.id === chosen} />`)}
    </div>
  </div>`;
}

function Row({ record: r, place, at, of, chosen }) {
  const state = r.status === "resolved" ? "resolved" : r.severity;
  const length = Date.parse(r.last_seen) - Date.parse(r.starts_at);
  return html`<div id=${`alert-${r.id}`} class=${`row ${state}${place?.of > 1 ? (place.at ? " joined" : " joined first") : ""}`} role="option" aria-selected=${String(chosen)} aria-setsize=${of} aria-posinset=${at + 1}
      style=${{ transform: `translateY(${at * ROW}px)` }} onClick=${() => choose(r.id)}>
    <span class="line"><span class="series" title=${visible(r.series)}>${place?.of > 1 && !place.at ? html`<b class="count" title=${`${place.of} overlap in time`}>${place.of}</b> ` : null}${r.series}</span>
    <span class="mark">${r.status}${r.acknowledged ? " ✓" : ""}${r.silenced ? " (silenced)" : ""}</span></span>
    <span class="line"><span class="what">${[r.kind || "unusual", percent(r), r.stream].filter(Boolean).join(" · ")}</span>
    <span class="when" title=${r.starts_at}>${Date.now() - Date.parse(r.starts_at) < 86_400_000 ? ago(r.starts_at) : `${day(r.starts_at)} ${clock(r.starts_at)}`}${length > 0 ? `, ${lasting(length)}` : ""}</span></span>
  </div>`;
}

const percent = (r) => (r.deviation_percent === null || r.deviation_percent === undefined ? "" : `${r.deviation_percent > 0 ? "+" : ""}${Math.round(r.deviation_percent)} %`);
