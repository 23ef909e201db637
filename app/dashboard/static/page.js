"use strict";
// What every page does: times in the reader's zone, and buttons that copy, print and download what they stand beside.

for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  time.title = at.toISOString();
}

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}

if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.closest(".command").querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
}

// Tables that are charts of their own can be taken along as CSV.
for (const table of document.querySelectorAll("table[data-csv]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain small";
  button.textContent = "Download as CSV";
  button.addEventListener("click", () => {
    const formula = /^[=+\-@\t\r＝＋－＠](?!\d)/; // a spreadsheet would run it
    const cell = (text) => `"${(formula.test(text) ? "'" + text : text).replace(/"/g, '""')}"`;
    const lines = [...table.rows].map((row) => [...row.cells].map((one) => cell(one.textContent.trim())).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
    link.download = `${table.dataset.csv}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  (table.closest(".scroll") ?? table).after(button);
}
