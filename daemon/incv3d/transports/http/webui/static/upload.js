// Classify an image that is dropped onto the page, pasted or chosen.

import { showBars } from "./predictions.js";

const byId = (id) => document.getElementById(id);

export const UPLOAD_ID = "web-ui"; // the results of uploads carry it, for every viewer

export function acceptImages() {
  let inside = 0; // number of nested elements that were entered
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
  byId("upload").scrollIntoView({ behavior: "smooth", block: "nearest" });
  try {
    const headers = { "X-Incv3d-Page": "1" }; // a page from another site cannot send this
    const answer = await fetch(`/classify?top_k=5&id=${UPLOAD_ID}`, { method: "POST", body: file, headers });
    if (answer.status === 401) return location.assign("/login");
    const found = await answer.json();
    if (found.status !== "ok") {
      note.textContent = `${file.name}: ${found.code}: ${found.detail}`;
      return;
    }
    showBars(byId("verdict"), found.predictions);
    const { run, total } = found.timing_ms;
    note.textContent = `${file.name}: run ${run.toFixed(1)} ms, total ${total.toFixed(1)} ms`;
  } catch (error) {
    note.textContent = `${file.name}: no answer (${error.message})`;
  }
}
