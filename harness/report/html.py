"""The report of a run as a page. Every figure in it is in the JSON that the page carries."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from encodeonce.harness.report.charts.svg import STYLE as CHART_STYLE
from encodeonce.harness.report.charts.svg import safe
from encodeonce.harness.report.numbers import human_count, percent
from encodeonce.harness.report.section import Figure, Section, Table
from encodeonce.harness.report.summary import sections
from encodeonce.harness.report.thumbnails import SampleKey, Sight, Strip
from encodeonce.harness.report.time_figures import page_figures
from encodeonce.harness.results.summary import Summary

GALLERY = "Answers to look at"
LONGEST_ANSWER = 2000
"""Characters of an answer that are shown."""

KINDS = {
    "uncached": "caching changed it",
    "lost": "right, then lost",
    "wrong": "wrong",
}


def report_page(title: str, summary: Summary, sights: Mapping[SampleKey, Sight]) -> str:
    """Return the page.

    Args:
        title: of the run, plain text.
        summary: `summarize_run`.
        sights: what the gallery's samples look like.
    """
    texts = sections(summary)
    drawn = page_figures(summary)
    errors = [section for section in texts if section.title == "Errors"]
    texts = [section for section in texts if section not in errors]
    titles = ["Pictures"] if drawn else []
    titles += [section.title for section in texts]
    titles += [GALLERY] if summary["gallery"] else []
    parts = [
        f"<header><p class='soft'>encodeonce</p><h1>{safe(title)}</h1></header>",
        f"<main><div class='tiles'>{''.join(_tiles(summary))}</div>",
        f"<nav aria-label='sections'>{''.join(_link(title) for title in titles)}</nav>",
        *(_section(section) for section in errors),
        _pictures(drawn),
        *(_section(section) for section in texts),
        _gallery(summary["gallery"], sights),
        "</main>",
    ]
    return html_page(f"{title}: encodeonce", "\n".join(parts), summary)


def _anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


def _link(title: str) -> str:
    return f"<a href='#{safe(_anchor(title))}'>{safe(title)}</a>"


def _heading(title: str) -> str:
    return f"<h2 id='{safe(_anchor(title))}'>{safe(title)}</h2>"


def _tiles(summary: Summary) -> Iterator[str]:
    """Yield what matters most, a figure each."""
    evaluation, comparison = summary["evaluation"], summary["comparison"]
    if evaluation is None:
        if summary["precompute"] is not None:
            yield _hit_tile("precompute", summary["precompute"])
        return
    num_failed = evaluation["num_samples"] - evaluation["num_answered"]
    if num_failed:
        words = f"of {human_count(evaluation['num_samples'], 'sample')}"
        yield _tile("without an answer", str(num_failed), words, is_bad=True)
    for name, result in evaluation["benchmarks"].items():
        yield _score_tile(name, result)
    yield _hit_tile("evaluation", evaluation)
    if comparison is not None:
        same, total = comparison["num_same_text"], comparison["num_with_text"]
        words = "answers identical"
        yield _tile("cached and uncached", f"{same} of {total}", words, same < total)
    if (speedup := _speedup(summary)) is not None:
        words = "less worker time than plain transformers"
        yield _tile("time of an answer", f"{speedup:.1f} times", words)


def _score_tile(name: str, result: Summary) -> str:
    estimate = result["accuracy"]
    scored = f"{result['num_scored']} of {result['num_samples']} scored"
    if estimate is not None:
        interval = f"{percent(estimate['low'], 1)} to {percent(estimate['high'], 1)}"
        words = f"95 % interval {interval}; {scored}"
        return _tile(f"{name}: {result['measure']}", percent(estimate["mean"], 1), words)
    if (nll := result["nll"]) is not None:
        words = f"of {human_count(nll['num_tokens'], 'token')}"
        return _tile(f"{name}: perplexity", f"{nll['perplexity']:.4g}", words)
    return _tile(name, "-", scored)


def _hit_tile(stage: str, use: Summary) -> str:
    words = f"{use['num_hits']} of {human_count(use['num_units'], 'unit')} from the store"
    return _tile(f"hit rate, {stage}", percent(use["hit_rate"]), words)


def _speedup(summary: Summary) -> float | None:
    """Return worker seconds per answer of plain transformers over those from the store."""
    if summary["uncached"] is None:
        return None
    ours = summary["evaluation"]["seconds_per_answer"]
    theirs = summary["uncached"]["seconds_per_answer"]
    return theirs / ours if ours and theirs else None


def _tile(label: str, figure: str, words: str, is_bad: bool = False) -> str:
    kind = "tile bad" if is_bad else "tile"
    return (
        f"<div class='{kind}'>{safe(label)}<strong>{safe(figure)}</strong>"
        f"<span class='soft'>{safe(words)}</span></div>"
    )


def _pictures(found: Sequence[Figure]) -> str:
    if not found:
        return ""
    figures = (
        f"<figure><figcaption><h3>{safe(one.title)}</h3><p>{safe(one.words)}</p></figcaption>"
        f"{one.svg}</figure>"
        for one in found
    )
    return f"{_heading('Pictures')}<div class='pictures'>{''.join(figures)}</div>"


def _section(section: Section) -> str:
    parts = [f"<section>{_heading(section.title)}"]
    parts.extend(f"<p>{safe(sentence)}</p>" for sentence in section.sentences)
    if section.table is not None:
        parts.append(_table(section.title, section.table))
    if section.bullets:
        parts.append(f"<ul>{''.join(f'<li>{safe(one)}</li>' for one in section.bullets)}</ul>")
    return "".join([*parts, "</section>"])


def _table(title: str, table: Table) -> str:
    """Return a table that scrolls by itself where the screen is too narrow for it."""
    has_heads = any(table.columns)
    num_words = table.num_words if has_heads else len(table.columns)
    head = "".join(_cell("th", "col", n, text, num_words) for n, text in enumerate(table.columns))
    rows = "".join(
        f"<tr>{_cell('th', 'row', 0, row[0], num_words)}"
        f"{''.join(_cell('td', '', n, text, num_words) for n, text in enumerate(row) if n)}</tr>"
        for row in table.rows
    )
    heads = f"<thead><tr>{head}</tr></thead>" if has_heads else ""
    return (
        f"<div class='wide' role='region' aria-label='{safe(title)}' tabindex='0'>"
        f"<table>{heads}<tbody>{rows}</tbody></table></div>"
    )


def _cell(tag: str, scope: str, column: int, text: str, num_words: int) -> str:
    kinds = ["number"] if column >= num_words else []
    if text.startswith("  "):  # a part of the row above
        kinds.append("part")
    scoped = f" scope='{scope}'" if scope else ""
    kind = f" class='{' '.join(kinds)}'" if kinds else ""
    return f"<{tag}{scoped}{kind}>{safe(text.strip())}</{tag}>"


def _gallery(gallery: Summary | None, sights: Mapping[SampleKey, Sight]) -> str:
    if gallery is None:
        return ""
    items = gallery["items"]
    found = gallery["num_found"]
    shown = f"{len(items)} of {found}" if len(items) < found else str(found)
    nothing = Sight(strip=Strip(missing="nobody looked for them"))
    # Questions on the same frames share a card.
    cards: dict[Strip, list[str]] = {}
    for item in items:
        sight = sights.get((item["benchmark"], item["sample"]), nothing)
        cards.setdefault(sight.strip, []).append(_question(item, sight.choices))
    drawn = (
        f"<article class='card'>{_strip(strip)}{''.join(questions)}</article>"
        for strip, questions in cards.items()
    )
    return (
        f"<section>{_heading(GALLERY)}"
        f"<p>Answers that caching changed, that a variant lost, or that are wrong: {shown}.</p>"
        f"{_filter(items)}<div class='cards'>{''.join(drawn)}</div></section>"
    )


def _filter(items: Sequence[Summary]) -> str:
    """Return controls that the page's script shows; without it all answers are shown."""
    kinds = {item["kind"]: KINDS[item["kind"]] for item in items}
    benchmarks = {item["benchmark"]: item["benchmark"] for item in items}
    variants = {name: name for item in items for name in _variants(item)}
    selects = "".join(
        _select(name, choices)
        for name, choices in (("kind", kinds), ("benchmark", benchmarks), ("variant", variants))
    )
    return (
        f"<form class='filter' hidden>{selects}"
        "<label>text <input name='text' type='search' autocomplete='off'></label>"
        f"<output id='shown' class='soft'>{len(items)} shown</output></form>"
    )


def _select(name: str, choices: Mapping[str, str]) -> str:
    if len(choices) < 2:
        return ""
    options = "".join(f"<option value='{safe(k)}'>{safe(v)}</option>" for k, v in choices.items())
    options = f"<option value=''>all</option>{options}"
    return f"<label>{name} <select name='{name}'>{options}</select></label>"


def _variants(item: Summary) -> list[str]:
    """Return the names of the answers that differ from the first."""
    names = [str(answer["variant"]) for answer in item["answers"]]
    return names[1:] or names


def _strip(strip: Strip) -> str:
    if strip.missing:
        return f"<p class='soft'>Frames not shown: {safe(strip.missing)}</p>"
    images = "".join(
        f"<div><img src='data:image/jpeg;base64,{frame.jpeg_base64}' width='{frame.width_px}' "
        f"height='{frame.height_px}' alt='frame: {safe(frame.caption)}'>"
        f"<span>{safe(frame.caption)}</span></div>"
        for frame in strip.frames
    )
    hidden = strip.num_seen - len(strip.frames)
    more = f"<p class='soft'>{strip.num_seen} frames were seen.</p>" if hidden > 0 else ""
    return f"<div class='strip'>{images}</div>{more}"


def _question(item: Summary, choices: Sequence[str]) -> str:
    tags = ", ".join(f"{name}: {value}" for name, value in item["tags"].items())
    where = [KINDS[item["kind"]], f"{item['benchmark']}/{item['sample']}", tags]
    rows = [("right answer", safe(_cut(item["target"])))]
    if choices:
        options = (
            f"{letter}: {text}" for letter, text in zip(ascii_uppercase, choices, strict=False)
        )
        rows.insert(0, ("choices", safe(_cut(" · ".join(options)))))
    rows.extend(_answers(item["answers"]))
    listed = "".join(f"<dt>{name}</dt><dd dir='auto'>{text}</dd>" for name, text in rows)
    return (
        f"<div class='question' data-kind='{safe(item['kind'])}' "
        f"data-benchmark='{safe(item['benchmark'])}' "
        f"data-variants='{safe(json.dumps(_variants(item)))}'>"
        f"<p class='soft'>{safe(' · '.join(part for part in where if part))}</p>"
        f"<p dir='auto'>{safe(_cut(item['question']))}</p><dl class='answers'>{listed}</dl></div>"
    )


def _answers(answers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield names and text of the answers, those that are the same together."""
    names: dict[tuple[str | None, float | None], list[str]] = {}
    for answer in answers:
        names.setdefault((answer["text"], answer["score"]), []).append(answer["variant"])
    for (text, score), same in names.items():
        mark = "" if score is None else f" <b class='{_worth(score)}'>({_worth_words(score)})</b>"
        words = "no text" if text is None else _cut(text)
        yield _names(same), f"{safe(words)}{mark}"


def _names(variants: Sequence[str]) -> str:
    listed = safe(", ".join(variants))
    if len(variants) <= 2:
        return listed
    return f"<details><summary>{len(variants)} variants</summary>{listed}</details>"


def _worth(score: float) -> str:
    return "right" if score >= 0.5 else "wrong"


def _worth_words(score: float) -> str:
    return _worth(score) if score in (0.0, 1.0) else f"score {score:.2f}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_ANSWER else f"{text[:LONGEST_ANSWER]}… (cut)"


_STYLE = """
:root {
  --back: #ffffff; --card: #f5f6f8; --text: #1c1e21; --soft: #555b63; --edge: #d9dde2;
  --link: #005a9c; --bad: #a8200d; --good: #00664a;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14171b; --card: #1e2228; --text: #e8eaed; --soft: #a7aeb8; --edge: #343a42;
    --link: #6cb2f2; --bad: #ff9785; --good: #4fd1a1;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 74rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.5rem; line-height: 1.25; margin: .25rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0 0 .25rem; }
p { margin: .5rem 0; max-width: 48rem; }
a { color: var(--link); }
ul { padding-left: 1.25rem; max-width: 48rem; }
.soft, figcaption p { color: var(--soft); font-size: .875rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 1rem 0; font-size: .875rem; }
.tiles { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); }
.pictures, .cards { columns: 24rem 2; column-gap: 1rem; }
figure, .card { break-inside: avoid; margin: 0 0 1rem; }
.tile, figure, .card { background: var(--card); border-radius: .5rem; padding: .875rem; }
.tile strong { display: block; font-size: 1.75rem; line-height: 1.2; font-weight: 600; }
.tile.bad { border-left: 4px solid var(--bad); }
figure svg { width: 100%; max-width: 32rem; height: auto; display: block; margin: .5rem auto 0; }
figcaption p { margin: 0; }
.wide { overflow-x: auto; }
.wide:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; font-size: .9375rem; overflow-wrap: normal; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--edge); text-align: left;
  vertical-align: top; font-weight: 400; }
thead th { color: var(--soft); font-size: .8125rem; vertical-align: bottom; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody th { position: sticky; left: 0; background: var(--back); }
.part { padding-left: 1.25rem; }
.strip { display: grid; gap: .375rem;
  grid-template-columns: repeat(auto-fill, minmax(3.6rem, 1fr)); }
.strip img { display: block; width: 100%; height: auto; border-radius: .25rem; }
.strip span { font-size: .75rem; color: var(--soft); }
.question { border-top: 1px solid var(--edge); margin-top: .75rem; padding-top: .75rem; }
.answers { display: grid; grid-template-columns: max-content 1fr; gap: .25rem .75rem; margin: 0; }
.answers dt { color: var(--soft); font-size: .875rem; max-width: min(45vw, 12rem); }
.answers dd { margin: 0; white-space: pre-wrap; max-height: 12rem; overflow-y: auto; }
@media (max-width: 30rem) {
  tbody th { max-width: 40vw; overflow-wrap: anywhere; }
  .answers { grid-template-columns: 1fr; gap: 0; }
  .answers dt { max-width: none; } .answers dd { margin-bottom: .375rem; }
}
.wrong, .bad { color: var(--bad); } .right { color: var(--good); }
.tile.bad, .tile.bad strong { color: inherit; }
.filter { display: flex; flex-wrap: wrap; gap: .75rem; margin: .75rem 0; align-items: center; }
.filter[hidden], [data-kind][hidden], .card[hidden] { display: none; }
select, input, summary { font: inherit; color: inherit; }
select, input { background: var(--back); border: 1px solid var(--edge); border-radius: .375rem;
  padding: .375rem .5rem; max-width: 100%; }
pre { white-space: pre-wrap; font-size: .8125rem; }
"""


_SCRIPT = """
const filter = document.querySelector(".filter");
if (filter) {
  const shown = document.querySelector("#shown");
  const apply = () => {
    const wanted = Object.fromEntries(new FormData(filter));
    let count = 0;
    for (const card of document.querySelectorAll(".card")) {
      for (const item of card.querySelectorAll("[data-kind]")) {
        const fits = (!wanted.kind || item.dataset.kind === wanted.kind)
          && (!wanted.benchmark || item.dataset.benchmark === wanted.benchmark)
          && (!wanted.variant || JSON.parse(item.dataset.variants).includes(wanted.variant))
          && item.textContent.toLowerCase().includes(wanted.text.toLowerCase());
        item.hidden = !fits;
        count += fits;
      }
      card.hidden = !card.querySelector("[data-kind]:not([hidden])");
    }
    shown.textContent = `${count} shown`;
  };
  filter.hidden = false;
  filter.addEventListener("input", apply);
  filter.addEventListener("submit", event => event.preventDefault());
}
"""


def html_page(title: str, body: str, data: Any) -> str:
    """Return the page.

    Args:
        title: plain text.
        body: HTML in which every text is escaped (`svg.safe`).
        data: plain JSON values that the page shows; they are put into it as ``#data``.
    """
    digest = hashlib.sha256(_SCRIPT.encode()).digest()
    # Nothing but this page's own script may run, and nothing may be fetched.
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{base64.b64encode(digest).decode()}'"
    )
    # Within a script element only "</script" and "<!--" end the text early.
    content = json.dumps(data).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{safe(title)}</title>
<style>{_STYLE}{CHART_STYLE}</style>
</head>
<body>
{body}
<script type="application/json" id="data">{content}</script>
<script>{_SCRIPT}</script>
</body>
</html>
"""
