"use strict";

// The page at `/`: charts of the last five minutes, and the state of the server. The form is in form.js.

const KEPT = 300; // seconds
const RETRY_MS = 1000;
const SILENCE_MS = 5000;

const CHARTS = [
  { title: "Requests per second", lines: ["answered", "others"], words: ["answered", "failed"] },
  { title: "Latency in ms", lines: ["p50_ms", "p99_ms"], words: ["p50", "p99"] },
  { title: "Rows per batch", lines: ["batch_rows"], words: ["mean"] },
  { title: "Rows in the queue", lines: ["queue_rows"], words: ["now"] },
  { title: "Rejected per second", lines: ["refused"], words: ["all reasons"] },
  { title: "Event-loop lag in ms", lines: ["lag_ms"], words: ["longest"] },
];

const root = document.documentElement.dataset.root; // the path under which a proxy shows the service
const main = document.querySelector("main");
const state = document.getElementById("state");
const seconds = [];
const charts = [];

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  const digits = Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

// A canvas does not understand light-dark() or var().
function colour(name) {
  const probe = document.body.appendChild(element("span"));
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function axis(size, values) {
  const grid = { stroke: colour("--line"), width: 1 };
  return { stroke: colour("--faint"), grid, ticks: grid, size, font: "11px system-ui", values };
}

function clock(_, times) {
  return times.map((time) => {
    const ago = Math.round((Date.now() / 1000 - time) / 60);
    return ago <= 0 ? "now" : `−${ago} min`;
  });
}

function minutes() {
  const now = Date.now() / 1000;
  return [0, 1, 2, 3, 4, 5].map((ago) => now - 60 * ago).reverse();
}

function draw(chart) {
  chart.plot?.destroy();
  const strokes = [colour("--good"), colour("--bad")];
  const plain = (_, values) => values.map((value) => Intl.NumberFormat("en", { notation: "compact" }).format(value));
  chart.plot = new uPlot(
    {
      width: Math.max(chart.box.clientWidth, 100),
      height: 130,
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { time: false, range: () => [Date.now() / 1000 - KEPT, Date.now() / 1000] },
        y: { range: (_, low, high) => [0, Math.max(1, high * 1.1 || 1)] },
      },
      axes: [{ ...axis(24, clock), splits: minutes }, axis(44, plain)],
      series: [{}, ...chart.lines.map((_, n) => ({ stroke: strokes[n], width: 1.5, points: { size: 4 } }))],
    },
    columns(chart),
    chart.box,
  );
}

function columns(chart) {
  return [
    seconds.map((second) => second.time),
    ...chart.lines.map((line) => seconds.map((second) => second[line])),
  ];
}

function makeCharts() {
  const place = document.getElementById("charts");
  if (!place) return;
  for (const about of CHARTS) {
    const figure = place.appendChild(element("figure"));
    const caption = figure.appendChild(element("figcaption"));
    caption.append(element("span", about.title));
    const numbers = caption.appendChild(element("span"));
    const outputs = about.words.map((word, n) => {
      if (n) numbers.append(" · ");
      const key = numbers.appendChild(element("span", `${word} `, n ? { class: "second" } : {}));
      // Else screen readers would read out six numbers every second.
      return key.appendChild(element("output", "–", { "aria-live": "off" }));
    });
    const box = figure.appendChild(
      element("div", "", { class: "plot", role: "img", "aria-label": `${about.title}, the last five minutes` }),
    );
    charts.push({ ...about, box, outputs });
  }
  charts.forEach(draw);
  const redraw = () => charts.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new ResizeObserver(redraw).observe(place);
}

function show() {
  const last = seconds.at(-1);
  for (const chart of charts) {
    chart.plot.setData(columns(chart));
    chart.outputs.forEach((output, n) => (output.value = shown(last?.[chart.lines[n]])));
  }
}

// The state of the server.

function showState(words, away = false) {
  if (state.textContent !== words) state.textContent = words;
  state.classList.toggle("away", away);
}

function update(second) {
  if (second.model && (second.model !== main.dataset.model || second.version !== main.dataset.version)) {
    location.reload(); // another model or version is served now
    return;
  }
  showState(second.state);
}

function connect() {
  const source = new EventSource(`${root}/events`);
  let silence;
  const lost = () => {
    clearTimeout(silence);
    source.close();
    showState("The server does not answer; trying again …", true);
    setTimeout(connect, RETRY_MS);
  };
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(lost, SILENCE_MS);
  };
  source.onerror = lost;
  alive();
  source.addEventListener("history", (message) => {
    alive();
    seconds.splice(0, Infinity, ...JSON.parse(message.data));
    show();
  });
  source.addEventListener("second", (message) => {
    alive();
    const second = JSON.parse(message.data);
    seconds.push(second);
    seconds.splice(0, seconds.length - KEPT);
    update(second);
    show();
  });
}

for (const time of document.querySelectorAll("time")) {
  time.textContent = new Date(time.dateTime).toLocaleString();
}
makeCharts();
if (main.dataset.watch) connect();
else if (!main.dataset.model) setTimeout(() => location.reload(), RETRY_MS); // the model is loading
