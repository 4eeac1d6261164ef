"use strict";

/* Holds what is shown, in the address behind `#`, so that every view can be linked to. */

const filters = document.querySelector("#filters");
const state = { text: "", deep: false, benchmark: -1, tag: -1, column: 0, against: 0, kind: "",
  sort: "", down: false, sample: -1, only: false, isLinked: false };
let index, list, pending = null;

const keyOf = n => {
  const { side, variant } = index.columns[n];
  return index.runs.length > 1 ? `${"AB"[side]}:${variant}` : variant;
};
const labelOf = n => {
  const { side, name } = index.columns[n];
  return index.runs.length > 1 ? `${"AB"[side]}: ${name}` : name;
};
const number = count => count.toLocaleString("en-GB");
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

function notice(words) {
  const place = document.querySelector("#notice");
  place.textContent = words;
  place.hidden = !words;
}

/* The address. */

function address(changes = {}) {
  const now = { ...state, ...changes }, found = new URLSearchParams();
  if (now.sample >= 0) {
    if (index.benchmarks.length > 1) found.set("benchmark", index.benchmarks[samples.benchmarks[now.sample]]);
    found.set("sample", samples.ids[now.sample]);
  }
  found.set("variant", keyOf(now.column));
  if (now.against !== index.reference) found.set("against", keyOf(now.against));
  if (now.text) found.set("q", now.text);
  if (now.deep) found.set("deep", "1");
  if (now.benchmark >= 0) found.set("in", index.benchmarks[now.benchmark]);
  if (now.tag >= 0) found.set("tag", index.tags[now.tag]);
  if (now.kind) found.set("result", now.kind);
  if (now.sort) found.set("sort", `${now.down ? "-" : ""}${now.sort}`);
  if (now.only) found.set("only", "flips");
  return `#${String(found).replaceAll("+", "%20")}`;
}

function readAddress() {
  // A plus sign is one, as in `none/full+int8`: people write such ids into addresses as they are.
  const found = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B")), problems = [];
  const among = (name, known, otherwise) => {
    if (!found.has(name)) return otherwise;
    const at = known.indexOf(found.get(name));
    if (at < 0) problems.push(`no ${name} ${JSON.stringify(found.get(name))}`);
    return at < 0 ? otherwise : at;
  };
  const keys = index.columns.map((_, n) => keyOf(n));
  state.against = among("against", keys, index.reference);
  state.column = among("variant", keys, usualColumn());
  state.benchmark = among("in", index.benchmarks, -1);
  state.tag = among("tag", index.tags, -1);
  state.text = (found.get("q") ?? "").toLowerCase();
  state.deep = found.has("deep");
  state.kind = Object.keys(KINDS).includes(found.get("result")) ? found.get("result") : "";
  const sort = found.get("sort") ?? "";
  state.down = sort.startsWith("-");
  state.sort = HEADS.some(([name]) => name === sort.replace("-", "")) ? sort.replace("-", "") : "";
  state.only = found.has("only");
  pending = found.has("sample") ? { sample: found.get("sample"), benchmark: found.get("benchmark") } : null;
  state.sample = -1;
  notice(problems.length ? `This page has ${problems.join(", ")}.` : "");
}

/* What is worth a look at first: another variant than the reference; of two runs, the second's. */
function usualColumn() {
  const { columns, reference } = index, same = columns[reference].variant;
  const others = columns.map((column, n) => ({ ...column, n })).filter(({ n, side }) =>
    n !== reference && (index.runs.length === 1 || side === 1));
  return (others.find(column => index.runs.length > 1 && column.variant === same) ?? others[0])?.n ?? reference;
}

function find(wanted) {
  const benchmark = wanted.benchmark === null ? -1 : index.benchmarks.indexOf(wanted.benchmark);
  for (let row = samples.ids.indexOf(wanted.sample); row >= 0; row = samples.ids.indexOf(wanted.sample, row + 1)) {
    if (benchmark < 0 || samples.benchmarks[row] === benchmark) return row;
  }
  return -1;
}

/* What is shown. */

function fillFilters() {
  const fill = (name, options) => {
    const place = filters.elements[name];
    place.replaceChildren(...options.map(([value, words]) => make("option", { value }, words)));
    place.closest("label").hidden = options.length < 2;
  };
  const columns = index.columns.map((_, n) => [n, labelOf(n)]);
  fill("benchmark", [[-1, "all"], ...index.benchmarks.map((name, n) => [n, name])]);
  filters.elements.benchmark.closest("label").hidden = index.benchmarks.length < 2;
  fill("tag", [[-1, "all"], ...index.tags.map((name, n) => [n, name])]);
  fill("variant", columns);
  fill("against", columns);
  const alone = ["flipped", "lost", "gained", "disagree"];
  fill("result", Object.entries(KINDS).filter(([kind]) => columns.length > 1 || !alone.includes(kind)));
}

function showFilters() {
  const { elements } = filters;
  if (elements.q.value.toLowerCase() !== state.text) elements.q.value = state.text;
  elements.deep.checked = state.deep;
  elements.benchmark.value = state.benchmark;
  elements.tag.value = state.tag;
  elements.variant.value = state.column;
  elements.against.value = state.against;
  elements.result.value = state.kind;
}

function readFilters() {
  const { elements } = filters;
  state.text = elements.q.value.toLowerCase();
  state.deep = elements.deep.checked;
  state.benchmark = Number(elements.benchmark.value);
  state.tag = Number(elements.tag.value);
  state.column = Number(elements.variant.value);
  state.against = Number(elements.against.value);
  state.kind = elements.result.value;
}

function drawRow(element, row) {
  const [sample, question, target, result, right] = element.children;
  let link = question.firstElementChild;
  if (!link) {
    link = make("a", { tabindex: "-1" });
    question.append(link);
  }
  sample.textContent = samples.ids[row];
  link.textContent = samples.questions[row];
  link.href = address({ sample: row });
  target.textContent = optionWords(row, samples.targets[row]);
  const letter = resultOf(row, state.column), flip = flipOf(row, state.column, state.against);
  result.textContent = `${MARKS[letter]} ${flip || RESULTS[letter]}`;
  result.className = `col-result ${flip || RESULTS[letter].replace(" ", "-")}`;
  right.textContent = `${numRight(row)} of ${index.columns.length}`;
  element.classList.toggle("open", row === state.sample);
}

function summarise(rows) {
  const count = { lost: 0, gained: 0, r: 0, w: 0 };
  for (const row of rows) {
    count[flipOf(row, state.column, state.against)] += 1;
    count[resultOf(row, state.column)] += 1;
  }
  const total = samples.count < index.numSamples
    ? `${number(samples.count)} of ${number(index.numSamples)} samples read`
    : `of ${plural(index.numSamples, "sample")}`;
  const scored = count.r + count.w;
  const parts = [`${number(rows.length)} shown ${total}`];
  if (scored) parts.push(`${labelOf(state.column)}: ${number(count.r)} of ${number(scored)} right (${(100 * count.r / scored).toFixed(1)} %)`);
  if (state.column !== state.against) {
    parts.push(`${number(count.lost)} lost, ${number(count.gained)} gained against ${labelOf(state.against)}`);
  }
  document.querySelector("#summary").textContent = parts.join(" · ");
}

function refresh() {
  const rows = select(state);
  list.show(rows, state);
  summarise(rows);
}

function openPending() {
  if (!pending) return;
  const row = find(pending);
  if (row >= 0) {
    pending = null;
    open(row, { isLinked: true });
    list.go(list.rows.indexOf(row));
  } else if (samples.count === index.numSamples) {
    notice(`This page has no sample ${JSON.stringify(pending.sample)}.`);
    pending = null;
  }
}

const actions = {
  label: labelOf,
  step(by) {
    const at = list.rows.indexOf(state.sample), to = at < 0 ? 0 : at + by;
    if (to < 0 || to >= list.rows.length) return;
    list.go(to);
    open(list.rows[to], { replaces: true });
  },
  only(is) {
    state.only = is;
    open(state.sample, { replaces: true });
  },
  close() {
    state.sample = -1;
    detail.hidden = true;
    document.body.classList.remove("has-detail");
    history.replaceState(null, "", address());
    list.render();
    list.grid.focus({ preventScroll: true });
  },
};

function open(row, { replaces = false, isLinked = false } = {}) {
  const wasOpen = state.sample >= 0;
  state.sample = row;
  state.isLinked = isLinked;
  document.body.classList.add("has-detail");
  if (!isLinked) history[replaces || wasOpen ? "replaceState" : "pushState"](null, "", address());
  showDetail(row, index, state, actions);
  list.render();
  if (!wasOpen && !isLinked) detail.focus({ preventScroll: true });
}

function changed() {
  readFilters();
  history.replaceState(null, "", address());
  refresh();
  if (state.deep && state.text) readAnswers();
  if (state.sample >= 0) showDetail(state.sample, index, state, actions);
}

function sort(name) {
  if (state.sort !== name) Object.assign(state, { sort: name, down: false });
  else if (!state.down) state.down = true;
  else Object.assign(state, { sort: "", down: false });
  history.replaceState(null, "", address());
  refresh();
}

/* Reading. The reader sees the first samples while others come in. */

async function readSamples() {
  for (let n = 0; n < index.numSamplesChunks; n++) {
    addSamples(await loadChunk(`samples-${n}`));
    chunks.delete(`samples-${n}`); // what it held is in `samples` now
    // To sort takes longer than to read: the first samples at once, then all.
    if (!state.sort || n === 0 || n === index.numSamplesChunks - 1) refresh();
    if (n === 0) performance.mark("first rows");
    openPending();
    await new Promise(done => setTimeout(done)); // let the page answer its reader
  }
}

let answersRead = null;
function readAnswers() {
  answersRead ??= (async () => {
    for (let n = 0; n * index.samplesPerAnswers < index.numSamples; n++) {
      addAnswerTexts(n * index.samplesPerAnswers, await loadChunk(`answers-${n}`));
      if (n % 10 === 9) refresh();
    }
    refresh();
  })().catch(error => { answersRead = null; notice(error.message); });
}

function follow() {
  readAddress();
  showFilters();
  refresh();
  if (state.deep && state.text) readAnswers();
  if (pending) openPending();
  if (state.sample < 0 && !pending) {
    detail.hidden = true;
    document.body.classList.remove("has-detail");
  }
}

async function begin() {
  index = await loadChunk("index");
  const names = index.runs.map((run, n) => (index.runs.length > 1 ? `${"AB"[n]}: ${run.name}` : run.name));
  document.title = `${names.join(", ")}: encodeonce view`;
  document.querySelector("#title").textContent = names.join("  ·  ");
  document.querySelector("#runs").textContent = [
    ...new Set(index.runs.map(run => run.model)), plural(index.numRecords, "answer"),
    plural(index.columns.length, "variant")].join(" · ");
  document.querySelector("#more").open = !matchMedia("(max-width: 45rem)").matches;
  document.body.classList.toggle("single", index.columns.length < 2);
  fillFilters();
  list = new List(drawRow, open, sort);
  readAddress();
  showFilters();
  let typing;
  filters.addEventListener("input", event => {
    clearTimeout(typing);
    typing = setTimeout(changed, event.target.name === "q" ? 120 : 0);
  });
  filters.addEventListener("submit", event => event.preventDefault());
  addEventListener("popstate", follow);
  addEventListener("keydown", event => {
    if (event.key === "Escape" && state.sample >= 0) actions.close();
    const isTyping = event.target.matches("input, select, video");
    if (state.sample >= 0 && !isTyping && event.key === "ArrowLeft") actions.step(-1);
    if (state.sample >= 0 && !isTyping && event.key === "ArrowRight") actions.step(1);
  });
  await readSamples();
  if (state.deep && state.text) readAnswers();
}

begin().catch(error => notice(error.message));
