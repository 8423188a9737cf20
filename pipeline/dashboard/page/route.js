// Where one is: "#/alerts?status=firing&alert=ID". Every view has an address; back and reload keep the place.

import { useEffect, useState } from "./lib.js";

export function here() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { view: path || "overview", query: new URLSearchParams(query ?? "") };
}

export function address(view, query = {}) {
  const text = (query instanceof URLSearchParams ? query : new URLSearchParams(Object.entries(query).filter(([, v]) => v !== "" && v !== null && v !== undefined))).toString();
  return `#/${view}${text ? `?${text}` : ""}`;
}

// Go there; `quietly`: the back button passes over the step (typing in a search box).
export function go(view, query, { quietly = false } = {}) {
  const to = address(view, query);
  if (to === location.hash) return;
  if (quietly) {
    history.replaceState(null, "", to);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = to;
}

// The same place with other parameters; null takes one away.
export function change(changes, options) {
  const { view, query } = here();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") query.delete(name);
    else query.set(name, value);
  }
  go(view, query, options);
}

// The stretch of time that pictures show, in the address: [from, to] in ms, null for all of it; and what changes it.
export const stretch = (query) => (query.get("from") && query.get("to") ? [Number(query.get("from")), Number(query.get("to"))] : null);
export const show = (range) => change({ from: range && String(Math.round(range[0])), to: range && String(Math.round(range[1])), range: null }, { quietly: true });

export function useRoute() {
  const [route, set] = useState(here);
  useEffect(() => {
    const moved = () => set(here());
    window.addEventListener("hashchange", moved);
    return () => window.removeEventListener("hashchange", moved);
  }, []);
  return route;
}
