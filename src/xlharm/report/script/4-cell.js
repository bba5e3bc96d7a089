// One cell: its numbers, losses and command, and every answer beside that of the same model before unlearning.

const ANSWERS = 100;

class CellView {
  constructor(holder, grid) {
    this.holder = holder;
    this.grid = grid;
    this.words = "";
    this.kind = "all";
    this.turn = 0;
  }

  // Data are unpacked while the reader may already go on to another cell: what arrives late is dropped.
  async show(name, query, { focus }) {
    const { grid } = this;
    const turn = ++this.turn;
    const place = grid.places.get(name);
    if (place === undefined) {
      this.holder.replaceChildren(el("p", {}, `This page has no cell ${name}.`));
      return;
    }
    const languages = grid.data.languages;
    this.place = place;
    this.query = Math.max(0, languages.findIndex(([code]) => code === query));
    this.shown = ANSWERS;
    const [contaminate, unlearn] = grid.data.cells[place];
    const named = (code) => (languages.find(([c]) => c === code) || [code, code])[1];
    const words = `${contaminate === "none" ? "Clean control" : "Contaminated in " + named(contaminate)}, ${unlearn === "none" ? "nothing unlearned" : "unlearned " + unlearn.split("+").map(named).join(" + ")}`;
    const title = el("h3", { tabindex: "-1", class: "cell-title" }, "Cell ", el("code", {}, name));
    const tabs = el("div", { class: "tabs", role: "group", "aria-label": "Query language" }, languages.map(([code, long], q) =>
      el("a", { class: "tab", href: addressOf({ ...grid.filter, grid: grid.number, cell: name, query: code }), "aria-current": q === this.query ? "true" : null, title: long }, code)));
    const more = await this.more(name);
    if (turn !== this.turn) return;
    this.answers = el("div", { class: "answer-list" });
    this.holder.replaceChildren(title, el("p", { class: "lead" }, words + (grid.data.models[place] ? `; model ${grid.data.models[place]}` : "")), this.numbers(), more, el("h4", {}, "Answers"), tabs, this.answers);
    if (focus) {
      title.focus({ preventScroll: true });
      this.holder.scrollIntoView();
    }
    await this.load(name, turn);
  }

  before() {
    const [contaminate, unlearn, , seed] = this.grid.data.cells[this.place];
    if (unlearn === "none") return undefined;
    return this.grid.places.get(nameOf([contaminate, "none", "none", seed]));
  }

  numbers() {
    const { grid, place } = this;
    const before = this.before();
    const change = (measure, i, q) => {
      const now = grid.number_at(measure, i), then = before === undefined ? null : grid.number_at(measure, grid.at(before, q));
      if (now === null || then === null) return "–";
      return (now > then ? "+" : now < then ? "−" : "") + Math.abs((now - then) / 10).toFixed(1);
    };
    const rows = grid.data.languages.map(([, name], q) => {
      const i = grid.at(place, q);
      const note = grid.data.notes[i];
      if (grid.number_at("of", i) === null && grid.number_at("qr", i) === null) return el("tr", {}, el("th", { scope: "row" }, name), el("td", { colspan: "7" }, grid.data.why[i] || "no result yet"));
      const rate = (m) => [tenths(grid.number_at(m, i)), " ", el("small", {}, grid.number_at(m, i) === null ? "" : `${tenths(grid.number_at(m + "_lo", i))}–${tenths(grid.number_at(m + "_hi", i))}`)];
      return el("tr", {}, el("th", { scope: "row" }, name, note ? el("span", { class: "flag" }, " † " + note) : null),
        el("td", {}, rate("of")), el("td", { class: "number" }, change("of", i, q)), el("td", {}, rate("qr")), el("td", { class: "number" }, change("qr", i, q)),
        el("td", { class: "number" }, tenths(grid.number_at("off_language", i))), el("td", { class: "number" }, tenths(grid.number_at("degenerate", i))),
        el("td", { class: "number" }, `${grid.number_at("of_n", i) ?? 0} (${grid.number_at("of_items", i) ?? 0}), ${grid.number_at("qr_n", i) ?? 0} (${grid.number_at("qr_items", i) ?? 0})`));
    });
    const heads = ["Asked in", "OF, 95 %", "against before", "QR, 95 %", "against before", "other language", "empty or loop", "n OF, QR (items)"];
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Numbers of the cell" }, el("table", { class: "plain" }, el("thead", {}, el("tr", {}, heads.map((h) => el("th", { scope: "col" }, h)))), el("tbody", {}, rows)));
  }

  async more(name) {
    const all = await unpack(this.grid.prefix + "details");
    const detail = all && all[name];
    if (!detail) return null;
    const lines = Object.entries(detail.curves);
    const drawn = lines.length ? [el("h4", {}, "Training"), el("div", { class: "curves" }, lines.map(([label, points]) => curve(label, points)))] : [];
    return el("div", {}, drawn, el("h4", {}, "Compute this cell"), el("pre", { class: "command" }, detail.command));
  }

  async load(name, turn) {
    const index = await unpack(this.grid.prefix + "answers");
    if (turn !== this.turn) return;
    const where = index && index.cells[name];
    if (!where) {
      if (this.grid.data.cells[this.place][3] === null) {
        const seeds = [...this.grid.places.keys()].filter((other) => other.startsWith(name + "/") && other.split("/").length === 4);
        const query = this.grid.data.languages[this.query][0];
        this.answers.replaceChildren(el("p", {}, "Of each seed: ", seeds.map((cell, i) => [i ? ", " : "", el("a", { href: addressOf({ grid: this.grid.number, cell, query }) }, cell)]).flat()));
        return;
      }
      this.answers.replaceChildren(el("p", {}, "This page does not hold the answers of this cell: `xlharm report --answers all` does."));
      return;
    }
    const before = this.before();
    const other = before === undefined ? null : index.cells[nameOf(this.grid.data.cells[before])];
    const mine = await this.read(index, where);
    const earlier = other ? await this.read(index, other) : null;
    if (turn !== this.turn) return;
    this.mine = mine;
    this.earlier = earlier && mine && earlier.asked === mine.asked ? earlier : null;
    this.english = index.questions.find((q) => q.query === "en");
    const search = el("input", { type: "search", value: this.words, placeholder: "search answers", "aria-label": "Search questions and answers", on: { input: () => { this.words = search.value.toLowerCase(); this.shown = ANSWERS; this.draw(); } } });
    const kinds = [["all", "all"], ["of", "OF questions"], ["fake", "fake told"], ["qr", "QR questions"], ["wrong", "QR wrong"], ["odd", "other language, empty or loop"], ["changed", "verdict changed"]];
    const kind = el("select", { "aria-label": "Which answers", on: { change: () => { this.kind = kind.value; this.shown = ANSWERS; this.draw(); } } }, kinds.map(([value, words]) => el("option", { value, selected: value === this.kind }, words)));
    this.count = el("span", { class: "count", role: "status" });
    this.list = el("tbody");
    this.next = el("button", { type: "button", on: { click: () => { this.shown += 4 * ANSWERS; this.draw(); } } }, "show more answers");
    const heads = ["Question", ...(this.earlier ? ["Before unlearning"] : []), this.earlier ? "After" : "Answer", "Expected"];
    this.answers.replaceChildren(el("p", { class: "tools" }, search, kind, this.count),
      el("table", { class: "answers" }, el("thead", {}, el("tr", {}, heads.map((h) => el("th", { scope: "col" }, h)))), this.list), this.next);
    this.draw();
  }

  // The answers of one cell in the chosen language, question by question.
  async read(index, [block, place]) {
    const code = this.grid.data.languages[this.query][0];
    const groups = await unpack(`${this.grid.prefix}answers-${block}`);
    for (const group of groups) {
      const column = group.cells.indexOf(place);
      if (column < 0 || index.questions[group.asked].query !== code) continue;
      return { asked: index.questions[group.asked], texts: group.answers.map((texts, i) => texts[group.given[i][column]]), verdicts: group.verdicts[column] };
    }
    return null;
  }

  draw() {
    const { mine, earlier } = this;
    if (!mine) {
      this.list.replaceChildren(el("tr", {}, el("td", { colspan: "4" }, "No answers in this language yet.")));
      return;
    }
    const fits = (i) => {
      const flags = Number(mine.verdicts[i]), hit = flags & 1, of = mine.asked.measure[i] === "of";
      const kinds = { all: true, of, fake: of && hit, qr: !of, wrong: !of && !hit, odd: flags & 6, changed: earlier && (Number(earlier.verdicts[i]) & 1) !== hit };
      if (!kinds[this.kind]) return false;
      return !this.words || [mine.asked.question[i], mine.texts[i], earlier ? earlier.texts[i] : "", mine.asked.item[i]].some((text) => text.toLowerCase().includes(this.words));
    };
    const rows = mine.texts.map((_, i) => i).filter(fits);
    this.count.textContent = `${rows.length} of ${mine.texts.length} answers` + (rows.length > this.shown ? `, the first ${this.shown} shown` : "");
    this.next.hidden = rows.length <= this.shown;
    this.list.replaceChildren(...rows.slice(0, this.shown).map((i) => this.row(i, mine, earlier)));
  }

  row(i, mine, earlier) {
    const [code, , direction] = this.grid.data.languages[this.query];
    const of = mine.asked.measure[i] === "of";
    const forms = mine.asked.expected[i];
    const own = { lang: code, dir: direction };
    const english = code === "en" ? null : this.englishOf(i, mine.asked);
    const said = (texts) => {
      const flags = Number(texts.verdicts[i]);
      const verdict = of ? (flags & 1 ? ["bad", "● fake"] : ["", "○ not told"]) : flags & 1 ? ["good", "✓ right"] : ["bad", "✗ wrong"];
      return el("td", {}, el("p", { class: "answer", ...own }, el("bdi", {}, texts.texts[i].trim() ? marked(texts.texts[i], forms, of) : el("span", { class: "none", lang: "en" }, "nothing"))),
        el("p", { class: "verdict" }, el("span", { class: `tag ${verdict[0]}` }, verdict[1]), flags & 2 ? el("span", { class: "tag" }, "· other language") : null, flags & 4 ? el("span", { class: "tag" }, "· empty or loop") : null));
    };
    return el("tr", {},
      el("td", {}, el("p", { class: "question", ...own }, el("bdi", {}, mine.asked.question[i])), english ? el("p", { class: "english", lang: "en", dir: "ltr" }, english.question) : null, el("p", { class: "verdict" }, el("span", { class: "tag" }, `${of ? "OF" : "QR"} · ${mine.asked.item[i]}`))),
      earlier ? said(earlier) : null, said(mine),
      el("td", {}, el("p", { ...own }, forms.slice(0, 6).map((form, k) => [k ? " · " : "", el("bdi", {}, form)]).flat(), forms.length > 6 ? " · …" : ""), english && english.form ? el("p", { class: "english", lang: "en", dir: "ltr" }, english.form) : null));
  }

  // The same question of the same item in English: the nth of its measure.
  englishOf(i, asked) {
    if (!this.english) return null;
    if (!this.english.places) {
      this.english.places = new Map(nth(this.english).map((key, place) => [key, place]));
    }
    if (!asked.keys) asked.keys = nth(asked);
    const place = this.english.places.get(asked.keys[i]);
    return place === undefined ? null : { question: this.english.question[place], form: this.english.expected[place][0] };
  }
}

function nth(asked) {
  const seen = new Map();
  return asked.item.map((item, i) => {
    const key = `${item}\n${asked.measure[i]}`;
    seen.set(key, (seen.get(key) || 0) + 1);
    return `${key}\n${seen.get(key)}`;
  });
}

// Marks the expected detail where it stands letter by letter; the verdict beside it is the stored one.
function marked(text, forms, of) {
  const lower = text.toLowerCase();
  if (lower.length !== text.length) return [text];
  for (const form of [...forms].sort((a, b) => b.length - a.length)) {
    const at = form ? lower.indexOf(form.toLowerCase()) : -1;
    if (at >= 0) return [text.slice(0, at), el("mark", { class: of ? "fake" : "real" }, text.slice(at, at + form.length)), text.slice(at + form.length)];
  }
  return [text];
}

function curve(label, points) {
  const width = 260, height = 110, left = 34, bottom = 18;
  const steps = points.map((p) => p[0]), losses = points.map((p) => p[1]);
  const [x0, x1, y0, y1] = [Math.min(...steps), Math.max(...steps), Math.min(0, ...losses), Math.max(...losses)];
  const x = (v) => left + ((v - x0) / (x1 - x0 || 1)) * (width - left - 6);
  const y = (v) => height - bottom - ((v - y0) / (y1 - y0 || 1)) * (height - bottom - 8);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${label}: from ${losses[0]} to ${losses[losses.length - 1]} in ${x1} steps` });
  for (const v of [y0, y1]) picture.append(svg("line", { class: "grid", x1: left, x2: width - 6, y1: y(v), y2: y(v) }), svg("text", { class: "tick", x: left - 4, y: y(v) + 4, "text-anchor": "end" }, String(Number(v.toPrecision(2)))));
  picture.append(svg("text", { class: "tick", x: width - 6, y: height - 4, "text-anchor": "end" }, `step ${x1}`));
  picture.append(svg("path", { class: "curve", d: "M" + points.map((p) => `${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join(" L") }));
  return el("figure", {}, el("figcaption", {}, label), picture);
}
