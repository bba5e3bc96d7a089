// Follows runs: asks for what has changed every other second, and draws it. Texts go through `write` alone.

const STATES = { d: "done", r: "running", f: "failed", b: "blocked: a stage before it has failed", w: "waiting", x: "damaged: computed again by the next run" };
const SIGNS = { r: "▸", f: "✕", b: "", w: "", x: "!" };
const FIRST = 60; // answers that are shown at once
const CELLS = 400; // rows of a map that are drawn at once
history.replaceState(null, "", location.pathname + location.hash); // the token need not stay in the address

const byClass = (tag, name, ...children) => el(tag, { class: name }, ...children);
const count = (number, one, many) => `${number} ${number === 1 ? one : many || one + "s"}`;

function span(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 86400 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} days`;
}
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
const size = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

class Live {
  constructor(shape, number, alone) {
    this.shape = shape;
    this.number = number;
    this.names = shape.cells.map((parts) => parts.join("/"));
    this.filter = "";
    this.limit = CELLS;
    const several = shape.cells.length > 12;
    const search = el("input", { type: "search", placeholder: "such as de/en", "aria-label": `Show cells of ${shape.name} whose name has`, on: { input: () => { this.filter = search.value.toLowerCase(); this.limit = CELLS; this.choose(); } } });
    this.facts = byClass("dl", "facts");
    this.meter = el("progress", { class: "meter", max: 1, value: 0, "aria-label": "Finished stages" });
    this.line = el("p", { "aria-live": "polite" });
    this.packs = el("div");
    this.shown = byClass("p", "count");
    this.more = el("button", { type: "button", hidden: true, on: { click: () => { this.limit += CELLS; this.choose(); } } }, "show more cells");
    this.body = el("tbody");
    this.failures = el("div");
    this.messages = el("div");
    const heads = [el("th", { scope: "col" }, "cell"), el("th", { scope: "col", class: "path" }, "model"), ...shape.languages.map(([code, name]) => el("th", { scope: "col" }, el("abbr", { title: name }, code)))];
    this.rows = new Map();
    this.values = shape.cells.map(() => shape.languages.map(() => ["w", -1, -1]));
    this.paths = shape.cells.map(() => "");
    this.node = el("article", { "aria-labelledby": `name-${number}` },
      el("h2", { id: `name-${number}`, class: alone ? "hidden" : null }, shape.name), byClass("div", "whole", this.line), this.meter, el("br"), this.facts, this.packs,
      el("h3", {}, "Map"),
      el("ul", { class: "legend" }, el("li", {}, byClass("span", "bar of"), " OF 0–100, occurrence of the fake; below it QR, quality on the real"),
        [["r", "running"], ["w", "waiting"], ["f", "failed or damaged"], ["b", "stuck behind a failure"]].map(([name, words]) => el("li", {}, byClass("span", `key ${name}`), ` ${words}`))),
      several ? el("p", { class: "tools" }, el("label", {}, "cells ", search), this.shown) : null,
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Map of ${shape.name}` }, el("table", { class: "map live of" }, el("thead", {}, el("tr", {}, heads)), this.body)),
      this.more, this.failures, this.messages);
    this.choose();
  }

  // Draw the rows that the filter leaves.
  choose() {
    const places = this.names.map((name, i) => i).filter((i) => this.names[i].toLowerCase().includes(this.filter));
    this.rows.clear();
    this.body.replaceChildren(...places.slice(0, this.limit).map((i) => this.row(i)));
    this.more.hidden = places.length <= this.limit;
    this.shown.textContent = `${Math.min(places.length, this.limit)} of ${this.names.length} cells`;
  }

  row(i) {
    const path = el("td", { class: "path" });
    const squares = this.shape.languages.map(() => el("td", {}));
    const node = el("tr", {}, el("th", { scope: "row" }, this.names[i]), path, squares);
    this.rows.set(i, { path, squares });
    this.drawPath(i);
    squares.forEach((_, q) => this.drawSquare(i, q));
    return node;
  }

  drawPath(i) {
    const row = this.rows.get(i);
    if (!row) return;
    const kinds = this.shape.paths[i];
    const words = kinds.map((kind, k) => `${kind}: ${STATES[this.paths[i][k] || "w"]}`).join(", ");
    row.path.replaceChildren(...kinds.map((_, k) => el("span", { class: `dot ${this.paths[i][k] || "w"}`, "aria-hidden": "true" })), byClass("span", "hidden", words));
    row.path.title = words;
  }

  drawSquare(i, q) {
    const row = this.rows.get(i);
    if (!row) return;
    const [state, of, qr] = this.values[i][q];
    const [code, language] = this.shape.languages[q];
    const node = row.squares[q];
    const focused = node.contains(document.activeElement);
    const where = `${this.names[i]} asked in ${language}`;
    if (state === "d") {
      const read = of >= 0 || qr >= 0;
      const words = read ? `${where}: OF ${of < 0 ? "–" : tenths(of)}, QR ${qr < 0 ? "–" : tenths(qr)}. Show its answers` : `${where}: done. Show its answers`;
      node.className = of >= 0 ? `d s${step(of)}` : "d read";
      const button = el("button", { type: "button", title: words, "aria-label": words, on: { click: () => go(this.number, this.names[i], code) } },
        el("b", {}, of >= 0 ? whole(of) : read ? "–" : "✓"), read ? el("small", {}, `QR ${qr < 0 ? "–" : whole(qr)}`) : null);
      node.replaceChildren(button);
      if (focused) button.focus();
    } else {
      node.className = state;
      node.title = `${where}: ${STATES[state]}`;
      node.replaceChildren(el("span", { class: "state", "aria-hidden": "true" }, SIGNS[state]), byClass("span", "hidden", `${STATES[state]}`));
    }
  }

  update(news, now) {
    if (news.total === undefined) return;
    for (const [place, state, of, qr] of news.squares) {
      const i = Math.floor(place / this.shape.languages.length);
      const q = place % this.shape.languages.length;
      this.values[i][q] = [state, of, qr];
      this.drawSquare(i, q);
    }
    for (const [i, path] of news.path) {
      this.paths[i] = path;
      this.drawPath(i);
    }
    this.meter.max = news.total;
    this.meter.value = news.done;
    const sum = (name) => Object.values(news.counts).reduce((all, one) => all + one[name], 0);
    const parts = [`${news.done} of ${count(news.total, "stage")} done`];
    if (sum("running")) parts.push(`${sum("running")} running`);
    if (sum("failed")) parts.push(`${sum("failed")} failed`);
    if (news.done === news.total) parts.push("all done");
    else if (news.eta !== null && news.origin === "runs") parts.push(`ends in ${span(news.eta)}, at ${clock(now + news.eta)}`);
    else if (news.runs.length) parts.push("workers are starting");
    else parts.push("no run is going on");
    const line = parts.join(" · ");
    if (this.line.textContent !== line) this.line.textContent = line;
    this.drawFacts(news);
    this.drawPacks(news.runs);
    this.drawFailures(news.failures);
    this.drawMessages(news.runs);
  }

  drawFacts(news) {
    const total = (name) => news.runs.reduce((all, run) => all + (run[name] || 0), 0);
    const paces = news.runs.map((run) => run.pace).filter((pace) => pace !== null);
    const memory = Math.max(0, ...news.runs.flatMap((run) => run.packs.map((pack) => pack.memory)));
    const facts = { "Cells complete": `${news.complete} of ${this.names.length}` };
    if (news.runs.length) {
      facts["Workers"] = total("workers") || "starting";
      if (total("tokens_per_second")) facts["Tokens a second"] = Math.round(total("tokens_per_second")).toLocaleString("en");
      if (paces.length) facts["Stages so far took"] = paces.map((pace) => `${pace.toFixed(2)} × the estimate`).join(", ");
      if (memory) facts["GPU memory, most of a pack"] = size(memory);
      facts["Driver"] = news.runs.map((run) => `process ${run.pid} on ${run.machine}, since ${span(run.elapsed)}`).join("; ");
    } else if (news.done < news.total && news.eta !== null) {
      facts["The rest would take"] = `${span(news.eta)} with one worker`;
    }
    for (const [kind, one] of Object.entries(news.counts)) facts[kind] = `${one.done} of ${one.done + one.running + one.failed + one.left}`;
    this.facts.replaceChildren(...Object.entries(facts).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }

  drawPacks(runs) {
    const packs = runs.flatMap((run) => run.packs);
    if (!packs.length) return this.packs.replaceChildren();
    const rows = packs.map((pack) => el("tr", {}, el("td", { class: "label" }, pack.label + (pack.slots > 1 ? ` and ${pack.slots - 1} more` : "")),
      el("td", {}, pack.worker),
      el("td", {}, pack.steps ? [el("progress", { class: "meter", max: pack.steps, value: pack.step, "aria-label": "Steps" }), `${pack.step} of ${count(pack.steps, "step")}`] : "begins"),
      el("td", {}, pack.memory ? size(pack.memory) : "")));
    this.packs.replaceChildren(el("table", { class: "plain packs" }, el("caption", {}, "Running packs"),
      el("thead", {}, el("tr", {}, ["Stages", "Worker", "Progress", "GPU memory"].map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, rows)));
  }

  drawFailures(failures) {
    const key = JSON.stringify(failures);
    if (key === this.failed) return;
    this.failed = key;
    if (!failures.length) return this.failures.replaceChildren();
    const some = failures.slice(0, 200).map((one) => el("li", {}, el("time", {}, one.failed.slice(0, 19).replace("T", " ")), `${one.label}: ${one.reason}: `, byClass("span", "why", one.message), one.final ? " (tried again only with --retry-failed)" : ""));
    const logs = el("div");
    this.failures.replaceChildren(el("h3", {}, count(failures.length, "failure")), el("ul", { class: "lines bad" }, some), logs);
    ask(`/logs?grid=${this.number}`).then((found) => {
      if (!found.logs || !found.logs.length) return;
      const shown = el("pre", { class: "log", tabindex: "0", hidden: true });
      const open = async (name) => { const one = await ask(`/logs?grid=${this.number}&name=${encodeURIComponent(name)}`); shown.replaceChildren(); write(shown, one.log || one.error); shown.hidden = false; };
      logs.replaceChildren(el("p", { class: "tools" }, "Logs of packs: ", found.logs.slice(0, 50).map((name) => el("button", { type: "button", on: { click: () => open(name) } }, name))), shown);
    });
  }

  drawMessages(runs) {
    const lines = runs.flatMap((run) => run.messages).sort((a, b) => b[0] - a[0]);
    const key = JSON.stringify(lines);
    if (key === this.said) return;
    this.said = key;
    if (!lines.length) return this.messages.replaceChildren();
    this.messages.replaceChildren(el("h3", {}, "Messages of the run"), el("ul", { class: "lines" }, lines.map(([at, text]) => el("li", {}, el("time", {}, clock(at)), text))));
  }
}

// -- answers: the address holds what is shown, so that Back leads back ---------------------------------------------

const holder = el("section", { class: "answer-view", "aria-live": "polite" });

function go(grid, cell, query) {
  location.hash = addressOf({ grid, cell, query }).slice(1);
}

async function showAnswers() {
  const view = readAddress();
  if (!view || view.cell === undefined) return holder.replaceChildren();
  const asked = location.hash;
  const found = await ask(`/answers?${new URLSearchParams({ grid: view.grid, cell: view.cell, query: view.query })}`);
  if (asked !== location.hash) return; // another one was asked for meanwhile
  const title = el("h2", { tabindex: "-1" }, "Answers of ", el("code", {}, view.cell), ` in ${view.query}`);
  const close = el("button", { type: "button", on: { click: () => { location.hash = ""; } } }, "close");
  if (found.error) holder.replaceChildren(title, el("p", {}, found.error), close);
  else holder.replaceChildren(title, el("p", { class: "tools" }, close), ...answerList(found, grids[Number(view.grid)].shape));
  title.focus();
  holder.scrollIntoView();
}

function answerList(found, shape) {
  const [code, , direction] = shape.languages.find(([one]) => one === found.query) || [found.query, "", "auto"];
  const own = { lang: code, dir: direction };
  const state = { words: "", kind: "all", limit: FIRST };
  const list = el("tbody");
  const counted = byClass("span", "count");
  const more = el("button", { type: "button", on: { click: () => { state.limit += 4 * FIRST; draw(); } } }, "show more answers");
  const verdict = (i) => found.measure[i] === "of" ? (found.hit[i] ? ["bad", "fake told"] : ["good", "fake not told"]) : (found.hit[i] ? ["good", "right"] : ["bad", "not right"]);
  const fits = (i) => (state.kind === "all" || state.kind === found.measure[i] || (state.kind === "fake" && found.measure[i] === "of" && found.hit[i]) || (state.kind === "wrong" && found.measure[i] === "qr" && !found.hit[i]))
    && (!state.words || `${found.question[i]}\n${found.answer[i]}\n${found.item[i]}`.toLowerCase().includes(state.words));
  const draw = () => {
    const places = found.answer.map((_, i) => i).filter(fits);
    counted.textContent = `${places.length} of ${count(found.answer.length, "answer")}`;
    more.hidden = places.length <= state.limit;
    list.replaceChildren(...places.slice(0, state.limit).map((i) => el("tr", {},
      el("td", {}, el("p", { class: "question", ...own }, el("bdi", {}, found.question[i])), el("p", { class: "verdict" }, `${found.measure[i].toUpperCase()} · ${found.item[i]}`)),
      el("td", {}, el("p", { class: "answer", ...own }, found.answer[i].trim() ? el("bdi", {}, found.answer[i]) : el("span", { class: "none", lang: "en" }, "nothing")),
        el("p", { class: "verdict" }, byClass("span", `tag ${verdict(i)[0]}`, verdict(i)[1]), found.off_language[i] ? byClass("span", "tag", "· other language") : null, found.degenerate[i] ? byClass("span", "tag", "· empty or loop") : null)),
      el("td", {}, el("p", own, found.expected[i].slice(0, 6).map((form, k) => [k ? " · " : "", el("bdi", {}, form)]).flat())))));
  };
  const search = el("input", { type: "search", placeholder: "search answers", "aria-label": "Search questions and answers", on: { input: () => { state.words = search.value.toLowerCase(); state.limit = FIRST; draw(); } } });
  const kinds = [["all", "all"], ["of", "OF questions"], ["fake", "fake told"], ["qr", "QR questions"], ["wrong", "QR wrong"]];
  const kind = el("select", { "aria-label": "Which answers", on: { change: () => { state.kind = kind.value; state.limit = FIRST; draw(); } } }, kinds.map(([value, words]) => el("option", { value }, words)));
  draw();
  return [el("p", { class: "tools" }, search, kind, counted), el("table", { class: "answers" }, el("thead", {}, el("tr", {}, ["Question", "Answer", "Expected"].map((name) => el("th", { scope: "col" }, name)))), list), more];
}

// -- asking the server ---------------------------------------------------------------------------------------------

async function ask(address) {
  try {
    const answer = await fetch(address, { credentials: "same-origin" });
    return await answer.json();
  } catch {
    return { error: "xlharm view does not answer: has it ended?" };
  }
}

const grids = JSON.parse(document.getElementById("shape").textContent).map((shape, i, all) => new Live(shape, i, all.length === 1));
document.getElementById("main").append(...grids.map((grid) => grid.node), holder);
const trouble = document.getElementById("trouble");
let version = 0;
let waiting = null;

async function follow() {
  clearTimeout(waiting);
  const news = await ask(`/state?since=${version}`);
  let wait = 2;
  let words = news.error || "";
  if (news.grids) {
    if (news.version < version) return location.reload(); // another server has taken its place
    version = news.version;
    wait = Math.max(wait, news.wait);
    news.grids.forEach((one, i) => grids[i].update(one, news.now));
    words = news.grids.map((one) => one.trouble).filter(Boolean).join("; ");
  }
  trouble.hidden = !words;
  if (trouble.textContent !== words) { trouble.replaceChildren(); write(trouble, words); }
  document.documentElement.dataset.ready = "yes";
  if (!document.hidden) waiting = setTimeout(follow, wait * 1000);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) follow(); });
window.addEventListener("hashchange", showAnswers);
follow().then(showAnswers);
