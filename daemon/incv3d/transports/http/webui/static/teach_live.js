// Show what a source sees, and capture pictures while the button of a class is held.

import { markRegion } from "./region.js";
import { post } from "./teach_request.js";

const byId = (id) => document.getElementById(id);
const BETWEEN_CAPTURES_MS = 300;

export class LiveView {
  #latest = new Map(); // results by source
  #shown = 0; // the number of the result whose picture is shown
  #loading = false;
  #held = null; // the button that is held

  constructor() {
    byId("source").onchange = () => this.#show();
    byId("class-form").onsubmit = (event) => {
      event.preventDefault();
      this.#addClass(byId("new-class").value.trim());
      byId("new-class").value = "";
    };
    addEventListener("pointerup", () => this.#release());
    addEventListener("pointercancel", () => this.#release());
    addEventListener("blur", () => this.#release());
  }

  get source() {
    return byId("source").value;
  }

  take(result) {
    const isNew = !this.#latest.has(result.source);
    this.#latest.set(result.source, result);
    if (isNew) this.#listSources();
    this.#show();
  }

  forget(source) {
    this.#latest.delete(source);
    this.#listSources();
    this.#show();
  }

  begin() {
    this.#latest.clear();
    this.#shown = 0;
  }

  showClasses(classes) {
    const known = new Map([...byId("classes").children].map((button) => [button.dataset.class, button]));
    for (const { name, pictures } of classes) {
      const button = known.get(name) ?? this.#addClass(name);
      button.querySelector("small").textContent = pictures === 1 ? "1 picture" : `${pictures} pictures`;
      known.delete(name);
    }
    for (const button of known.values()) {
      if (button !== this.#held && button.dataset.saved) button.remove();
    }
    for (const button of byId("classes").children) {
      if (classes.some(({ name }) => name === button.dataset.class)) button.dataset.saved = "1";
    }
  }

  #addClass(name) {
    const button = document.createElement("button");
    button.dataset.class = name;
    button.append(name, document.createElement("small"));
    button.onpointerdown = (event) => {
      if (event.button === 0) this.#hold(button);
    };
    button.onkeydown = (event) => {
      if ((event.key === " " || event.key === "Enter") && !event.repeat) this.#hold(button);
    };
    button.onkeyup = () => this.#release();
    button.oncontextmenu = (event) => event.preventDefault(); // a long press on a phone
    byId("classes").append(button);
    return button;
  }

  // A tap captures one picture.
  async #hold(button) {
    if (this.#held) return;
    this.#held = button;
    button.classList.add("capturing");
    do {
      const sent = { source: this.source, class: button.dataset.class };
      if (!(await post("/teach/capture", sent))) break;
      await new Promise((resolve) => setTimeout(resolve, BETWEEN_CAPTURES_MS));
    } while (this.#held === button);
    if (this.#held === button) this.#release();
    button.classList.remove("capturing");
  }

  #release() {
    this.#held = null;
  }

  #listSources() {
    const sources = [...this.#latest.keys()].sort();
    const chosen = this.source;
    byId("source").replaceChildren(...sources.map((source) => new Option(source, source)));
    if (sources.includes(chosen)) byId("source").value = chosen;
  }

  async #show() {
    const result = this.#latest.get(this.source);
    byId("waiting").hidden = Boolean(result);
    byId("now").hidden = !result;
    if (!result) byId("region").hidden = true;
    byId("now-label").textContent = result ? labelOf(result) : "";
    if (!result?.has_picture || this.#loading || result.number === this.#shown) return;
    this.#loading = true;
    const answer = await fetch(`/picture/${encodeURIComponent(result.source)}`).catch(() => null);
    if (answer?.ok && answer.status === 200) {
      const image = byId("now");
      const last = image.src;
      image.src = URL.createObjectURL(await answer.blob());
      await image.decode().catch(() => {}); // it was cut off: the next one will show
      markRegion(byId("region"), image, image.naturalWidth, image.naturalHeight, result.region);
      if (last.startsWith("blob:")) URL.revokeObjectURL(last);
      this.#shown = result.number;
    }
    this.#loading = false;
  }
}

function labelOf({ predictions }) {
  const best = predictions[0];
  return best ? `${best.label} ${(100 * best.score).toFixed(0)} %` : "";
}
