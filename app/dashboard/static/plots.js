"use strict";
// The plots of a job's and an annotator's page, drawn by plotly.js from the JSON that the page carries.

(() => {
  const NAMES_FIT = 40; // more annotators than this have no room for their names
  const TRAJECTORIES = 30;
  const BIDI_CONTROLS = /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const percent = (share) => `${Math.round(100 * share)} %`;
  const data = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");

  /** Plotly reads HTML in texts, and a name may say anything. */
  function plain(text, longest) {
    const short = text.replace(BIDI_CONTROLS, "").replace(/\s+/g, " ");
    const cut = short.length > longest ? short.slice(0, longest - 1) + "…" : short;
    return cut.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function layout(more) {
    const axis = {
      gridcolor: color("--line"), linecolor: color("--line"), zeroline: false, fixedrange: true, automargin: true,
      tickfont: { color: color("--quiet") }, title: { standoff: 12, font: { color: color("--quiet"), size: 13 } },
    };
    const { xaxis, yaxis, ...rest } = more;
    return {
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: color("--ink") },
      paper_bgcolor: "transparent", plot_bgcolor: "transparent", showlegend: false, hovermode: "closest",
      margin: { l: 8, r: 24, t: 8, b: 40 }, hoverlabel: { align: "left" },
      xaxis: { ...axis, ...xaxis, title: { ...axis.title, ...xaxis?.title } },
      yaxis: { ...axis, ...yaxis, title: { ...axis.title, ...yaxis?.title } },
      ...rest,
    };
  }

  const CONFIG = { displayModeBar: false, responsive: true };
  window.realmPlots = { layout, plain, color, CONFIG }; // for the plots of other pages

  const SHARE_AXIS = { range: [0, 1.001], tickvals: [0, 0.25, 0.5, 0.75, 1], ticktext: ["0", "25 %", "50 %", "75 %", "100 %"], tickangle: 0 };

  /** One line per annotator from the low to the high end of the interval, worst at the top, best at the bottom. */
  function drawAnnotators() {
    const place = document.getElementById("annotators-plot");
    const { rows, chance } = data("annotators-data");
    const named = rows.length <= NAMES_FIT;
    const ranks = rows.map((_, rank) => rank);
    const marks = { plain: ["circle", "--plot-plain"], look: ["diamond", "--plot-look"], bad: ["diamond", "--plot-bad"] };
    const [along, across] = named ? ["x", "y"] : ["y", "x"];
    const traces = Object.entries(marks).map(([tone, [symbol, name]]) => {
      const own = ranks.filter((rank) => rows[rank].tone === tone);
      return {
        type: "scatter", mode: "markers", hoverinfo: "text", cliponaxis: false,
        marker: { symbol, color: color(name), size: named ? 10 : 6 },
        hovertext: own.map((rank) => hoverText(rows[rank])),
        [along]: own.map((rank) => rows[rank].value),
        [across]: own,
        [`error_${along}`]: {
          type: "data", symmetric: false, color: color(name), thickness: named ? 2.5 : 1.5, width: 0,
          array: own.map((rank) => rows[rank].high - rows[rank].value),
          arrayminus: own.map((rank) => rows[rank].value - rows[rank].low),
        },
      };
    });
    const narrow = place.clientWidth < 500;
    const share = { ...SHARE_AXIS, title: { text: narrow ? "Accuracy" : "Accuracy, with 95 % interval" } };
    const order = named
      ? { tickvals: ranks, ticktext: rows.map((row) => plain(row.name, narrow ? 14 : 24)), range: [rows.length - 0.5, -0.5], showgrid: false, tickfont: { color: color("--ink") } }
      : { range: [-1, rows.length], showticklabels: false, showgrid: false, title: { text: "Annotators, the most accurate on the right" } };
    Plotly.react(place, traces, layout({
      [`${along}axis`]: share,
      [`${across}axis`]: order,
      height: named ? 70 + 26 * Math.max(rows.length, 2) : 360,
      shapes: chance === null ? [] : [{
        type: "line", layer: "below", line: { color: color("--plot-chance"), width: 1.5, dash: "dot" },
        [`${along}0`]: chance, [`${along}1`]: chance, [`${across}ref`]: "paper", [`${across}0`]: 0, [`${across}1`]: 1,
      }],
    }), CONFIG);
  }

  function hoverText(row) {
    const lines = [`${percent(row.value)} right, 95 % interval ${percent(row.low)} to ${percent(row.high)}`, `${row.n} labels`, ...row.reasons];
    return [`<b>${plain(row.name, 60)}</b>`, ...lines.map((line) => plain(line, 110))].join("<br>");
  }

  /** One mark per period, over the band in which chance alone would leave it. */
  function drawPeriods() {
    const periods = data("periods-data");
    const moments = periods.map((one) => new Date(500 * (one.start + one.end)));
    const outside = periods.map((one) => one.accuracy < one.low || one.accuracy > one.high);
    const edge = (name) => ({
      type: "scatter", mode: "lines", x: moments, y: periods.map((one) => one[name]), hoverinfo: "skip",
      line: { color: color("--plot-chance"), width: 1, dash: "dot" },
    });
    const marks = {
      type: "scatter", mode: "lines+markers", x: moments, y: periods.map((one) => one.accuracy), hoverinfo: "text", cliponaxis: false,
      line: { color: color("--plot-plain"), width: 1.5 },
      marker: {
        size: 10, symbol: outside.map((one) => (one ? "diamond" : "circle")),
        color: outside.map((one) => color(one ? "--plot-look" : "--plot-plain")),
      },
      hovertext: periods.map((one) => `${percent(one.accuracy)} of ${one.n} labels<br>by chance ${percent(one.low)} to ${percent(one.high)}`),
    };
    Plotly.react("periods-plot", [edge("low"), { ...edge("high"), fill: "tonexty", fillcolor: color("--bar") }, marks],
      layout({ height: 320, yaxis: { ...SHARE_AXIS, title: { text: "Right, probably" } } }), CONFIG);
  }

  const line = (points, name, dash) => ({
    type: "scatter", mode: "lines", name, x: points.map(([step]) => step), y: points.map(([, value]) => value),
    line: { color: color(dash ? "--plot-look" : "--plot-plain"), width: 2, dash: dash ?? "solid" }, hoverinfo: "x+y+name",
  });

  /** The loss over the steps, and where the model puts each annotator. */
  function drawTraining() {
    const series = (name) => measured[name] ?? [];
    const loss = series("train_loss"), heldOut = series("held_out_log_likelihood");
    const settling = series("probability");
    document.getElementById("training").hidden = Object.keys(measured).length === 0;
    document.getElementById("trajectories").hidden = settling.length < 2;
    if (loss.length > 0) {
      Plotly.react("loss-plot", [line(loss, "training loss"), line(heldOut.map(([step, value]) => [step, -value]), "held-out loss", "dash")],
        layout({ height: 280, xaxis: { title: { text: "Step" } }, yaxis: { title: { text: "Loss per label" }, rangemode: "tozero" } }), CONFIG);
    }
    if (settling.length >= 2) {
      const people = settling[0][1].length, stride = Math.max(1, Math.ceil(people / TRAJECTORIES));
      const traces = [];
      for (let person = 0; person < people; person += stride) {
        traces.push({ ...line(settling.map(([step, values]) => [step, values[person]]), ""), opacity: 0.7, hoverinfo: "x+y" });
      }
      Plotly.react("trajectories-plot", traces,
        layout({ height: 280, xaxis: { title: { text: "Step" } }, yaxis: { ...SHARE_AXIS, title: { text: "Right, so far" } } }), CONFIG);
    }
  }

  // Every measurement by its name, as pairs of step and value.
  const measured = Object.fromEntries(Object.entries(data("training-data") ?? {}).map(
    ([name, { step, value }]) => [name, step.map((one, index) => [one, value[index]])]));
  let waiting = false;

  /** Take in the measurements of one step; draw at most twice a second. */
  document.addEventListener("realm:measured", ({ detail: { step, ...values } }) => {
    for (const [name, value] of Object.entries(values)) (measured[name] ??= []).push([step, value]);
    if (waiting) return;
    waiting = true;
    setTimeout(() => { waiting = false; drawTraining(); }, 500);
  });

  function drawAll() {
    if (document.getElementById("annotators-plot")) drawAnnotators();
    if (document.getElementById("periods-plot")) drawPeriods();
    if (document.getElementById("training")) drawTraining();
  }

  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  document.querySelector("details#training")?.addEventListener("toggle", () => drawTraining());
})();
