// Show the frames that wait to be reviewed; one click decides.

import { askForClass, offerClasses } from "./teach_pictures.js";
import { get, post } from "./teach_request.js";

const byId = (id) => document.getElementById(id);

export class Reviews {
  #drawn = -1;
  #names = [];

  async show(state) {
    this.#names = state.classes.map(({ name }) => name);
    byId("review").hidden = !state.in_use;
    byId("review-count").textContent = state.review ? `${state.review} waiting` : "nothing waits";
    if (state.review_revision === this.#drawn) return;
    this.#drawn = state.review_revision;
    const found = (await get("/teach/review")) ?? [];
    byId("reviews").replaceChildren(...found.map((each) => this.#item(each)));
  }

  #item({ id, source, at, label, score, nearest }) {
    const item = document.createElement("li");
    const image = document.createElement("img");
    image.loading = "lazy";
    image.src = `/teach/review/${encodeURIComponent(id)}`;
    image.alt = `${label} ${(100 * score).toFixed(0)} %, ${source}, ${new Date(1000 * at).toLocaleString()}`;
    image.title = image.alt;
    const confirm = document.createElement("button");
    confirm.textContent = nearest;
    confirm.title = `It is ${nearest}`;
    confirm.onclick = () => this.#decide(id, nearest);
    const others = document.createElement("select");
    others.ariaLabel = "Another class";
    offerClasses(others, this.#names.filter((name) => name !== nearest), "other …");
    others.onchange = () => {
      const name = askForClass(others);
      if (name) this.#decide(id, name);
    };
    const dismiss = document.createElement("button");
    dismiss.textContent = "dismiss";
    dismiss.onclick = () => this.#decide(id, null);
    const note = document.createElement("small");
    note.textContent = `${label} ${(100 * score).toFixed(0)} %`;
    item.append(image, note, confirm, others, dismiss);
    return item;
  }

  #decide(id, name) {
    return post("/teach/review", { ids: [id], class: name });
  }
}
