// Show the pictures of a class; select, move, delete and add them.

import { get, post } from "./teach_request.js";

const byId = (id) => document.getElementById(id);
export const NEW_CLASS = "\u0000new";

export class Pictures {
  #revision = 0;
  #drawn = ""; // what the list was made from
  #selected = new Set();
  #last = null; // the picture that was selected last, for a range

  constructor() {
    byId("shown-class").onchange = () => this.#draw(true);
    byId("select-all").onclick = () => this.#selectAll();
    byId("delete").onclick = () => this.#send("/teach/delete", {});
    byId("undo").onclick = () => post("/teach/undo");
    byId("move").onchange = () => {
      const name = askForClass(byId("move"));
      if (name) this.#send("/teach/move", { class: name });
    };
    byId("files").onchange = () => {
      this.#add([...byId("files").files]);
      byId("files").value = "";
    };
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      this.#add([...(event.dataTransfer?.files ?? [])]);
    });
  }

  show(state) {
    this.#revision = state.revision;
    const chosen = byId("shown-class").value;
    const names = state.classes.map(({ name }) => name);
    byId("shown-class").replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(chosen)) byId("shown-class").value = chosen;
    offerClasses(byId("move"), names, "class");
    byId("undo").hidden = !state.undo;
    byId("undo").textContent = state.undo ? `Undo: ${state.undo}` : "";
    this.#draw();
  }

  async #draw(anew = false) {
    const name = byId("shown-class").value;
    const wanted = `${name} ${this.#revision}`;
    if (!anew && wanted === this.#drawn) return;
    this.#drawn = wanted;
    const pictures = name ? ((await get(`/teach/pictures?class=${encodeURIComponent(name)}`)) ?? []) : [];
    if (wanted !== this.#drawn) return; // the viewer has chosen another class
    const there = new Set(pictures.map(({ id }) => id));
    this.#selected = new Set([...this.#selected].filter((id) => there.has(id)));
    byId("thumbnails").replaceChildren(...pictures.map((each) => this.#thumbnail(each)));
    this.#mark();
  }

  #thumbnail({ id, source, at }) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.dataset.id = id;
    button.onclick = (event) => this.#select(id, event.shiftKey);
    const image = document.createElement("img");
    image.loading = "lazy";
    image.src = `/teach/picture/${encodeURIComponent(id)}`;
    image.alt = [source, new Date(1000 * at).toLocaleString()].filter(Boolean).join(", ");
    button.append(image);
    item.append(button);
    return item;
  }

  #select(id, isRange) {
    const ids = [...byId("thumbnails").querySelectorAll("button")].map((button) => button.dataset.id);
    if (isRange && this.#last) {
      const [from, to] = [ids.indexOf(this.#last), ids.indexOf(id)].sort((a, b) => a - b);
      for (const each of ids.slice(from, to + 1)) this.#selected.add(each);
    } else if (!this.#selected.delete(id)) {
      this.#selected.add(id);
    }
    this.#last = id;
    this.#mark();
  }

  #selectAll() {
    const ids = [...byId("thumbnails").querySelectorAll("button")].map((button) => button.dataset.id);
    this.#selected = this.#selected.size === ids.length ? new Set() : new Set(ids);
    this.#mark();
  }

  #mark() {
    for (const button of byId("thumbnails").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(this.#selected.has(button.dataset.id)));
    }
    const count = this.#selected.size;
    byId("delete").disabled = byId("move").disabled = count === 0;
    byId("delete").textContent = count ? `Delete ${count}` : "Delete";
  }

  async #send(path, more) {
    if (await post(path, { ids: [...this.#selected], ...more })) {
      this.#selected.clear();
      this.#draw(true);
    }
  }

  async #add(files) {
    const name = byId("shown-class").value;
    if (!name || !files.length) return;
    for (const file of files) {
      if (!(await post(`/teach/pictures?class=${encodeURIComponent(name)}`, file))) break;
    }
  }
}

// A list of classes whose first line is not one of them, and whose last makes a new one.
export function offerClasses(list, names, title) {
  const chosen = list === document.activeElement ? list.value : "";
  const first = new Option(title, "", true, true);
  list.replaceChildren(first, ...names.map((name) => new Option(name, name)), new Option("new class …", NEW_CLASS));
  if (chosen) list.value = chosen;
}

export function askForClass(list) {
  const value = list.value;
  list.value = "";
  return value === NEW_CLASS ? prompt("Name of the new class")?.trim() : value;
}
