// What somebody may do: look after an alert, silence a series for a while, close; each is a decision with a number, also `tidewatch ack ...`.

import { html, useEffect, useRef, useState } from "./lib.js";
import { decide, useKnown } from "./store.js";
import { prefer, preferences } from "./words.js";

const FOR = { "15 min": 15, "1 h": 60, "4 h": 240, "1 day": 1440, "1 week": 10_080 };

const DOING = {
  acknowledge: { title: "Look after it", told: "Its records say from then on who looks after it." },
  silence: { title: "Silence", told: "Its alerts are published all the same, marked; nobody is told of them until it ends." },
  close: { title: "Close", told: "The open alert ends now; what comes next may begin another." },
  lift: { title: "End the silence", told: "Alerts are told of again." },
};

export function Act({ record }) {
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
    ${doing ? html`<${Dialog} key=${doing} doing=${doing} stream=${record.stream} series=${record.series} done=${() => set(null)} />` : null}
  </div>`;
}

const quoted = (text) => (/^[\w./:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

export function Dialog({ doing, stream, series = "", serial = 0, done }) {
  const box = useRef(null);
  const [name, setName] = useState(preferences.name), [why, setWhy] = useState(""), [minutes, setMinutes] = useState(60), [pattern, setPattern] = useState(series);
  const [state, setState] = useState({});
  useEffect(() => { box.current.showModal(); }, []);
  const send = async (event) => {
    event.preventDefault();
    prefer({ name });
    setState({ busy: true });
    try {
      const exact = pattern === series;
      const { serial: made, at } = await decide({ stream, do: doing, series: pattern, exact, minutes, serial, why, by: name, wait: true });
      setState({ told: `Decision ${made}. ${at ? `All partitions have taken it.` : "It is in the list; partitions take it as soon as a worker is there."}` });
    } catch (error) { setState({ error: error.message }); }
  };
  return html`<dialog ref=${box} onClose=${done} aria-label=${DOING[doing].title}>
    <form onSubmit=${send}>
      <h3>${DOING[doing].title}</h3>
      <p class="quiet">${DOING[doing].told}</p>
      ${doing !== "lift" ? html`<label>series${doing === "silence" ? " (a name, or a pattern: *, ?)" : ""}<input value=${pattern} readonly=${doing !== "silence"} onInput=${(e) => setPattern(e.currentTarget.value)} required /></label>` : null}
      ${doing === "silence" ? html`<label>for<select value=${String(minutes)} onChange=${(e) => setMinutes(Number(e.currentTarget.value))}>${Object.entries(FOR).map(([text, m]) => html`<option value=${String(m)}>${text}</option>`)}</select></label>` : null}
      <label>why<input value=${why} maxlength="500" placeholder="a word for the others" onInput=${(e) => setWhy(e.currentTarget.value)} /></label>
      <label>who<input value=${name} maxlength="80" required autocomplete="username" onInput=${(e) => setName(e.currentTarget.value)} /></label>
      ${state.error ? html`<p class="trouble" role="alert">${state.error}</p>` : null}
      ${state.told ? html`<p role="status">${state.told}</p>` : null}
      <p class="buttons">${state.told
        ? html`<button type="button" onClick=${() => box.current.close()}>Done</button>`
        : html`<button type="submit" class="primary" disabled=${state.busy}>${state.busy ? "…" : DOING[doing].title}</button><button type="button" onClick=${() => box.current.close()}>Cancel</button>`}</p>
    </form>
  </dialog>`;
}
