// The stream of what happens, handed to those who show it.

import { Charts } from "./charts.js";
import { serverClock } from "./clock.js";
import { acceptPictures } from "./drop.js";
import { showEvent, showFacts } from "./panels.js";
import { Seen } from "./seen.js";

const LOST_AFTER_MS = 5000; // facts come every second
const byId = (id) => document.getElementById(id);

const seen = new Seen();
const charts = new Charts();
let stream = null;
let lastFacts = 0;

function connect() {
  if (stream || document.hidden) return;
  lastFacts = Date.now();
  stream = new EventSource("/live");
  const on = (name, show) =>
    stream.addEventListener(name, (message) => show(JSON.parse(message.data)));
  on("hello", (hello) => {
    serverClock.set(hello.now);
    byId("host").textContent = `on ${hello.host}`;
    document.title = `incv3d on ${hello.host}`;
    byId("quiet").textContent = hello.events_wanted
      ? "Nothing yet."
      : "No label is watched: name some under `events` in the configuration.";
    charts.clear();
    seen.begin();
    byId("happenings").replaceChildren();
  });
  on("result", (result) => seen.take(result));
  on("gone", (source) => seen.forget(source));
  on("runs", (runs) => charts.add(runs));
  on("event", showEvent);
  on("facts", (facts) => {
    serverClock.set(facts.now);
    lastFacts = Date.now();
    connected();
    showFacts(facts);
    charts.percentiles(facts.window.run);
    seen.source(facts.source);
  });
  stream.onerror = () => lost();
}

function disconnect() {
  stream?.close();
  stream = null;
}

function connected() {
  byId("trouble").hidden = true;
  document.body.classList.remove("stale");
}

// A browser tries again by itself, unless it was told that it may not look.
async function lost() {
  document.body.classList.add("stale");
  byId("state").textContent = "away";
  byId("state").className = "pill";
  byId("trouble").hidden = false;
  byId("trouble").textContent =
    "The daemon does not answer. What is shown is old; this page looks for it and goes on by itself.";
  if (stream?.readyState !== EventSource.CLOSED) return;
  disconnect();
  try {
    const answer = await fetch("/live", { headers: { Accept: "text/plain" } });
    if (answer.status === 401) return location.assign("/login");
    if (!answer.ok) byId("trouble").textContent = await answer.text();
    answer.body?.cancel();
  } catch {
    // it is away: the next try will tell
  }
  setTimeout(connect, 2000);
}

// Nothing is sent to a page that nobody looks at.
document.addEventListener("visibilitychange", () =>
  document.hidden ? disconnect() : connect(),
);
setInterval(() => {
  if (stream && Date.now() - lastFacts > LOST_AFTER_MS) lost();
  seen.tick();
}, 1000);

acceptPictures();
connect();
