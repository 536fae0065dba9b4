"use strict";
// Sends an image to /predict and draws what is found; the threshold is applied here, on all detections.
const SVG = "http://www.w3.org/2000/svg";
const get = (id) => document.getElementById(id);
const drop = get("drop"), file = get("file"), score = get("score"), limit = get("limit");
const state = get("status"), image = get("image"), boxes = get("boxes");
const figure = document.querySelector("figure"), table = document.querySelector("table");
const rows = document.querySelector("tbody");
let found = null, turn = 0;

function say(text, bad = false) {
  state.textContent = text;
  state.classList.toggle("bad", bad);
}

async function send(content) {
  const own = ++turn;
  found = null;
  show();
  say("Detecting …");
  if (image.src) URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(content);
  const start = performance.now();
  try {
    const response = await fetch("predict?min_score=0.01", {
      method: "POST", body: content, headers: { "Content-Type": "application/octet-stream" },
    });
    const answer = await response.json();
    if (own !== turn) return; // Another image was chosen in the meantime.
    if (!response.ok) return say(answer.error || "The server refused the image.", true);
    found = { ...answer, milliseconds: Math.round(performance.now() - start) };
    show();
  } catch (error) {
    if (own === turn) say("The server did not answer: " + error.message, true);
  }
}

function show() {
  const lowest = Number(score.value) / 100;
  limit.textContent = lowest.toFixed(2);
  figure.hidden = table.hidden = found === null;
  boxes.replaceChildren();
  rows.replaceChildren();
  if (found === null) return;
  boxes.setAttribute("viewBox", `0 0 ${found.width} ${found.height}`);
  const shown = found.detections.filter((each) => each.score >= lowest);
  table.hidden = shown.length === 0;
  for (const each of shown) {
    const { x0, y0, x1, y1 } = each.box;
    const rect = document.createElementNS(SVG, "rect");
    const values = { x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: `k${(each.class_id - 1) % 8}` };
    for (const [name, value] of Object.entries(values)) rect.setAttribute(name, value);
    const title = document.createElementNS(SVG, "title");
    title.textContent = `${each.class_name} ${each.score.toFixed(2)}`;
    rect.append(title);
    boxes.append(rect);
    const row = document.createElement("tr");
    row.className = values.class;
    const texts = [each.class_name, each.score.toFixed(2), `${Math.round(x0)}, ${Math.round(y0)} – ${Math.round(x1)}, ${Math.round(y1)}`];
    for (const text of texts) row.insertCell().textContent = text;
    row.addEventListener("mouseenter", () => rect.classList.add("hot"));
    row.addEventListener("mouseleave", () => rect.classList.remove("hot"));
    rows.append(row);
  }
  const count = shown.length === 1 ? "1 detection" : `${shown.length} detections`;
  const best = found.detections.length ? ` Best: ${found.detections[0].class_name} ${found.detections[0].score.toFixed(2)}.` : "";
  say(`${count} in ${found.width} × ${found.height} pixels, ${found.milliseconds} ms.${shown.length ? "" : best}`);
}

function first(list) {
  if (list && list.length) send(list[0]);
}

file.addEventListener("change", () => first(file.files));
score.addEventListener("input", show);
document.addEventListener("paste", (event) => first(event.clipboardData.files));
for (const name of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault(); // An image that misses the field must not replace the page.
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") first(event.dataTransfer.files);
  });
}
image.addEventListener("error", () => {
  if (found) state.textContent += " The browser cannot show this format.";
});
fetch("health").then((response) => response.json()).then((health) => {
  const names = Object.values(health.classes);
  get("classes").textContent = names.length ? `Classes: ${names.slice(0, 30).join(", ")}${names.length > 30 ? " …" : ""}` : "";
  score.value = Math.round(health.min_score * 100);
  show();
}).catch(() => say("The server does not answer.", true));
