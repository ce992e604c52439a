"use strict";

// The form of the page at `/`: a request, and its answer. `element` and `root` are those of live.js.

const MAX_TEXT = 10000; // characters of a value or an answer; more makes the page slow
const MAX_TABLES = 20; // examples of a batch whose labels are shown as bars
const WORDS = ["", "a", "no", "yes", "good", "bad", "some words"];
const form = document.getElementById("try");
const asJson = document.getElementById("as-json");
const random = document.getElementById("random");
const made = new Map(); // by field: random values that are too long to show
let asked = 0; // requests so far

class Incomplete extends Error {}

// Values as JSON.

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
  for (const field of form.querySelectorAll("textarea[data-shape]")) {
    const values = randomValue(JSON.parse(field.dataset.shape), field.dataset);
    const text = JSON.stringify(values);
    const isShort = text.length <= MAX_TEXT;
    field.value = isShort ? text : "";
    field.placeholder = isShort ? "" : `random ${field.dataset.type} ${field.dataset.shape}`;
    if (!isShort) made.set(field, values);
  }
}

function json(field) {
  if (!field.value.trim()) {
    if (made.has(field)) return made.get(field);
    throw new SyntaxError(`${field.dataset.input} is empty`);
  }
  const given = JSON.parse(field.value);
  return field.dataset.number && typeof given === "number" ? [given] : given;
}

// Values of fields for people: numbers, text, pictures.

function numbers(part) {
  const inputs = [...part.querySelectorAll("input")];
  const values = inputs.map((input) => {
    if (Number.isNaN(input.valueAsNumber)) {
      input.focus();
      throw new Incomplete(`${part.dataset.input}: a number is missing.`);
    }
    return input.valueAsNumber;
  });
  return part.dataset.scalar ? values[0] : values;
}

function text(part) {
  const words = part.querySelector(".plain").value;
  return part.dataset.scalar ? words : [words];
}

function picture(part) {
  const [file] = part.querySelector("input").files;
  if (file) return file;
  throw new Incomplete(`${part.dataset.input}: choose a picture first.`);
}

const READERS = { numbers, text, picture };

function value(part) {
  const read = isJson() ? undefined : READERS[part.dataset.kind];
  return read ? read(part) : json(part.querySelector(".json"));
}

async function dataUrl(file) {
  const reader = new FileReader();
  await new Promise((done, failed) => {
    reader.onload = done;
    reader.onerror = () => failed(new Incomplete(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
  return reader.result;
}

async function inJson(given) {
  return given instanceof File ? { b64: (await dataUrl(given)).split(",", 2)[1] } : given;
}

// A picture alone is the body; else the body is JSON, with pictures in base64.
async function request() {
  const parts = [...form.querySelectorAll("fieldset")];
  const values = parts.map(value);
  if (values.length === 1 && values[0] instanceof File) {
    return [values[0].type || "application/octet-stream", values[0]];
  }
  const data = await Promise.all(values.map(inJson));
  const named = parts.map((part, n) => [part.dataset.input, data[n]]);
  const body = { data: parts.length === 1 ? data[0] : Object.fromEntries(named) };
  return ["application/json", JSON.stringify(body)];
}

// Answers.

function shortened(words) {
  if (words.length <= MAX_TEXT) return words;
  return `${words.slice(0, MAX_TEXT)} … (${words.length.toLocaleString("en")} characters)`;
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

function bar(share) {
  const [svg, rect] = ["svg", "rect"].map((name) => document.createElementNS("http://www.w3.org/2000/svg", name));
  svg.setAttribute("class", "bar");
  svg.setAttribute("viewBox", "0 0 100 10");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  rect.setAttribute("width", (100 * Math.max(0, share)).toFixed(1));
  rect.setAttribute("height", "10");
  svg.append(rect);
  return svg;
}

function areLabels(list) {
  return Array.isArray(list) && list.every((each) => each !== null && typeof each === "object" && "label" in each);
}

function labelTable(entries, title) {
  if (!entries.length) return element("p", `${title}: no label has a score above the threshold.`);
  const table = element("table", "", { class: "labels" });
  table.append(element("caption", title));
  const scores = entries.map((entry) => entry.score ?? 0);
  const most = scores.every((score) => score >= 0 && score <= 1) ? 1 : Math.max(...scores.map(Math.abs));
  entries.forEach((entry, n) => {
    const row = table.insertRow();
    row.append(element("th", entry.label, { scope: "row" }));
    row.insertCell().append(bar(scores[n] / most));
    row.append(element("td", entry.score === null ? "–" : most === 1 ? scores[n].toFixed(3) : scores[n].toPrecision(4)));
  });
  return table;
}

// Labels of one example or of a batch as bars; anything else as JSON.
function output(name, answer, isLabelled) {
  if (isLabelled && areLabels(answer)) return [labelTable(answer, name)];
  if (isLabelled && answer.every(areLabels) && answer.length <= MAX_TABLES) {
    return answer.map((entries, n) => labelTable(entries, `${name}, example ${n + 1}`));
  }
  return [element("pre", `${name}: ${shortened(JSON.stringify(answer))}`)];
}

function shownPrediction(prediction) {
  const whole = shortened(JSON.stringify(prediction));
  const [outputs, labelled] = [form.dataset.outputs, form.dataset.labelled].map((words) => JSON.parse(words));
  if (!labelled.length) return element("pre", whole, { id: "prediction" });
  const place = element("div", "", { id: "prediction" });
  for (const name of outputs) {
    const answer = outputs.length > 1 ? prediction[name] : prediction;
    place.append(...output(name, answer, labelled.includes(name)));
  }
  const details = place.appendChild(element("details"));
  details.append(element("summary", "The answer as JSON"), element("pre", whole));
  return place;
}

async function answerTo(contentType, body) {
  const headers = { "Content-Type": contentType };
  const key = document.getElementById("key")?.value;
  if (key) headers["X-API-Key"] = key;
  const response = await fetch(`${root}/predict`, { method: "POST", headers, body });
  const said = await response.json();
  const why = () => [said.detail, ...(said.errors ?? []).map((e) => `${e.pointer}: ${e.detail}`)].join("\n");
  const shown = [response.ok ? shownPrediction(said.prediction) : element("pre", why(), { id: "prediction", class: "bad" })];
  const header = response.headers.get("Server-Timing");
  return header ? [...shown, timing(header)] : shown;
}

function explained(error) {
  if (error instanceof Incomplete) return error.message;
  return error instanceof SyntaxError ? `Invalid JSON: ${error.message}` : "The server does not answer.";
}

async function predict(event) {
  event?.preventDefault();
  const answer = document.getElementById("answer");
  const number = ++asked;
  answer.setAttribute("aria-busy", "true");
  let shown;
  try {
    shown = await answerTo(...(await request()));
  } catch (error) {
    shown = [element("pre", explained(error), { id: "prediction", class: "bad" })];
  }
  if (number !== asked) return; // there is a newer request
  answer.replaceChildren(...shown);
  answer.removeAttribute("aria-busy");
}

// Pictures: chosen or dropped, shown, and sent at once if nothing else is needed.

async function showPicture(part) {
  const [file] = part.querySelector("input").files;
  const shown = part.querySelector("img");
  shown.hidden = true;
  if (!file) return;
  if (file.type.startsWith("image/")) {
    shown.src = await dataUrl(file);
    shown.hidden = false;
  }
  const key = document.getElementById("key");
  if (form.querySelectorAll("fieldset").length === 1 && (!key || key.value)) predict();
}

function takePictures(part) {
  const input = part.querySelector("input");
  const place = part.querySelector(".drop");
  const mark = (isOver) => (event) => {
    event.preventDefault();
    place.classList.toggle("over", isOver);
  };
  input.addEventListener("change", () => showPicture(part));
  part.querySelector("img").addEventListener("error", (event) => (event.target.hidden = true));
  place.addEventListener("dragover", mark(true));
  place.addEventListener("dragleave", mark(false));
  place.addEventListener("drop", (event) => {
    mark(false)(event);
    if (!event.dataTransfer.files.length) return;
    const one = new DataTransfer();
    one.items.add(event.dataTransfer.files[0]);
    input.files = one.files;
    showPicture(part);
  });
}

// JSON in place of the fields for people: several examples, other values.

function isJson() {
  return asJson?.getAttribute("aria-pressed") === "true";
}

function switchToJson() {
  const on = !isJson();
  for (const part of form.querySelectorAll("fieldset")) {
    const field = part.querySelector(".json");
    try {
      const given = on ? value(part) : undefined;
      if (given !== undefined && !(given instanceof File)) field.value = JSON.stringify(given);
    } catch (error) {
      if (!(error instanceof Incomplete || error instanceof SyntaxError)) throw error;
    }
  }
  asJson.setAttribute("aria-pressed", String(on));
  form.classList.toggle("all-json", on);
}

form?.addEventListener("submit", predict);
random?.addEventListener("click", fillIn);
asJson?.addEventListener("click", switchToJson);
form?.querySelectorAll('fieldset[data-kind="picture"]').forEach(takePictures);
