"""A run's report as an HTML page. Every number on it is also in the JSON that the page embeds.

`templates/` lays the page out; its contents are prepared here, in `tiles` and in `cards`.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from encodeonce.harness.report.cards import Gallery, gallery_of
from encodeonce.harness.report.charts.svg import STYLE as CHART_STYLE
from encodeonce.harness.report.charts.svg import printable
from encodeonce.harness.report.figures.differences import opening as opening_of
from encodeonce.harness.report.figures.times import page_figures
from encodeonce.harness.report.parts.judged import judged_tiles
from encodeonce.harness.report.section import Figure, Section
from encodeonce.harness.report.summary import sections
from encodeonce.harness.report.thumbnails import Preview, SampleKey
from encodeonce.harness.report.tiles import Tile
from encodeonce.harness.report.tiles import tiles as tiles_of
from encodeonce.harness.results.summary import Summary

RESULT = "Result"
FIGURES = "Figures"
GALLERY = "Answers to look at"

_BREAKS = re.compile(r"(?<=[/@:+,_=])(?=[^\s/@:+,_=()])|(?<=\S)(?=\()")
_LOADER = PackageLoader("encodeonce.harness.report")


def report_page(title: str, summary: Summary, previews: Mapping[SampleKey, Preview]) -> str:
    """Return the page.

    Args:
        title: of the run, plain text.
        summary: from `summarize_run`; embedded in the page as ``#data``.
        previews: of the gallery's samples.
    """
    found = sections(summary)
    return page_of(
        title,
        found,
        tiles=[*judged_tiles(summary), *tiles_of(summary)],
        opening=opening_of(summary),
        figures=page_figures(summary),
        num_first=len(found),
        gallery=gallery_of(summary, previews),
        data=summary,
    )


def page_of(
    title: str,
    found: Sequence[Section],
    *,
    tiles: Sequence[Tile],
    figures: Sequence[Figure],
    data: Mapping[str, Any],
    opening: Sequence[Figure] = (),
    gallery: Gallery | None = None,
    num_first: int = 0,
) -> str:
    """Return a page of sections.

    Args:
        title: plain text.
        found: the sections; those titled "Errors" come first.
        tiles: the key figures.
        figures: drawings, before the sections.
        data: embedded in the page as ``#data``.
        opening: drawings of the result, before all but errors.
        gallery: answers to look at.
        num_first: how many other sections come before the figures.
    """
    errors = [section for section in found if section.title == "Errors"]
    others = [section for section in found if section not in errors]
    first, others = others[:num_first], others[num_first:]
    headings = [RESULT] if opening else []
    headings += [section.title for section in first]
    headings += [FIGURES] if figures else []
    headings += [section.title for section in others]
    headings += [GALLERY] if gallery else []
    style, script = _file("style.css") + CHART_STYLE, _file("script.js")
    page = _environment().get_template("report.html.j2")
    drawn = page.render(
        title=title,
        tiles=tiles,
        headings=headings,
        errors=errors,
        opening=opening,
        opening_title=RESULT,
        first=first,
        figures=figures,
        figures_title=FIGURES,
        sections=others,
        gallery=gallery,
        gallery_title=GALLERY,
        data=data,
        style=style,
        script=script,
        policy=_policy(style, script),
    )
    # No library escapes controls and lone surrogates, which a model may write.
    return printable(drawn)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=_LOADER,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["anchor"] = _anchor
    found.filters["breakable"] = _breakable
    found.policies["json.dumps_kwargs"] = {}  # else keys are sorted: the summary's order says more
    return found


def _file(name: str) -> str:
    """Return a template folder's file verbatim: a style sheet may look like a template."""
    return _LOADER.get_source(_environment(), name)[0]


def _anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


def _breakable(text: str) -> Markup:
    """Return text whose lines may break at the separators of ids and paths.

    A narrow screen then breaks ``none/random@0.2(shared=True):media`` there, and never a word.
    """
    return Markup("<wbr>").join(_BREAKS.split(text))


def _policy(style: str, script: str) -> str:
    """Return the policy that allows only this page's own style and script, and fetches nothing."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'"
    )


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
