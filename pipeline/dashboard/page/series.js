// Any series, alert or not: its newest points with what was expected and let pass, its score below, its alerts as spans,
// what was decided as marks. Several below one another.

import { Dialog, SaidOf } from "./acting.js";
import { Chart } from "./chart.js";
import { html, Trouble, useEffect, useMemo, useState } from "./lib.js";
import { Decided, useMarks } from "./marks.js";
import { address, change, here, show, stretch, useRoute } from "./route.js";
import { ask, known, useKnown } from "./store.js";
import { count, finite, lasting, moment, shares } from "./words.js";

const RANGES = { "1 h": 3.6e6, "6 h": 2.16e7, "1 day": 8.64e7, "1 week": 6.048e8, all: 0 };

export function Series() {
  const { query } = useRoute();
  const streams = useKnown((k) => k.rights.streams);
  const stream = query.get("stream") ?? streams[0]?.name ?? "";
  const chosen = query.getAll("s"), text = query.get("q") ?? "";
  const [found, setFound] = useState(null), [trouble, setTrouble] = useState(""), [extents, reach] = useState({});
  const range = query.get("range") ?? "all", zoomed = stretch(query);

  useEffect(() => {
    if (!stream || !streams.length) return undefined;
    const gone = new AbortController();
    const timer = setTimeout(() => ask("series", { stream, q: text }, { signal: gone.signal }).then((f) => { setFound(f); setTrouble(""); }, (e) => { if (!gone.signal.aborted) setTrouble(e.message); }), 150);
    return () => { clearTimeout(timer); gone.abort(); };
  }, [stream, text, streams.length]);

  if (!streams.length) return html`<p class="empty">This page knows only the alert topic. Start it with the settings file of the streams (<code>--config</code>) to see their series.</p>`;
  const listed = found?.names ?? [], names = [...chosen.filter((name) => !listed.includes(name)), ...listed];
  return html`<div class=${chosen.length ? "split chosen" : "split"}>
    <section class="pane list" aria-label="series">
      <form class="filters" role="search" onSubmit=${(e) => e.preventDefault()}>
        <input id="search" type="search" placeholder="name of a series ( / )" aria-label="search" value=${text} onInput=${(e) => change({ q: e.currentTarget.value, stream }, { quietly: true })} />
        <div class="selects"><select aria-label="stream" value=${stream} onChange=${(e) => { location.hash = address("series", { stream: e.currentTarget.value }); }}>${streams.map((s) => html`<option value=${s.name}>${s.name}</option>`)}</select></div>
        <${Trouble} text=${trouble} />
        ${found ? html`<p class="quiet">${count(found.fitting)} of ${count(found.of)} series${found.fitting > found.names.length ? `, the first ${found.names.length} shown` : ""}; tick several to compare</p>` : trouble ? null : html`<p class="quiet">asking the store …</p>`}
      </form>
      <ul class="names" tabindex="0" aria-label="names">${names.map((name) => html`<li key=${name}><label><input type="checkbox" checked=${chosen.includes(name)} onChange=${() => toggle(stream, chosen, name)} /> ${name}</label></li>`)}</ul>
    </section>
    <section class="pane detail" aria-label="chosen series" tabindex="-1">
      ${chosen.length ? html`<button type="button" class="back" onClick=${() => { location.hash = address("series", { stream }); }}>← series</button>
        <div class="chips" role="group" aria-label="range">${Object.keys(RANGES).map((r) => html`<button type="button" aria-pressed=${String(!zoomed && range === r)} onClick=${() => change({ range: r === "all" ? null : r, from: null, to: null })}>${r}</button>`)}</div>
        ${chosen.map((name) => html`<${One} key=${`${stream}/${name}`} stream=${stream} name=${name} shown=${zoomed ?? together(chosen, extents, RANGES[range])} reach=${reach} />`)}`
      : html`<p class="empty">Choose a series.</p>`}
    </section>
  </div>`;
}

// The time axis that all chosen series share: the newest part of their points, or all of them.
function together(chosen, extents, range) {
  const known = chosen.filter((name) => extents[name]).map((name) => extents[name]);
  if (!known.length) return null;
  const first = Math.min(...known.map(([from]) => from)), last = Math.max(...known.map(([, to]) => to));
  return range ? [last - range, last] : first < last ? [first, last] : null;
}

function toggle(stream, chosen, name) {
  const { query } = here();
  query.delete("s");
  query.set("stream", stream);
  for (const s of chosen.includes(name) ? chosen.filter((c) => c !== name) : [...chosen, name]) query.append("s", s);
  location.hash = address("series", query);
}

const NONE = [];

function One({ stream, name, shown, reach }) {
  const [got, setGot] = useState(null), [trouble, setTrouble] = useState(""), [newest, setNewest] = useState(20_000);
  const [doing, act] = useState("");
  const version = useKnown((k) => k.version), operator = useKnown((k) => k.rights.operator);

  useEffect(() => {
    let timer = 0;
    const gone = new AbortController();
    const read = () => ask("points", { stream, series: name, newest }, { signal: gone.signal })
      .then((p) => { setGot(p); setTrouble(""); }, (e) => { if (!gone.signal.aborted) setTrouble(e.message); })
      .finally(() => { if (!gone.signal.aborted) timer = setTimeout(read, 15_000); });
    read();
    return () => { gone.abort(); clearTimeout(timer); };
  }, [stream, name, newest]);

  const alerts = useMemo(() => [...known.alerts.values()].filter((r) => r.stream === stream && r.series === name).sort((a, b) => (a.starts_at < b.starts_at ? 1 : -1)), [version, stream, name]);
  const spans = useMemo(() => alerts.map((r) => ({ from: Date.parse(r.starts_at), to: Date.parse(r.ends_at ?? r.last_seen), severity: r.severity })), [alerts]);
  const points = got?.points ?? NONE;
  const channels = points.length ? (points.at(-1).observed?.length ?? 1) : 1;
  const of = useMemo(() => Array.from({ length: Math.min(channels, 8) }, (_, c) => points.map((p) => ({ t: p.t, observed: p.observed?.[c] ?? null, expected: p.expected?.[c] ?? null, lower: p.lower?.[c] ?? null, upper: p.upper?.[c] ?? null }))), [got]);
  const scores = useMemo(() => points.map((p) => ({ t: p.t, score: p.score, level: p.threshold })), [got]);
  const marks = useMarks(stream, name, points);
  const first = points[0]?.t, last = points.at(-1)?.t;
  useEffect(() => { if (last !== undefined) reach((known) => ({ ...known, [name]: [first, last] })); }, [first, last]);
  return html`<article class="one"><h2>${name}</h2>
    <${Trouble} text=${trouble && got ? `${trouble}; the points below were read before` : trouble} />
    ${!got && !trouble ? html`<p class="loading">reading its newest points …</p>` : null}
    ${got && !points.length ? html`<p class="empty">None of the newest ${count(got.newest)} records of partition ${got.partition} of ${got.topic} is of this series.</p>` : null}
    ${points.length ? html`<div class="charts">
      ${(points.some((p) => p.observed) ? of : []).map((p, c) => html`<${Chart} key=${c} points=${p} spans=${spans} marks=${marks} group="series" range=${shown} onrange=${show} height=${channels > 1 ? 170 : 260} label=${channels > 1 ? (got.channels?.[c] ?? `channel ${c + 1}`) : "observed, expected, and what is let pass"} />`)}
      ${scores.some((p) => finite(p.score)) ? html`<${Chart} points=${scores} spans=${spans} marks=${marks} group="series" range=${shown} onrange=${show} scored=${true} height=${120} label="score" />` : null}</div>
      <p class="quiet">${count(points.length)} points from ${moment(points[0].t)} to ${moment(last)}, out of the newest ${count(got.newest)} records of ${got.topic}[${got.partition}]${got.source === "scores" ? "" : ". What was expected is not published: set score_topic in the stream's settings to see it"}
      ${newest < 200_000 ? html` <button type="button" class="small" onClick=${() => setNewest(200_000)}>reach further back</button>` : null}</p>` : null}
    ${operator && points.length ? html`<p class="act"><button type="button" onClick=${() => act("comment")}>Comment…</button> <button type="button" onClick=${() => act("missed")}>You missed one…</button> <span class="quiet">where one was missed: first zoom to it</span></p>` : null}
    ${doing ? html`<${Dialog} key=${doing} doing=${doing} stream=${stream} series=${name} range=${shown ?? [last, last]} done=${() => act("")} />` : null}
    <${SaidOf} stream=${stream} series=${name} />
    <${Decided} stream=${stream} marks=${marks} />
    <h3>alerts: ${alerts.length}</h3>
    <ul class="beside">${alerts.slice(0, 30).map((r) => html`<li class=${r.status === "resolved" ? "resolved" : r.severity}><a href=${address("alerts", { alert: r.id })}>${r.kind || "unusual"}</a> <span>${r.status}, ${moment(r.starts_at)}${r.last_seen > r.starts_at ? `, ${lasting(Date.parse(r.last_seen) - Date.parse(r.starts_at))}` : ""}${r.channels?.length ? `: ${shares(r)}` : ""}</span></li>`)}</ul>
  </article>`;
}
