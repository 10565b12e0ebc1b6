"use strict";
// Unpacks Plotly and draws the charts; light and dark, keys that show and hide, CSV files, and paper.
(() => {
  const dark = JSON.parse(document.getElementById("dark").textContent);
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const asked = { "#dark": "dark", "#light": "light" };
  const PAPER_WIDTH = 680; // of a chart in print: an A4 page without its margins, in CSS pixels
  const PAPER_ROWS = 20; // of a table that a chart has shown already; the page says in which file all of them are
  let chosen = asked[location.hash] || null;
  let printing = false;
  try { chosen = chosen || localStorage.getItem("cllora-theme"); } catch { /* a file's storage may be closed */ }

  const isDark = () => !printing && (chosen ? chosen === "dark" : system.matches);

  // The chart as it is to be drawn now: in the page's colours, without the traces of keys that are off.
  function chartOf(plot) {
    let text = plot.nextElementSibling.textContent;
    if (isDark()) for (const [light, other] of Object.entries(dark)) text = text.replaceAll(light, other);
    const chart = JSON.parse(text);
    const pressed = plot.closest("section, .main").querySelectorAll('.key[aria-pressed="false"]');
    const off = new Set([...pressed].map((key) => key.dataset.key));
    for (const trace of chart.data) trace.visible = !(trace.meta || [trace.name]).some((name) => off.has(name));
    if (printing) Object.assign(chart.layout, { width: PAPER_WIDTH, autosize: false });
    return chart;
  }

  function draw(within = document) {
    if (!window.Plotly) return;
    for (const plot of within.querySelectorAll(".plot")) {
      const { data, layout } = chartOf(plot);
      Plotly.react(plot, data, layout, { responsive: true, displayModeBar: false });
    }
  }

  function show() {
    if (chosen) document.documentElement.dataset.theme = chosen;
    button.textContent = isDark() ? "Light" : "Dark";
    draw();
  }

  button.addEventListener("click", () => {
    chosen = isDark() ? "light" : "dark";
    try { localStorage.setItem("cllora-theme", chosen); } catch { /* then it lasts as long as the page */ }
    show();
  });
  system.addEventListener("change", show);

  for (const key of document.querySelectorAll(".key")) {
    key.addEventListener("click", () => {
      key.setAttribute("aria-pressed", String(key.getAttribute("aria-pressed") !== "true"));
      draw(key.closest("section, .main"));
    });
  }

  async function unpack(element) {
    const packed = Uint8Array.from(atob(element.textContent), (c) => c.charCodeAt(0));
    return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  for (const save of document.querySelectorAll(".csv")) {
    save.addEventListener("click", async () => {
      const csv = await unpack(save.closest("section").querySelector(".packed"));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
      link.download = save.dataset.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }

  // On paper tables are open, but for long ones; all is light, and as wide as the page; afterwards it is as it was.
  addEventListener("beforeprint", () => {
    printing = true;
    for (const details of document.querySelectorAll("details:not([open])")) {
      if (details.querySelectorAll("tbody tr").length > PAPER_ROWS) continue;
      details.open = true;
      details.dataset.closed = "";
    }
    draw();
  });
  addEventListener("afterprint", () => {
    printing = false;
    for (const details of document.querySelectorAll("details[data-closed]")) {
      details.open = false;
      delete details.dataset.closed;
    }
    draw();
  });

  async function start() {
    const script = document.createElement("script");
    script.textContent = await unpack(document.getElementById("library"));
    document.head.append(script);
    document.getElementById("plain").remove();
    draw();
    document.documentElement.dataset.drawn = "";
  }

  show();
  start();
})();
