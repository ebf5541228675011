// Show several sources side by side, a card for each.

import { ago, lasting, serverClock } from "./clock.js";
import { showBars } from "./predictions.js";
import { cameraOf, rest } from "./results.js";
import { isFine, stateOf, wordOf } from "./states.js";

const SVG = "http://www.w3.org/2000/svg";
const BARS = 3; // of a source without regions
const LETTERS = 24; // of a region's name, in the width of an image

const byId = (id) => document.getElementById(id);

export class CardsView {
  #results;
  #cards = new Map(); // by the name of the camera or client
  #isOn = false;
  #loading = false;
  #watcher = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      const card = this.#cards.get(target.dataset.source);
      if (card) card.isVisible = isIntersecting;
    }
    this.#load();
  });

  constructor(results) {
    this.#results = results;
  }

  turn(isOn) {
    this.#isOn = isOn;
    byId("cards").hidden = !isOn;
    byId("page").classList.toggle("several", isOn);
    this.#list();
    this.#load();
  }

  take() {
    this.#list();
    this.#load();
  }

  forget(source) {
    this.#cards.get(cameraOf(source))?.empty();
    this.#list();
    this.#load();
  }

  begin() {
    for (const card of this.#cards.values()) card.number = null;
  }

  // `present`: the labels that are present; undefined: none are watched.
  showStates(present) {
    this.#list();
    for (const camera of this.#results.cameras) {
      const mine = present?.filter(({ source }) => cameraOf(source) === camera.name);
      const card = this.#cards.get(camera.name);
      if (!this.#results.ofCamera(camera.name).length) card?.empty();
      card?.showState(camera, mine);
    }
  }

  tick() {
    this.#list();
    for (const card of this.#cards.values()) card.tick();
  }

  // A card for each camera, as they are configured, and for each client that is sending.
  #list() {
    const cameras = this.#results.cameras.map(({ name }) => name);
    const clients = this.#results.listed().filter((source) => !this.#results.isOfCamera(source));
    const names = this.#isOn ? [...cameras, ...clients] : [];
    if (names.join("\n") === [...this.#cards.keys()].join("\n")) return;
    this.#watcher.disconnect();
    this.#cards = new Map(names.map((name) => [name, this.#cards.get(name) ?? new Card(name)]));
    byId("cards").replaceChildren(...[...this.#cards.values()].map((card) => card.element));
    for (const card of this.#cards.values()) this.#watcher.observe(card.element);
  }

  // Load an image for the visible card that has waited longest; one at a time, so that all cards together take
  // no more of the machine's time than one.
  #load() {
    if (this.#loading || !this.#isOn || document.hidden) return;
    const due = [...this.#cards.values()]
      .map((card) => [card, this.#results.newest(this.#results.ofCamera(card.name).map(({ source }) => source))])
      .filter(([card, source]) => card.isVisible && source && this.#results.of(source).number !== card.number)
      .sort(([one], [other]) => one.loadedAt - other.loadedAt)[0];
    if (!due) return;
    const [card, source] = due;
    const latest = this.#results.of(source);
    card.loadedAt = performance.now();
    if (!latest.has_picture) {
      card.show(latest, null, this.#results.ofCamera(card.name));
      return this.#load();
    }
    this.#loading = true;
    const began = performance.now();
    this.#results.load(source).then((found) => {
      const isThere = this.#results.ofCamera(card.name).length > 0; // it may have gone meanwhile
      if (found?.image && isThere) card.show(found.result, found.image, this.#results.ofCamera(card.name));
      setTimeout(() => {
        this.#loading = false;
        this.#load();
      }, rest(began));
    });
  }
}

class Card {
  name;
  element = document.createElement("article");
  isVisible = false;
  number = null; // of the result that is shown
  loadedAt = 0;
  #at = null; // when the image was captured
  #parts = {};

  constructor(name) {
    this.name = name;
    this.element.className = "card";
    this.element.dataset.source = name;
    this.element.ariaLabel = name;
    const add = (parent, tag, part, className = part) => {
      const made = this.#parts[part] = document.createElement(tag);
      made.className = className;
      parent.append(made);
      return made;
    };
    const head = add(this.element, "h2", "head");
    add(head, "bdi", "name").textContent = name;
    add(head, "span", "state", "state pill");
    const frame = add(this.element, "div", "frame");
    add(frame, "canvas", "image").role = "img";
    this.#parts.regions = document.createElementNS(SVG, "svg");
    this.#parts.regions.setAttribute("aria-hidden", "true");
    frame.append(this.#parts.regions);
    add(frame, "p", "waiting");
    const caption = add(this.element, "p", "caption");
    add(caption, "b", "best").dir = "auto";
    add(caption, "span", "age");
    add(this.element, "p", "reason", "reason fine").hidden = true;
    add(this.element, "ol", "bars");
    add(this.element, "p", "present", "present fine");
    this.#parts.state.hidden = this.#parts.present.hidden = true;
    this.empty();
  }

  showState(camera, present) {
    const { state, reason, waiting, present: there } = this.#parts;
    this.element.classList.toggle("stale", camera.state !== "ok");
    state.hidden = false;
    state.textContent = wordOf(camera);
    state.classList.toggle("ready", isFine(camera));
    if (this.#at === null) waiting.textContent = camera.state === "ok" ? "No result yet." : stateOf(camera);
    reason.hidden = !camera.reason || this.#at === null; // without an image it stands in its place
    reason.textContent = camera.reason;
    there.hidden = present === undefined;
    if (present) there.textContent = `Present now: ${present.map(sinceWhen).join(", ") || "nothing"}`;
  }

  // Show nothing rather than an image that no source sees any longer.
  empty() {
    this.number = this.#at = null;
    this.#put(null);
    const { best, age, bars, regions, waiting } = this.#parts;
    for (const each of [best, age, bars, regions]) each.replaceChildren();
    waiting.textContent = "No frame yet.";
  }

  // `results`: the latest of the source, or of its regions.
  show(result, image, results) {
    this.number = result.number;
    this.#at = result.at;
    this.#put(image);
    const { image: canvas, best, bars, waiting } = this.#parts;
    if (!image) waiting.textContent = "The image is too large to be shown.";
    const shown = results.some(({ region }) => region) ? results : [result];
    const found = shown.map((each) => each.predictions[0]).sort((a, b) => b.score - a.score)[0];
    canvas.ariaLabel = `Image from ${this.name}: ${found.label}`;
    best.textContent = `${found.label} ${(100 * found.score).toFixed(0)} %`;
    const isWhole = shown.length === 1 && !result.region;
    showBars(bars, isWhole ? result.predictions.slice(0, BARS) : shown.map(ofRegion));
    this.#mark(shown);
    this.tick();
  }

  tick() {
    if (this.#at !== null) this.#parts.age.textContent = ago(serverClock.now() - this.#at);
  }

  #put(image) {
    const { image: canvas, waiting } = this.#parts;
    canvas.hidden = image === null;
    waiting.hidden = image !== null;
    if (image) [canvas.width, canvas.height] = [image.width, image.height];
    canvas.getContext("bitmaprenderer").transferFromImageBitmap(image);
  }

  // The drawing has the size of the image, and is scaled as the image is.
  #mark(results) {
    const { width, height } = this.#parts.image;
    const drawing = this.#parts.regions;
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const boxes = results.filter(({ region }) => region);
    const drawn = boxes.map(({ source, region: [x, y, w, h] }) => {
      const box = document.createElementNS(SVG, "rect");
      const place = { x: x * width, y: y * height, width: w * width, height: h * height };
      for (const [name, value] of Object.entries(place)) box.setAttribute(name, value);
      const name = document.createElementNS(SVG, "text");
      const size = width / LETTERS;
      name.setAttribute("font-size", size);
      name.setAttribute("x", place.x + size / 3);
      name.setAttribute("y", place.y + 1.1 * size);
      name.textContent = source.slice(this.name.length + 1);
      return [box, name];
    });
    drawing.replaceChildren(...drawn.map(([box]) => box), ...drawn.map(([, name]) => name));
  }
}

function ofRegion({ source, predictions: [best] }) {
  return { label: `${source.slice(cameraOf(source).length + 1)}: ${best.label}`, score: best.score };
}

function sinceWhen({ source, label, since }) {
  const place = source.includes(".") ? `${source.slice(cameraOf(source).length + 1)}: ` : "";
  return `${place}${label} for ${lasting(serverClock.now() - new Date(since) / 1000)}`;
}
