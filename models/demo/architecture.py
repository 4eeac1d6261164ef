"""Define the demo model's shape, tokenizer and processor: all that is fixed before training."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

IMAGE_PX = 96
PATCH_PX = 16
PATCHES_PER_FRAME = (IMAGE_PX // PATCH_PX) ** 2
VOCABULARY_SIZE = 512
MAX_NEW_TOKENS = 24

PAD, BOS, EOS, IMAGE = "<pad>", "<s>", "</s>", "<image>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, BOS, EOS, IMAGE, SYSTEM, USER, ASSISTANT)
# The images of a message come before its text, whatever the order of its parts: the visual prefix
# is then the same for every question about a clip, and its keys and values can be shared.
# Each image is announced by its number in words, as models for video print a frame's time. Images
# that other programs write into the text are laid out like parts of a list.
CHAT_TEMPLATE = """\
{%- set ordinals = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"
] -%}
{%- macro images(count) -%}
{%- for n in range(count) -%}{{ " " ~ (ordinals[n] or n + 1) }}<image>{%- endfor -%}
{%- endmacro -%}
{{- bos_token -}}
{%- if messages[0].role != "system" -%}
<|system|>You answer questions about a video.
{%- endif -%}
{%- for message in messages -%}
<|{{ message.role }}|>
{%- if message.content is not string -%}
{{ images(message.content | selectattr("type", "equalto", "image") | list | length) }}
{%- for part in message.content if part.type == "text" -%}{{ part.text }}{%- endfor -%}
{%- elif "<image>" in message.content -%}
{%- set texts = message.content.split("<image>") -%}
{{ images(texts | length - 1) }}{{ texts | map("trim") | join("") }}
{%- else -%}
{{ message.content }}
{%- endif -%}
{%- if message.role == "assistant" -%}{{ eos_token }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"""


def make_config(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    """Return the whole model's configuration, 2.8 million parameters.

    Every width is a multiple of 128: group-wise quantisers need it.
    """
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_PX,
        patch_size=PATCH_PX,
        projection_dim=128,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=5,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=4096,
        # A clip is some 300 tokens long: with base 1000 more of the rotary frequencies tell
        # apart frames that are 37 to 300 tokens away than with Llama's 10000.
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.get_vocab()[IMAGE],
        image_seq_length=PATCHES_PER_FRAME,
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
    """Train a small byte-level BPE; with bytes as its alphabet it can encode any text.

    Digits are split from all else, so that a 7 in a question, among the options and as an
    answer is one and the same token.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Return the processor: frames to `IMAGE_PX` pixels, chat layout with the images first."""
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
