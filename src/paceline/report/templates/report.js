"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const palette = ["#3b7dd8", "#d95f02", "#1b9e77", "#c2358f", "#8a63d2", "#a6761d", "#4c8f0a", "#d43d51", "#0e8fa8", "#7f7f7f"];
const dashes = ["solid", "dot", "dash", "longdash", "dashdot"];
const titles = { step: "step", tokens: "tokens", seconds: "seconds", loss: "loss, nats a token", lr: "learning rate", grad_norm: "gradient norm" };
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function line(run, number, part, x, y) {
  const color = palette[number % palette.length];
  const dash = dashes[Math.floor(number / palette.length) % dashes.length];
  const held = part === "eval";
  return {
    x: run[part][x], y: run[part][y], name: run.name + (held ? ", held out" : ""), legendgroup: run.name, showlegend: y !== "loss" || held, mode: held ? "lines+markers" : "lines",
    line: { color, dash, width: held ? 2.5 : 1.3 }, marker: { size: 6 }, opacity: held ? 1 : 0.75, hovertemplate: "%{y:.4~g}",
  };
}

function traces(chart) {
  const y = chart.dataset.y;
  const x = chart.dataset.x;
  if (y === "mtbench") {
    return data.mtbench.map((bar, number) => ({
      type: "bar", x: Object.keys(bar.scores), y: Object.values(bar.scores), name: bar.run, marker: { color: palette[number % palette.length] }, hovertemplate: "%{y:.2f}",
    }));
  }
  const parts = y === "loss" ? ["train", "eval"] : ["train"];
  return data.runs.flatMap((run, number) => parts.map((part) => line(run, number, part, x, y)));
}

function layout(chart) {
  const grid = { gridcolor: style("--line"), zerolinecolor: style("--line"), automargin: true };
  const y = chart.dataset.y;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: style("--ink"), family: "system-ui, sans-serif" },
    margin: { t: 10, r: 10, b: 45, l: 60 }, hovermode: "closest", legend: { orientation: "h", y: -0.2, font: { size: 11 } }, showlegend: data.runs.length <= 20,
    xaxis: { ...grid, title: { text: y === "mtbench" ? "" : titles[chart.dataset.x] } },
    yaxis: { ...grid, title: { text: y === "mtbench" ? "score, 1 to 10" : titles[y] }, type: y === "grad_norm" ? "log" : "linear" },
  };
}

function needPlotly() {
  if (window.Plotly) return;
  const script = document.createElement("script"); // read only when a chart comes into view: its size would hold up the page
  script.textContent = document.getElementById("plotly").textContent;
  document.head.append(script);
}

function draw(chart) {
  needPlotly();
  chart.dataset.drawn = "yes";
  Plotly.react(chart, traces(chart), layout(chart), { displayModeBar: false, responsive: true });
}

const charts = [...document.querySelectorAll(".chart")];
const seen = new IntersectionObserver((entries) => entries.forEach((entry) => { if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); } }), { rootMargin: "200px" });
charts.forEach((chart) => seen.observe(chart));
addEventListener("beforeprint", () => charts.filter((chart) => !chart.dataset.drawn).forEach(draw));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.filter((chart) => chart.dataset.drawn).forEach(draw));

document.querySelectorAll(".axes button").forEach((button) => button.addEventListener("click", () => {
  button.parentElement.querySelectorAll("button").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
  charts.filter((chart) => chart.dataset.y !== "mtbench").forEach((chart) => { chart.dataset.x = button.dataset.x; if (chart.dataset.drawn) draw(chart); });
}));

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
