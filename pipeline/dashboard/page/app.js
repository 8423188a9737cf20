// The page of `tidewatch dashboard`: views by address, what is always in sight, and the keys.

import { Alerts, choose } from "./alerts.js";
import { Decisions } from "./decisions.js";
import { html, render, useEffect, useState } from "./lib.js";
import { Overview } from "./overview.js";
import { address, change, go, here, useRoute } from "./route.js";
import { Series } from "./series.js";
import { beep, listen, mood, standing, useKnown, useNow } from "./store.js";
import { WhatIf } from "./whatif.js";
import { prefer, preferences, zone } from "./words.js";

const VIEWS = { overview: Overview, alerts: Alerts, series: Series, decisions: Decisions, "what-if": WhatIf };

function App() {
  const asked = useRoute().view, view = VIEWS[asked] ? asked : "overview";
  useKnown((k) => [k.connected, k.read, k.look, k.heard]);
  const firing = useKnown((k) => { let n = 0; for (const r of k.alerts.values()) n += r.status === "firing"; return n; });
  const now = useNow(2000);
  const [zoned, setZone] = useState(preferences.zone);
  const [word, why] = standing(now);
  useEffect(() => { document.title = firing ? `(${firing}) Tidewatch` : "Tidewatch"; }, [firing]);
  const View = VIEWS[view];
  return html`<header class="top">
      <a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.querySelector("#main").focus(); }}>to the content</a>
      <a class="brand" href=${address("overview")}><img src="icon.svg" alt="" width="24" height="24" /><h1>Tidewatch</h1></a>
      <nav aria-label="views">${Object.keys(VIEWS).map((v) => html`<a href=${address(v)} aria-current=${v === view ? "page" : undefined}>${v.replace("-", " ")}${v === "alerts" && firing ? html` <b class="badge">${firing}</b>` : null}</a>`)}</nav>
      <p id="connection" class=${mood(word)} role="status" title=${why}>${word}</p>
      <span class="zone quiet" title="times are shown in this zone">${zone()}</span>
      <details class="menu" onFocusOut=${(e) => { if (e.relatedTarget && !e.currentTarget.contains(e.relatedTarget)) shut(); }}><summary aria-label="preferences">⚙</summary><div>
        <button type="button" onClick=${() => { prefer({ zone: zoned === "UTC" ? "local" : "UTC" }); setZone(preferences.zone); }}>times in ${zone()}</button>
        <button type="button" onClick=${switchTheme}>light or dark</button>
        <${Told} />
        <p class="quiet">keys: <kbd>/</kbd> search, <kbd>j</kbd> <kbd>k</kbd> next and previous, <kbd>Esc</kbd> back, <kbd>g</kbd> overview, <kbd>a</kbd> alerts, <kbd>s</kbd> series</p></div></details>
    </header>
    <main id="main" tabindex="-1"><${View} key=${`${view}${zoned}`} /></main>`;
}

function Told() {
  const [asked, again] = useState(0), refused = asked && "Notification" in window && Notification.permission === "denied";
  const notify = async () => {
    const may = preferences.notify ? "" : await Notification.requestPermission();
    prefer({ notify: may === "granted" });
    again((n) => n + 1);
  };
  return html`${"Notification" in window ? html`<button type="button" aria-pressed=${String(preferences.notify)} onClick=${notify}>notify me</button>` : null}${refused ? html`<p class="trouble" role="status">this browser lets no notifications of this address through</p>` : null}
    <button type="button" aria-pressed=${String(preferences.sound)} onClick=${() => { prefer({ sound: !preferences.sound }); if (preferences.sound) beep(); again((n) => n + 1); }}>sound</button>`;
}

function switchTheme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  prefer({ theme: dark ? "light" : "dark" });
  document.documentElement.dataset.theme = preferences.theme;
  window.dispatchEvent(new Event("tidewatch-theme"));
}

// The menu of preferences is in the way of what is below it.
const shut = () => document.querySelector(".menu")?.removeAttribute("open");
addEventListener("pointerdown", (event) => { if (!event.target.closest(".menu")) shut(); });
addEventListener("hashchange", shut);

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("dialog")) return;
  if (event.key === "Escape") {
    if (event.target.matches("input[type=search]")) { change({ q: null }, { quietly: true }); event.target.blur(); }
    else if (here().query.get("alert")) choose(null);
    else if (here().query.get("s")) change({ s: null, from: null, to: null, range: null });
    shut();
    return;
  }
  if (event.target.closest("input, select, textarea")) return;
  const view = { g: "overview", a: "alerts", s: "series", d: "decisions" }[event.key];
  if (event.key === "/") { event.preventDefault(); document.querySelector("#search")?.focus(); }
  else if (event.key === "Enter" && here().query.get("alert") && event.target.matches("[role=listbox], body")) document.querySelector(".detail")?.focus();
  else if (view) go(view, {});
});

if (preferences.theme) document.documentElement.dataset.theme = preferences.theme;
listen();
const place = document.querySelector("#app");
place.replaceChildren();
render(html`<${App} />`, place);
