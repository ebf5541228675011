// What a source sees: its picture and what the model says of that very picture.

import { ago, serverClock } from "./clock.js";

const byId = (id) => document.getElementById(id);

export function showBars(list, predictions) {
  list.replaceChildren(
    ...predictions.map((prediction) => {
      const row = document.createElement("li");
      row.className = "bar";
      const length = document.createElement("i");
      length.style.width = `${100 * prediction.score}%`;
      const label = document.createElement("span");
      label.textContent = prediction.label;
      const score = document.createElement("span");
      score.textContent = prediction.score.toFixed(3);
      row.append(length, label, score);
      return row;
    }),
  );
}

const REMEMBERED = 64; // results whose picture may still arrive
// A twentieth of the time goes into pictures: a machine that is busy, with the model maybe, gets fewer of them.
const REST = 19;
const LONGEST_REST_MS = 1000;

export class Seen {
  #latest = new Map(); // by source
  #byNumber = new Map();
  #chosen = null; // by the person
  #loading = false;
  #restsUntil = 0;
  #shown = null;
  #camera = null; // the name of the daemon's own source

  take(result) {
    const isNew = !this.#latest.has(result.source);
    this.#latest.set(result.source, result);
    this.#byNumber.set(result.number, result);
    if (this.#byNumber.size > REMEMBERED) this.#byNumber.delete(this.#byNumber.keys().next().value);
    if (isNew) this.#listSources();
    this.#labelSource(result);
    this.#show();
  }

  forget(source) {
    this.#latest.delete(source);
    this.#listSources();
    this.#show();
  }

  // What is told from here on may be of another life of the daemon, which counts anew.
  begin() {
    this.#latest.clear();
    this.#byNumber.clear();
    if (this.#shown) this.#shown.number = null;
    this.#listSources();
  }

  source(source) {
    this.#camera = source?.name ?? null;
    const isAway = source && source.state !== "ok" && this.#isOfCamera(this.#current);
    byId("seen").classList.toggle("stale", Boolean(isAway));
    this.#show();
    if (this.#shown) return;
    byId("waiting").textContent = source
      ? `No result yet: the source ${source.name} is ${source.state}. ${source.reason}`
      : "No frame yet. There is no camera; frames come over ZeroMQ, MQTT or HTTP.";
  }

  tick() {
    if (!this.#shown) return;
    byId("age").textContent = ago(serverClock.now() - this.#shown.at);
  }

  // What the person chose, else the camera or its first region, else what came last.
  get #current() {
    if (this.#chosen && this.#latest.has(this.#chosen)) return this.#chosen;
    const sources = [...this.#latest.keys()].sort();
    const latest = [...this.#latest.values()].sort((a, b) => b.number - a.number)[0];
    return sources.find((source) => this.#isOfCamera(source)) ?? latest?.source;
  }

  #isOfCamera(source) {
    return source === this.#camera || Boolean(source?.startsWith(`${this.#camera}.`));
  }

  #listSources() {
    const list = byId("sources");
    list.hidden = this.#latest.size < 2;
    list.replaceChildren(
      ...[...this.#latest.keys()].sort().map((source) => {
        const button = document.createElement("button");
        button.dataset.source = source;
        button.onclick = () => {
          this.#chosen = source;
          this.#show();
        };
        return button;
      }),
    );
    for (const result of this.#latest.values()) this.#labelSource(result);
  }

  #labelSource(result) {
    const button = byId("sources").querySelector(`[data-source="${CSS.escape(result.source)}"]`);
    const best = result.predictions[0];
    if (button) button.textContent = `${result.source}: ${best.label} ${best.score.toFixed(2)}`;
  }

  // The next picture is asked for when the one before is here: a slow connection gets fewer of them.
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
    const image = await createImageBitmap(await answer.blob()).catch(() => null); // null: it came in part
    if (image && result.source === this.#current) this.#write(result, image);
  }

  // Better nothing than what nobody sees any more.
  #empty() {
    if (!this.#shown) return;
    this.#shown = null;
    this.#put(null);
    for (const each of ["bars", "best", "timing", "age"]) byId(each).replaceChildren();
    byId("waiting").textContent = "No frame yet.";
    byId("region").hidden = true;
  }

  #put(image) {
    const picture = byId("picture");
    picture.hidden = image === null;
    byId("waiting").hidden = image !== null;
    if (image) [picture.width, picture.height] = [image.width, image.height];
    picture.getContext("bitmaprenderer").transferFromImageBitmap(image);
  }

  #write(result, image) {
    this.#shown = result;
    this.#put(image);
    if (!image) byId("waiting").textContent = "Its picture is too large to be shown.";
    const best = result.predictions[0];
    byId("picture").ariaLabel = `what ${result.source} sees: ${best.label}`;
    byId("best").textContent = `${best.label} ${(100 * best.score).toFixed(0)} %`;
    showBars(byId("bars"), result.predictions);
    const { queue, decode, run } = result.timing_ms;
    byId("timing").textContent =
      `${result.source}: waited ${queue.toFixed(1)} ms, decoded in ${decode.toFixed(1)} ms, ` +
      `run ${run.toFixed(1)} ms, ${result.age_ms.toFixed(0)} ms old when it was known`;
    this.#box(result.region);
    this.tick();
  }

  #box(region) {
    const box = byId("region");
    box.hidden = !region;
    if (!region) return;
    const picture = byId("picture");
    const scale = Math.min(picture.clientWidth / picture.width, picture.clientHeight / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    const [left, top] = [(picture.clientWidth - width) / 2, (picture.clientHeight - height) / 2];
    box.style.left = `${picture.offsetLeft + left + region[0] * width}px`;
    box.style.top = `${picture.offsetTop + top + region[1] * height}px`;
    box.style.width = `${region[2] * width}px`;
    box.style.height = `${region[3] * height}px`;
  }
}
