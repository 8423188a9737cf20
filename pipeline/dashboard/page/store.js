// What the page knows: alerts (id -> newest record in brief), the last look at the streams, and how old all that is.

import { useEffect, useRef, useState } from "./lib.js";
import { preferences } from "./words.js";

const MAX_ENDED = 5_000; // alerts that are over and kept, as the server does (board.py)
const LATE = 20_000; // ms without a word from the server after which what is shown is old
const OLD = 45_000; // ms after which a look is: a look may have to wait for Kafka to answer, or not to

export const known = {
  alerts: new Map(),
  version: 0, // of the alerts
  order: 0, // counts what happened to alerts
  changed: new Map(), // id -> order
  ended: new Set(), // ids of those that are over, the one that ended last at the end
  read: false, // whether the alert topic was read to where it ended
  kafka: "", // why Kafka does not answer, where no streams are known
  look: null,
  lookedAt: 0,
  rights: { operator: false, operators: false, streams: [] },
  connected: false,
  heard: Date.now(), // from the server
};

const listeners = new Set();
let due = false;

// Views are told at most once a frame, however much happens.
function tell() {
  if (due) return;
  due = true;
  const go = () => { due = false; for (const listener of listeners) listener(); };
  if (document.hidden) setTimeout(go, 250);
  else requestAnimationFrame(go);
}

// Draw again when `select`, as it was passed last, gives something else.
export function useKnown(select) {
  const [, draw] = useState(0), shown = useRef(null), value = select(known);
  shown.current = { select, value };
  useEffect(() => {
    const look = () => { if (!Object.is(shown.current.select(known), shown.current.value)) draw((n) => n + 1); };
    listeners.add(look);
    look();
    return () => listeners.delete(look);
  }, []);
  return value;
}

// Draw again every so many ms: for "2 min ago".
export function useNow(every = 5000) {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => set(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

function take(record) {
  const before = known.alerts.get(record.id);
  if (before && before.sequence >= record.sequence) return;
  known.alerts.set(record.id, record);
  known.changed.set(record.id, ++known.order);
  known.ended.delete(record.id);
  if (record.status === "resolved") known.ended.add(record.id);
  if (known.ended.size > MAX_ENDED) drop(known.ended.values().next().value);
  known.version += 1;
  if (known.read && record.status === "firing" && (before?.status !== "firing" || before.silenced) && !record.silenced) herald(record);
}

function drop(id) {
  for (const held of [known.alerts, known.changed, known.ended]) held.delete(id);
}

const HERALDED = 500; // ms in which what fires is told of together
const fired = [];

// A firing alert that is new, for somebody who had asked to be told.
function herald(record) {
  if (!preferences.notify && !preferences.sound) return;
  if (fired.push(record) === 1) setTimeout(() => { announce(fired.splice(0)); }, HERALDED);
}

function announce(records) {
  if (preferences.notify && document.hidden && "Notification" in window && Notification.permission === "granted") {
    const [first] = records, many = records.length > 1;
    const series = [...new Set(records.map((r) => r.series))];
    const note = many ? new Notification(`${records.length} alerts fire`, { body: series.slice(0, 5).join(", ") + (series.length > 5 ? ", …" : ""), tag: "tidewatch" })
      : new Notification(`${first.severity}: ${first.series}`, { body: first.summary, tag: first.id });
    note.onclick = () => { window.focus(); location.hash = many ? "#/alerts?status=firing" : `#/alerts?alert=${first.id}`; };
  }
  if (preferences.sound) beep();
}

let audio = null;

export function beep() {
  audio ??= new AudioContext();
  const tone = audio.createOscillator(), volume = audio.createGain();
  tone.frequency.value = 880;
  volume.gain.setValueAtTime(0.08, audio.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.0001, audio.currentTime + 0.4);
  tone.connect(volume).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + 0.4);
}

// A browser lets a page be heard only once somebody has touched it: who asked for sound before a reload has it from their first click or key on.
const audible = () => { if (preferences.sound) { audio ??= new AudioContext(); audio.resume(); } };
for (const touch of ["pointerdown", "keydown"]) addEventListener(touch, audible);

export function listen() {
  const source = new EventSource("alerts");
  const on = (name, act) => source.addEventListener(name, (event) => {
    known.heard = Date.now();
    act(JSON.parse(event.data));
    tell();
  });
  source.onopen = () => { known.connected = true; known.heard = Date.now(); ask("rights").then((r) => { known.rights = r; tell(); }, () => {}); tell(); };
  source.onerror = () => { known.connected = false; tell(); if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000); };
  on("alerts", (records) => {
    const there = new Set(records.map((r) => r.id));
    for (const id of known.alerts.keys()) if (!there.has(id)) drop(id);
    known.version += 1;
    records.forEach(take);
  });
  on("alert", take);
  on("read", (r) => { known.read = r.all; });
  on("look", (look) => { known.look = look; known.lookedAt = Date.now(); });
  on("kafka", (k) => { known.kafka = k.away; });
  on("beat", () => {});
}

// How things stand between this page and what it shows: [word, sentence].
export function standing(now = Date.now()) {
  if (!known.connected) return ["away", `no connection to the page's server for ${Math.round((now - known.heard) / 1000)} s; what is shown is of then`];
  if (now - known.heard > LATE) return ["stale", `nothing heard from the page's server for ${Math.round((now - known.heard) / 1000)} s`];
  if (!known.read) return ["reading", "the alert topic is being read"];
  const look = known.look;
  if (!look && known.kafka) return ["Kafka away", known.kafka];
  if (!look) return known.rights.streams.length ? ["looking", "the streams are being looked at"] : ["alerts only", "only the alert topic is known: start the page with the streams' settings file to see how they fare"];
  const age = (now - known.lookedAt) / 1000;
  if (age * 1000 > OLD) return ["stale", `the streams were looked at ${Math.round(age)} s ago, and not since`];
  if (look.kafka) return ["Kafka away", look.kafka];
  if (look.store) return ["store away", look.store];
  if (!look.workers.length) return ["no worker", "nothing is scored; what comes waits in Kafka"];
  const bad = look.streams.filter((s) => !["live", "quiet"].includes(s.verdict));
  const ill = (look.words ?? []).find((w) => w.verdict === "degraded");
  if (!bad.length && ill) return ["degraded", `worker ${ill.worker}: ${ill.problems[0]}`];
  return bad.length ? [bad[0].verdict, `${bad[0].name}: ${bad[0].why}`] : ["live", "workers are there, and what comes is scored"];
}

// How good that is: good, wait (give it a moment), bad.
export const mood = (word) => ({ live: "good", quiet: "good", "alerts only": "good", reading: "wait", looking: "wait", starting: "wait", behind: "wait" }[word] ?? "bad");

// Ask the server; throws an Error with its words.
export async function ask(what, query = {}, { signal } = {}) {
  const text = new URLSearchParams(query).toString();
  return answered(await fetch(`api/${what}${text ? `?${text}` : ""}`, { signal }));
}

export async function decide(wish) {
  const body = JSON.stringify({ by: preferences.name, ...wish });
  return answered(await fetch("api/decide", { method: "POST", body, headers: { "X-Tidewatch": "page" } }));
}

async function answered(answer) {
  const text = await answer.text();
  let body = null;
  try { body = JSON.parse(text); } catch { /* words */ }
  if (!answer.ok) throw new Error(body?.error ?? (text.trim() || `the server answers ${answer.status}`));
  return body;
}
