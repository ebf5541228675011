// Show the image of a source, and the predictions for that very image.

import { ago, serverClock } from "./clock.js";
import { showBars } from "./predictions.js";
import { markRegion } from "./region.js";
import { cameraOf, rest } from "./results.js";

const byId = (id) => document.getElementById(id);

export class CameraView {
  #results;
  #listed = []; // the sources that can be chosen
  #chosen = null; // by the viewer
  #loading = false;
  #restsUntil = 0;
  #shown = null;
  #isOn = false;

  constructor(results) {
    this.#results = results;
  }

  // Another view has taken this one's place, or it is back.
  turn(isOn) {
    this.#isOn = isOn;
    byId("camera").hidden = byId("scores").hidden = !isOn;
  }

  take(result) {
    this.#list();
    this.#labelSource(result);
    this.#show();
  }

  forget() {
    this.#list();
    this.#show();
  }

  begin() {
    if (this.#shown) this.#shown.number = null;
    this.#list();
  }

  showStates() {
    const sources = this.#results.cameras;
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
    return this.#listed.find((source) => this.#results.isOfCamera(source)) ?? this.#results.newest(this.#listed);
  }

  // Returns whether the list has changed.
  #list() {
    const listed = this.#results.listed();
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
    for (const source of listed) this.#labelSource(this.#results.of(source));
    return true;
  }

  #labelSource(result) {
    const button = byId("sources").querySelector(`[data-source="${CSS.escape(result.source)}"]`);
    const best = result.predictions[0];
    if (button) button.textContent = `${result.source}: ${best.label} ${best.score.toFixed(2)}`;
  }

  // The next image is requested when the previous one has arrived: a slow connection gets fewer of them.
  #show() {
    if (!this.#isOn) return;
    for (const button of byId("sources").children) {
      button.setAttribute("aria-pressed", String(button.dataset.source === this.#current));
    }
    const result = this.#results.of(this.#current);
    if (!result) return this.#empty();
    if (this.#loading || result.number === this.#shown?.number) return;
    if (!result.has_picture) return this.#write(result, null);
    if (result.source === this.#shown?.source && performance.now() < this.#restsUntil) return;
    this.#loading = true;
    const began = performance.now();
    this.#load(result.source).finally(() => {
      this.#loading = false;
      const pause = rest(began);
      this.#restsUntil = performance.now() + pause;
      setTimeout(() => this.#show(), pause + 1);
      this.#show();
    });
  }

  async #load(source) {
    const found = await this.#results.load(source);
    if (found?.image && found.result.source === this.#current) this.#write(found.result, found.image);
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
