// Show predictions as a list of bars.

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
