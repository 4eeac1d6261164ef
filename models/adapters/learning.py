"""A LoRA adapter that is being trained, beside a frozen language model.

By forward hooks that are there only while a step is computed, as those of `AdapterBank` are while
answers are. peft's modules are not used: it is no dependency of the program, it wraps the layers of
the model that answers, and it would have to be asked for what its format says in a few lines. That
plain peft loads the result, and computes the same from it, is tested (`make test-peft`).

LoRA: Hu et al., 2021 (arXiv:2106.09685), section 4.1. Rank-stabilised scaling: Kalajdzievski, 2023
(arXiv:2312.03732).

Shapes: R rank, I inputs and O outputs of a linear layer, B rows, T tokens, V vocabulary.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from encodeonce.models.adapters.checkpoint import Adapter, LowRank
from encodeonce.models.adapters.form import LANGUAGE_LINEARS, LoraForm
from encodeonce.models.adapters.heads import Head
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.sites import Sites
from encodeonce.models.checkpoint.decoder_layers import decoder_layers
from encodeonce.models.language.prefix import Prefix, continued


def language_linears(model: Any, targets: str | Sequence[str]) -> dict[str, nn.Module]:
    """Return the linear layers to adapt, by their names in a model.

    Args:
        model: of transformers, without its tower.
        targets: `LoraForm.target_modules`.

    Raises:
        AdapterError: no layer's name ends in one of them.
    """
    inside = {id(part) for layer in decoder_layers(model) for part in layer.modules()}
    linears = {
        name: part
        for name, part in model.named_modules()
        if id(part) in inside and isinstance(getattr(part, "in_features", None), int)
    }
    if targets == LANGUAGE_LINEARS:
        return linears
    for end in targets:
        if not any(_ends(name, end) for name in linears):
            known = sorted({name.rpartition(".")[2] for name in linears})
            raise AdapterError(
                f"lora.target_modules: {end!r} is none of the language model's linear layers, "
                f"which are {', '.join(known)}; or write {LANGUAGE_LINEARS}"
            )
    return {name: part for name, part in linears.items() if any(_ends(name, t) for t in targets)}


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


class LearntLora(nn.Module):
    """The factors of an adapter, float32: its only parameters.

    A begins as peft begins it, uniformly (Kaiming with a = √5), B with zeros: at first nothing
    changes.
    """

    def __init__(self, model: Any, form: LoraForm, seed: int = 0) -> None:
        """Make new factors for a model's layers.

        Args:
            model: of transformers, without its tower. Its parameters are not touched.
            form: what to make.
            seed: of A.

        Raises:
            AdapterError: there are no such layers, or gradients do not pass one of them.
        """
        super().__init__()
        self.form = form
        self._adapted = language_linears(model, form.target_modules)
        _require_backward(self._adapted)
        noise = torch.Generator().manual_seed(seed)
        self.a = nn.ParameterList()
        self.b = nn.ParameterList()
        for module in self._adapted.values():
            linear: Any = module
            bound = 1 / math.sqrt(linear.in_features)  # Kaiming's with a = √5
            a = torch.empty(form.r, linear.in_features).uniform_(-bound, bound, generator=noise)
            self.a.append(nn.Parameter(a))
            self.b.append(nn.Parameter(torch.zeros(linear.out_features, form.r)))

    @property
    def names(self) -> tuple[str, ...]:
        """The adapted layers' names in the model."""
        return tuple(self._adapted)

    def products(self) -> dict[str, LowRank]:
        """Return what the adapter adds now, by the layers' names."""
        return {
            name: LowRank(
                a=a.detach().cpu(), b=b.detach().cpu(), bias=None, scaling=self.form.scaling
            )
            for name, a, b in zip(self._adapted, self.a, self.b, strict=True)
        }

    def load(self, adapter: Adapter, model: Any) -> None:
        """Take the factors of an adapter of the same layers, rank and scaling.

        Raises:
            AdapterError: they are not, or the adapter is of another model.
        """
        found = {id(module): product for module, product in Sites(model).find(adapter).values()}
        forms = {(one.rank, one.scaling, one.bias is None) for one in found.values()}
        is_same = forms == {(self.form.r, self.form.scaling, True)}
        if not is_same or found.keys() != {id(module) for module in self._adapted.values()}:
            raise AdapterError(
                f"{adapter.file} cannot be begun with: it has other layers, ranks or another alpha "
                "than what is asked for under 'lora'"
            )
        with torch.no_grad():
            for module, a, b in zip(self._adapted.values(), self.a, self.b, strict=True):
                a.copy_(found[id(module)].a)
                b.copy_(found[id(module)].b)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Let passes of the model inside the block be under the adapter."""
        handles = [
            module.register_forward_hook(partial(self._add, number))
            for number, module in enumerate(self._adapted.values())
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _add(self, number: int, module: nn.Module, args: Any, y: torch.Tensor) -> torch.Tensor:
        """Return y + scaling B A x, added in float32 and rounded once, as peft does."""
        x = nn.functional.dropout(args[0].float(), self.form.dropout, self.training)
        inner = nn.functional.linear(x, self.a[number])
        product = nn.functional.linear(inner, self.b[number])
        return (y + self.form.scaling * product).to(y.dtype)


def answer_loss(
    model: Any, prefix: Prefix, rows: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> torch.Tensor:
    """Return the mean cross entropy of answers' tokens, nats, each behind what is right before it.

    All questions continue one prefix, so that it is computed once, and its gradients add up.

    Args:
        model: of transformers.
        prefix: prefilled with gradients.
        rows: tokens of each question, and of its answer.
    """
    logits = _logits(model, prefix, [[*question, *answer[:-1]] for question, answer in rows])
    targets = torch.full(logits.shape[:2], -100)
    for row, (question, answer) in enumerate(rows):
        first = len(question) - 1
        targets[row, first : first + len(answer)] = torch.tensor(answer)
    flat = logits.float().flatten(0, 1)
    return nn.functional.cross_entropy(flat, targets.flatten().to(flat.device))


def head_loss(
    model: Any, prefix: Prefix, head: Head, rows: Sequence[tuple[Sequence[int], int]]
) -> torch.Tensor:
    """Return the mean cross entropy of right classes, nats, at the prompts' last tokens.

    Args:
        model: of transformers.
        prefix: prefilled with gradients.
        head: over the classes.
        rows: tokens of each question, and the number of the right class.
    """
    with head.attached(model):
        logits = _logits(model, prefix, [question for question, _ in rows])
    last = torch.tensor([len(question) - 1 for question, _ in rows], device=logits.device)
    classes = torch.tensor([number for _, number in rows], device=logits.device)
    return nn.functional.cross_entropy(logits[torch.arange(len(rows)), last].float(), classes)


def _logits(model: Any, prefix: Prefix, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return logits (B, T, V) behind each token of rows that continue one prefix."""
    states = [torch.tensor(row) for row in rows]
    token_ids = pad_sequence(states, batch_first=True).to(model.device)  # causal: padding is unseen
    start = prefix.num_tokens + prefix.opening.position_offset
    positions = start + torch.arange(token_ids.shape[1], device=model.device)
    with continued(model, prefix):
        output = model(
            input_ids=token_ids,
            position_ids=positions.expand(len(rows), -1),
            past_key_values=prefix.fork(len(rows)),
            use_cache=True,
        )
    return torch.as_tensor(output.logits)


def _require_backward(adapted: Mapping[str, nn.Module]) -> None:
    """Refuse layers that gradients do not pass: those of some quantised weights.

    Raises:
        AdapterError: there is one; names it.
    """
    kinds = {type(module): (name, module) for name, module in adapted.items()}
    for kind, (name, module) in kinds.items():
        weight = next(iter([*module.parameters(), *module.buffers()]))
        dtype = weight.dtype if weight.dtype.is_floating_point else torch.float32
        width: Any = module.in_features
        x = torch.zeros(1, width, device=weight.device, dtype=dtype, requires_grad=True)
        try:
            with torch.enable_grad():
                y = module(x)
            passes = bool(y.requires_grad)
            if passes:
                y.sum().backward()
        except (RuntimeError, NotImplementedError):
            passes = False
        if not passes:
            raise AdapterError(
                f"no adapter can be trained on these weights: gradients do not pass {name} "
                f"({kind.__name__}). Train on weights: none or bnb-nf4, and answer under any"
            )
