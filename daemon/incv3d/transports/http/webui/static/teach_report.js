// Show how good the taught model is, and train it again.

import { post } from "./teach_request.js";

const byId = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;

export function acceptTraining() {
  byId("train").onclick = () => post("/teach/train", {});
  byId("force").onclick = () => post("/teach/train", { force: true });
  byId("use").onclick = () => post("/teach/use");
}

export function showTraining(state) {
  const { training, changes, classes, report, problem } = state;
  const taught = classes.filter(({ pictures }) => pictures > 0);
  byId("train").disabled = Boolean(training) || taught.length < 2;
  byId("train").textContent = report ? "Retrain" : "Train";
  byId("summary").textContent = training
    ? `Training: ${training.step} …`
    : taught.length < 2
      ? "Capture pictures of at least two classes."
      : changes
        ? `${changes} ${changes === 1 ? "correction" : "corrections"}: retrain to use them.`
        : report
          ? "All pictures are taught."
          : "Ready to train.";
  const progress = byId("progress");
  progress.hidden = !training;
  if (training?.total) {
    progress.max = training.total;
    progress.value = training.done;
  } else {
    progress.removeAttribute("value");
  }
  byId("problem").hidden = !problem;
  byId("problem").textContent = problem;
  byId("force").hidden = !problem || Boolean(training);
  byId("use").hidden = state.in_use || !report || Boolean(training);
  byId("use").textContent = `Use ${state.name} now`;
  showReport(report);
}

function showReport(report) {
  const place = byId("report");
  place.hidden = !report;
  if (!report || place.dataset.text === report.text) return;
  place.dataset.text = report.text;
  const headline = document.createElement("p");
  const { accuracy } = report;
  headline.textContent = accuracy
    ? `${percent(accuracy.value)} right (${percent(accuracy.low)} to ${percent(accuracy.high)}) on pictures ` +
      `that it has not seen; guessing gives ${percent(report.guessing)}.`
    : "How good it is, is not known yet: take pictures of every class at another time, too.";
  const details = document.createElement("details");
  const title = document.createElement("summary");
  title.textContent = "The whole report";
  const text = document.createElement("pre");
  text.textContent = report.text;
  details.append(title, text);
  place.replaceChildren(headline, table(report.classes), details);
}

function table(classes) {
  const made = document.createElement("table");
  const row = (cells, kind) => {
    const line = made.insertRow();
    for (const [at, text] of cells.entries()) {
      const cell = document.createElement(at && kind === "td" ? "td" : "th");
      cell.textContent = text;
      line.append(cell);
    }
  };
  row(["class", "pictures", "groups", "recognized"], "th");
  for (const { name, pictures, groups, recall } of classes) {
    row([name, pictures, groups, recall ? percent(recall.value) : "not known"], "td");
  }
  return made;
}
