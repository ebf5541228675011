// The page that teaches: connect to the event stream, and hand the state to the parts.

import { LiveView } from "./teach_live.js";
import { Pictures } from "./teach_pictures.js";
import { acceptTraining, showTraining } from "./teach_report.js";
import { complain, get, onState, post } from "./teach_request.js";
import { Reviews } from "./teach_review.js";

const byId = (id) => document.getElementById(id);

const live = new LiveView();
const pictures = new Pictures();
const reviews = new Reviews();
let stream = null;

function show(state) {
  byId("begin").hidden = Boolean(state.name);
  byId("teach").hidden = !state.name;
  byId("model").textContent = state.name ? `${state.name}${state.in_use ? "" : " (not in use)"}` : "";
  if (!state.name) return;
  live.showClasses(state.classes);
  pictures.show(state);
  reviews.show(state);
  showTraining(state);
}

function connect() {
  if (stream || document.hidden) return;
  stream = new EventSource("/live");
  const on = (name, take) => stream.addEventListener(name, (message) => take(JSON.parse(message.data)));
  on("hello", (hello) => {
    byId("host").textContent = `on ${hello.host}`;
    live.begin();
    complain("");
  });
  on("result", (result) => live.take(result));
  on("gone", (source) => live.forget(source));
  on("teaching", show);
  stream.onerror = () => {
    complain("No answer from the daemon; the page reconnects automatically.");
    if (stream.readyState !== EventSource.CLOSED) return;
    disconnect();
    setTimeout(refresh, 2000);
  };
}

function disconnect() {
  stream?.close();
  stream = null;
}

async function refresh() {
  const state = await get("/teach/state");
  if (state) show(state);
  connect();
}

document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
byId("begin-form").onsubmit = (event) => {
  event.preventDefault();
  post("/teach/begin", { name: byId("name").value });
};
onState(show);
acceptTraining();
refresh();
