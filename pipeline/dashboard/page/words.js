// Times, durations and numbers as people read them.

import { finite, number } from "./draw.js";

const PREFERENCES = "tidewatch";

// What somebody chose, in this browser; a private window forgets it.
export const preferences = { zone: "local", theme: "", name: "", notify: false, sound: false };
try { Object.assign(preferences, JSON.parse(localStorage.getItem(PREFERENCES) ?? "{}")); } catch { /* none */ }

export function prefer(changes) {
  Object.assign(preferences, changes);
  try { localStorage.setItem(PREFERENCES, JSON.stringify(preferences)); } catch { /* private window */ }
}

export { finite, number };

const two = (n) => String(n).padStart(2, "0");

function parts(ms) {
  const t = new Date(ms);
  return preferences.zone === "UTC"
    ? [t.getUTCFullYear(), t.getUTCMonth() + 1, t.getUTCDate(), t.getUTCHours(), t.getUTCMinutes(), t.getUTCSeconds()]
    : [t.getFullYear(), t.getMonth() + 1, t.getDate(), t.getHours(), t.getMinutes(), t.getSeconds()];
}

const ms = (time) => (typeof time === "number" ? time : Date.parse(time));

export function day(time) {
  if (!finite(ms(time))) return "–";
  const [year, month, date] = parts(ms(time));
  return `${year}-${two(month)}-${two(date)}`;
}

export function clock(time) {
  if (!finite(ms(time))) return "–";
  const [, , , hours, minutes, seconds] = parts(ms(time));
  return `${two(hours)}:${two(minutes)}${seconds ? `:${two(seconds)}` : ""}`;
}

export const moment = (time) => `${day(time)} ${clock(time)}`;
// The end of what began then: without the day where it is the same.
export const end = (time, begin) => (day(time) === day(begin) ? clock(time) : moment(time));
// What somebody typed as day and clock, in the zone that times are shown in.
export const instant = (text) => new Date(preferences.zone === "UTC" ? `${text}Z` : text).toISOString();
export const zone = () => (preferences.zone === "UTC" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone || "local time");

export function lasting(length) {
  if (!finite(length) || length < 0) return "–";
  const s = Math.round(length / 1000);
  if (s < 90) return `${s} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = s / 3600;
  if (hours < 36) return `${hours < 10 ? Math.round(hours * 10) / 10 : Math.round(hours)} h`;
  const days = hours / 24;
  return days < 730 ? `${Math.round(days)} d` : `${Math.round(days / 365.25)} years`;
}

export function ago(time, now = Date.now()) {
  const passed = now - ms(time);
  if (!finite(passed)) return "–";
  return passed >= 0 ? `${lasting(passed)} ago` : `in ${lasting(-passed)}`;
}

export const count = (value) => (finite(value) ? Math.round(value).toLocaleString("en-US") : "–");

export function rate(value) {
  if (!finite(value)) return "–";
  return `${value >= 10 ? count(value) : value >= 0.1 ? value.toFixed(1) : value > 0 ? "< 0.1" : "0"} /s`;
}

// Which channels of an alert led at its peak, and by how much; nothing of one channel.
export const shares = (r) => r.channels?.map((c) => `${c.name} ${Math.round(100 * c.share)} %`).join(", ") ?? "";
