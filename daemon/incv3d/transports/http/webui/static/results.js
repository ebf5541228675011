// The latest result of every source, for the views that show them.

import { serverClock } from "./clock.js";
import { UPLOAD_ID } from "./upload.js";

const REMEMBERED = 512; // results whose image may still arrive
const IDLE_S = 60; // a client that has sent nothing for this long is no longer listed

// The camera of a region, "door" of "door.mat".
export const cameraOf = (source) => source?.split(".")[0];

export class Results {
  #latest = new Map(); // by source
  #byNumber = new Map();
  #cameras = new Map(); // the daemon's own sources with their states, by name

  take(result) {
    this.#latest.set(result.source, result);
    this.#byNumber.set(result.number, result);
    if (this.#byNumber.size > REMEMBERED) this.#byNumber.delete(this.#byNumber.keys().next().value);
  }

  forget(source) {
    this.#latest.delete(source);
  }

  // The daemon may have restarted, and numbers results from 1 again.
  clear() {
    this.#latest.clear();
    this.#byNumber.clear();
  }

  set cameras(sources) {
    this.#cameras = new Map(sources.map((source) => [source.name, source]));
  }

  get cameras() {
    return [...this.#cameras.values()];
  }

  of(source) {
    return this.#latest.get(source);
  }

  // Those of a camera, or of its regions, by name.
  ofCamera(name) {
    const mine = [...this.#latest.values()].filter(({ source }) => cameraOf(source) === name);
    return mine.sort((a, b) => (a.source < b.source ? -1 : 1));
  }

  isOfCamera(source) {
    return this.#cameras.has(cameraOf(source));
  }

  newest(sources) {
    const numbered = sources.map((source) => this.#latest.get(source));
    return numbered.sort((a, b) => b.number - a.number)[0]?.source;
  }

  // The cameras, and clients that are sending. An upload from the page is shown where it was dropped, and here
  // only if there is nothing else.
  listed() {
    const sends = ({ id, at }) => id !== UPLOAD_ID && serverClock.now() - at < IDLE_S;
    const sources = [...this.#latest.keys()].sort();
    const listed = sources.filter((source) => this.isOfCamera(source) || sends(this.#latest.get(source)));
    return listed.length || !sources.length ? listed : [this.newest(sources)];
  }

  // Load the latest image of a source; returns it with the result it belongs to, or null. `image` is null if it
  // was cut off.
  async load(source) {
    const answer = await fetch(`/picture/${encodeURIComponent(source)}`).catch(() => null);
    const result = this.#byNumber.get(Number(answer?.headers.get("X-Result")));
    if (!answer?.ok || !result) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      return null;
    }
    const image = await createImageBitmap(await answer.blob()).catch(() => null);
    return { result, image };
  }
}

// Loading images may take a twentieth of the time: a busy machine has to encode fewer of them.
const REST = 19;
const LONGEST_REST_MS = 1000;

// How long to rest after loading since `began`.
export function rest(began) {
  return Math.min(REST * (performance.now() - began), LONGEST_REST_MS);
}
