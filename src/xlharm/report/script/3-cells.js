// All cells of a grid as one table of squares: languages across, or methods side by side.

const PER_PAGE = 60;

class Cells {
  constructor(holder, grid) {
    this.holder = holder;
    this.grid = grid;
    this.measure = "of";
    this.across = "languages";
    this.sort = { column: -1, down: false };
    this.shown = PER_PAGE;
  }

  start() {
    const pick = (name, choices) => el("label", {}, `${name} `, el("select", { on: { change: (event) => this.set(name, event.target.value) } }, choices.map(([value, words]) => el("option", { value }, words))));
    this.count = el("span", { class: "count", role: "status" });
    this.head = el("thead");
    this.body = el("tbody");
    this.more = el("button", { type: "button", on: { click: () => { this.shown += 4 * PER_PAGE; this.draw(); } } }, "show more cells");
    this.caption = el("caption", {});
    this.table = el("table", { class: "map cells of" }, this.caption, this.head, this.body);
    const tools = el("p", { class: "tools" },
      pick("measure", [["of", "OF"], ["qr", "QR"]]),
      pick("columns", [["languages", "query languages"], ["methods", "methods side by side"]]), this.count);
    this.holder.replaceChildren(tools, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Cells" }, this.table), this.more);
    this.draw();
  }

  set(name, value) {
    if (name === "measure") this.measure = value;
    else this.across = value;
    this.sort = { column: -1, down: false };
    this.draw();
  }

  // Rows: {label, squares: [index of a number or -1]}.
  rows() {
    const { grid } = this;
    const places = grid.fitting();
    if (this.across === "languages") {
      const queries = grid.queries();
      return { columns: queries.map((q) => grid.data.languages[q][0]), rows: places.map((p) => ({ label: nameOf(grid.data.cells[p]), cell: p, squares: queries.map((q) => grid.at(p, q)) })) };
    }
    const methods = [...new Set(places.map((p) => grid.data.cells[p][2]))].filter((m) => m !== "none");
    const rows = new Map();
    for (const p of places) {
      const [contaminate, unlearn, method, seed] = grid.data.cells[p];
      if (method === "none") continue;
      const label = [contaminate, unlearn, seed === null ? "all seeds" : `seed ${seed}`].join(" / ");
      if (!rows.has(label)) rows.set(label, { label, squares: methods.map(() => -1) });
      rows.get(label).squares[methods.indexOf(method)] = this.extreme(p);
    }
    return { columns: methods, rows: [...rows.values()] };
  }

  // A cell as one number: its highest OF, or its lowest QR, over the query languages that are shown.
  extreme(place) {
    const values = this.grid.data.numbers[this.measure] || [];
    let best = -1;
    for (const q of this.grid.queries()) {
      const i = this.grid.at(place, q);
      if (values[i] === null || values[i] === undefined) continue;
      if (best < 0 || (this.measure === "of" ? values[i] > values[best] : values[i] < values[best])) best = i;
    }
    return best;
  }

  draw() {
    const { grid, measure } = this;
    const values = grid.data.numbers[measure] || [];
    const { columns, rows } = this.rows();
    if (this.sort.column >= 0) {
      const value = (row) => values[row.squares[this.sort.column]] ?? null;
      rows.sort((a, b) => {
        const one = value(a), two = value(b);
        if (one === null || two === null) return (one === null) - (two === null);
        return this.sort.down ? two - one : one - two;
      });
    }
    const some = rows.slice(0, this.shown);
    this.table.className = `map cells ${measure}`;
    const what = this.across === "methods" ? (measure === "of" ? "highest OF over the query languages, %" : "lowest QR over the query languages, %") : measure === "of" ? "OF, fake detail in the answer, %" : "QR, real detail right, %";
    this.caption.textContent = what;
    this.count.textContent = `${rows.length} rows` + (some.length < rows.length ? `, the first ${some.length} shown` : "");
    this.more.hidden = some.length === rows.length;
    const head = (name, c) => el("th", { scope: "col", "aria-sort": this.sort.column !== c ? "none" : this.sort.down ? "descending" : "ascending" },
      el("button", { type: "button", class: "sort", on: { click: () => { this.sort = { column: c, down: !(this.sort.column === c && this.sort.down) }; this.draw(); } } }, name));
    this.head.replaceChildren(el("tr", {}, el("th", { scope: "col" }, this.across === "methods" ? "contaminated / set / seed" : "cell"), columns.map(head)));
    this.body.replaceChildren(...some.map((row) => el("tr", {}, this.label(row), row.squares.map((i) => this.square(i)))));
  }

  label(row) {
    if (row.cell === undefined) return el("th", { scope: "row" }, row.label);
    const href = addressOf({ ...this.grid.filter, grid: this.grid.number, cell: row.label });
    return el("th", { scope: "row" }, el("a", { href }, row.label));
  }

  square(i) {
    const { grid, measure } = this;
    const value = i < 0 ? null : grid.number_at(measure, i);
    if (value === null) return el("td", { class: i < 0 ? "absent" : "missing" }, el("span", { class: "hidden" }, i < 0 ? "not in the grid" : grid.data.why[i] || "no result"));
    const [place, q] = grid.where(i);
    const cell = nameOf(grid.data.cells[place]);
    const query = grid.data.languages[q];
    const note = grid.data.notes[i];
    const mark = note ? "†" : measure === "of" ? ["", "△", "▲"][grid.data.rises[i]] : "";
    const words = `${cell} asked in ${query[1]}: ${grid.words(measure, i)}${note ? ". " + note : ""}`;
    return el("td", { class: `s${step(value)}` }, el("a", { href: addressOf({ ...grid.filter, grid: grid.number, cell, query: query[0] }), title: words, "aria-label": words },
      el("b", {}, whole(value)), mark ? el("i", { class: "mark" }, mark) : null, el("small", {}, grid.interval(measure, i))));
  }
}
