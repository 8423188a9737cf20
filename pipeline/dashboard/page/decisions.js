// What was decided about a stream: who, when, what, and where each partition took it; silences can be ended, other words taken back.

import { Dialog } from "./acting.js";
import { html, Trouble, useEffect, useState } from "./lib.js";
import { address, useRoute } from "./route.js";
import { ask, useKnown } from "./store.js";
import { moment } from "./words.js";

export function Decisions() {
  const { query } = useRoute();
  const rights = useKnown((k) => k.rights), look = useKnown((k) => k.look);
  const stream = query.get("stream") ?? rights.streams[0]?.name ?? "";
  const [lines, setLines] = useState(null), [trouble, setTrouble] = useState(""), [lifting, lift] = useState(null), [undoing, undo] = useState(null), [silencing, silence] = useState(false);
  const seen = look?.streams.find((s) => s.name === stream)?.decisions;

  useEffect(() => {
    if (!stream || !rights.streams.length) return undefined;
    const gone = new AbortController();
    ask("decisions", { stream }, { signal: gone.signal }).then((l) => { setLines(l); setTrouble(""); }, (e) => { if (!gone.signal.aborted) setTrouble(e.message); });
    return () => gone.abort();
  }, [stream, seen, rights.streams.length, lifting, undoing, silencing]);

  if (!rights.streams.length) return html`<p class="empty">This page knows only the alert topic; start it with the streams' settings file.</p>`;
  return html`<div class="overview"><section class="card wide" aria-label="decisions">
    <h2>decisions of <select aria-label="stream" value=${stream} onChange=${(e) => { location.hash = address("decisions", { stream: e.currentTarget.value }); }}>${rights.streams.map((s) => html`<option value=${s.name}>${s.name}</option>`)}</select>
      ${rights.operator ? html`<button type="button" class="small" onClick=${() => silence(true)}>silence series…</button>` : null}</h2>
    <${Trouble} text=${trouble} />
    ${lines === null && !trouble ? html`<p class="loading">reading …</p>` : null}
    ${lines?.length === 0 ? html`<p class="empty">Nothing was decided yet.</p>` : null}
    ${lines?.length ? html`<div class="scroll" tabindex="0" role="region" aria-label="list of decisions"><table class="facts decisions"><thead><tr><th scope="col">no.</th><th scope="col">when</th><th scope="col">who</th><th scope="col">what</th><th scope="col">taken at</th></tr></thead>
      <tbody>${lines.map((l) => html`<tr key=${l.serial}><th scope="row">${l.serial}</th><td>${moment(l.at)}</td><td>${l.by}</td><td class="what">${l.undone ? html`<s>${l.what}</s> (taken back)` : l.what} ${rights.operator && l.undone === false ? html`<button type="button" class="small" onClick=${() => undo(l.serial)}>undo…</button>` : null}${rights.operator && l.kind === "silence" && look?.streams.find((s) => s.name === stream)?.silences.some((x) => x.serial === l.serial) ? html`<button type="button" class="small" onClick=${() => lift(l.serial)}>end it</button>` : null}</td>
        <td>${Object.entries(l.taken).map(([p, o]) => `${p}:${o}${l.refused?.includes(Number(p)) ? " (refused: the settings before judge on)" : l.learning?.includes(Number(p)) ? " (learns)" : ""}`).join(", ") || "nowhere yet"}</td></tr>`)}</tbody></table></div>` : null}
    ${lifting ? html`<${Dialog} doing="lift" stream=${stream} serial=${lifting} done=${() => lift(null)} />` : null}
    ${undoing ? html`<${Dialog} doing="undo" stream=${stream} serial=${undoing} done=${() => undo(null)} />` : null}
    ${silencing ? html`<${Dialog} doing="silence" stream=${stream} done=${() => silence(false)} />` : null}
  </section></div>`;
}
