"use strict";
document.documentElement.classList.add("js");
const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = 7, FEW_RUNS = 16;
const symbols = [["circle", "●"], ["square", "■"], ["diamond", "◆"], ["triangle-up", "▲"], ["triangle-down", "▼"], ["star", "★"], ["x", "✖"], ["cross", "✚"], ["pentagon", "⬟"], ["hexagon", "⬢"]];
const dashes = ["solid", "dash", "dot", "longdash", "dashdot"];
const titles = { step: "step", tokens: "tokens", seconds: "seconds", loss: "loss, nats a token", token_accuracy: "token accuracy", lr: "learning rate", grad_norm: "gradient norm", trade: "held-out loss, nats a token" };
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const boxes = [...document.querySelectorAll(".legend input")];
const colour = (number) => style(`--c${number % COLOURS}`);
const dash = (number) => dashes[Math.floor(number / COLOURS) % dashes.length];
const symbol = (number) => symbols[number % symbols.length];
const shown = () => boxes.flatMap((box, number) => (box.checked ? [number] : []));

function line(number, columns, x, y, more) {
  return { x: columns[x], y: columns[y], name: data.recipes[number].name, line: { color: colour(number), dash: dash(number), width: 2 }, mode: "lines", hovertemplate: "%{y:.4~g}", ...more };
}

function curves(x, y) {
  const own = shown();
  const faint = (number) => ({ opacity: 0.22, hoverinfo: "skip", hovertemplate: undefined, line: { color: colour(number), width: 1 } });
  const marked = (number) => ({ name: `${data.recipes[number].name}, held out`, mode: "lines+markers", line: { color: colour(number), dash: dash(number), width: 1.5 }, marker: { size: 9, color: colour(number), symbol: symbol(number)[0], line: { width: 1, color: style("--ground") } } });
  const few = own.reduce((count, number) => count + data.recipes[number].runs.length, 0) <= FEW_RUNS;
  const raw = y !== "lr" && few ? own.flatMap((number) => data.recipes[number].runs.map((run) => line(number, run, x, y, faint(number)))) : [];
  const held = ["loss", "token_accuracy"].includes(y) ? own.filter((number) => data.recipes[number].eval.step.length).map((number) => line(number, data.recipes[number].eval, x, y, marked(number))) : [];
  return [...raw, ...own.map((number) => line(number, data.recipes[number].smooth, x, y)), ...held];
}

function traces(chart) {
  const { x, y } = chart.dataset;
  if (y !== "trade") return curves(x, y);
  return shown().flatMap((number) => data.trade.filter((one) => one.recipe === data.recipes[number].name).flatMap((one) => ofRecipe(number, one, x)));
}

function ofRecipe(number, one, x) {
  const marker = { color: colour(number), symbol: symbol(number)[0] };
  const mean = { x: [one[x]], y: [one.loss], name: one.recipe, mode: "markers", marker: { ...marker, size: 13 }, hovertemplate: "%{y:.4f}" };
  const seeds = one.losses.length < 2 ? [] : [{ x: one.losses.map(() => one[x]), y: one.losses, name: one.recipe, mode: "markers", marker: { ...marker, size: 6, opacity: 0.55 }, hovertemplate: "%{y:.4f}" }];
  return [...seeds, mean];
}

function layout(chart, width) {
  const grid = { gridcolor: style("--line"), zerolinecolor: style("--line"), automargin: true };
  const { x, y } = chart.dataset;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: style("--ink"), family: "system-ui, sans-serif" }, hoverlabel: { namelength: -1 },
    margin: { t: 10, r: 10, b: 45, l: 55 }, hovermode: "closest", showlegend: false, ...(width ? { width, height: 300 } : { autosize: true }),
    xaxis: { ...grid, title: { text: titles[x] }, rangemode: y === "trade" ? "tozero" : "normal", nticks: chart.clientWidth < 500 ? 5 : 0 },
    yaxis: { ...grid, title: { text: titles[y] }, type: y === "grad_norm" ? "log" : "linear", nticks: y === "grad_norm" ? 5 : 0 },
  };
}

function needPlotly() {
  if (window.Plotly) return;
  const script = document.createElement("script"); // read only when a chart comes into view: its size would hold up the page
  script.textContent = document.getElementById("plotly").textContent;
  document.head.append(script);
}

function draw(chart, width) {
  needPlotly();
  chart.dataset.drawn = "yes";
  Plotly.react(chart, traces(chart), layout(chart, width), { displayModeBar: false, responsive: true });
}

const charts = [...document.querySelectorAll(".chart")];
const redraw = () => charts.filter((chart) => chart.dataset.drawn).forEach((chart) => draw(chart));
const seen = new IntersectionObserver((entries) => entries.forEach((entry) => { if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); } }), { rootMargin: "200px" });
charts.forEach((chart) => seen.observe(chart));
addEventListener("beforeprint", () => { document.documentElement.dataset.print = "yes"; charts.forEach((chart) => draw(chart, 680)); });
addEventListener("afterprint", () => { delete document.documentElement.dataset.print; charts.forEach((chart) => draw(chart)); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

document.querySelectorAll(".legend .swatch").forEach((swatch, number) => {
  swatch.textContent = { solid: "━●━", dash: "╍●╍", dot: "┉●┉" }[dash(number)]?.replace("●", symbol(number)[1]) ?? symbol(number)[1];
  swatch.style.color = `var(--c${number % COLOURS})`;
});
boxes.forEach((box) => box.addEventListener("change", redraw));
document.querySelectorAll(".legend button").forEach((button) => button.addEventListener("click", () => { boxes.forEach((box) => { box.checked = Boolean(button.dataset.all); }); redraw(); }));

document.querySelectorAll(".axes button").forEach((button) => button.addEventListener("click", () => {
  button.parentElement.querySelectorAll("button").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
  charts.forEach((chart) => { chart.dataset.x = button.dataset.x; });
  redraw();
}));

document.querySelectorAll("table.cards").forEach((table) => {
  const labels = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  [...table.tBodies[0].rows].forEach((row) => [...row.cells].forEach((cell, number) => { cell.dataset.label = labels[number]; }));
});

document.querySelectorAll("table.sortable").forEach((table) => {
  table.querySelectorAll("thead button").forEach((button) => button.addEventListener("click", () => {
    const head = button.closest("th");
    const rising = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent.trim();
    const order = (a, b) => (a === "") - (b === "") || (a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b : String(a).localeCompare(b)) * (rising ? 1 : -1);
    const body = table.tBodies[0];
    [...body.rows].sort((a, b) => order(value(a), value(b))).forEach((row) => body.append(row));
  }));
});

const reader = document.querySelector(".reader");
if (reader) {
  const [select, search, status] = ["select", "input", "[role=status]"].map((what) => reader.querySelector(what));
  const samples = [...reader.querySelectorAll(".sample")];
  const text = (sample) => [...sample.querySelectorAll("summary, .sample > pre"), ...[...sample.querySelectorAll(".pair > div")].filter((one) => !one.hidden)].map((one) => one.textContent).join("\n").toLowerCase();
  const read = () => {
    reader.querySelectorAll("[data-answer]").forEach((answer) => { answer.hidden = answer.dataset.answer !== select.value; });
    const wanted = search.value.trim().toLowerCase();
    samples.forEach((sample) => { sample.hidden = wanted !== "" && !text(sample).includes(wanted); });
    const shown = samples.filter((sample) => !sample.hidden).length;
    status.textContent = wanted ? `${shown} of ${samples.length} questions` : `${samples.length} questions`;
  };
  select.addEventListener("change", read);
  search.addEventListener("input", read);
}
