"use strict";

/* One sample: its frames, options and right answer, and the answer of every variant. */

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const detail = document.querySelector("#detail");

function optionWords(row, letter) {
  const at = letter ? LETTERS.indexOf(letter) : -1, options = samples.choices[row];
  return letter?.length === 1 && at >= 0 && at < options.length ? `${letter}: ${options[at]}` : letter;
}

function showDetail(row, index, state, actions) {
  const link = (words, label, action) => {
    const button = make("button", { type: "button", "aria-label": label }, words);
    button.addEventListener("click", action);
    return button;
  };
  const tags = samples.tags[row].map(tag => index.tags[tag]);
  const where = [index.benchmarks[samples.benchmarks[row]], samples.ids[row], ...tags].join(" · ");
  const media = make("div", { class: "media" }, make("p", { class: "soft waiting" }, "frames …"));
  const answers = make("div", { class: "answers" }, make("p", { class: "soft" }, "answers …"));
  const parts = [
    make("nav", {},
      link("‹", "sample before", () => actions.step(-1)), link("›", "next sample", () => actions.step(1)),
      link("close", "close the sample", actions.close)),
    make("p", { class: "soft where" }, ...breakable(where)),
    make("h2", { dir: "auto" }, samples.questions[row]),
    samples.differing.has(row) ? make("p", { class: "bad" },
      "The two runs asked different questions under this id.") : null,
    media, options(row), answers];
  detail.replaceChildren(...parts.filter(part => part !== null));
  detail.hidden = false;
  detail.scrollTop = 0;
  const isShown = () => media.isConnected;
  if (index.hasFrames) showMedia(row, index, media, isShown);
  else media.replaceChildren(make("p", { class: "soft" }, "Frames were left out of this page."));
  const number = Math.floor(row / index.samplesPerAnswers);
  loadChunk(`answers-${number}`).then(chunk => {
    if (isShown()) showAnswers(row, chunk[row % index.samplesPerAnswers], index, state, answers, actions);
  }).catch(error => answers.replaceChildren(make("p", { class: "bad" }, error.message)));
}

function options(row) {
  const items = samples.choices[row].map((text, n) => {
    const isRight = LETTERS[n] === samples.targets[row];
    const words = `${LETTERS[n] ?? n + 1}: ${text}`;
    return make("li", { class: isRight ? "right" : null, dir: "auto" }, words, isRight ? " ✓ right" : null);
  });
  return items.length ? make("ul", { class: "options", "aria-label": "options" }, ...items) : null;
}

async function showMedia(row, index, place, isShown) {
  const say = words => place.replaceChildren(make("p", { class: "soft" }, words));
  try {
    const chunk = await loadChunk(`media-${Math.floor(row / index.samplesPerAnswers)}`);
    const number = chunk.numbers[row % index.samplesPerAnswers];
    if (number === null) { if (isShown()) say(`Frames not shown: ${chunk.missing}`); return; }
    const found = await loadChunk(`frames-${number}`);
    if (!isShown()) return;
    if (found.missing) { say(`Frames not shown: ${found.missing}`); return; }
    const strip = make("div", { class: "strip", role: "group", "aria-label": "frames", tabindex: "0" });
    for (const frame of found.frames) {
      strip.append(make("figure", {},
        make("img", { src: `data:image/jpeg;base64,${frame.jpeg}`, width: frame.width,
          height: frame.height, alt: `frame: ${frame.caption}` }),
        make("figcaption", {}, frame.caption)));
    }
    const words = found.numSeen > found.frames.length ? `${found.numSeen} frames were seen. ` : "";
    place.replaceChildren(strip, make("p", { class: "soft" }, words));
    if (found.hasClip) place.append(clipButton(number, place));
  } catch (error) {
    if (isShown()) say(error.message);
  }
}

function clipButton(number, place) {
  const button = make("button", { type: "button" }, "play the clip");
  button.addEventListener("click", () => {
    const video = make("video", { controls: true, src: `clips/${number}` });
    video.addEventListener("error", () => {
      video.replaceWith(make("p", { class: "soft" }, "This browser cannot play the clip."));
    });
    button.replaceWith(video);
    video.play().catch(() => {}); // the reader can still press play
  });
  return button;
}

function showAnswers(row, answers, index, state, place, actions) {
  const sides = index.runs.map((_, side) => side);
  const heads = sides.length > 1 ? sides.map(side => `${"AB"[side]}: ${index.runs[side].name}`) : ["answer"];
  const variants = new Map();
  index.columns.forEach((column, n) => {
    if (!variants.has(column.variant)) variants.set(column.variant, []);
    variants.get(column.variant)[column.side] = n;
  });
  const body = make("tbody", {});
  body.append(make("tr", { class: "target" }, make("th", { scope: "row" }, "right answer"),
    make("td", { colspan: sides.length, dir: "auto" }, optionWords(row, samples.targets[row]))));
  for (const [variant, columns] of variants) {
    const known = columns.filter(n => n !== undefined);
    const isSame = known.every(n => !flipOf(row, n, state.against));
    if (state.only && isSame && !known.includes(state.column) && !known.includes(state.against)) continue;
    const { name } = index.columns[known[0]];
    const line = make("tr", {
      class: known.includes(state.column) ? "chosen" : null, "data-variant": variant,
    }, make("th", { scope: "row" }, ...breakable(name),
      name === variant ? null : make("span", { class: "soft id" }, ...breakable(variant))));
    for (const side of sides) line.append(answerCell(row, columns[side], answers, state));
    body.append(line);
  }
  const only = make("input", { type: "checkbox" });
  only.checked = state.only;
  only.addEventListener("change", () => actions.only(only.checked));
  const choice = make("label", { class: "check" }, only,
    ` only flips against ${actions.label(state.against)}`);
  choice.hidden = index.columns.length < 2;
  place.replaceChildren(choice,
    make("table", {}, make("caption", {}, "Answers of every variant"),
      make("thead", {}, make("tr", {}, ...["variant", ...heads].map(head => make("th", { scope: "col" }, head)))),
      body));
  const chosen = body.querySelector(".chosen");
  if (chosen && state.isLinked) chosen.scrollIntoView({ block: "nearest" });
}

function answerCell(row, column, answers, state) {
  if (column === undefined) return make("td", { class: "soft" }, "not in this run");
  const answer = answers[column], letter = resultOf(row, column);
  if (!answer) return make("td", { class: "soft" }, RESULTS["-"]);
  const [text, extracted, score, error] = answer;
  const cell = make("td", { dir: "auto" });
  if (error) cell.append(make("span", { class: "bad" }, error));
  else cell.append(make("span", { class: text?.length > 400 ? "text long" : "text" }, text ?? "no text"));
  const read = optionWords(row, extracted);
  if (!error && read && read !== text) cell.append(make("span", { class: "soft" }, ` read as ${read}`));
  const words = score === null || score === 0 || score === 1 ? RESULTS[letter] : `score ${score.toFixed(2)}`;
  const flip = flipOf(row, column, state.against);
  cell.append(make("b", { class: RESULTS[letter].replace(" ", "-") }, ` ${MARKS[letter]} ${words}`));
  if (flip) cell.append(make("b", { class: `flip ${flip}` }, ` ${flip}`));
  return cell;
}

const MARKS = { r: "✓", w: "✗", e: "!", u: "·", "-": "–" };
