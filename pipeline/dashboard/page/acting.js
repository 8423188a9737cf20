// What somebody may do: look after an alert, silence a series for a while, close, say what an alert was or where one was missed; each is a decision
// with a number, also `tidewatch ack ...`.

import { html, Trouble, useEffect, useRef, useState } from "./lib.js";
import { ask, decide, useKnown } from "./store.js";
import { instant, moment, prefer, preferences, zone } from "./words.js";

// Of these no level decides.
const UNSAYABLE = new Set(["no data", "out of range"]);
const FOR = { "15 min": 15, "1 h": 60, "4 h": 240, "1 day": 1440, "1 week": 10_080 };

const SAYS_NO_WHY = new Set(["comment", "undo", "lift"]);

const DOING = {
  acknowledge: { title: "Look after it", told: "Its records say from then on who looks after it." },
  silence: { title: "Silence", told: "Its alerts are published all the same, marked; nobody is told of them until it ends." },
  close: { title: "Close", told: "The open alert ends now; what comes next may begin another." },
  lift: { title: "End the silence", told: "Alerts are told of again." },
  normal: { title: "This was normal", told: "The alert ends where it is open; only what is twice as rare as this was begins another, for two periods of the false-alarm budget." },
  noise: { title: "Noise", told: "The alert ends where it is open; the level of this series is raised a step, for two periods of the false-alarm budget." },
  missed: { title: "You missed one", told: "The strongest observation of this time is looked up in the log, which may take a while; the same again will be an alert, for two periods of the false-alarm budget." },
  comment: { title: "Comment", told: "It stands in the life of the alert and among the decisions, for the others; nothing else depends on it." },
  undo: { title: "Take it back", told: "It counts no more from now on. An alert that ended by it stays over." },
};

export function Act({ record, acted }) {
  const rights = useKnown((k) => k.rights);
  const [doing, set] = useState(null);
  if (!rights.streams.some((s) => s.name === record.stream)) return null;
  if (!rights.operator) {
    return html`<p class="quiet act">${rights.operators ? "To act here, open the page with the operators' token." : "Acting needs an operators' token (tidewatch dashboard --help)."} At a terminal: <code>tidewatch ack ${record.stream} ${quoted(record.series)}</code></p>`;
  }
  const open = record.status !== "resolved";
  return html`<div class="act" role="group" aria-label="act">
    ${open ? html`<button type="button" onClick=${() => set("acknowledge")}>Acknowledge</button>` : null}
    <button type="button" onClick=${() => set("silence")}>Silence…</button>
    ${open ? html`<button type="button" onClick=${() => set("close")}>Close…</button>` : null}
    ${!UNSAYABLE.has(record.kind) ? html`<button type="button" onClick=${() => set("normal")}>This was normal…</button><button type="button" onClick=${() => set("noise")}>Noise…</button>` : null}
    <button type="button" onClick=${() => set("comment")}>Comment…</button>
    ${doing ? html`<${Dialog} key=${doing} doing=${doing} stream=${record.stream} series=${record.series} alert=${record.id} done=${() => { set(null); acted(); }} />` : null}
  </div>`;
}

// A stream's decisions are read anew when there are more of them, not for every alert that is looked at.
const read = new Map();
function decisionsOf(stream, decided) {
  const known = read.get(stream);
  if (known?.decided === decided) return known.lines;
  const lines = ask("decisions", { stream });
  lines.catch(() => read.delete(stream));
  read.set(stream, { decided, lines });
  return lines;
}

// What was said of a series or of one alert, the newest first, with who said it; operators take it back here.
export function SaidOf({ stream, series, alert = "" }) {
  const rights = useKnown((k) => k.rights), decided = useKnown((k) => k.look?.streams.find((s) => s.name === stream)?.decisions);
  const [lines, setLines] = useState([]), [undoing, undo] = useState(null), [done, setDone] = useState(0);
  useEffect(() => {
    if (!rights.streams.some((s) => s.name === stream)) return undefined;
    let gone = false;
    decisionsOf(stream, `${decided}/${done}`).then((l) => { if (!gone) setLines(l.filter((d) => d.feedback && d.series === series && (!alert || d.alert === alert))); }, () => {});
    return () => { gone = true; };
  }, [stream, series, alert, decided, done, rights.streams.length]);
  if (!lines.length) return null;
  return html`<section class="said"><h3>feedback</h3><ul class="plain">${lines.map((l) => html`<li key=${l.serial}>${l.undone ? html`<s>${l.feedback}</s> (taken back)` : html`<strong>${l.feedback}</strong>`} <span>of ${moment(l.since)}, by ${l.by} ${moment(l.at)}</span>
    ${rights.operator && !l.undone ? html` <button type="button" class="small" onClick=${() => undo(l.serial)}>undo…</button>` : null}</li>`)}</ul>
    ${undoing ? html`<${Dialog} doing="undo" stream=${stream} serial=${undoing} done=${() => { undo(null); setDone(done + 1); }} />` : null}</section>`;
}

export const quoted = (text) => (/^[\w./:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

export function Dialog({ doing, stream, series = "", serial = 0, alert = "", range = null, done }) {
  const box = useRef(null);
  const [name, setName] = useState(preferences.name), [why, setWhy] = useState(""), [minutes, setMinutes] = useState("60"), [until, setUntil] = useState(""), [pattern, setPattern] = useState(series);
  const [from, setFrom] = useState(range ? typed(range[0]) : ""), [to, setTo] = useState(range ? typed(1000 * Math.ceil(range[1] / 1000)) : ""), [every, setEvery] = useState(""), [text, setText] = useState("");
  const [state, setState] = useState({});
  useEffect(() => { box.current.showModal(); }, []);
  const send = async (event) => {
    event.preventDefault();
    prefer({ name });
    setState({ busy: true });
    try {
      const exact = pattern === series;
      const wish = doing === "missed" ? { do: "feedback", said: doing, series, at: from, until: to }
        : doing === "normal" || doing === "noise" ? { do: "feedback", said: doing, alert, every }
        : doing === "comment" ? { do: doing, text, ...(alert ? { alert } : { series }) }
          : { do: doing, series: pattern, exact, serial, ...(minutes ? { minutes: Number(minutes) } : { until: instant(until) }) };
      const { serial: made, at, note } = await decide({ stream, ...wish, why, by: name, wait: true });
      setState({ told: `Decision ${made}. ${at ? `All partitions have taken it.` : "It is in the list; partitions take it as soon as a worker is there."}${at && note ? ` Note: ${note}.` : ""}` });
    } catch (error) { setState({ error: error.message }); }
  };
  return html`<dialog ref=${box} onClose=${done} aria-label=${DOING[doing].title}>
    <form onSubmit=${send}>
      <h3>${DOING[doing].title}</h3>
      <p class="quiet">${DOING[doing].told}</p>
      ${doing !== "lift" && doing !== "undo" ? html`<label>series${doing === "silence" ? " (a name, or a pattern: *, ?)" : ""}<input value=${pattern} readonly=${doing !== "silence"} onInput=${(e) => setPattern(e.currentTarget.value)} required /></label>` : null}
      ${doing === "silence" ? html`<label>for<select value=${minutes} onChange=${(e) => setMinutes(e.currentTarget.value)}>${Object.entries(FOR).map(([text, m]) => html`<option value=${String(m)}>${text}</option>`)}<option value="">until …</option></select></label>` : null}
      ${doing === "silence" && !minutes ? html`<label>until (${zone()})<input type="datetime-local" required value=${until} onInput=${(e) => setUntil(e.currentTarget.value)} /></label>` : null}
      ${doing === "missed" ? html`<label>from<input value=${from} required onInput=${(e) => setFrom(e.currentTarget.value)} /></label><label>to<input value=${to} required onInput=${(e) => setTo(e.currentTarget.value)} /></label>` : null}
      ${doing === "normal" || doing === "noise" ? html`<label>holds<select value=${every} onChange=${(e) => setEvery(e.currentTarget.value)}><option value="">at any time</option><option value="day">at this time of day</option><option value="week">at this time of the week</option></select></label>` : null}
      ${doing === "comment" ? html`<label>comment<textarea value=${text} rows="3" maxlength="1000" required onInput=${(e) => setText(e.currentTarget.value)}></textarea></label>` : null}
      ${SAYS_NO_WHY.has(doing) ? null : html`<label>why<input value=${why} maxlength="500" placeholder="a word for the others" onInput=${(e) => setWhy(e.currentTarget.value)} /></label>`}
      <label>who<input value=${name} maxlength="80" required autocomplete="username" onInput=${(e) => setName(e.currentTarget.value)} /></label>
      <${Trouble} text=${state.error} />
      ${state.told ? html`<p role="status">${state.told}</p>` : null}
      <p class="buttons">${state.told
        ? html`<button type="button" onClick=${() => box.current.close()}>Done</button>`
        : html`<button type="submit" class="primary" disabled=${state.busy}>${state.busy ? "…" : DOING[doing].title}</button><button type="button" onClick=${() => box.current.close()}>Cancel</button>`}</p>
    </form>
  </dialog>`;
}

const typed = (ms) => `${new Date(ms).toISOString().slice(0, 19)}Z`;
