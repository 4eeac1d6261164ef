"""The run file's KV settings: a method, how much it keeps, its options.

The project uses ``keep``, the fraction of the prompt's keys and values that stays. The field's
other conventions are converted here and nowhere else.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from encodeonce.datasets.refusal_words import got
from encodeonce.datasets.strict_yaml import parse_yaml

FULL_METHOD = "full"

PositionPolicy = Literal["original", "compressed"]
"""The next token's position: behind all tokens seen, or behind the entries left in the first
layer."""

_TITLE = re.compile(
    r"(?P<method>[\w-]+)(?:@(?P<keep>[^(+:]+))?(?:\((?P<options>[^()]*)\))?"
    r"(?:\+(?P<precision>int8|int4))?(?::(?P<scope>question|media))?"
)

_OTHER_RATIOS: Mapping[str, str] = {
    "compression_ratio": "fraction removed, as kvpress and PrefixKV's code count",
    "compression_factor": "how many entries become one, as FastCache counts",
}


class KVSpec(BaseModel):
    """A cache variant: a KV-compression method at a budget."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field(description="File name in models/kv/methods/, e.g. 'snapkv'; or 'full'.")
    keep: float = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        description="Fraction of the prompt's keys and values that is kept. In a run file, each "
        "value of a list makes a variant; 'compression_ratio' (fraction removed) and "
        "'compression_factor' (1/keep) are also understood.",
    )
    precision: Literal["model", "int8", "int4"] = Field(
        default="model", description="How the kept entries are stored; composes with any method."
    )
    scope: Literal["question", "media"] = Field(
        default="question",
        description="What the method reads before it compresses: the whole prompt ('question'), or "
        "the media's part alone ('media': one compressed prefix for all questions).",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="The method's own options.")
    label: str | None = Field(default=None, description="Name in records and reports.")

    @model_validator(mode="before")
    @classmethod
    def _from_other_conventions(cls, value: Any) -> Any:
        if isinstance(value, str):
            return fields_of(value)
        if not isinstance(value, Mapping):
            return value
        fields = dict(value)
        given = [name for name in ("keep", *_OTHER_RATIOS) if name in fields]
        if len(given) > 1:
            raise ValueError(f"give one of {', '.join(given)}: they say the same")
        if "compression_ratio" in fields:
            ratio = _number("compression_ratio", fields.pop("compression_ratio"))
            if not 0.0 <= ratio < 1.0:
                raise ValueError(f"compression_ratio: must be at least 0, below 1; got {ratio:g}")
            fields["keep"] = round(1.0 - ratio, 12)
        elif "compression_factor" in fields:
            factor = _number("compression_factor", fields.pop("compression_factor"))
            if not factor >= 1.0:
                raise ValueError(f"compression_factor: must be at least 1; got {factor:g}")
            fields["keep"] = 1.0 / factor
        return fields

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.method == FULL_METHOD and self.keep != 1.0:
            raise ValueError(f"method 'full' keeps everything; got keep {self.keep:g}")
        if self.is_full and self.scope != "question":
            raise ValueError("method 'full' removes nothing, so it has no scope")
        return self

    @property
    def title(self) -> str:
        """The variant's name in records, and its part of the id."""
        if self.label:
            return self.label
        name = self.method
        if self.method != FULL_METHOD:
            name += f"@{self.keep:g}"
        if self.options:
            name += "(" + ",".join(f"{k}={v}" for k, v in sorted(self.options.items())) + ")"
        if self.precision != "model":
            name += f"+{self.precision}"
        return name if self.scope == "question" else f"{name}:{self.scope}"

    @property
    def is_full(self) -> bool:
        """Whether nothing is removed and entries are stored in the model's precision."""
        return self.method == FULL_METHOD and self.precision == "model"


FULL = KVSpec(method=FULL_METHOD)


def fields_of(title: str) -> dict[str, Any]:
    """Return the fields of a setting that is written as its title: ``snapkv@0.2+int8:media``.

    What is no title is a method's name.
    """
    found = _TITLE.fullmatch(title)
    if found is None:
        return {"method": title}
    fields: dict[str, Any] = {name: text for name, text in found.groupdict().items() if text}
    if "keep" in fields:
        fields["keep"] = parse_yaml(fields["keep"]).value
    if "options" in fields:
        pairs = (pair.partition("=") for pair in fields["options"].split(","))
        fields["options"] = {name.strip(): parse_yaml(text).value for name, _, text in pairs}
    return fields


def expand_kv(value: Any) -> Any:
    """Return a run file's ``kv`` with each list of budgets expanded into one entry per budget."""
    if isinstance(value, str | Mapping):
        value = [value]
    if not isinstance(value, Sequence):
        return value
    entries: list[Any] = []
    for entry in value:
        budgets = [name for name in ("keep", *_OTHER_RATIOS) if _is_list(entry, name)]
        if not budgets:
            entries.append(entry)
            continue
        if len(budgets) > 1:
            raise ValueError(f"give one of {', '.join(budgets)}: they say the same")
        (name,) = budgets
        entries.extend({**entry, name: budget} for budget in entry[name])
    return entries


def _number(name: str, value: Any) -> float:
    # As pydantic reads numbers: digits in quotes are one, true is not.
    try:
        return float("true" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: must be a number{got(value)}") from None


def _is_list(entry: Any, name: str) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get(name), list | tuple)
