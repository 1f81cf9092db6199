// Draws the charts of a page from the data beside them, in the colours of the theme, and again when the theme changes.
"use strict";

(() => {
  const probe = document.createElement("span");
  probe.hidden = true;

  function colour(name) {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  }

  function coloured(value) {
    if (typeof value === "string") return value.startsWith("--") ? colour(value) : value;
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, coloured(each)]));
    }
    return value;
  }

  function axis(given) {
    return { gridcolor: "--line", linecolor: "--line", zerolinecolor: "--line", automargin: true, ...given };
  }

  function themed(layout) {
    const axes = Object.fromEntries(
      Object.keys({ xaxis: 0, yaxis: 0, ...layout })
        .filter((name) => /^[xy]axis\d*$/.test(name))
        .map((name) => [name, axis(layout[name])]),
    );
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      colorway: ["--chart-1", "--chart-2", "--chart-3", "--chart-4", "--chart-5", "--chart-6"],
      font: { color: "--text", family: getComputedStyle(document.body).fontFamily },
      margin: { l: 56, r: 16, t: 16, b: 48 },
      legend: { orientation: "h", y: 1.12 },
      hoverlabel: { bgcolor: "--surface", bordercolor: "--line", font: { color: "--text" } },
      ...layout,
      ...axes,
    };
  }

  // How dates are written on axes; Plotly itself brings English only.
  const patterns = {
    zh: { date: "%Y-%m-%d", year: "%Y年", month: "%Y年%b", dayMonth: "%b%-d日", dayMonthYear: "%Y年%b%-d日" },
  };

  function locale() {
    const name = document.documentElement.lang;
    if (!(name in patterns)) return "en";
    const names = (options, instants) => {
      const format = new Intl.DateTimeFormat(name, { ...options, timeZone: "UTC" });
      return instants.map((each) => format.format(each));
    };
    const months = Array.from({ length: 12 }, (_, month) => Date.UTC(2001, month, 1));
    const days = Array.from({ length: 7 }, (_, day) => Date.UTC(2001, 0, 7 + day)); // from a Sunday on
    const format = {
      months: names({ month: "long" }, months),
      shortMonths: names({ month: "short" }, months),
      days: names({ weekday: "long" }, days),
      shortDays: names({ weekday: "short" }, days),
      ...patterns[name],
    };
    Plotly.register({ moduleType: "locale", name, dictionary: {}, format });
    return name;
  }

  function draw(figure) {
    const { traces, layout } = JSON.parse(figure.querySelector("script").textContent);
    const drawing = figure.querySelector(".drawing");
    drawing.classList.add("drawn");
    return Plotly.react(drawing, coloured(traces), coloured(themed(layout)), {
      responsive: true,
      displaylogo: false,
      displayModeBar: false,
      locale: language,
    });
  }

  function drawAll() {
    document.querySelectorAll("figure.chart").forEach(draw);
  }

  document.body.append(probe);
  const language = locale();
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();
