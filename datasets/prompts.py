"""Turn a question into the text that a model reads."""

import string
from collections.abc import Sequence

# The two instruction lines are the common wording of LLaVA-style evaluation: models of that
# family were tuned on them, and published numbers were measured with them.
CHOICE_INSTRUCTION = "Answer with the option's letter from the given choices directly."
FREE_INSTRUCTION = "Answer the question using a single word or phrase."
TEXT_INSTRUCTION = "Answer with the text of the right option."


def format_question(question: str, choices: Sequence[str] = ()) -> str:
    """Lay out a question for a model: the question, its lettered options, one instruction.

    Args:
        question: The question alone, without options or instructions.
        choices: The options' texts in the order of their letters; empty for a free answer.

    Returns:
        The prompt's text, lines joined by newlines.

    Raises:
        ValueError: If there are more options than letters.
    """
    if not choices:
        return f"{question}\n{FREE_INSTRUCTION}"
    return "\n".join([question, *lettered(choices), CHOICE_INSTRUCTION])


def format_question_in_form(question: str, choices: Sequence[str], form: str) -> str:
    """Lay out a question as `format_question` does, save where an option's text is asked for.

    Args:
        question: The question alone.
        choices: The options' texts; empty for a free answer.
        form: ``"text"`` asks for an option's text; any other form is `format_question`'s.
    """
    if form == "text":
        return "\n".join([question, *lettered(choices), TEXT_INSTRUCTION])
    return format_question(question, choices)


def lettered(choices: Sequence[str], form: str = "{letter}. {text}") -> list[str]:
    """Return a line for each option, ``"A. red"``, in the form that a benchmark uses.

    Raises:
        ValueError: If there are more options than letters.
    """
    letters = string.ascii_uppercase
    if len(choices) > len(letters):
        raise ValueError(
            f"A question has {len(choices)} choices; at most {len(letters)} can be lettered A-Z."
        )
    return [
        form.format(letter=letter, text=text)
        for letter, text in zip(letters, choices, strict=False)
    ]
