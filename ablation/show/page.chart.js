// Vega makes the controls; the page only gives it their places. An empty chart, every rule switched off, is no reason to warn.
const errors = 1; // of Vega's levels of logging
vegaEmbed("#chart", JSON.parse(document.getElementById("specification").textContent), { actions: false, renderer: "svg", logLevel: errors });

// A tap chooses the nearest mean, arrow keys the next or the one before: it takes the focus, and its words stand below the chart.
const chart = document.getElementById("chart");
const means = () => [...chart.querySelectorAll("[aria-roledescription=point]")];
const told = document.getElementById("told");

function choose(mark) {
  mark.setAttribute("tabindex", "-1");
  mark.focus();
  told.textContent = mark.getAttribute("aria-label");
}

chart.addEventListener("click", ({ clientX, clientY }) => {
  const away = (mark) => {
    const { x, y, width, height } = mark.getBoundingClientRect();
    return Math.hypot(x + width / 2 - clientX, y + height / 2 - clientY);
  };
  const [nearest] = means().sort((one, other) => away(one) - away(other));
  if (nearest && away(nearest) < 24) choose(nearest);
});

chart.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const marks = means();
  if (!step || !marks.length) return;
  event.preventDefault();
  const at = marks.indexOf(document.activeElement);
  choose(marks.at(at < 0 ? 0 : (at + step) % marks.length));
});
