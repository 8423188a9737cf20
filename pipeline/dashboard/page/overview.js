// The streams at a glance: how each fares, what fires in it, what is silenced, who works.

import { Dialog } from "./acting.js";
import { html, prose, useMemo, useState } from "./lib.js";
import { address } from "./route.js";
import { known, mood, standing, useKnown, useNow } from "./store.js";
import { ago, count, lasting, moment, rate } from "./words.js";

const SEVERITIES = ["critical", "warning", "info"];

function counted() {
  const by = new Map();
  for (const r of known.alerts.values()) {
    const of = by.get(r.stream) ?? { critical: 0, warning: 0, info: 0, pending: 0, over: 0, newest: "" };
    if (r.status === "firing") of[r.severity] += 1;
    else of[r.status === "pending" ? "pending" : "over"] += 1;
    if (r.as_of > of.newest) of.newest = r.as_of;
    by.set(r.stream, of);
  }
  return by;
}

export function Overview() {
  const version = useKnown((k) => k.version), look = useKnown((k) => k.look), rights = useKnown((k) => k.rights), read = useKnown((k) => k.read);
  const now = useNow();
  const alerts = useMemo(counted, [version]);
  const streams = look?.streams ?? [];
  const others = [...alerts.keys()].filter((name) => !streams.some((s) => s.name === name)).sort();
  const [word, why] = standing(now);
  return html`<div class="overview">
    <p class=${`standing ${mood(word)}`}><b>${word}</b>: ${prose(why)}${look ? html` <small>looked at ${lasting(Math.max(0, now - known.lookedAt))} ago</small>` : null}</p>
    <div class=${["away", "stale"].includes(word) ? "cards old" : "cards"}>
      ${streams.map((s) => html`<${Stream} key=${s.name} stream=${s} why=${why} alerts=${alerts.get(s.name)} operator=${rights.operator} />`)}
      ${others.map((name) => html`<section class="card" key=${name} aria-label=${name}><h2>${name}</h2><p class="quiet">not in this page's settings: only its alerts are known</p><${Firing} stream=${name} alerts=${alerts.get(name)} /></section>`)}
    </div>
    ${streams.length || others.length ? null : !read ? html`<p class="loading">reading the alert topic …</p>`
      : rights.streams.length && !look ? html`<p class="loading">looking at the streams …</p>` : html`<p class="empty">No alerts yet. They appear here as they come.</p>`}
    ${look ? html`<${Workers} look=${look} now=${now} />` : null}
  </div>`;
}

// Each worker by what it said last in the store; a member of the group that says nothing there is named all the same.
function Workers({ look, now }) {
  const words = look.words ?? [];
  const mute = look.kafka ? 0 : look.workers.length - words.filter((w) => w.verdict !== "silent").length;
  return html`<section class="card" aria-label="workers"><h2>workers${look.kafka ? "" : `: ${look.workers.length}`}</h2>
    ${look.kafka ? html`<p class="quiet">Who is there Kafka would say; what each said last lies in the store.</p>` : !look.workers.length ? html`<p>Nobody works: start <code>tidewatch worker</code>. What comes waits in Kafka.</p>` : null}
    ${words.length ? html`<ul class="plain workers">${words.map((w) => html`<${Worker} key=${w.worker} worker=${w} now=${now} />`)}</ul>` : null}
    ${mute > 0 ? html`<p class="quiet">${mute} of ${look.workers.join(", ")} ${mute === 1 ? "says" : "say"} nothing of health: just started, of an older version, or the store is away</p>` : null}
  </section>`;
}

const TONE = { well: "good", degraded: "bad", silent: "wait" };

function Worker({ worker: w, now }) {
  const held = Object.entries(w.held);
  return html`<li><b>${w.worker}</b> <span class=${`verdict ${TONE[w.verdict] ?? "wait"}`}>${w.verdict}</span>
    ${w.verdict === "silent" ? html` <span class="quiet">last heard ${lasting(w.age * 1000)} ago: it ended without a word, or cannot reach the store</span>` : null}
    <p class="quiet">since ${moment(w.began * 1000)} · ${held.length ? held.map(([stream, ps]) => `${stream}: ${ps.length} partition${ps.length === 1 ? "" : "s"}`).join(", ") : "holds no partition"}
      ${w.stored_at === null ? "" : ` · last checkpoint ${lasting(Math.max(0, now - w.stored_at * 1000))} ago`}</p>
    ${w.problems.map((line) => html`<p class="bad">${line}</p>`)}${w.notes.map((line) => html`<p class="wait">${line}</p>`)}</li>`;
}

function Firing({ stream, alerts, away = false }) {
  const firing = SEVERITIES.filter((s) => alerts?.[s]);
  return html`<p class="firing">${firing.length
    ? firing.map((s) => html`<a class=${`mark ${s}`} href=${address("alerts", { stream, status: "firing", severity: s })}>${alerts[s]} ${s}</a>`)
    : html`<span>${known.read ? (away ? "nothing fired when Kafka was there" : "nothing fires") : "alerts are being read …"}</span>`}
    ${alerts?.pending ? html`<a href=${address("alerts", { stream, status: "pending" })}>${alerts.pending} pending</a>` : null}
    ${alerts?.over ? html`<a href=${address("alerts", { stream, status: "resolved" })}>${count(alerts.over)} over</a>` : null}</p>
    ${alerts?.newest ? html`<p class="quiet">last change of an alert ${moment(alerts.newest)} (event time)</p>` : null}`;
}

// `why`: what is said of all streams already.
function Stream({ stream: s, why, alerts, operator }) {
  const [lifting, lift] = useState(null);
  return html`<section class="card" aria-label=${s.name}>
    <h2>${s.name} <span class=${`verdict ${mood(s.verdict)}`}>${s.verdict}</span></h2>
    ${why.endsWith(s.why) ? null : html`<p class="quiet">${prose(s.why)}</p>`}
    <${Firing} stream=${s.name} alerts=${alerts} away=${s.verdict === "Kafka away"} />
    <dl class="numbers">
      <div><dt>scored</dt><dd>${rate(s.rate)}</dd></div>
      <div><dt>coming</dt><dd>${rate(s.coming)}</dd></div>
      <div><dt>waiting</dt><dd>${count(s.lag)}</dd></div>
      <div><dt>partitions</dt><dd>${s.partitions.length || "–"}</dd></div>
      <div><dt>series live</dt><dd>${count(s.live)}</dd></div>
      <div><dt>warming</dt><dd>${count(s.warming)}</dd></div>
    </dl>
    ${s.warming ? html`<p class="quiet">${count(s.warming)} of the series ${s.warming === 1 ? "is" : "are"} new: too little is known of ${s.warming === 1 ? "it" : "them"} for an alert; <code>tidewatch explain</code> says of each what it needs</p>` : null}
    ${(s.replays ?? []).map((r) => html`<p class="replay">replay of ${r.source}: ${r.total === null ? `${count(r.sent)} observations` : html`<progress aria-label="sent" max=${r.total} value=${r.sent}>${count(r.sent)}</progress> ${count(r.sent)} of ${count(r.total)}`}${r.when ? `, at ${moment(r.when)} of its time` : ""}${r.speed === "max" ? "" : ` (${r.speed})`}</p>`)}
    <p><a href=${address("series", { stream: s.name })}>series</a> · <a href=${address("decisions", { stream: s.name })}>${s.decisions ?? ""} decision${s.decisions === 1 ? "" : "s"}</a> · <a href=${address("what-if", { stream: s.name })}>what if</a></p>
    ${s.silences.length ? html`<h3>silenced</h3><ul class="plain">${s.silences.map((x) => html`<li><code>${x.series}</code> ${x.when || html`until ${moment(x.until)} (${ago(x.until)})`} by ${x.by}${x.why ? `: ${x.why}` : ""} ${operator ? html`<button type="button" class="small" onClick=${() => lift(x.serial)}>end it</button>` : null}</li>`)}</ul>` : null}
    <details><summary>partitions</summary><table class="facts"><thead><tr><th scope="col">partition</th><th scope="col">stored up to</th><th scope="col">log ends</th><th scope="col">waiting</th><th scope="col">last checkpoint</th></tr></thead>
      <tbody>${s.partitions.map((p) => html`<tr><th scope="row">${p.partition}</th><td>${count(p.offset)}</td><td>${count(p.end)}</td><td>${count(p.lag)}</td><td>${p.offset === null ? (p.end ? "none yet" : "none: no records yet") : `${lasting(p.stored_for * 1000)} ago or more`}</td></tr>`)}</tbody></table></details>
    ${lifting ? html`<${Dialog} doing="lift" stream=${s.name} serial=${lifting} done=${() => lift(null)} />` : null}
  </section>`;
}
