// A heading sorts its table, up and then down; what is empty comes last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) =>
    head.querySelector("button").addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].map((row) => [row.cells[column].textContent.trim(), row]);
      table.tBodies[0].append(...rows.sort(order(rows.map(([text]) => text), falling)).map(([, row]) => row));
    }),
  );
}

function order(texts, falling) {
  const number = (text) => parseFloat(text.replaceAll(",", ""));
  const numeric = texts.every((text) => text === "" || !Number.isNaN(number(text)));
  return ([one], [other]) => {
    if (one === "" || other === "") return (one === "") - (other === "");
    return (falling ? -1 : 1) * (numeric ? number(one) - number(other) : one.localeCompare(other, "en", { numeric: true }));
  };
}

// What is seen of a figure as a file: its SVG as it stands, or as a picture three times as large.
for (const figure of document.querySelectorAll("figure[id]")) {
  const seen = () => [...figure.querySelectorAll("img")].find((image) => image.offsetParent) ?? figure.querySelector("img");
  const name = figure.id.replace("figure-", "");
  const line = figure.querySelector(".save");
  line.hidden = false;
  if (seen().src.startsWith("data:image/svg")) offer(line, "SVG", () => save(`${name}.svg`, seen().src));
  offer(line, "PNG", () => save(`${name}.png`, painted(seen())));
}

function offer(line, kind, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = kind;
  button.addEventListener("click", act);
  line.append(button);
}

function save(name, address) {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
}

function painted(image) {
  const canvas = document.createElement("canvas");
  canvas.width = 3 * image.naturalWidth;
  canvas.height = 3 * image.naturalHeight;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/png");
}
