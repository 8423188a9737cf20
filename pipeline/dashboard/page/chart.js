// A picture of points over time: observed, expected and band; alerts as spans, what somebody spoke of as yellow ones,
// silences as gray ones, decisions as marks. Drawn by uPlot.
// Drag to zoom, double click to see all, Ctrl + wheel to zoom at the pointer, arrow keys to move.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";
import { clock, day, finite, moment, number, preferences } from "./words.js";
import { lines, stretches } from "./marks.js";
import { axes, colour, flag, MOST, onWheel, PADDING, shade, span } from "./draw.js";

const UPlot = globalThis.uPlot;

// points: [{t, observed, expected, lower, upper, score, level}], each value of one channel, by rising t.
export function Chart({ points, spans = [], marks = [], peak = null, label, height = 260, group = "time", scored = false, range = null, onrange = null }) {
  const place = useRef(null), plot = useRef(null), own = useRef(false);
  const [reading, setReading] = useState("");
  const [theme, setTheme] = useState(0);

  useEffect(() => {
    const again = () => setTheme((n) => n + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", again);
    window.addEventListener("tidewatch-theme", again);
    return () => { system.removeEventListener("change", again); window.removeEventListener("tidewatch-theme", again); };
  }, []);

  useLayoutEffect(() => {
    const box = place.current;
    const made = new UPlot(options(), data(points, scored), box);
    plot.current = made;
    if (range) zoom(made, range);
    const size = new ResizeObserver(() => made.setSize({ width: box.clientWidth, height }));
    size.observe(box);
    onWheel(made, (to) => { own.current = true; made.setScale("x", to); });
    return () => { size.disconnect(); made.destroy(); plot.current = null; };
    // A new picture only where its parts are others; new points go into the one there is.
  }, [theme, height, scored, preferences.zone, shape(points)]);

  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    const zoomed = (own.current || range) && { ...made.scales.x };
    made.setData(data(points, scored), !zoomed);
    if (zoomed) made.setScale("x", zoomed);
  }, [points]);

  useEffect(() => { if (plot.current && onrange) zoom(plot.current, range); }, [range?.[0], range?.[1]]);
  useEffect(() => { plot.current?.redraw(false); }, [spans, marks, peak]); // with true it would set the scale of before again

  // To a stretch that somebody else chose; null: to all of it.
  function zoom(made, to) {
    own.current = false;
    if (to) made.setScale("x", { min: to[0] / 1000, max: to[1] / 1000 });
    else made.setData(made.data, true);
  }

  function all(made) {
    zoom(made, null);
    onrange?.(null);
  }

  function options() {
    const has = (name) => points.some((p) => finite(p[name]));
    return {
      width: place.current.clientWidth || 600,
      height,
      padding: PADDING,
      tzDate: (s) => (preferences.zone === "UTC" ? UPlot.tzDate(new Date(s * 1000), "Etc/UTC") : new Date(s * 1000)),
      cursor: { sync: { key: group }, bind: { dblclick: (u, over, everywhere) => (event) => { own.current = false; everywhere(event); onrange?.(null); return null; } }, drag: { x: true, y: false, uni: 20 }, focus: { prox: 24 }, points: { size: 7 } },
      legend: { show: false },
      scales: { x: { time: true }, y: { range: (u, low, high) => span(low, high) } },
      axes: axes((u, ticks) => ticks.map((t, i) => tick(t * 1000, i ? ticks[i - 1] * 1000 : 0, ticks.length > 1 && ticks[1] - ticks[0] >= 86_400))),
      series: scored
        ? [{}, { stroke: colour("accent"), width: 1.4, spanGaps: false }, { stroke: colour("quiet"), dash: [4, 4], width: 1 }]
        : [
          {},
          { stroke: "transparent", points: { show: false } },
          { stroke: "transparent", points: { show: false } },
          { stroke: colour("accent"), width: 1.6, dash: has("lower") && points.length > 400 ? undefined : [5, 4], points: { show: false } },
          { stroke: colour("text"), width: 1.5, points: { show: points.length < 80, size: 4, fill: colour("text") } },
        ],
      bands: scored ? [] : [{ series: [2, 1], fill: colour("band") }],
      hooks: {
        drawClear: [(u) => shade(u, [...current.current.spans.map((s) => [s.from / 1000, s.to / 1000, s.severity]), ...stretches(current.current.marks)])],
        draw: [(u) => drawPeak(u), (u) => flag(u, lines(current.current.marks))],
        setCursor: [(u) => setReading(read(u))],
        setSelect: [() => { own.current = true; }],
        setScale: [(u, key) => { if (key === "x" && own.current && onrange) onrange([u.scales.x.min * 1000, u.scales.x.max * 1000]); }],
      },
    };
  }

  const current = useRef({});
  current.current = { spans, marks, peak };

  function drawPeak(u) {
    const at = current.current.peak;
    if (!at || scored || !finite(at.value)) return;
    const x = u.valToPos(at.t / 1000, "x", true), y = u.valToPos(at.value, "y", true);
    if (x < u.bbox.left - 1 || x > u.bbox.left + u.bbox.width + 1) return;
    const { ctx } = u;
    ctx.save();
    ctx.beginPath();
    ctx.arc(x, y, 5 * devicePixelRatio, 0, 7);
    ctx.fillStyle = colour(at.severity);
    ctx.strokeStyle = colour("surface");
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.fill();
    ctx.stroke();
    ctx.restore();
  }

  function read(u) {
    const i = u.cursor.idx;
    if (i === null || i === undefined) return "";
    const of = (k) => u.data[k][i];
    const mark = current.current.marks.find((m) => m.t !== null && Math.abs(u.valToPos(m.t / 1000, "x") - u.cursor.left) < 5);
    if (mark) return `${mark.serial}: ${mark.what}, by ${mark.by}`;
    if (scored) return `${moment(u.data[0][i] * 1000)}: ${number(of(1))}${finite(of(2)) ? ` (level ${number(of(2))})` : ""}`;
    const band = finite(of(1)) && finite(of(2)) ? `, let pass ${number(of(1))} … ${number(of(2))}` : "";
    return `${moment(u.data[0][i] * 1000)}: ${number(of(4))}${finite(of(3)) ? `, expected ${number(of(3))}` : ""}${band}`;
  }

  const move = (event) => {
    const made = plot.current, step = { ArrowLeft: -0.2, ArrowRight: 0.2 }[event.key], { min, max } = made.scales.x;
    const factor = { "+": 0.7, "-": 1.4 }[event.key];
    if (step === undefined && factor === undefined && event.key !== "0") return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "0") { all(made); return; }
    own.current = true;
    if (step !== undefined) made.setScale("x", { min: min + (max - min) * step, max: max + (max - min) * step });
    else made.setScale("x", { min: (min + max) / 2 - ((max - min) / 2) * factor, max: (min + max) / 2 + ((max - min) / 2) * factor });
  };

  return html`<figure class="chart">
    <figcaption><span>${label}</span><span class="reading" aria-live="off">${reading}</span></figcaption>
    <div ref=${place} class="plot" tabindex="0" role="img" aria-label=${`${label}: ${told(points)}`} title="drag to zoom, double click for all; + - 0 and arrow keys" onKeyDown=${move}></div>
  </figure>`;
}

const shape = (points) => `${points.length < 80}${points.length > 400}${points.some((p) => finite(p.lower))}`;

// The day stands where it begins; ticks that are days apart have no clock.
function tick(t, before, daily) {
  if (daily) return day(t);
  return before && day(t) === day(before) ? clock(t) : `${clock(t)}\n${day(t)}`;
}

function told(points) {
  if (!points.length) return "no points";
  const values = points.map((p) => p.observed).filter(finite);
  if (!values.length) return `${points.length} points`;
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  return `${points.length} points from ${moment(points[0].t)} to ${moment(points.at(-1).t)}, between ${number(low)} and ${number(high)}`;
}

function data(points, scored) {
  const column = (name) => points.map((p) => (finite(p[name]) ? Math.max(-MOST, Math.min(MOST, p[name])) : null));
  const t = points.map((p) => p.t / 1000);
  return scored ? [t, column("score"), column("level")] : [t, column("lower"), column("upper"), column("expected"), column("observed")];
}
