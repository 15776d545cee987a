"""A naive Swin: one image, every token attends to every other, windows are a rule."""

import torch
import torch.nn.functional as F


def naive_attention(attention, tokens, window, shift):
    """Attend to tokens (H, W, C), padded with zeros to whole windows, then rolled."""
    height, width, channels = tokens.shape
    full_height, full_width = (-(-length // window) * window for length in (height, width))
    padded = tokens.new_zeros(full_height, full_width, channels)
    padded[:height, :width] = tokens
    places = []  # of every token: its window, its place in it, and whether it was rolled round
    for y in range(full_height):
        for x in range(full_width):
            ry, rx = (y - shift) % full_height, (x - shift) % full_width
            round_y, round_x = y < shift, x < shift
            places.append(
                ((ry // window, rx // window), (ry % window, rx % window), (round_y, round_x))
            )
    heads = attention.num_heads
    query, key, value = attention.qkv(padded.view(-1, channels)).chunk(3, dim=-1)
    outputs = []
    for i, (window_i, place_i, round_i) in enumerate(places):
        others = [j for j, place in enumerate(places) if place[0] == window_i]
        scores = []
        for j in others:
            _, place_j, round_j = places[j]
            dy, dx = place_i[0] - place_j[0], place_i[1] - place_j[1]
            row = (dy + window - 1) * (2 * window - 1) + dx + window - 1
            products = (query[i] * key[j]).view(heads, -1).sum(1) / (channels // heads) ** 0.5
            apart = 0.0 if round_i == round_j else -100.0
            scores.append(products + attention.relative_position_bias_table[row] + apart)
        weights = torch.stack(scores).softmax(0)
        values = value[others].view(len(others), heads, -1)
        outputs.append((weights[:, :, None] * values).sum(0).flatten())
    attended = attention.proj(torch.stack(outputs))
    return attended.view(full_height, full_width, channels)[:height, :width]


def naive_norm(tokens, norm):
    """A layer norm over channels, the last dimension."""
    mean = tokens.mean(-1, keepdim=True)
    deviation = ((tokens - mean).square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return (tokens - mean) / deviation * norm.weight + norm.bias


def naive_merge(tokens, merging):
    """Every 2 x 2 tokens (H, W, C) as one, in the official order."""
    height, width, channels = tokens.shape
    padded = tokens.new_zeros(height + height % 2, width + width % 2, channels)
    padded[:height, :width] = tokens
    quarters = [padded[y::2, x::2] for y, x in ((0, 0), (1, 0), (0, 1), (1, 1))]
    return naive_norm(torch.cat(quarters, -1), merging.norm) @ merging.reduction.weight.T


def naive_swin(swin, image, window):
    """Feature maps by name of one image (3, H, W)."""
    proj = swin.patch_embed.proj
    image = F.pad(image, (0, -image.shape[2] % 4, 0, -image.shape[1] % 4))
    patches = image.unfold(1, 4, 4).unfold(2, 4, 4).permute(1, 2, 0, 3, 4).flatten(2)
    tokens = naive_norm(patches @ proj.weight.flatten(1).T + proj.bias, swin.patch_embed.norm)
    features = {}
    for index, stage in enumerate(swin.layers):
        for number, block in enumerate(stage.blocks):
            shift = window // 2 if number % 2 else 0
            tokens = tokens + naive_attention(
                block.attn, naive_norm(tokens, block.norm1), window, shift
            )
            hidden = block.mlp.fc1(naive_norm(tokens, block.norm2))
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
            tokens = tokens + block.mlp.fc2(hidden)
        features[f"stage{index + 2}"] = naive_norm(
            tokens, swin.get_submodule(f"norm{index}")
        ).permute(2, 0, 1)
        if stage.downsample is not None:
            tokens = naive_merge(tokens, stage.downsample)
    return features
