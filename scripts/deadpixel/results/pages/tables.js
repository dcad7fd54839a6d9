"use strict";
// Tables are sorted by a click on a header, and searched by words where they are long.
for (const table of document.querySelectorAll("figure.table table")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];

  const sort = (column, sign) => {
    const hasNumbers = [...body.rows].some((row) => row.cells[column].dataset.value);
    const keyOf = (cell) => (hasNumbers ? Number(cell.dataset.value) : cell.textContent);
    const rows = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
    rows.sort(([one], [other]) => {
      // what has no number is last, whichever way the others go
      if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
      return one === other ? 0 : sign * (one > other ? 1 : -1);
    });
    body.append(...rows.map(([, row]) => row));
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    button.title = "sort by this";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falls = head.ariaSort === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.ariaSort = falls ? "descending" : "ascending";
      sort(column, falls ? -1 : 1);
    });
  });

  if (body.rows.length > 5) {
    const search = document.createElement("input");
    search.type = "search";
    search.placeholder = `search ${body.rows.length} rows`;
    search.ariaLabel = "search this table";
    search.addEventListener("input", () => {
      const words = search.value.toLowerCase().split(/\s+/);
      for (const row of body.rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
    table.parentElement.before(search);
  }
}
