// Draws every <div class="chart"> from the JSON beside it. Drag to zoom, Ctrl + wheel to zoom around the pointer, double click for all of it.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const LINES = ["text", "found", "false", "warning", "info", "quiet"];
  const MARKS = ["critical", "found", "false", "warning", "info", "accent", "missed", "quiet"];
  const STROKES = { expected: "accent", low: "accent", high: "accent", score: "accent", level: "quiet", quiet: "quiet" };
  const HEIGHT = { values: 260, scores: 130 };

  const charts = [];
  const group = (u) => charts.filter((c) => c.key === u.key).map((c) => c.plot);

  const drawn = new Set();
  const draw = (element) => {
    if (drawn.has(element)) return;
    drawn.add(element);
    const chart = data[Number(element.dataset.chart)];
    const series = [{ label: chart.time ? "time (UTC)" : "row" }];
    const ink = (one) => colour(one.kind === "marks" ? MARKS[one.colour % MARKS.length] : STROKES[one.kind] ?? LINES[one.colour % LINES.length]);
    chart.lines.forEach((one) => series.push({
      label: one.name,
      stroke: ink(one),
      width: one.kind === "value" ? 1.2 : one.kind === "low" || one.kind === "high" ? 0 : 1,
      dash: one.kind === "expected" || one.kind === "level" ? [5, 4] : undefined,
      points: one.kind === "marks" ? { show: true, size: 6, fill: ink(one), stroke: ink(one) } : { show: false },
      paths: one.kind === "marks" ? () => null : undefined,
      spanGaps: false,
    }));
    const bands = chart.lines.flatMap((one, i) => (one.kind === "low" ? [{ series: [i + 2, i + 1], fill: colour("band") }] : []));
    const top = chart.lines.reduce((most, one) => one.y.reduce((a, v) => (finite(v) && v > a ? v : a), most), 2);
    const plot = new uPlot({
      width: element.clientWidth, height: HEIGHT[chart.kind], padding: PADDING,
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "UTC"),
      scales: { x: { time: chart.time }, y: chart.kind === "scores" ? { range: [0, 1.05 * Math.min(top, 1e6)] } : { range: (u, low, high) => span(low, high) } },
      axes: axes(), series, bands,
      cursor: { sync: { key: chart.key, setSeries: false }, drag: { x: true, y: false } },
      hooks: {
        drawClear: [(u) => shade(u, chart.shades)],
        init: [(u) => onWheel(u, (to) => u.batch(() => { for (const other of group(u)) other.setScale("x", to); }))],
      },
    }, [chart.x, ...chart.lines.map((one) => one.y)], element);
    plot.key = chart.key;
    charts.push({ key: chart.key, plot, element });
  };

  const all = [...document.querySelectorAll(".chart")];
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "600px" });
  all.forEach((element) => seen.observe(element));
  addEventListener("resize", () => { for (const c of charts) c.plot.setSize({ width: c.element.clientWidth, height: c.plot.height }); });
  const zoomTo = (row) => {
    const [section, from, to] = JSON.parse(row.dataset.zoom);
    const place = document.getElementById(section);
    place.querySelectorAll(".chart").forEach(draw);
    place.scrollIntoView({ behavior: "smooth" });
    for (const c of charts) if (c.key === section) c.plot.setScale("x", { min: from, max: to });
  };
  document.querySelectorAll("[data-zoom]").forEach((row) => {
    row.addEventListener("click", () => zoomTo(row));
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") zoomTo(row); });
  });
})();
