"""The flag beside a text's probability: whether the model itself would write it."""

from encodeonce.models.family import find_family
from encodeonce.models.spec import GenerationSpec, ModelSpec, VisionSpec

QUESTION = "Which digit is shown last?"


def test_what_greedy_generation_writes_is_greedy_and_nothing_else_is() -> None:
    model = ModelSpec(path="demo", dtype="float32", device="cpu")
    family, folder = find_family(model)
    decoder = family.decoder(folder, model, VisionSpec())
    prefix = decoder.prefill([])
    ((answer,),) = decoder.answer(prefix, [QUESTION], GenerationSpec(max_new_tokens=1))
    written = answer.text
    assert written
    texts = [written, f"{written}z", "z"]
    ((ours,),) = decoder.score(prefix, [QUESTION], [texts])
    assert ours.num_tokens == (1, 2, 1)
    assert ours.are_greedy == (True, False, False)
    plain = family.reference(folder, model).likelihoods([], QUESTION, texts)
    assert plain.are_greedy == ours.are_greedy
