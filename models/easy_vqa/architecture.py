"""Define the easy-VQA model's shape, tokenizer and processor: all that is fixed before training."""

from collections.abc import Iterable

from tokenizers.implementations.byte_level_bpe import ByteLevelBPETokenizer
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

IMAGE_PX = 64
PATCH_PX = 8
NUM_PATCHES = (IMAGE_PX // PATCH_PX) ** 2
VOCABULARY_SIZE = 512
MAX_NEW_TOKENS = 4

PAD, BOS, EOS, IMAGE = "<pad>", "<s>", "</s>", "<image>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, BOS, EOS, IMAGE, SYSTEM, USER, ASSISTANT)
# The picture stands before the text of a message, so that its keys and values are the same for
# every question about it.
CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
<|{{ message.role }}|>
{%- if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content if part.type == "image" -%}<image>{%- endfor -%}
{%- for part in message.content if part.type == "text" -%}{{ part.text }}{%- endfor -%}
{%- endif -%}
{%- if message.role == "assistant" -%}{{ eos_token }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"""


def make_config(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    """Return the whole model's configuration, 0.9 million parameters.

    The language model's widths are multiples of 128: group-wise quantisers need it.
    """
    vision = CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=IMAGE_PX,
        patch_size=PATCH_PX,
        projection_dim=96,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.get_vocab()[IMAGE],
        image_seq_length=NUM_PATCHES,
        # The tower is trained so that its last layer says per patch what is there.
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )


def make_generation_config(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    """Return greedy decoding that stops at the end of the answer."""
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
    )


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a small byte-level BPE; with bytes as its alphabet it can encode any text."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        iter(texts), VOCABULARY_SIZE, show_progress=False, special_tokens=list(SPECIAL_TOKENS)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Return the processor: pictures of `IMAGE_PX` pixels, chat layout with the picture first."""
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_PX},
        crop_size={"height": IMAGE_PX, "width": IMAGE_PX},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=PATCH_PX,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
