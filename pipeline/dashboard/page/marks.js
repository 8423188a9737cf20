// What was decided about a series, on its time axis: a mark where its partition took it, a stretch where a silence covers.

import { html, useEffect, useMemo, useState } from "./lib.js";
import { address } from "./route.js";
import { ask, useKnown } from "./store.js";
import { moment } from "./words.js";

// A count that goes on while a decision is not taken yet: who counts on it reads anew.
export function useAgain(marks) {
  const [count, set] = useState(0);
  useEffect(() => {
    if (!marks.some((m) => m.offset === null)) return undefined;
    const timer = setTimeout(() => set(count + 1), 5000);
    return () => clearTimeout(timer);
  }, [marks]);
  return count;
}

// Read anew when there are more decisions, and when the points have gone on beyond what was asked for.
export function useMarks(stream, series, points) {
  const decided = useKnown((k) => k.look?.streams.find((s) => s.name === stream)?.decisions);
  const [got, setGot] = useState([]), again = useAgain(got), [range, reach] = useState(null), first = points[0]?.t, last = points.at(-1)?.t;
  useEffect(() => {
    if (last !== undefined && !(range && range[0] <= first && last <= range[1])) reach([first, Math.round(last + 0.1 * (last - first) + 3.6e6)]);
  }, [first, last]);
  useEffect(() => {
    if (!range) return undefined;
    const gone = new AbortController();
    ask("marks", { stream, series, partition: points.at(-1).in, from: range[0], to: range[1] }, { signal: gone.signal }).then(setGot, () => {});
    return () => gone.abort();
  }, [stream, series, decided, range, again]);
  return useMemo(() => placed(got, points), [got, points]);
}

// The event time of an offset is that of the first observation from there on; of what was taken behind the newest one, the axis' end.
function placed(marks, points) {
  if (!marks.length || !points.length) return [];
  const by = points.toSorted((a, b) => a.at - b.at), first = points[0].t, last = points.at(-1).t;
  const when = (offset) => (offset === null || offset === undefined ? null : by.find((p) => p.at >= offset)?.t ?? last);
  return marks.map((m) => {
    const from = when(m.offset), behind = m.offset > by.at(-1).at, lifted = when(m.lifted), before = m.offset !== null && m.offset <= by[0].at;
    const silent = from === null ? [] : (m.silent ?? []).map(([a, b]) => [Math.max(a, from, first), Math.min(b, lifted ?? b, last)]).filter(([a, b]) => a < b);
    return { ...m, t: before ? null : from, silent, behind, waits: m.offset === null };
  });
}

// Upright lines for a chart: [seconds, the numbers of what was decided there].
export function lines(marks) {
  const there = new Map();
  for (const m of marks) if (m.t !== null) there.set(m.t, [m.serial, ...(there.get(m.t) ?? [])]);
  return [...there].map(([t, serials]) => [t / 1000, serials.length > 3 ? `${serials[0]}…${serials.at(-1)}` : serials.join(", ")]);
}

// Behind the lines of a chart: [from, to, colour], in seconds.
export const stretches = (marks) => marks.flatMap((m) => [
  ...m.silent.map(([a, b]) => [a / 1000, b / 1000, "silent"]),
  ...(m.of && !m.undone ? [[m.of[0] / 1000, m.of[1] / 1000, "label"]] : []),
]);

export function Decided({ stream, marks }) {
  if (!marks.length) return null;
  return html`<h3>decisions: <a href=${address("decisions", { stream })}>${marks.length}</a></h3>
    <ul class="plain">${marks.slice(0, 30).map((m) => html`<li key=${m.serial}><strong>${m.serial}</strong> ${m.undone && !m.of ? html`<s>${m.what}</s> (taken back)` : m.what} <span>by ${m.by}, ${moment(m.at)}${m.waits ? ", not taken yet" : m.t === null ? ", before what is shown" : `, from ${m.behind ? "behind " : ""}the observation of ${moment(m.t)} on`}</span></li>`)}</ul>`;
}
