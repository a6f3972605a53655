"use strict";
document.documentElement.classList.add("js");

// The parts of the overview as they change; whoever is at a button stays there.
const connection = document.getElementById("connection");
const put = (id, html) => {
  const part = document.getElementById(id);
  if (!part) return;
  const at = part.contains(document.activeElement) ? document.activeElement.id : "";
  part.innerHTML = html;
  if (at) document.getElementById(at)?.focus();
};

const changed = document.querySelector("[data-follow-results]");
if (connection || changed) {
  const source = new EventSource("/live");
  let answer = null;
  source.addEventListener("message", (event) => {
    const parts = JSON.parse(event.data);
    if (connection) Object.entries(parts).forEach(([id, html]) => put(id, html));
    if (connection) connection.textContent = "Live: the page follows the study's folder.";
    if (changed && "answer" in parts) {
      if (answer !== null && answer !== parts.answer) location.reload(); // results are new: the tables and plots are built again
      answer = parts.answer;
    }
  });
  source.addEventListener("error", () => { if (connection) connection.textContent = "The board has ended, or cannot be reached; the page tries again."; });
}

const working = (form, text) => {
  form.setAttribute("aria-busy", String(text === "Working…"));
  form.querySelector("[role=status]").textContent = text;
};
document.querySelectorAll("form[data-long]").forEach((form) => form.addEventListener("submit", () => working(form, "Working…")));

// The playground's answers as they are given: a JSON object a line. Without this script the form gives them in one page.
const answered = (told) => {
  if (told.error) throw new Error(told.error);
  if (told.parts) Object.entries(told.parts).forEach(([id, html]) => put(id, html));
  else document.querySelectorAll("#answers pre")[told.column].append(told.text); // a model's text is text
};

async function follow(form) {
  const response = await fetch("/playground/stream", { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (!response.ok) throw new Error(`the board refused this (${response.status})`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "", part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    lines.forEach((line) => answered(JSON.parse(line)));
  }
}

const asking = document.getElementById("ask"), who = document.getElementById("who");
// The address names the adapters that were chosen, also on the page that a vote answers with.
const remember = () => {
  const names = new FormData(asking).getAll("adapter").map((name) => ["adapter", name]);
  history.replaceState(null, "", `/playground?${new URLSearchParams(names)}`);
};
who?.addEventListener("change", remember);
if (who?.open) remember();
asking?.addEventListener("submit", (event) => {
  event.preventDefault();
  if (asking.dataset.asked) return;
  asking.dataset.asked = "yes";
  follow(asking)
    .then(() => working(asking, "All have answered: vote below."))
    .catch((error) => working(asking, `Not done: ${error instanceof TypeError ? "the board has ended, or cannot be reached" : error.message}`))
    .finally(() => delete asking.dataset.asked);
});
