// The page of the history: what was seen in a period, by hour or day, by label, and the latest visits.

const HOUR_MS = 3_600_000;
const BY = { "24h": "hour", "7d": "day", "30d": "day", "365d": "day" };
const MOST_SHOWN = 60;
const element = (id) => document.getElementById(id);
let asked = 0;

async function ask(words) {
  const answer = await fetch(`/history?${new URLSearchParams(words)}`);
  if (answer.status === 401) location.href = "/login";
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return (await answer.json()).rows;
}

function duration(seconds) {
  if (seconds === null) return "still there";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function moment(text) {
  return new Date(text).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
}

function add(parent, name, text = "") {
  const child = document.createElement(name);
  child.textContent = text;
  parent.append(child);
  return child;
}

// Every hour or day of the period, also those in which nothing was seen.
function filled(rows, period) {
  const count = parseInt(period);
  const found = new Map(rows.map((row) => [new Date(row.begin).getTime(), row.visits]));
  const begin = new Date();
  begin.setMinutes(0, 0, 0);
  const bins = [];
  if (BY[period] === "hour") {
    for (let back = count; back >= 0; back -= 1) {
      const at = begin.getTime() - back * HOUR_MS;
      bins.push([new Date(at), found.get(at) ?? 0]);
    }
    return bins;
  }
  begin.setHours(0);
  for (let back = count; back >= 0; back -= 1) {
    const day = new Date(begin);
    day.setDate(day.getDate() - back);
    bins.push([day, found.get(day.getTime()) ?? 0]);
  }
  return bins;
}

function drawCounts(rows, period) {
  const bins = filled(rows, period);
  const total = rows.reduce((sum, row) => sum + row.visits, 0);
  const most = Math.max(1, ...bins.map(([, visits]) => visits));
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${bins.length} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  const name = (at) =>
    at.toLocaleString([], BY[period] === "hour" ? { weekday: "short", hour: "2-digit" } : { dateStyle: "medium" });
  bins.forEach(([at, visits], number) => {
    const bar = document.createElementNS(space, "rect");
    const height = (100 * visits) / most;
    for (const [key, value] of Object.entries({ x: number + 0.1, y: 100 - height, width: 0.8, height }))
      bar.setAttribute(key, value);
    const title = document.createElementNS(space, "title");
    title.textContent = `${name(at)}: ${visits}`;
    bar.append(title);
    svg.append(bar);
  });
  const chart = element("counts");
  const ends = document.createElement("p");
  add(ends, "span", name(bins[0][0]));
  add(ends, "span", `most: ${most === 1 && !total ? 0 : most}`);
  add(ends, "span", name(bins.at(-1)[0]));
  chart.replaceChildren(svg, ends);
  chart.setAttribute("aria-label", `Visits by ${BY[period]}: ${total} in all, ${most} at most`);
  element("counts-total").textContent = `${total} by ${BY[period]}`;
}

function drawLabels(rows) {
  element("labels").replaceChildren();
  for (const row of rows.slice(0, MOST_SHOWN)) {
    const line = add(element("labels"), "tr");
    const cells = [row.label, row.source, row.visits, duration(row.seconds), moment(row.first), moment(row.last)];
    for (const cell of cells) add(line, "td", cell);
  }
}

function drawVisits(rows) {
  element("visits").replaceChildren();
  element("none").hidden = rows.length > 0;
  for (const row of rows) {
    const item = add(element("visits"), "li");
    if (row.image) {
      const link = add(item, "a");
      link.href = `/history/image/${encodeURIComponent(row.image)}`;
      const image = add(link, "img");
      image.src = link.href;
      image.alt = row.label;
      image.loading = "lazy";
      image.addEventListener("error", () => link.remove()); // the oldest are deleted
    }
    const text = add(item, "span");
    add(text, "b", row.label);
    add(text, "br");
    add(text, "span", `${row.source}, ${row.best.toFixed(2)}`);
    add(text, "br");
    add(text, "small", `${moment(row.entered)}, ${duration(row.duration_s)}`);
  }
}

function offer(select, values) {
  const chosen = select.value;
  const names = [...new Set([...values, ...(chosen ? [chosen] : [])])].sort();
  select.replaceChildren(select.options[0], ...names.map((name) => new Option(name, name)));
  select.value = chosen;
}

async function show() {
  const number = (asked += 1);
  const period = element("period").value;
  const words = { since: period, label: element("label").value, source: element("source").value };
  try {
    const [counts, labels, visits] = await Promise.all([
      ask({ ...words, by: BY[period] }),
      ask({ ...words, by: "label" }),
      ask({ ...words, by: "visit", limit: MOST_SHOWN }),
    ]);
    if (number !== asked) return; // another choice was made meanwhile
    drawCounts(counts, period);
    drawLabels(labels);
    drawVisits(visits);
    offer(element("label"), labels.map((row) => row.label));
    offer(element("source"), labels.map((row) => row.source));
    element("trouble").hidden = true;
  } catch (error) {
    element("trouble").textContent = `The history cannot be shown: ${error.message}`;
    element("trouble").hidden = false;
  }
}

element("choice").addEventListener("change", show);
setInterval(show, 60_000);
show();
