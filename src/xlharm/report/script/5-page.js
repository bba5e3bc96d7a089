// Starts a grid's parts when they come into view, and follows the address.

class Grid {
  constructor(article) {
    this.prefix = article.dataset.prefix;
    this.number = article.dataset.grid;
    this.article = article;
    this.filter = {};
    this.tables = [];
  }

  async start() {
    this.data = await unpack(this.prefix + "cells-data");
    const { cells, languages } = this.data;
    this.places = new Map(cells.map((cell, i) => [nameOf(cell), i]));
    this.bar();
    this.cells = new Cells(this.article.querySelector("[data-cells]"), this);
    this.cell = new CellView(this.article.querySelector("[data-cell]"), this);
    this.cells.start();
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        seen.unobserve(entry.target);
        const table = new ViewTable(entry.target, this);
        this.tables.push(table);
        table.start();
      }
    }, { rootMargin: "300px" });
    for (const holder of this.article.querySelectorAll("[data-table]")) seen.observe(holder);
    return languages;
  }

  bar() {
    const { cells, languages } = this.data;
    const words = { contaminate: "contaminated in", unlearn: "unlearned", method: "method", seed: "seed", query: "asked in" };
    this.selects = {};
    const labels = AXES.map((axis, i) => {
      const values = axis === "query" ? languages.map(([code]) => code) : [...new Set(cells.map((cell) => (cell[i] === null ? "all" : String(cell[i]))))];
      const select = el("select", { on: { change: () => this.follow({ ...this.filter, [axis]: select.value }) } }, el("option", { value: "" }, "any"), values.map((value) => el("option", { value }, value)));
      this.selects[axis] = select;
      return el("label", {}, `${words[axis]} `, select);
    });
    const clear = el("button", { type: "button", on: { click: () => this.follow({}) } }, "clear");
    this.article.querySelector("[data-filter]").replaceChildren(el("span", { class: "filter-name" }, "Show"), ...labels, clear);
  }

  follow(filter) {
    const view = { ...filter, grid: this.number };
    history.replaceState(null, "", addressOf(view));
    this.apply(view);
  }

  apply(view) {
    this.filter = Object.fromEntries(AXES.filter((axis) => view[axis] && !(view.cell && axis === "query")).map((axis) => [axis, view[axis]]));
    for (const axis of AXES) this.selects[axis].value = this.filter[axis] || "";
    this.cells.draw();
    for (const table of this.tables) table.draw();
  }

  // Cells that fit the filter; without one, of several seeds those of all seeds together.
  fitting() {
    const several = this.data.cells.some((cell) => cell[3] === null);
    const wanted = { ...this.filter };
    if (several && !wanted.seed) wanted.seed = "all";
    const places = [];
    this.data.cells.forEach((cell, i) => {
      const fits = AXES.slice(0, 4).every((axis, a) => !wanted[axis] || (cell[a] === null ? "all" : String(cell[a])) === wanted[axis]);
      if (fits) places.push(i);
    });
    return places;
  }

  queries() {
    const all = this.data.languages.map((_, q) => q);
    return this.filter.query ? all.filter((q) => this.data.languages[q][0] === this.filter.query) : all;
  }

  at(place, query) { return place * this.data.languages.length + query; }
  where(i) { return [Math.floor(i / this.data.languages.length), i % this.data.languages.length]; }
  number_at(name, i) { const values = this.data.numbers[name]; return values ? values[i] ?? null : null; }
  interval(measure, i) { return `${whole(this.number_at(measure + "_lo", i))}–${whole(this.number_at(measure + "_hi", i))}`; }
  words(measure, i) { return `${measure.toUpperCase()} ${tenths(this.number_at(measure, i))} (95 % ${tenths(this.number_at(measure + "_lo", i))}–${tenths(this.number_at(measure + "_hi", i))}, n ${this.number_at(measure + "_n", i)} on ${this.number_at(measure + "_items", i)} items)`; }
}

async function start() {
  const grids = [...document.querySelectorAll("[data-grid]")].map((article) => new Grid(article));
  await Promise.all(grids.map((grid) => grid.start()));
  const show = async () => {
    const view = readAddress();
    if (!view) return reveal();
    const grid = grids[Number(view.grid || 0)];
    if (!grid) return;
    grid.apply(view);
    if (view.cell) await grid.cell.show(view.cell, view.query, { focus: true });
  };
  addEventListener("hashchange", show);
  await show();
  document.documentElement.dataset.ready = "yes";
}

// A link into a closed part opens it.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  target.scrollIntoView();
}

start();
