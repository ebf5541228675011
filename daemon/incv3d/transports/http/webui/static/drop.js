// A picture that is dropped onto the page, pasted or chosen is classified.

import { showBars } from "./seen.js";

const byId = (id) => document.getElementById(id);

export function acceptPictures() {
  let inside = 0; // of how many nested elements
  const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => {
    if (!isFile(event)) return;
    inside += 1;
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", (event) => {
    if (isFile(event) && --inside === 0) document.body.classList.remove("dragging");
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    document.body.classList.remove("dragging");
    const file = event.dataTransfer?.files[0];
    if (file) classify(file);
  });
  addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (file) classify(file);
  });
  byId("file").addEventListener("change", (event) => {
    const file = event.target.files[0];
    if (file) classify(file);
    event.target.value = "";
  });
}

async function classify(file) {
  const note = byId("verdict-note");
  const preview = byId("preview");
  byId("dropped").hidden = false;
  byId("verdict").replaceChildren();
  note.textContent = `${file.name}: sending …`;
  if (preview.src.startsWith("blob:")) URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  byId("drop").scrollIntoView({ behavior: "smooth", block: "nearest" });
  try {
    const headers = { "X-Incv3d-Page": "1" }; // no page from elsewhere can send this
    const answer = await fetch("/classify?top_k=5", { method: "POST", body: file, headers });
    if (answer.status === 401) return location.assign("/login");
    const said = await answer.json();
    if (said.status !== "ok") {
      note.textContent = `${file.name}: ${said.code}: ${said.detail}`;
      return;
    }
    showBars(byId("verdict"), said.predictions);
    note.textContent = `${file.name}: run ${said.timing_ms.run.toFixed(1)} ms, total ${said.timing_ms.total.toFixed(1)} ms`;
  } catch (error) {
    note.textContent = `${file.name}: no answer (${error.message})`;
  }
}
