// What a chart's axis shows. It ends for any two numbers.

const MAX_TICKS = 12;
export const finite = (v) => typeof v === "number" && Number.isFinite(v);

// The interval that an axis shows: the values with a margin, always finite and never empty.
export function span(values) {
  const known = values.filter(finite);
  if (!known.length) return [-1, 1];
  const most = Number.MAX_VALUE / 2; // so that no difference overflows
  const cut = (v) => Math.max(-most, Math.min(most, v));
  const low = cut(Math.min(...known)), high = cut(Math.max(...known));
  const margin = (high - low || Math.abs(high)) * 0.06 || 1;
  return [cut(low - margin), cut(high + margin)];
}

// Round numbers between two; how many is reckoned before the first is made, since at 1e16 a step of 0.5 adds nothing.
export function ticks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((m) => m * power >= rough) ?? 10);
  const first = Math.ceil(low / step);
  const count = Math.min(Math.floor(high / step) - first + 1, MAX_TICKS);
  if (!finite(step) || step <= 0 || !(count > 0)) return [];
  return [...new Set(Array.from({ length: count }, (_, k) => (first + k) * step))].filter((t) => t >= low && t <= high);
}
