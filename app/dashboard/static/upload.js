"use strict";
// The upload page: shows the beginning of the chosen file and which columns are probably ours, then sends it with progress.

(() => {
  const form = document.getElementById("upload");
  if (form === null) return;
  const LOOKED_AT_BYTES = 256 * 1024;
  const KINDS = { csv: "text/csv", tsv: "text/tab-separated-values", jsonl: "application/x-ndjson", ndjson: "application/x-ndjson",
    json: "application/json", parquet: "application/vnd.apache.parquet" };
  const drop = document.getElementById("drop");
  const preview = document.getElementById("preview");
  const faults = document.getElementById("faults");
  const sending = document.getElementById("sending");
  const token = form.elements.csrf_token.value;

  const kindOf = (file) => KINDS[file.name.toLowerCase().replace(/\.gz$/, "").split(".").pop()];

  function element(name, text, children = []) {
    const made = document.createElement(name);
    if (text !== null) made.textContent = text;
    made.append(...children);
    return made;
  }

  function table(caption, header, rows) {
    const cells = (kind, values) => element("tr", null, values.map((value) => element(kind, value)));
    const head = element("thead", null, [cells("th", header)]);
    for (const one of head.querySelectorAll("th")) one.scope = "col";
    const made = element("table", null, [element("caption", caption), head, element("tbody", null, rows.map((row) => cells("td", row)))]);
    const scroll = element("div", null, [made]);
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", caption);
    return scroll;
  }

  function note(text, kind) {
    const made = element("p", text);
    made.className = `note ${kind}`;
    return made;
  }

  /** The guesses as lists to choose from, in place of the fields to type into. */
  function offerColumns({ columns, guesses }) {
    for (const why of form.querySelectorAll("[data-why]")) {
      const ours = why.dataset.why;
      const guess = guesses.find((one) => one.ours === ours);
      const choice = element("select", null, [new Option("not in the file", ""), ...columns.map((name) => new Option(name, name))]);
      const old = document.getElementById(`column-${ours}`);
      choice.name = old.name;
      choice.id = old.id;
      choice.value = guess?.theirs ?? "";
      choice.addEventListener("change", () => { why.textContent = "As you say."; });
      old.replaceWith(choice);
      why.textContent = guess?.why ?? "";
    }
    document.getElementById("columns").open = true;
  }

  async function look(file) {
    preview.replaceChildren();
    faults.replaceChildren();
    if (form.elements.name.value === "") form.elements.name.value = file.name.replace(/(\.[a-z]+)(\.gz)?$/i, "").slice(0, 200);
    const kind = kindOf(file);
    if (kind === undefined) {
      preview.append(note(`The name must end in ${Object.keys(KINDS).map((end) => `.${end}`).join(", ")}, with or without .gz.`, "bad"));
      return;
    }
    if (!["text/csv", "text/tab-separated-values", "application/x-ndjson"].includes(kind)) {
      preview.append(note("A file of this kind is looked at when it is uploaded.", ""));
      return;
    }
    const complete = file.size <= LOOKED_AT_BYTES;
    const answer = await fetch(`/v1/datasets/preview?complete=${complete}`, {
      method: "POST", body: file.slice(0, LOOKED_AT_BYTES), headers: { "Content-Type": kind, "X-CSRF-Token": token },
    });
    const found = await answer.json();
    if (!answer.ok) {
      preview.append(note(found.detail, "bad"));
      return;
    }
    if (found.recognised !== null) preview.append(note(found.recognised, ""));
    else if (found.missing.length > 0) preview.append(note(`Say below which column is ${found.missing.join(" and ")}: it could not be guessed.`, "look"));
    else preview.append(note("The columns below were guessed; change what is wrong.", ""));
    preview.append(table("The first rows", found.columns, found.rows));
    if (found.recognised === null) offerColumns(found);
  }

  function parameters() {
    const values = new FormData(form);
    const lines = (name) => values.get(name).split("\n").map((line) => line.trim()).filter((line) => line !== "");
    const mapping = {};
    for (const [name, theirs] of values) {
      if (name.startsWith("column_") && theirs.trim() !== "") mapping[theirs.trim()] = name.slice("column_".length);
    }
    const query = new URLSearchParams({ on_error: values.get("on_error") });
    if (values.get("name").trim() !== "") query.set("name", values.get("name").trim());
    if (Object.entries(mapping).some(([theirs, ours]) => theirs !== ours)) query.set("mapping", JSON.stringify(mapping));
    for (const name of ["labels", "ignore_labels"]) if (lines(name).length > 0) query.set(name, JSON.stringify(lines(name)));
    return query;
  }

  function showFaults({ title, detail, errors }) {
    faults.replaceChildren(note(detail ?? title, "bad"));
    const rows = (errors ?? []).filter((one) => one.row !== null).map((one) => [String(one.row), one.column ?? "–", one.detail]);
    if (rows.length > 0) faults.append(table("Rows count from 1; the header of a CSV is row 1.", ["Row", "Column", "What is wrong"], rows));
    faults.focus();
  }

  /** What was left out or recognised is shown before the dataset's page. */
  function showDone(dataset) {
    const there = `/datasets/${encodeURIComponent(dataset.id)}`;
    if (dataset.errors.length === 0) {
      location.assign(there);
      return;
    }
    const link = element("a", `Look at the ${dataset.counts.labels.toLocaleString()} labels that were kept`);
    link.href = there;
    link.className = "button main";
    faults.replaceChildren(note(`${dataset.counts.rejected.toLocaleString()} rows were left out.`, "look"), element("p", null, [link]),
      table("What was left out", ["Row", "Column", "What is wrong"], dataset.errors.map((one) => [String(one.row), one.column ?? "–", one.detail])));
    faults.focus();
  }

  function send(file, kind) {
    const request = new XMLHttpRequest(); // fetch tells nothing of how much was sent
    const progress = sending.querySelector("progress");
    const said = sending.querySelector("[data-sent]");
    const button = form.querySelector("button.main");
    const over = () => { sending.hidden = true; button.disabled = false; };
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      progress.value = total > 0 ? 100 * loaded / total : 0;
      said.textContent = loaded < total ? `${Math.round(100 * loaded / total)} % sent` : "Sent; the rows are being checked and counted.";
    });
    request.addEventListener("error", () => { over(); showFaults({ detail: "The connection was lost. Nothing was kept; try again." }); });
    request.addEventListener("load", () => {
      over();
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { answer = { detail: `The service answered ${request.status}.` }; }
      if (request.status === 201) showDone(answer); else showFaults(answer);
    });
    request.open("POST", `/v1/datasets?${parameters()}`);
    request.setRequestHeader("Content-Type", kind);
    request.setRequestHeader("X-CSRF-Token", token);
    faults.replaceChildren();
    sending.hidden = false;
    progress.value = 0;
    said.textContent = "";
    button.disabled = true;
    request.send(file);
  }

  const input = form.elements.file;
  input.addEventListener("change", () => { if (input.files.length > 0) look(input.files[0]); });
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length === 0) return;
    input.files = event.dataTransfer.files;
    look(input.files[0]);
  });
  form.addEventListener("submit", (event) => {
    const file = input.files[0];
    const kind = file && kindOf(file);
    if (kind === undefined) return; // the service says what is wrong
    event.preventDefault();
    send(file, kind);
  });
  form.querySelector("[data-needs-script]").hidden = false;
})();
