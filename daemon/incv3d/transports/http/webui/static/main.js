// Connect to the event stream, and hand its messages to the parts of the page.

import { CameraView } from "./camera.js";
import { CardsView } from "./cards.js";
import { Charts } from "./charts.js";
import { serverClock } from "./clock.js";
import { clearEvents, showEvent, showFacts } from "./panels.js";
import { Results } from "./results.js";
import { acceptImages } from "./upload.js";

const LOST_AFTER_MS = 5000; // facts arrive every second
const byId = (id) => document.getElementById(id);

const results = new Results();
const camera = new CameraView(results); // for one source
const cards = new CardsView(results); // for several
let view = camera;
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
    charts.clear();
    results.clear();
    view.begin();
    clearEvents(hello.events_wanted);
  });
  on("result", (result) => {
    results.take(result);
    view.take(result);
  });
  on("gone", (source) => {
    results.forget(source);
    view.forget(source);
  });
  on("runs", (runs) => charts.add(runs));
  on("event", showEvent);
  on("facts", (facts) => {
    serverClock.set(facts.now);
    lastFacts = Date.now();
    connected();
    showFacts(facts);
    charts.percentiles(facts.window.run);
    results.cameras = facts.sources ?? [];
    choose(results.cameras.length > 1 ? cards : camera);
    view.showStates(facts.events?.present);
  });
  stream.onerror = () => lost();
}

// The first facts say how many sources there are; nothing is shown before.
function choose(wanted) {
  view = wanted;
  for (const each of [camera, cards]) each.turn(each === view);
}

function disconnect() {
  stream?.close();
  stream = null;
}

function connected() {
  byId("trouble").hidden = true;
  document.body.classList.remove("stale");
}

// A browser reconnects by itself, unless the daemon rejected the request.
async function lost() {
  document.body.classList.add("stale");
  byId("state").textContent = "not connected";
  byId("state").className = "pill";
  byId("trouble").hidden = false;
  byId("trouble").textContent =
    "No answer from the daemon. The data shown are old; the page reconnects automatically.";
  if (stream?.readyState !== EventSource.CLOSED) return;
  disconnect();
  try {
    const answer = await fetch("/live", { headers: { Accept: "text/plain" } });
    if (answer.status === 401) return location.assign("/login");
    if (!answer.ok) byId("trouble").textContent = await answer.text();
    answer.body?.cancel();
  } catch {
    // not reachable: the next try will show
  }
  setTimeout(connect, 2000);
}

// A hidden page receives nothing.
document.addEventListener("visibilitychange", () =>
  document.hidden ? disconnect() : connect(),
);
setInterval(() => {
  if (stream && Date.now() - lastFacts > LOST_AFTER_MS) lost();
  view.tick();
}, 1000);

acceptImages();
connect();
