// Vega makes the controls; the page only gives it their places. An empty chart, every rule switched off, is no reason to warn.
const errors = 1; // of Vega's levels of logging
const night = matchMedia("(prefers-color-scheme: dark)");
let shown;

// Drawn once more where the screen turns dark or light: colours of the specification by night, and those of the page.
async function draw() {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const text = document.getElementById("specification").textContent;
  const { dark } = JSON.parse(text).usermeta;
  const specification = JSON.parse(night.matches ? text.replace(/#[0-9a-f]{6}/gi, (day) => dark[day] ?? day) : text);
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map(colour);
  const axis = { domainColor: soft, gridColor: line, labelColor: soft, tickColor: soft, titleColor: ink };
  const legend = { labelColor: ink, titleColor: ink };
  const config = { background: colour("--page"), axis, legend, title: { color: ink } };
  for (const place of ["axes", "rules"]) document.getElementById(place).replaceChildren();
  shown = await vegaEmbed("#chart", specification, { actions: false, config, renderer: "svg", logLevel: errors });
}

night.addEventListener("change", draw);
draw();

const line = document.getElementById("save-chart");
offer(line, "SVG", async () => save("chart.svg", await shown.view.toImageURL("svg")));
offer(line, "PNG", async () => save("chart.png", await shown.view.toImageURL("png", 2)));

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
