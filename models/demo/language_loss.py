"""The language side's loss: wrong answers, and visual tokens that do not know where they are."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlavaForConditionalGeneration

from encodeonce.datasets.demo.contents import (
    MAX_DIGITS_PER_SCENE,
    NUM_PLACES,
    NUM_SCENES,
    Contents,
)
from encodeonce.models.demo.architecture import PATCHES_PER_FRAME
from encodeonce.models.demo.lessons import Layout
from encodeonce.models.demo.packing import IGNORED_LABEL, NO_OPTION, PackedLessons
from encodeonce.models.demo.patches import places_of_patches

FRAME_LAYER, RANK_LAYER = 2, 3
TRACKING_LAYER, LOOKING_LAYER, CHOOSING_LAYER = 1, 3, 4
SMALLEST_SHARE = 1e-4
# Slots that see the whole prefix in a course that evicts.
WHOLE_SHARE = 0.25
MAX_TRACK_RANK = 4


class Scaffold(nn.Module):
    """Asks visual tokens, halfway up, where they are among the others.

    Which frame is it; how many digits come before this one in its scene; how many at its place.
    Only training uses it; it is not part of the model.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.frame_norm = nn.RMSNorm(hidden_size)
        self.frame = nn.Linear(hidden_size, NUM_SCENES)
        self.rank_norm = nn.RMSNorm(hidden_size)
        self.rank = nn.Linear(hidden_size, MAX_DIGITS_PER_SCENE)
        self.track_rank = nn.Linear(hidden_size, MAX_TRACK_RANK + 1)

    def forward(
        self, hidden: Sequence[torch.Tensor], is_visual: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean loss of each of the three questions.

        Args:
            hidden: Hidden states of the prefix after each layer, `(B, P, D)`.
            is_visual: Which of the prefix are visual tokens, `(B, P)`, equally many in each row.
            targets: The three answers for all visual tokens, `(3, B * V)`.
        """
        low = self.frame_norm(hidden[FRAME_LAYER][is_visual].float())
        high = self.rank_norm(hidden[RANK_LAYER][is_visual].float())
        asked = (self.frame(low), self.rank(high), self.track_rank(high))
        losses = [
            cross_entropy(logits, target, ignore_index=IGNORED_LABEL)
            for logits, target in zip(asked, targets, strict=True)
        ]
        return torch.stack(losses)


def scaffold_targets(clips: Sequence[Sequence[Contents]]) -> torch.Tensor:
    """Return frame, rank in the scene and rank at the place for each patch: `(3, B, 8 * P)`.

    Ranks of empty cells are `IGNORED_LABEL`.
    """
    rows = [_targets_of_clip(scenes) for scenes in clips]
    return torch.stack(rows, dim=1)


def _targets_of_clip(scenes: Sequence[Contents]) -> torch.Tensor:
    places = places_of_patches()
    cells = torch.full((3, len(scenes), int(places.max()) + 1), IGNORED_LABEL)
    before: dict[int, int] = {}
    for frame, scene in enumerate(scenes):
        cells[0, frame] = frame
        for rank, place in enumerate(scene.digits):
            cells[1, frame, place] = rank
            cells[2, frame, place] = min(before.get(place, 0), MAX_TRACK_RANK)
            before[place] = before.get(place, 0) + 1
    return cells[:, :, places].flatten(1)


def compute_losses(
    model: LlavaForConditionalGeneration,
    scaffold: Scaffold,
    layout: Layout,
    features: torch.Tensor,
    chosen: torch.Tensor,
    targets: torch.Tensor,
    packed: PackedLessons,
    evict: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss of the answers and the losses of the scaffold, then those of looking.

    Args:
        model: The whole model; its tower is not run.
        scaffold: Asks the visual tokens.
        layout: What surrounds the visual tokens.
        features: Tower features of the chosen visual tokens of the clips, `(B, V, D)`.
        chosen: Which of a clip's visual tokens they are, `(B, V)`, ascending.
        targets: The scaffold's answers for all visual tokens of the clips.
        packed: The lessons about each clip.
        evict: Whether lessons see only a part of the prefix, which holds their evidence.
    """
    embed = model.get_input_embeddings()
    everywhere = layout.prefix_ids == model.config.image_token_id
    keep = (~everywhere).repeat(len(features), 1)
    keep[:, everywhere] = torch.zeros(
        len(features), int(everywhere.sum()), dtype=torch.bool
    ).scatter(1, chosen, torch.ones_like(chosen, dtype=torch.bool))
    positions = keep.nonzero()[:, 1].view(len(features), -1)
    is_visual = everywhere[positions]
    ids = torch.cat([layout.prefix_ids[positions], packed.ids.flatten(1)], dim=1)
    embedded = embed(ids)
    visual = model.model.multi_modal_projector(features).to(embedded.dtype)
    num_prefix = positions.shape[1]
    places = torch.nn.functional.pad(is_visual, (0, ids.shape[1] - num_prefix))
    embedded = embedded.masked_scatter(places[..., None], visual)
    watched = dict.fromkeys((LOOKING_LAYER, CHOOSING_LAYER), torch.empty(0))
    watched_prefix = {TRACKING_LAYER: torch.empty(0)}
    language = model.model.language_model
    outputs = language(
        inputs_embeds=embedded,
        # Given, so that gaps in the positions are not taken for the borders of packed texts.
        attention_mask=torch.ones(1, 1, 1, 1),
        position_ids=torch.cat(
            [positions, packed.offsets.flatten(1) + len(layout.prefix_ids)], dim=1
        ),
        use_cache=False,
        output_hidden_states=True,
        own_mask=packed.mask(),
        kept=evict_prefix(is_visual, chosen, packed, language.config) if evict else None,
        watched=watched,
        watched_prefix=watched_prefix,
    )
    labels = packed.labels.flatten(1)
    answered = labels != IGNORED_LABEL
    logits = model.lm_head(outputs.last_hidden_state[:, num_prefix:][answered])
    answer_loss = cross_entropy(logits.float(), labels[answered])
    hidden = [one[:, :num_prefix] for one in outputs.hidden_states]
    asked = targets.gather(2, chosen.expand(3, -1, -1)).flatten(1)
    to_prefix = watched[LOOKING_LAYER][..., :num_prefix].flatten(2, 3)
    looking = _looking_losses(to_prefix, is_visual, chosen, packed)
    choosing = _choosing_loss(watched[CHOOSING_LAYER][:, 0, ..., num_prefix:], packed)
    tracking = _tracking_loss(watched_prefix[TRACKING_LAYER], is_visual, chosen, targets)
    losses = (scaffold(hidden, is_visual, asked), looking, choosing, tracking)
    return answer_loss, torch.cat(losses)


def _cells_of(chosen: torch.Tensor) -> torch.Tensor:
    """Return the cell of the clip in which each visual token lies, `(B, V)`."""
    frame, patch = chosen // PATCHES_PER_FRAME, chosen % PATCHES_PER_FRAME
    return frame * NUM_PLACES + torch.from_numpy(places_of_patches())[patch]


def evict_prefix(
    is_visual: torch.Tensor, chosen: torch.Tensor, packed: PackedLessons, config: LlamaConfig
) -> torch.Tensor:
    """Draw what of the prefix each slot's tokens see, by key-value head: `(B, H_kv, N, T, P)`.

    All of it, or what the answer needs and a random share of the rest. With the whole prefix
    always there, the weight of heads that have nothing to look for is spread over hundreds of
    tokens; what a method leaves is then mistaken for something found, and answers do not end.
    """
    num_clips, num_slots, length = packed.ids.shape
    same = packed.numbers[..., :, None] == packed.numbers[..., None, :]
    needed = (same.float() @ packed.evidence[1].float()) > 0
    cells = _cells_of(chosen)[:, None, None].expand(-1, num_slots, length, -1)
    on_visual = needed.gather(3, cells)
    shown = torch.zeros(num_clips, num_slots, length, is_visual.shape[1], dtype=torch.bool)
    where = is_visual[:, None, None].expand_as(shown)
    shown = shown.masked_scatter(where, on_visual)
    heads = int(config.num_key_value_heads or config.num_attention_heads)
    share = torch.rand(num_clips, heads, num_slots, 1) ** 2
    whole = torch.rand(num_clips, 1, num_slots, 1) < WHOLE_SHARE
    share = share.masked_fill(whole, 1.0)
    drawn = torch.rand(num_clips, heads, num_slots, is_visual.shape[1]) < share
    return drawn[:, :, :, None] | shown[:, None]


def _tracking_loss(
    weights: torch.Tensor, is_visual: torch.Tensor, chosen: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return how far a head is from looking back along a place, `(1,)`.

    A token that shows a digit should look at the prompt's first token and at the cells where its
    place showed digits before, at each of them equally: the first token's share then says how many
    they are. Without this, the rank at a place stayed at chance while all else was learnt.

    Args:
        weights: Attention of one head within the prefix, `(B, P, P)`.
        is_visual: Which of the prefix are visual tokens, `(B, P)`.
        chosen: Which of a clip's visual tokens they are, `(B, V)`.
        targets: Frame and ranks of all visual tokens, as `scaffold_targets` returns them.
    """
    num_clips, num_visual = chosen.shape
    frame, patch = chosen // PATCHES_PER_FRAME, chosen % PATCHES_PER_FRAME
    place = torch.from_numpy(places_of_patches())[patch]
    has_digit = targets[1].gather(1, chosen) != IGNORED_LABEL
    at_place = place[:, :, None] == place[:, None, :]
    per_cell = (at_place & (frame[:, :, None] == frame[:, None, :])).sum(-1)
    sought = at_place & (frame[:, :, None] > frame[:, None, :]) & has_digit[:, None, :]
    share = 1 / (sought.sum(-1) / per_cell + 1)
    rows = weights[is_visual].view(num_clips, num_visual, -1).float()
    logs = rows.clamp(min=SMALLEST_SHARE).log()
    to_visual = logs.transpose(1, 2)[is_visual].view(num_clips, num_visual, num_visual)
    to_cells = (to_visual.transpose(1, 2) * sought).sum(-1) / per_cell
    return -(share * (logs[..., 0] + to_cells))[has_digit].mean()[None]


def _looking_losses(
    weights: torch.Tensor, is_visual: torch.Tensor, chosen: torch.Tensor, packed: PackedLessons
) -> torch.Tensor:
    """Return how far two heads are from looking at the answer's evidence, `(2,)`.

    The first should look at what shows the next token, the second at the whole answer's evidence,
    from the end of the question on: what is needed later is then looked at already while the
    prompt is read, as in large models.

    Args:
        weights: Attention of two heads to the prefix, `(B, 2, S, P)`.
        is_visual: Which of the prefix are visual tokens, `(B, P)`.
        chosen: Which of a clip's visual tokens they are, `(B, V)`.
        packed: The lessons.
    """
    num_clips, _, length, _ = weights.shape
    on_visual = weights.movedim(-1, 1)[is_visual].view(num_clips, -1, 2, length)
    cells = _cells_of(chosen)
    losses = []
    for head, sought in enumerate(packed.evidence.flatten(2, 3)):
        target = sought.gather(2, cells[:, None].expand(-1, length, -1)).transpose(1, 2)
        share = (on_visual[:, :, head].float() * target).sum(1)
        losses.append(-share[sought.any(-1)].clamp(min=SMALLEST_SHARE).log().mean())
    return torch.stack(losses)


def _choosing_loss(weights: torch.Tensor, packed: PackedLessons) -> torch.Tensor:
    """Return how far a head is from looking at the right option before its letter, `(1,)`.

    Without it, letters stayed at chance when texts were right.

    Args:
        weights: Attention of one head to the token's own slot, `(B, N, T, T)`.
        packed: The lessons.
    """
    before = packed.options != NO_OPTION
    if not before.any():
        return weights.new_zeros(1, dtype=torch.float32)
    share = weights[before].float().gather(1, packed.options[before][:, None])
    return -share.clamp(min=SMALLEST_SHARE).log().mean()[None]
