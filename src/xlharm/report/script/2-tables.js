// Tables of views: the first rows stand in the page, the script replaces them by all, sorted and filtered.

const ROWS = 100;

class ViewTable {
  constructor(holder, grid) {
    this.holder = holder;
    this.grid = grid;
    this.shown = ROWS;
    this.sort = null;
    this.words = "";
  }

  async start() {
    const data = await unpack(this.holder.dataset.table);
    if (!data) return;
    this.data = data;
    this.order = data.values[0].map((_, i) => i);
    this.count = el("span", { class: "count", role: "status" });
    const search = el("input", { type: "search", "aria-label": "Filter rows", placeholder: "filter rows", on: { input: () => { this.words = search.value.toLowerCase(); this.shown = ROWS; this.draw(); } } });
    this.more = el("button", { type: "button", on: { click: () => { this.shown += 5 * ROWS; this.draw(); } } }, "show more rows");
    this.body = el("tbody");
    this.heads = data.columns.map((name, c) => {
      const button = el("button", { type: "button", class: "sort", on: { click: () => this.by(c) } }, name);
      return el("th", { scope: "col", "aria-sort": "none" }, button);
    });
    const table = el("table", { class: "plain" }, el("thead", {}, el("tr", {}, this.heads)), this.body);
    const scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": this.holder.dataset.title }, table);
    this.holder.replaceChildren(el("p", { class: "tools" }, search, this.count), scroll, this.more);
    this.draw();
  }

  by(column) {
    const down = this.sort && this.sort.column === column && !this.sort.down;
    this.sort = { column, down };
    this.heads.forEach((head, c) => head.setAttribute("aria-sort", c !== column ? "none" : down ? "descending" : "ascending"));
    const values = this.data.values[column];
    const compare = (a, b) => {
      const one = values[a], two = values[b];
      if (one === null || two === null) return (one === null) - (two === null) || a - b;
      const order = typeof one === "number" && typeof two === "number" ? one - two : String(one).localeCompare(String(two), "en", { numeric: true });
      return (down ? -order : order) || a - b;
    };
    this.order = values.map((_, i) => i).sort(compare);
    this.draw();
  }

  // The page's filter, by the columns that a table has; a column `cell` says the first four.
  fits(row) {
    const { columns, values } = this.data;
    const cell = columns.indexOf("cell");
    const parts = cell >= 0 ? String(values[cell][row]).split("/") : [];
    for (const [i, axis] of AXES.entries()) {
      const wanted = this.grid.filter[axis];
      if (!wanted) continue;
      const column = columns.indexOf(axis);
      const value = column >= 0 ? values[column][row] : i < 4 && parts.length ? parts[i] : null;
      const fits = value === null || value === undefined || [wanted, "all"].includes(String(value)) || (axis === "unlearn" && this.isSet(value, row, wanted));
      if (!fits) return false;
    }
    if (!this.words) return true;
    return values.some((column) => column[row] !== null && String(column[row]).toLowerCase().includes(this.words));
  }

  // The filter goes by the languages of a set; some views name it as the grid or the study does.
  isSet(name, row, wanted) {
    const languages = this.grid.data.sets[name] || {};
    const column = this.data.columns.indexOf("contaminate");
    const own = column >= 0 ? languages[this.data.values[column][row]] : undefined;
    return own ? own === wanted : Object.values(languages).includes(wanted);
  }

  draw() {
    if (!this.data) return;
    const rows = this.order.filter((row) => this.fits(row));
    const some = rows.slice(0, this.shown);
    this.count.textContent = `${rows.length} of ${this.order.length} rows` + (some.length < rows.length ? `, the first ${some.length} shown` : "");
    this.more.hidden = some.length === rows.length;
    this.body.replaceChildren(...some.map((row) => this.row(row)));
  }

  row(row) {
    const { columns, values, numeric } = this.data;
    const cells = columns.map((name, c) => {
      const value = values[c][row];
      const text = value === null ? "–" : value === true ? "yes" : value === false ? "no" : numeric[c] ? number(value, name) : value;
      const shown = name === "cell" && this.grid.places.has(value) ? el("a", { href: addressOf({ grid: this.grid.number, cell: value, query: this.query(row) }) }, text) : text;
      const long = !numeric[c] && String(text).length > 48;
      return el(c ? "td" : "th", { scope: c ? null : "row", class: numeric[c] ? "number" : long ? "wrap" : null }, shown);
    });
    return el("tr", {}, cells);
  }

  query(row) {
    const column = this.data.columns.indexOf("query");
    return column >= 0 ? this.data.values[column][row] : "";
  }
}

function number(value, name) {
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  const small = Math.abs(value) < 1 || /^(p|truth|exact|extraction|min k|spread|asymmetry|forget)/.test(name);
  return (small ? String(Number(value.toPrecision(3))) : value.toFixed(1)).replace(/^-/, "−");
}
