"use strict";
const report = (() => {
  const root = document.documentElement;
  let specs = JSON.parse(document.getElementById("specs").textContent);
  const views = new Map();
  const hidden = new Set();
  const isDark = () => root.dataset.theme === "dark";
  // Black is the seventh color of Okabe and Ito; on a dark ground it is white.
  const shown = (color) => (isDark() && color === "#000000" ? "#ffffff" : color);

  function themed(value) {
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === "object") {
      const copy = {};
      for (const key of Object.keys(value)) copy[key] = key === "values" ? value[key] : themed(value[key]);
      return copy;
    }
    return value === "#000000" ? shown(value) : value;
  }

  function config() {
    const style = getComputedStyle(root);
    const of = (name) => style.getPropertyValue(name).trim();
    const font = "system-ui, sans-serif";
    return {
      background: "transparent",
      font,
      view: { stroke: null },
      rule: { color: of("--quiet") },
      axis: {
        labelColor: of("--text"), titleColor: of("--text"), gridColor: of("--line"), gridOpacity: 0.6,
        domainColor: of("--line"), tickColor: of("--line"), labelFontSize: 12, titleFontSize: 12,
        titleFontWeight: 500, labelLimit: 140,
      },
      legend: { labelColor: of("--text"), titleColor: of("--text"), labelFontSize: 12, labelLimit: 160 },
    };
  }

  async function draw(element) {
    const key = element.dataset.chart;
    const before = views.get(key);
    const result = await vegaEmbed(element, themed(specs[key]), {
      actions: false, renderer: "svg", ast: true, config: config(),
      tooltip: { theme: isDark() ? "dark" : "light" },
    });
    if (before) before.finalize();
    views.set(key, result.view);
    await hide(result.view);
    // The container's label says it: its marks would be read one by one.
    element.querySelectorAll("svg").forEach((svg) => svg.setAttribute("aria-hidden", "true"));
    element.dataset.drawn = root.dataset.theme;
  }

  // Everything of a specification but its rows.
  const frame = (spec) => JSON.stringify({ ...spec, data: null });
  const rows = (spec) => JSON.stringify(spec.data);

  // Shows other numbers where that is all that changed, so that a chart stays as it is.
  async function refresh(fresh) {
    const before = specs;
    specs = fresh;
    for (const [key, view] of views) {
      if (!(key in specs)) { view.finalize(); views.delete(key); }
    }
    document.querySelectorAll(".series").forEach(swatch);
    for (const element of document.querySelectorAll(".chart")) {
      const key = element.dataset.chart;
      const [old, spec] = [before[key], specs[key]];
      if (!element.dataset.drawn || !old || frame(old) !== frame(spec)) {
        await draw(element);
      } else if (rows(old) !== rows(spec)) {
        await views.get(key).data(spec.data.name, structuredClone(spec.data.values)).runAsync();
      }
    }
  }

  async function hide(view) {
    try { view.signal("hidden"); } catch { return; }
    await view.signal("hidden", [...hidden]).runAsync();
  }

  function swatch(button) {
    const { color, dash, shape } = button.dataset;
    const paths = {
      circle: "M18 3a4 4 0 1 1 0 8a4 4 0 1 1 0-8z", square: "M14 3h8v8h-8z", diamond: "M18 2l5 5l-5 5l-5-5z",
      "triangle-up": "M18 2l5 9h-10z", "triangle-down": "M18 12l5-9h-10z",
      cross: "M16.5 2h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
    };
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("width", "36");
    svg.setAttribute("height", "14");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS(space, "path");
    line.setAttribute("d", "M0 7h36");
    line.setAttribute("stroke", shown(color));
    line.setAttribute("stroke-width", "2");
    line.setAttribute("stroke-dasharray", dash);
    const mark = document.createElementNS(space, "path");
    mark.setAttribute("d", paths[shape]);
    mark.setAttribute("fill", shown(color));
    svg.append(line, mark);
    button.querySelector("svg")?.remove();
    button.prepend(svg);
  }

  async function drawAll() {
    document.querySelectorAll(".series").forEach(swatch);
    for (const element of document.querySelectorAll(".chart")) await draw(element);
    root.dataset.ready = "true";
  }

  const toggle = document.getElementById("theme");
  function paint(theme) {
    root.dataset.theme = theme;
    toggle.setAttribute("aria-pressed", String(theme === "dark"));
  }
  const wished = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = false;
  paint(wished.matches ? "dark" : "light");
  wished.addEventListener("change", () => { if (!chosen) { paint(wished.matches ? "dark" : "light"); drawAll(); } });
  toggle.addEventListener("click", () => { chosen = true; paint(isDark() ? "light" : "dark"); drawAll(); });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".series");
    if (!button) return;
    const name = button.dataset.series;
    if (hidden.has(name)) hidden.delete(name); else hidden.add(name);
    button.setAttribute("aria-pressed", String(!hidden.has(name)));
    for (const view of views.values()) await hide(view);
  });

  const ready = drawAll();
  return { ready, refresh };
})();
