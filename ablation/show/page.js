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
