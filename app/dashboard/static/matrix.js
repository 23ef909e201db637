"use strict";
// The matrix of who agrees with whom, drawn by plotly.js from the JSON that the page carries.

(() => {
  const { layout, plain, color, CONFIG } = window.realmPlots;
  const NAMES_FIT = 40;
  const { names, pairs } = JSON.parse(document.getElementById("matrix-data").textContent);
  const empty = () => names.map(() => names.map(() => null));
  const agreement = empty(), hover = empty();
  for (const [first, second, share, n] of pairs) {
    const text = `${plain(names[first], 40)} and ${plain(names[second], 40)}<br>${Math.round(100 * share)} % of ${n} prompts`;
    for (const [row, column] of [[first, second], [second, first]]) {
      agreement[row][column] = share;
      hover[row][column] = text;
    }
  }

  function draw() {
    const place = document.getElementById("matrix-plot");
    const narrow = place.clientWidth < 500, fit = names.length <= NAMES_FIT;
    const ticks = { tickvals: names.map((_, number) => number), ticktext: names.map((name) => plain(name, narrow ? 10 : 20)), showgrid: false, showticklabels: fit };
    Plotly.react(place, [{
      type: "heatmap", z: agreement, text: hover, hoverinfo: "text", hoverongaps: false, xgap: fit ? 2 : 0, ygap: fit ? 2 : 0, zmin: 0, zmax: 1,
      colorscale: [[0, color("--matrix-low")], [1, color("--matrix-high")]],
      colorbar: { thickness: 12, tickformat: ".0%", tickfont: { color: color("--quiet") }, outlinewidth: 0 },
    }], layout({
      height: fit ? 140 + 24 * names.length : 700,
      xaxis: { ...ticks, tickangle: -60, tickfont: { color: color("--ink") } },
      yaxis: { ...ticks, autorange: "reversed", tickfont: { color: color("--ink") } },
    }), CONFIG);
  }

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
