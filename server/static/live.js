"use strict";

// The page at `/`: charts of the last five minutes, the form, and the state of the server.

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

// The form.

const MAX_TEXT = 10000; // characters of a value or an answer; more makes the page slow
const WORDS = ["", "a", "no", "yes", "good", "bad", "some words"];
const random = document.getElementById("random");
const made = new Map(); // by field: random values that are too long to show

function randomCell({ type, least, most }) {
  if (type === "string") return WORDS[Math.floor(Math.random() * WORDS.length)];
  if (type === "bool") return Math.random() < 0.5;
  if (most !== undefined) return Number(least) + Math.floor(Math.random() * (most - least + 1));
  if (type.startsWith("float")) return Math.round(1000 * Math.random()) / 1000;
  return Math.floor(2 * Math.random()); // small ids are known to every model
}

function randomValue([size, ...inner], about) {
  if (size === undefined) return randomCell(about);
  return Array.from({ length: size }, () => randomValue(inner, about));
}

function fillIn() {
  made.clear();
  for (const field of document.querySelectorAll("#try textarea")) {
    if (!field.dataset.shape) continue; // it shows an example
    const values = randomValue(JSON.parse(field.dataset.shape), field.dataset);
    const text = JSON.stringify(values);
    const isShort = text.length <= MAX_TEXT;
    field.value = isShort ? text : "";
    field.placeholder = isShort ? "" : `random ${field.dataset.type} ${field.dataset.shape}`;
    if (!isShort) made.set(field, values);
  }
}

function value(field) {
  if (!field.value.trim()) {
    if (made.has(field)) return made.get(field);
    throw new SyntaxError(`${field.dataset.input} is empty`);
  }
  const given = JSON.parse(field.value);
  return field.dataset.number && typeof given === "number" ? [given] : given;
}

function data(form) {
  const fields = [...form.querySelectorAll("textarea")];
  if (fields.length === 1) return value(fields[0]);
  return Object.fromEntries(fields.map((field) => [field.dataset.input, value(field)]));
}

function shortened(text) {
  if (text.length <= MAX_TEXT) return text;
  return `${text.slice(0, MAX_TEXT)} … (${text.length.toLocaleString("en")} characters)`;
}

function timing(header) {
  const list = element("dl");
  for (const part of header.split(", ")) {
    const [name, duration] = part.split(";dur=");
    const [batch, described] = part.split(";desc=");
    list.append(element("dt", described ? batch : name));
    list.append(element("dd", described ? described.replaceAll('"', "") : `${duration} ms`));
  }
  return list;
}

async function predict(event) {
  event.preventDefault();
  const answer = document.getElementById("answer");
  try {
    const body = JSON.stringify({ data: data(event.target) });
    const headers = { "Content-Type": "application/json" };
    const key = document.getElementById("key")?.value;
    if (key) headers["X-API-Key"] = key;
    const response = await fetch(`${root}/predict`, { method: "POST", headers, body });
    const said = await response.json();
    const text = response.ok ? JSON.stringify(said.prediction) : [said.detail, ...(said.errors ?? []).map((e) => `${e.pointer}: ${e.detail}`)].join("\n");
    answer.replaceChildren(element("pre", shortened(text), { id: "prediction" }));
    const header = response.headers.get("Server-Timing");
    if (header) answer.append(timing(header));
  } catch (error) {
    const words = error instanceof SyntaxError ? `Invalid JSON: ${error.message}` : "The server does not answer.";
    answer.replaceChildren(element("pre", words, { id: "prediction" }));
  }
}

document.getElementById("try")?.addEventListener("submit", predict);
random?.addEventListener("click", fillIn);
for (const time of document.querySelectorAll("time")) {
  time.textContent = new Date(time.dateTime).toLocaleString();
}
makeCharts();
if (main.dataset.watch) connect();
else if (!main.dataset.model) setTimeout(() => location.reload(), RETRY_MS); // the model is loading
