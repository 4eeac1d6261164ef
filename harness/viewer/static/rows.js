"use strict";

/* The samples in memory, by number; which of them fit the filters, and in which order. */

const samples = {
  count: 0, ids: [], benchmarks: [], questions: [], targets: [], choices: [], tags: [], results: [],
  differing: new Set(), texts: [], answerTexts: [], ranks: new Map(),
};

const RESULTS = { r: "right", w: "wrong", e: "error", u: "not scored", "-": "no answer" };

const KINDS = {
  "": "all", right: "right", wrong: "wrong", error: "without an answer", flipped: "flipped",
  lost: "right, then lost", gained: "wrong, then gained", disagree: "variants disagree",
};

function addSamples(chunk) {
  const { start, ids, differing } = chunk;
  for (let n = 0; n < ids.length; n++) {
    const at = start + n;
    samples.ids[at] = ids[n];
    samples.benchmarks[at] = chunk.benchmarks[n];
    samples.questions[at] = chunk.questions[n];
    samples.targets[at] = chunk.targets[n];
    samples.choices[at] = chunk.choices[n];
    samples.tags[at] = chunk.tags[n];
    samples.results[at] = chunk.results[n];
    samples.texts[at] = `${ids[n]}\n${chunk.questions[n]}\n${chunk.targets[n]}`.toLowerCase();
  }
  for (const n of differing) samples.differing.add(start + n);
  samples.count = start + ids.length;
  samples.ranks.clear();
}

function addAnswerTexts(start, chunk) {
  chunk.forEach((answers, n) => {
    samples.answerTexts[start + n] = answers.map(one => one?.[0] ?? "").join("\n").toLowerCase();
  });
}

function resultOf(row, column) {
  return samples.results[row][column];
}

function flipOf(row, column, against) {
  const before = resultOf(row, against), after = resultOf(row, column);
  return before === "r" && after === "w" ? "lost" : before === "w" && after === "r" ? "gained" : "";
}

function numRight(row) {
  let count = 0;
  for (const letter of samples.results[row]) count += letter === "r";
  return count;
}

function fits(row, state) {
  const { kind, column, against } = state;
  if (state.benchmark >= 0 && samples.benchmarks[row] !== state.benchmark) return false;
  if (state.tag >= 0 && !samples.tags[row].includes(state.tag)) return false;
  if (kind) {
    const letter = resultOf(row, column), flip = flipOf(row, column, against);
    if (kind === "right" && letter !== "r") return false;
    if (kind === "wrong" && letter !== "w") return false;
    if (kind === "error" && letter !== "e" && letter !== "-") return false;
    if (kind === "flipped" && !flip) return false;
    if ((kind === "lost" || kind === "gained") && flip !== kind) return false;
    if (kind === "disagree" && new Set(samples.results[row]).size < 2) return false;
  }
  if (!state.text || samples.texts[row].includes(state.text)) return true;
  return state.deep && (samples.answerTexts[row] ?? "").includes(state.text);
}

/* Numbers within texts count as numbers: sample 9 comes before sample 10. */
function sortKey(text) {
  return text.toLowerCase().replace(/\d+/g, digits => digits.padStart(9, "0"));
}

const KEYS = {
  sample: row => sortKey(samples.ids[row]),
  question: row => sortKey(samples.questions[row]),
  target: row => sortKey(samples.targets[row]),
  right: row => numRight(row),
  result: (row, state) => "wu-er".indexOf(resultOf(row, state.column))
    + 10 * ["lost", "", "gained"].indexOf(flipOf(row, state.column, state.against)),
};

/* The place of every sample in an order; kept, as sorting texts takes longer than all else. */
function ranksBy(name, state) {
  const kept = `${name} ${name === "result" ? `${state.column} ${state.against}` : ""}`;
  if (!samples.ranks.has(kept)) {
    const keys = Array.from({ length: samples.count }, (_, row) => KEYS[name](row, state));
    const order = Uint32Array.from(keys.keys());
    order.sort((a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : a - b));
    const ranks = new Uint32Array(samples.count);
    let rank = 0;
    order.forEach((row, n) => {
      if (n && keys[row] !== keys[order[n - 1]]) rank = n;
      ranks[row] = rank;
    });
    samples.ranks.set(kept, ranks);
  }
  return samples.ranks.get(kept);
}

/* Returns the numbers of the samples that fit, in order. */
function select(state) {
  const found = new Uint32Array(samples.count);
  let count = 0;
  for (let row = 0; row < samples.count; row++) if (fits(row, state)) found[count++] = row;
  const rows = found.subarray(0, count);
  if (state.sort) {
    const ranks = ranksBy(state.sort, state), sign = state.down ? -1 : 1;
    rows.sort((a, b) => sign * (ranks[a] - ranks[b]) || a - b);
  }
  return rows;
}
