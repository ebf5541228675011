// Draw the latest run times with the window's percentiles, and a histogram of them.

/* global uPlot */

const KEPT = 600;
const BINS = 24;
const HEIGHT = 210;
const PERCENTILES = { p50: "--ink", p95: "--warn", p99: "--bad" };
const byId = (id) => document.getElementById(id);
const ms = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const timeOfDay = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

function axes(below, beside = {}) {
  const axis = { stroke: () => color("--faint"), grid: { stroke: () => color("--line"), width: 1 } };
  return [
    { ...axis, size: 32, ...below },
    { ...axis, size: 48, ...beside },
  ];
}

const times = {
  space: 90,
  values: (plot, seconds) => seconds.map((each) => timeOfDay.format(each * 1000)),
};

export class Charts {
  #runs = []; // [seconds since 1970, ms]
  #bins = [[], []];
  #percentiles = null;
  #isDue = false;
  #chart = new uPlot(
    {
      width: 300,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      axes: axes(times),
      scales: { y: { range: (plot, low, high) => [0, (high || 1) * 1.1] } },
      series: [
        {},
        {
          label: "run",
          paths: () => null,
          points: { show: true, size: 4, fill: () => color("--accent"), stroke: () => color("--accent") },
        },
        ...Object.entries(PERCENTILES).map(([name, hue]) => ({
          label: name,
          stroke: () => color(hue),
          dash: [6, 4],
          points: { show: false },
        })),
      ],
    },
    [[], [], [], [], []],
    byId("chart"),
  );
  #histogram = new uPlot(
    {
      width: 300,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      axes: axes({}, { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500] }),
      scales: { x: { time: false }, y: { range: (plot, low, high) => [0, high || 1] } },
      series: [
        {},
        {
          label: "runs",
          fill: () => color("--accent"),
          paths: uPlot.paths.bars({ size: [0.9] }),
          points: { show: false },
        },
      ],
    },
    [[], []],
    byId("histogram"),
  );

  constructor() {
    const resize = () => {
      for (const plot of [this.#chart, this.#histogram]) {
        plot.setSize({ width: plot.root.parentElement.clientWidth, height: HEIGHT });
      }
    };
    new ResizeObserver(resize).observe(byId("runs"));
    resize();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#drawSoon());
  }

  clear() {
    this.#runs = [];
  }

  add(runs) {
    this.#runs = [...this.#runs, ...runs].slice(-KEPT);
    this.#drawSoon();
  }

  percentiles(run) {
    this.#percentiles = run;
    const words = Object.entries(run ? PERCENTILES : {}).map(([name, hue]) => {
      const word = document.createElement("span");
      word.style.color = `var(${hue})`;
      word.textContent = `${name} ${ms(run[`${name}_ms`])} `;
      return word;
    });
    byId("percentiles").replaceChildren(...words);
    this.#drawSoon();
  }

  // Runs and percentiles arrive together: draw once.
  #drawSoon() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#isDue = false;
    const lines = Object.keys(PERCENTILES).map((name) => this.#percentiles?.[`${name}_ms`] ?? null);
    this.#chart.setData([
      this.#runs.map((run) => run[0]),
      this.#runs.map((run) => run[1]),
      ...lines.map((line) => this.#runs.map(() => line)),
    ]);
    this.#bins = histogram(this.#runs.map((run) => run[1]));
    this.#histogram.setData(this.#bins);
    byId("counted").textContent = this.#runs.length ? `ms, latest ${this.#runs.length} runs` : "";
    this.#describe();
  }

  // What a person who cannot see the charts is told about them.
  #describe() {
    const count = this.#runs.length;
    const latest = count ? `latest ${ms(this.#runs.at(-1)[1])}` : "none yet";
    const lines = Object.keys(this.#percentiles ? PERCENTILES : {}).map(
      (name) => `${name} ${ms(this.#percentiles[`${name}_ms`])}`,
    );
    byId("chart").ariaLabel = `Run times of the latest ${count} runs: ${[latest, ...lines].join(", ")}`;
    const [middles, counts] = this.#bins;
    const most = Math.max(...counts);
    byId("histogram").ariaLabel = count
      ? `Histogram of the latest ${count} run times: from ${ms(middles[0])} to ${ms(middles.at(-1))}, ` +
        `most often (${most} times) about ${ms(middles[counts.indexOf(most)])}`
      : "Histogram of run times: none yet";
  }
}

// The last bin also counts everything beyond it, so that an outlier does not squeeze the others into one bin.
function histogram(values) {
  if (!values.length) return [[], []];
  const ordered = [...values].sort((a, b) => a - b);
  const low = ordered[0];
  const high = ordered[Math.floor((ordered.length - 1) * 0.99)];
  const width = Math.max((high - low) / BINS, low * 0.002, 0.001);
  const counts = new Array(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor((value - low) / width))] += 1;
  return [counts.map((count, bin) => low + (bin + 0.5) * width), counts];
}
