// What every chart of uPlot does here, on the page and in reports: colours, ranges, numbers, shades, zoom with the wheel.

export const finite = (v) => typeof v === "number" && Number.isFinite(v);

// A canvas knows no variables: an element's colour is what the browser made of one.
export function colour(name) {
  const probe = document.body, before = probe.style.outlineColor;
  probe.style.outlineColor = `var(--${name})`;
  const found = getComputedStyle(probe).outlineColor;
  probe.style.outlineColor = before;
  return found;
}

export const MOST = 1e30, LEAST = 1e-25; // what an axis of uPlot can be divided into; beyond it values are drawn at the edge

// The interval that an axis shows: the values with a margin, finite, and wide enough that a tick's step adds something.
export function span(low, high) {
  if (!finite(low) || !finite(high)) return [-1, 1];
  const cut = (v) => Math.max(-MOST, Math.min(MOST, v));
  const [from, to] = [cut(Math.min(low, high)), cut(Math.max(low, high))];
  const least = Math.max(Math.abs(from), Math.abs(to)) * 1e-9;
  const margin = Math.max((to - from) * 0.06, to > from ? least : Math.max(Math.abs(from) * 0.06, least) || 1, LEAST);
  return [from - margin, to + margin];
}

export function number(value) {
  if (!finite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e15 || size < 1e-4)) return value.toExponential(3);
  return Number(value.toPrecision(5)).toLocaleString("en-US", { maximumSignificantDigits: 6 });
}

export const PADDING = [8, 30, 0, 0]; // px; half of the last tick's date hangs over the right edge

// Axes of time (or of rows) and of values.
export function axes(values) {
  const line = { grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, stroke: colour("quiet"), font: "11px system-ui" };
  return [{ ...line, size: 36, space: 90, ...(values ? { values } : {}) }, { ...line, size: 64, values: (u, ticks) => ticks.map(number) }];
}

// Stretches behind the lines: [from, to] in the unit of x, and the colour's name behind "span-".
export function shade(u, spans) {
  const { ctx, bbox } = u;
  ctx.save();
  for (const [from, to, kind] of spans) {
    const a = Math.max(u.valToPos(from, "x", true), bbox.left), b = Math.min(u.valToPos(to, "x", true), bbox.left + bbox.width);
    if (b < bbox.left || a > bbox.left + bbox.width) continue;
    ctx.fillStyle = colour(`span-${kind}`);
    ctx.fillRect(a - 2, bbox.top, Math.max(b - a, 0) + 4, bbox.height);
  }
  ctx.restore();
}

// Upright lines with a word at their top: [x, word].
export function flag(u, marks) {
  const { ctx, bbox } = u, size = 10 * devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("quiet");
  ctx.lineWidth = devicePixelRatio;
  ctx.font = `${size}px system-ui`;
  for (const [at, word] of marks) {
    const x = u.valToPos(at, "x", true);
    if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const wide = ctx.measureText(word).width, left = x + wide + size > bbox.left + bbox.width;
    ctx.fillText(word, left ? x - wide - 3 * devicePixelRatio : x + 3 * devicePixelRatio, bbox.top + size);
  }
  ctx.restore();
}

// Where the wheel with Ctrl leads: the new interval of x, around the pointer and within the data.
export function wheeled(u, event) {
  const { min, max } = u.scales.x, at = u.posToVal(event.offsetX, "x"), factor = event.deltaY < 0 ? 0.75 : 1.33, all = u.data[0];
  return { min: Math.max(all[0], at - (at - min) * factor), max: Math.min(all[all.length - 1], at + (max - at) * factor) };
}

export function onWheel(u, zoom) {
  u.over.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    zoom(wheeled(u, event));
  }, { passive: false });
}
