"""The language side's loss: wrong answers, and visual tokens that do not know where they are."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, LlavaForConditionalGeneration

from encodeonce.datasets.demo.questions import NUM_SCENES
from encodeonce.models.demo.architecture import PATCHES_PER_FRAME
from encodeonce.models.demo.data import NUM_DIGITS
from encodeonce.models.demo.lessons import IGNORED_LABEL, Layout, PackedLessons

SCAFFOLD_LAYER = 2
NO_DIGIT = NUM_DIGITS


class Scaffold(nn.Module):
    """Asks every visual token, halfway up, for its frame's number, digit and preceding digit.

    Answers alone say so little about 512 visual tokens that learning to find a frame takes
    thousands of steps (measured: questions were still at chance when transcripts were perfect).
    Only training uses it; it is not part of the model.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(hidden_size)
        self.number = nn.Linear(hidden_size, NUM_SCENES)
        self.digit = nn.Linear(hidden_size, NUM_DIGITS)
        self.preceding = nn.Linear(hidden_size, NUM_DIGITS + 1)

    def forward(
        self, hidden: torch.Tensor, frames: torch.Tensor, clips: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Return the mean loss of each of the three questions.

        Args:
            hidden: Hidden states of visual tokens, `(B, V, D)`.
            frames: The number of each token's frame, `(B, V)`.
            clips: The digits of each clip.
        """
        hidden = self.norm(hidden.float())
        digits = torch.tensor(clips)
        preceding = torch.cat([torch.full((len(clips), 1), NO_DIGIT), digits[:, :-1]], dim=1)
        numbers = torch.arange(NUM_SCENES).expand(len(clips), -1)
        asked = ((self.number, numbers), (self.digit, digits), (self.preceding, preceding))
        losses = [
            cross_entropy(head(hidden).flatten(0, 1), targets.gather(1, frames).flatten())
            for head, targets in asked
        ]
        return torch.stack(losses)


def compute_losses(
    model: LlavaForConditionalGeneration,
    scaffold: Scaffold,
    layout: Layout,
    clips: Sequence[Sequence[int]],
    features: torch.Tensor,
    places: torch.Tensor,
    packed: PackedLessons,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss of the answers and the losses of the scaffold.

    Args:
        model: The whole model; its tower is not run.
        scaffold: Asks the visual tokens.
        layout: What precedes the visual tokens.
        clips: The digits of each clip.
        features: Tower features of some patches of the clips, `(B, V, D)`.
        places: Which of a whole clip's visual tokens they are, `(B, V)`.
        packed: The lessons about each clip.
    """
    embed = model.get_input_embeddings()
    is_visual = layout.prefix_ids == model.config.image_token_id
    text = embed(layout.prefix_ids[~is_visual])
    visual = model.model.multi_modal_projector(features).to(text.dtype)
    prefix = torch.cat([text.expand(len(features), -1, -1), visual], dim=1)
    positions = torch.cat([torch.arange(len(text)).expand(len(places), -1), len(text) + places], 1)
    language = model.model.language_model
    cache = DynamicCache(config=language.config)
    read = language(
        inputs_embeds=prefix,
        # Given, so that gaps in the positions are not taken for the borders of packed texts.
        attention_mask=torch.ones(prefix.shape[:2]),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        output_hidden_states=True,
    )
    outputs = language(
        inputs_embeds=embed(packed.ids),
        attention_mask=packed.mask(prefix.shape[1]),
        position_ids=packed.offsets + len(layout.prefix_ids),
        past_key_values=cache,
        use_cache=True,
    )
    answered = packed.labels != IGNORED_LABEL
    logits = model.lm_head(outputs.last_hidden_state[answered])
    answer_loss = cross_entropy(logits.float(), packed.labels[answered])
    hidden = read.hidden_states[SCAFFOLD_LAYER][:, len(text) :]
    return answer_loss, scaffold(hidden, places // PATCHES_PER_FRAME, clips)
