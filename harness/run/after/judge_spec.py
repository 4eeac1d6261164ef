"""The section `judge` of a run file: which language model judges answers, and what it may cost."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from encodeonce.datasets.registry import benchmark_class, benchmark_names
from encodeonce.harness.run.strict import Strict


class JudgePrice(Strict):
    """What a million tokens cost, in the provider's currency."""

    input: float = Field(ge=0, description="A million tokens of what the judge reads.")
    output: float = Field(ge=0, description="A million tokens of what the judge writes.")

    def of(self, input_tokens: float, output_tokens: float) -> float:
        """Return the price of so many tokens."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


class JudgeSpec(Strict):
    """A model behind OpenAI's protocol: OpenAI's own, vLLM's server, and others."""

    model: str = Field(min_length=1, description="The server's name for the model.")
    url: str = Field(
        default="https://api.openai.com/v1",
        pattern=r"^https?://\S+$",
        description="Up to the version, e.g. http://localhost:8000/v1.",
    )
    api_key_env: str = Field(
        default="OPENAI_API_KEY",
        pattern=r"^[A-Za-z_]\w*$",
        description="Environment variable that holds the key, if the server wants one. The key "
        "itself is never written anywhere.",
    )
    temperature: float | None = Field(
        default=0.0, ge=0, le=2, description="Of the judge's sampling; null: the server's own."
    )
    max_tokens: int = Field(default=512, ge=1, description="Longest reply, in tokens.")
    body: dict[str, Any] = Field(
        default_factory=dict,
        description="More keys of the request, or others in place of ours; null omits one. E.g. "
        "{max_tokens: null, max_completion_tokens: 2000} for models that reason first.",
    )
    concurrency: int = Field(default=8, ge=1, le=256, description="Requests at the same time.")
    retries: int = Field(
        default=5, ge=0, description="How often a request is sent again, with growing pauses."
    )
    timeout_s: float = Field(default=120.0, gt=0, description="Longest wait for a reply, seconds.")
    price: JudgePrice | None = Field(
        default=None, description="Per million tokens, to say what judging costs before it begins."
    )
    max_price: float | None = Field(
        default=None, ge=0, description="Judging that may cost more does not begin. Needs price."
    )

    @model_validator(mode="before")
    @classmethod
    def _no_keys_in_files(cls, content: Any) -> Any:
        if isinstance(content, Mapping) and "api_key" in content:
            raise ValueError(
                "a key does not belong into a run file, which is kept with the results: put it "
                "into the environment variable OPENAI_API_KEY, or another one that api_key_env "
                "names"
            )
        return content

    @model_validator(mode="after")
    def _body_is_ours_to_send(self) -> Self:
        taken = sorted({"model", "messages", "stream"} & set(self.body))
        if taken:
            raise ValueError(f"body: {', '.join(taken)} cannot be set there")
        if self.max_price is not None and self.price is None:
            raise ValueError("max_price needs price: {input: …, output: …}, per million tokens")
        return self


def check_judge(names: Iterable[str]) -> None:
    """Refuse a judge where no benchmark has anything for it to judge.

    Args:
        names: of the run's benchmarks; one that is unknown is somebody else's mistake.

    Raises:
        ValueError: none of them is judged.
    """
    asked = list(names)
    if not any(one not in benchmark_names() or is_judged(one) for one in asked):
        judged = ", ".join(name for name in benchmark_names() if is_judged(name))
        raise ValueError(
            f"judge: none of the run's benchmarks ({', '.join(asked)}) is judged; those that are: "
            f"{judged}"
        )


def is_judged(name: str) -> bool:
    """Return whether a benchmark has a rubric."""
    return hasattr(benchmark_class(name), "rubric")
