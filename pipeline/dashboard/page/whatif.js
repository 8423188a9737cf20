// What other settings would have said: a replay of the newest records under what holds and under what is tried. Nothing is changed.

import { quoted } from "./acting.js";
import { html, Trouble, useEffect, useState } from "./lib.js";
import { address, change, useRoute } from "./route.js";
import { ask, useKnown } from "./store.js";
import { count, moment } from "./words.js";

const BUDGETS = ["1 per series per day", "1 per series per week", "1 per series per month", "1 per series per year", "1 per week", "1 per 1000 rows"];

export function WhatIf() {
  const { query } = useRoute();
  const streams = useKnown((k) => k.rights.streams);
  const stream = query.get("stream") ?? streams[0]?.name ?? "";
  const [budget, setBudget] = useState(query.get("budget") ?? "1 per series per week"), [hold, setHold] = useState(query.get("hold") ?? ""), [days, setDays] = useState(query.get("days") ?? "7");
  const [state, setState] = useState({});
  const asked = query.get("budget") || query.get("hold");

  useEffect(() => {
    if (!asked || !streams.length) return undefined;
    const gone = new AbortController(), sets = new URLSearchParams({ stream, days: query.get("days") ?? "7" });
    if (query.get("budget")) sets.append("set", `threshold.false_alarms=${query.get("budget")}`);
    if (query.get("hold")) sets.append("set", `alerts.hold=${query.get("hold")}`);
    setState({ busy: true });
    ask("try", sets, { signal: gone.signal }).then((trial) => setState({ trial }), (error) => { if (!gone.signal.aborted) setState({ error: error.message }); });
    return () => gone.abort();
  }, [stream, query.toString(), streams.length]);

  if (!streams.length) return html`<p class="empty">This page knows only the alert topic; start it with the streams' settings file.</p>`;
  const send = (event) => { event.preventDefault(); change({ stream, budget, hold, days }); };
  const { trial } = state, values = { "threshold.false_alarms": budget, "alerts.hold": hold };
  const command = ["tidewatch apply", stream, "--dry-run", ...Object.entries(values).filter(([, v]) => v).map(([name, v]) => `--set ${quoted(`${name}=${v}`)}`), ...(days === "7" ? [] : [`--days ${days}`])].join(" ");
  return html`<div class="overview"><section class="card wide" aria-label="what if">
    <h2>what if</h2>
    <p class="quiet">The newest records of each partition are replayed, under what holds and under what is tried; nothing is changed. The same at a terminal: <code>${command}</code></p>
    <form class="try" onSubmit=${send}>
      <label>stream<select value=${stream} onChange=${(e) => change({ stream: e.currentTarget.value })}>${streams.map((s) => html`<option value=${s.name}>${s.name}</option>`)}</select></label>
      <label class="wide">false alarms<input list="budgets" value=${budget} onInput=${(e) => setBudget(e.currentTarget.value)} placeholder="as it is" /></label>
      <datalist id="budgets">${BUDGETS.map((b) => html`<option value=${b}></option>`)}</datalist>
      <label>hold<input value=${hold} onInput=${(e) => setHold(e.currentTarget.value)} placeholder="as it is; 10m" /></label>
      <label>newest days<input type="number" min="0.1" max="400" step="any" value=${days} onInput=${(e) => setDays(e.currentTarget.value)} /></label>
      <button type="submit" class="primary" disabled=${state.busy || !(budget || hold)}>${state.busy ? "replaying …" : "try"}</button>
    </form>
    ${state.busy ? html`<p class="loading">replaying the log twice; this may take a minute …</p>` : null}
    <${Trouble} text=${state.error} />
    ${trial ? html`<p><b>${count(trial.now.length)}</b> ${trial.now.length === 1 ? "alert" : "alerts"} now, <b>${count(trial.then.length)}</b> then, from ${moment(trial.since)} to ${moment(trial.until)}; ${count(trial.records)} records replayed${trial.warm ? "" : ", series began cold"}.</p>
      <${Differ} title="would not fire" stream=${stream} alerts=${trial.gone} /><${Differ} title="would fire too" stream=${stream} alerts=${trial.new} />` : null}
  </section></div>`;
}

function Differ({ title, stream, alerts }) {
  return html`<h3>${title}: ${count(alerts.length)}</h3><ul class="beside">${alerts.slice(0, 200).map((a) => html`<li class=${a.severity}>
    <a href=${address("series", { stream, s: a.series })}>${a.series}</a> <span>${moment(a.starts_at)} ${a.summary || a.kind}</span></li>`)}</ul>`;
}
