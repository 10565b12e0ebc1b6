"use strict";
// Unpacks Plotly, draws the charts, and redraws them when the page turns dark or light.
(() => {
  const dark = JSON.parse(document.getElementById("dark").textContent);
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const asked = { "#dark": "dark", "#light": "light" };
  let chosen = asked[location.hash] || null;
  try { chosen = chosen || localStorage.getItem("cllora-theme"); } catch { /* a file's storage may be closed */ }

  const isDark = () => (chosen ? chosen === "dark" : system.matches);

  function draw() {
    if (!window.Plotly) return;
    for (const plot of document.querySelectorAll(".plot")) {
      let text = plot.nextElementSibling.textContent;
      if (isDark()) for (const [light, other] of Object.entries(dark)) text = text.replaceAll(light, other);
      const chart = JSON.parse(text);
      Plotly.react(plot, chart.data, chart.layout, { responsive: true, displayModeBar: false });
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

  async function unpack() {
    const packed = Uint8Array.from(atob(document.getElementById("library").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    document.getElementById("plain").remove();
    draw();
  }

  show();
  unpack();
})();
