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

document.querySelectorAll("form[data-long]").forEach((form) => form.addEventListener("submit", (event) => {
  form.setAttribute("aria-busy", "true");
  form.querySelector("[role=status]").textContent = "Working…";
}));
