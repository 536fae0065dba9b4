"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);

  const seconds = Number(root.dataset.refresh);
  if (seconds) {
    setInterval(() => { if (!document.hidden && !one("dialog[open]")) location.reload(); }, 1000 * seconds);
  }

  const theme = one("#theme");
  theme.addEventListener("click", () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
  });

  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => sort(table, head, column));
    });
  }

  function sort(table, head, column) {
    const isFirst = head.getAttribute("aria-sort") !== (head.classList.contains("number") ? "descending" : "ascending");
    const order = (head.classList.contains("number") ? -1 : 1) * (isFirst ? 1 : -1);
    const value = (row) => row.children[column].textContent.trim();
    const asNumber = (said) => (said === "–" ? -Infinity : Number.parseFloat(said.replaceAll(",", "")));
    const compare = head.classList.contains("number")
      ? (one, other) => { const [a, b] = [asNumber(value(one)), asNumber(value(other))]; return a === b ? 0 : a - b; }
      : (one, other) => value(one).localeCompare(value(other), undefined, { numeric: true });
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((one, other) => order * compare(one, other)));
    for (const each of all("thead th", table)) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
  }

  const highlight = one("#highlight");
  highlight?.addEventListener("change", () => {
    const charts = all("#curves .charts")[0];
    charts.classList.toggle("dimmed", highlight.value !== "");
    for (const line of all(".line", charts)) line.classList.toggle("hot", line.dataset.name === highlight.value);
  });

  const shots = all(".shots > li");
  if (!shots.length) return;
  const [group, name, kind, score, truth] = ["group", "class", "kind", "score"].map((each) => one(`#filter-${each}`))
    .concat(one("#show-truth"));

  function filter() {
    one("#score-shown").textContent = Number(score.value).toFixed(2);
    let count = 0;
    for (const shot of shots) {
      const { groups, classes, kinds, score: worst } = shot.dataset;
      const isShown = (!group.value || groups.split("|").includes(group.value))
        && (!name.value || JSON.parse(classes).includes(name.value))
        && (!kind.value || kinds.split("|").includes(kind.value))
        && Number(worst) >= Number(score.value);
      shot.hidden = !isShown;
      count += isShown;
    }
    one("#num-images").textContent = count === 1 ? "1 image" : `${count} images`;
    one("#no-images").hidden = count > 0;
  }
  for (const control of [group, name, kind]) control.addEventListener("change", filter);
  score.addEventListener("input", filter);
  one(".filters").addEventListener("submit", (event) => event.preventDefault());
  truth.addEventListener("change", () => document.body.classList.toggle("no-truth", !truth.checked));
  filter();

  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", "Image");
  const bar = document.createElement("div");
  bar.className = "bar-top";
  const place = document.createElement("div");
  const position = document.createElement("span");
  position.setAttribute("role", "status");
  const buttons = [["‹ Previous", () => step(-1)], ["Next ›", () => step(1)], ["Close", () => dialog.close()]].map(([said, act]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = said;
    button.addEventListener("click", act);
    return button;
  });
  bar.append(buttons[0], position, buttons[1], buttons[2]);
  dialog.append(bar, place);
  document.body.append(dialog);
  let current = null;

  function show(shot) {
    current = shot;
    const copy = shot.querySelector("figure").cloneNode(true);
    copy.removeAttribute("id");
    copy.querySelector(".walk").remove();
    const link = copy.querySelector(".open");
    const frame = document.createElement("div");
    frame.className = "open";
    frame.style.cssText = link.style.cssText;
    const picture = link.querySelector("img");
    picture.loading = "eager";
    frame.append(...link.childNodes);
    link.replaceWith(frame);
    place.replaceChildren(copy);
    const shown = shots.filter((each) => !each.hidden);
    position.textContent = `${shown.indexOf(shot) + 1} of ${shown.length}`;
    if (!dialog.open) dialog.showModal();
  }
  function step(by) {
    const shown = shots.filter((each) => !each.hidden);
    show(shown[(shown.indexOf(current) + by + shown.length) % shown.length]);
  }
  for (const shot of shots) {
    shot.querySelector("a.open").addEventListener("click", (event) => { event.preventDefault(); show(shot); });
  }
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (by) { event.preventDefault(); step(by); }
  });
  dialog.addEventListener("close", () => { current?.querySelector("a.open").focus(); place.replaceChildren(); });
})();
