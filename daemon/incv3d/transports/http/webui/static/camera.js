// Show the image of a source, and the predictions for that very image.

import { ago, serverClock } from "./clock.js";
import { showBars } from "./predictions.js";
import { markRegion } from "./region.js";
import { UPLOAD_ID } from "./upload.js";

const byId = (id) => document.getElementById(id);

const REMEMBERED = 64; // results whose image may still arrive
const IDLE_S = 60; // a client that has sent nothing for this long is no longer listed
// Loading images may take a twentieth of the time: a busy machine has to encode fewer of them.
const REST = 19;
const LONGEST_REST_MS = 1000;

// The camera of a region, "door" of "door.mat".
const cameraOf = (source) => source?.split(".")[0];

export class CameraView {
  #latest = new Map(); // by source
  #byNumber = new Map();
  #listed = []; // the sources that can be chosen
  #chosen = null; // by the viewer
  #loading = false;
  #restsUntil = 0;
  #shown = null;
  #cameras = new Set(); // the names of the daemon's own sources

  take(result) {
    this.#latest.set(result.source, result);
    this.#byNumber.set(result.number, result);
    if (this.#byNumber.size > REMEMBERED) this.#byNumber.delete(this.#byNumber.keys().next().value);
    this.#list();
    this.#labelSource(result);
    this.#show();
  }

  forget(source) {
    this.#latest.delete(source);
    this.#list();
    this.#show();
  }

  // The daemon may have restarted, and numbers results from 1 again.
  begin() {
    this.#latest.clear();
    this.#byNumber.clear();
    if (this.#shown) this.#shown.number = null;
    this.#list();
  }

  sources(sources) {
    this.#cameras = new Set(sources.map((source) => source.name));
    this.#list();
    const camera = cameraOf(this.#current);
    const isAway = sources.some((source) => source.name === camera && source.state !== "ok");
    byId("camera").classList.toggle("stale", isAway);
    this.#show();
    if (this.#shown) return;
    const states = sources.map((source) => `the source ${source.name} is ${source.state}. ${source.reason}`);
    byId("waiting").textContent = states.length
      ? `No result yet: ${states.join(" ")}`
      : "No frame yet. No camera is configured; frames can arrive over ZeroMQ, MQTT or HTTP.";
  }

  tick() {
    if (this.#list()) this.#show();
    if (this.#shown) byId("age").textContent = ago(serverClock.now() - this.#shown.at);
  }

  // The viewer's choice, else the camera or its first region, else the newest.
  get #current() {
    if (this.#listed.includes(this.#chosen)) return this.#chosen;
    return this.#listed.find((source) => this.#isOfCamera(source)) ?? this.#newest(this.#listed);
  }

  #newest(sources) {
    const numbered = sources.map((source) => this.#latest.get(source));
    return numbered.sort((a, b) => b.number - a.number)[0]?.source;
  }

  #isOfCamera(source) {
    return this.#cameras.has(cameraOf(source));
  }

  // The camera, and clients that are sending. An upload from the page is shown where it was dropped, and here
  // only if there is nothing else. Returns whether the list has changed.
  #list() {
    const sends = ({ id, at }) => id !== UPLOAD_ID && serverClock.now() - at < IDLE_S;
    const sources = [...this.#latest.keys()].sort();
    let listed = sources.filter((source) => this.#isOfCamera(source) || sends(this.#latest.get(source)));
    if (!listed.length && sources.length) listed = [this.#newest(sources)];
    if (listed.join("\n") === this.#listed.join("\n")) return false;
    this.#listed = listed;
    const list = byId("sources");
    list.hidden = listed.length < 2;
    list.replaceChildren(
      ...listed.map((source) => {
        const button = document.createElement("button");
        button.dataset.source = source;
        button.onclick = () => {
          this.#chosen = source;
          this.#show();
        };
        return button;
      }),
    );
    for (const source of listed) this.#labelSource(this.#latest.get(source));
    return true;
  }

  #labelSource(result) {
    const button = byId("sources").querySelector(`[data-source="${CSS.escape(result.source)}"]`);
    const best = result.predictions[0];
    if (button) button.textContent = `${result.source}: ${best.label} ${best.score.toFixed(2)}`;
  }

  // The next image is requested when the previous one has arrived: a slow connection gets fewer of them.
  #show() {
    for (const button of byId("sources").children) {
      button.setAttribute("aria-pressed", String(button.dataset.source === this.#current));
    }
    const result = this.#latest.get(this.#current);
    if (!result) return this.#empty();
    if (this.#loading || result.number === this.#shown?.number) return;
    if (!result.has_picture) return this.#write(result, null);
    if (result.source === this.#shown?.source && performance.now() < this.#restsUntil) return;
    this.#loading = true;
    const began = performance.now();
    this.#load(result.source).finally(() => {
      this.#loading = false;
      const rest = Math.min(REST * (performance.now() - began), LONGEST_REST_MS);
      this.#restsUntil = performance.now() + rest;
      setTimeout(() => this.#show(), rest + 1);
      this.#show();
    });
  }

  async #load(source) {
    const answer = await fetch(`/picture/${encodeURIComponent(source)}`).catch(() => null);
    const result = this.#byNumber.get(Number(answer?.headers.get("X-Result")));
    if (!answer?.ok || !result) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      return;
    }
    const image = await createImageBitmap(await answer.blob()).catch(() => null); // null: it was cut off
    if (image && result.source === this.#current) this.#write(result, image);
  }

  // Show nothing rather than an image that no source sees any longer.
  #empty() {
    if (!this.#shown) return;
    this.#shown = null;
    this.#put(null);
    for (const each of ["bars", "best", "timing", "age"]) byId(each).replaceChildren();
    byId("waiting").textContent = "No frame yet.";
    byId("region").hidden = true;
  }

  #put(image) {
    const canvas = byId("image");
    canvas.hidden = image === null;
    byId("waiting").hidden = image !== null;
    if (image) [canvas.width, canvas.height] = [image.width, image.height];
    canvas.getContext("bitmaprenderer").transferFromImageBitmap(image);
  }

  #write(result, image) {
    this.#shown = result;
    this.#put(image);
    if (!image) byId("waiting").textContent = "The image is too large to be shown.";
    const best = result.predictions[0];
    byId("image").ariaLabel = `Image from ${result.source}: ${best.label}`;
    byId("best").textContent = `${best.label} ${(100 * best.score).toFixed(0)} %`;
    showBars(byId("bars"), result.predictions);
    const { queue, decode, run } = result.timing_ms;
    byId("timing").textContent =
      `${result.source}: queue ${queue.toFixed(1)} ms, decode ${decode.toFixed(1)} ms, ` +
      `run ${run.toFixed(1)} ms, age ${result.age_ms.toFixed(0)} ms`;
    const canvas = byId("image");
    markRegion(byId("region"), canvas, canvas.width, canvas.height, result.region);
    this.tick();
  }
}
