"""A page that is one file: no network, light and dark, from a phone's width to a laptop's."""

import base64
import hashlib
import json
from typing import Any

from encodeonce.harness.svg import STYLE as CHART_STYLE
from encodeonce.harness.svg import safe

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
