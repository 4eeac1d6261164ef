"""Which kernels attend to a model's caches: to be noted with what was computed by them."""

from typing import Any

from encodeonce.models.kv.attention import attention_modules
from encodeonce.models.kv.kernels.parts import part_kernel
from encodeonce.models.kv.kernels.quantised import quantised_kernel


def kernels_of(model: Any) -> dict[str, str]:
    """Return the names of kernels by what they attend to.

    ``prefix``: a prefix that rows share; ``tokens``: what a row has read or written since, where
    some of it is hidden (elsewhere as for a prefix); ``quantised``: entries of 8 or 4 bits. Entries
    that a row keeps in the model's precision are attended to by `scaled_dot_product_attention`.

    Args:
        model: of transformers, where it will be used.
    """
    config = model.config.get_text_config()
    width = getattr(attention_modules(model)[0], "head_dim", None)
    width = width or config.hidden_size // config.num_attention_heads
    device, dtype, widths = model.device, model.dtype, (width, width)
    return {
        "prefix": part_kernel(device, dtype, widths, is_masked=False),
        "tokens": part_kernel(device, dtype, widths, is_masked=True),
        "quantised": quantised_kernel(device, dtype, width),
    }
