// Show the daemon's state, and the events.

import { lasting } from "./clock.js";
import { isFine, stateOf } from "./states.js";

const EVENTS_SHOWN = 20;
const THROTTLING = ["under-voltage", "frequency capped", "throttled", "soft temperature limit"];
const byId = (id) => document.getElementById(id);

export function showFacts(facts) {
  const state = byId("state");
  state.textContent = facts.health !== "ok" ? facts.health : facts.paused ? "paused" : facts.state;
  state.className = facts.health === "ok" && !facts.paused && facts.state === "ready" ? "pill ready" : "pill";
  byId("model").textContent = facts.model ? `${facts.model} on ${facts.engine}` : "";
  byId("tiles").replaceChildren(...tiles(facts).flatMap(tile));
}

function tuningWords({ state, reason, frames, wanted, agreement }) {
  if (state === "kept") return `int8, agreement ${(agreement * 100).toFixed(1)} %`;
  if (state === "collecting") return `${frames} of ${wanted} frames${reason ? `: ${reason}` : ""}`;
  return reason ? `${state.replace("_", " ")}: ${reason}` : state;
}

function tiles(facts) {
  const { window, machine, outcomes, sources = [], tuning } = facts;
  const all = [
    ["frames per second", window.fps.toFixed(2)],
    ["queue", `${facts.queue_depth} of ${facts.queue_limit}`, facts.queue_depth >= facts.queue_limit],
  ];
  if (window.age) all.push(["age p95", `${window.age.p95_ms.toFixed(0)} ms`]);
  for (const source of sources) {
    all.push([`source ${source.name}`, stateOf(source), !isFine(source)]);
  }
  if (tuning.state !== "off") all.push(["tuning", tuningWords(tuning), tuning.state === "given_up"]);
  if (machine.temp_c !== null) all.push(["temperature", `${machine.temp_c.toFixed(1)} °C`, machine.temp_c >= 80]);
  if (machine.throttled !== null) {
    const now = THROTTLING.filter((_, bit) => (machine.throttled >> bit) & 1);
    const before = THROTTLING.filter((_, bit) => (machine.throttled >> (bit + 16)) & 1);
    const earlier = before.length ? `not now; since boot: ${before.join(", ")}` : "no";
    all.push(["throttled", now.join(", ") || earlier, now.length > 0]);
  }
  if (machine.rss_mb !== null) all.push(["memory", `${machine.rss_mb.toFixed(0)} MB`]);
  all.push(["uptime", lasting(facts.uptime_s)]);
  for (const [outcome, count] of Object.entries(outcomes)) {
    if (count || outcome === "ok") all.push([outcome === "ok" ? "classified" : outcome, count.toLocaleString("en")]);
  }
  if (facts.mqtt) {
    const { connected, trouble } = facts.mqtt;
    all.push(["mqtt", connected ? "connected" : trouble || "not connected", !connected]);
  }
  if (facts.saving) {
    all.push(["images saved", `${facts.saving.files}`, Boolean(facts.saving.trouble)]);
  }
  return all;
}

function tile([name, value, isWarning]) {
  const box = document.createElement("div");
  const term = document.createElement("dt");
  const detail = document.createElement("dd");
  term.textContent = name;
  detail.textContent = value;
  if (isWarning) detail.className = "warn";
  box.append(term, detail);
  return [box];
}

const thumbnails = new Map(); // of the labels that are present, by source and label

export function clearEvents(wanted) {
  thumbnails.clear();
  byId("event-list").replaceChildren();
  byId("quiet").hidden = false;
  byId("quiet").textContent = wanted
    ? "No events yet."
    : "No labels are watched: list some under `events` in the configuration.";
}

export function showEvent(event) {
  const row = document.createElement("li");
  const entered = event.event === "entered";
  row.className = `event ${event.event}`;
  const words = document.createElement("span");
  const label = document.createElement("b");
  label.textContent = event.label;
  const how = entered
    ? `score ${event.score.toFixed(2)}`
    : `after ${lasting(event.duration_s ?? 0)}, best score ${(event.best ?? event.score).toFixed(2)}`;
  const when = document.createElement("small");
  when.textContent = ` ${event.source}, ${new Date(event.at).toLocaleTimeString()}`;
  words.append(label, ` ${entered ? "entered" : "left"} (${how})`, document.createElement("br"), when);
  row.append(thumbnail(event, entered), words);
  const list = byId("event-list");
  list.prepend(row);
  while (list.children.length > EVENTS_SHOWN) list.lastElementChild.remove();
  byId("quiet").hidden = true;
}

// A label that left is shown as it entered; without an image its place stays empty.
function thumbnail(event, entered) {
  const key = JSON.stringify([event.source, event.label]);
  if (entered) thumbnails.set(key, event.has_thumbnail ? event.number : null);
  const number = thumbnails.get(key);
  if (!entered) thumbnails.delete(key);
  const place = document.createElement("i");
  if (!number) return place;
  const image = document.createElement("img");
  image.src = `/thumbnail/${number}`;
  image.alt = entered ? event.label : `${event.label}, when it entered`;
  image.onerror = () => image.replaceWith(place); // the daemon no longer has it
  return image;
}
