"use strict";
// Follows an unfinished job by server-sent events, and loads the page anew when the job's state changes.

(() => {
  const place = document.getElementById("live");
  const log = document.getElementById("log");
  const LONGEST_LOG = 100;
  const PHASES = JSON.parse(place.dataset.phases);
  const show = (name, text) => { place.querySelector(`[data-show=${name}]`).textContent = text; };

  function inWords(seconds) {
    if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }

  function showJob(job) {
    const state = [job.status, job.cancel_requested_at !== null, job.waiting_for, job.queue_position];
    if (JSON.stringify(state) !== JSON.stringify(JSON.parse(place.dataset.state))) {
      location.reload(); // the server writes what else the page says about this state
      return;
    }
    if (job.progress === null) return;
    const { phase, step, total_steps, percent, eta_at } = job.progress;
    place.querySelector("progress").value = percent;
    show("percent", `${Math.round(percent)} %`);
    show("phase", PHASES[phase] ?? phase);
    show("step", total_steps > 0 ? `${step} of ${total_steps}` : "–");
    show("left", eta_at === null ? "–" : inWords(eta_at - Date.now() / 1000));
    document.title = `${Math.round(percent)} % · ${document.title.replace(/^\d+ % · /, "")}`;
  }

  function showEvent(event) {
    if (event.type === "metrics") {
      document.dispatchEvent(new CustomEvent("realm:measured", { detail: event.data }));
      return;
    }
    const row = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = new Date(event.created_at * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
    const text = document.createElement("span");
    text.className = event.level;
    text.textContent = event.message;
    row.append(time, text);
    log.prepend(row);
    while (log.children.length > LONGEST_LOG) log.lastElementChild.remove();
  }

  log.replaceChildren();
  const events = new EventSource(place.dataset.events);
  events.addEventListener("job", (message) => showJob(JSON.parse(message.data)));
  events.addEventListener("event", (message) => showEvent(JSON.parse(message.data)));
  events.addEventListener("open", () => { place.querySelector("[data-lost]").hidden = true; });
  events.addEventListener("error", () => { place.querySelector("[data-lost]").hidden = false; });
})();
