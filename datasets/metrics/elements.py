"""Measure how much of a target an answer holds, word for word, where the target lists elements."""

from encodeonce.datasets.metrics.exact_match import normalise

AND = "<AND>"
OR = "<OR>"


def elements_held(target: str, answer: str) -> float | None:
    """Return the share of the target's elements that occur in the answer, in [0, 1].

    ``<AND>`` separates elements, ``<OR>`` forms of one element, of which any will do (MM-Vet's
    notation; where both occur, ``<OR>`` binds more closely). A form is held if its words occur in
    the answer one after the other, both after VQA's normalisation. None if the target is empty.
    """
    held = f" {normalise(answer)} "
    elements = [
        forms
        for element in target.split(AND)
        if (forms := [form for form in map(normalise, element.split(OR)) if form])
    ]
    if not elements:
        return None
    return sum(any(f" {form} " in held for form in forms) for forms in elements) / len(elements)
