"""A naive double of a block: one sample, one position, one tap at a time, in scalar indexing."""

import torch
import torch.nn.functional as F

from dyhead.layers import BlockOptions


def naive_sample(image, y, x):
    """The channels of image (C, H, W) at y, x: each pixel within one pixel, by its share."""
    value = torch.zeros(len(image), dtype=image.dtype)
    for row in range(image.shape[1]):
        share_y = 1 - (y - row).abs()
        if share_y <= 0:
            continue
        for column in range(image.shape[2]):
            share_x = 1 - (x - column).abs()
            if share_x > 0:
                value = value + share_y * share_x * image[:, row, column]
    return value


def naive_convolution(image, offset_memory, mask_memory, branch):
    """Convolve an image (C, H, W); offset and mask are flat memory, indexed by output size."""
    stride = branch.stride
    height, width = (-(-length // stride) for length in image.shape[1:])
    positions = []
    for y in range(height):
        for x in range(width):
            total = 0 if branch.bias is None else branch.bias
            for tap in range(9):
                dy = offset_memory[((2 * tap) * height + y) * width + x]
                dx = offset_memory[((2 * tap + 1) * height + y) * width + x]
                sampled = naive_sample(
                    image, y * stride + tap // 3 - 1 + dy, x * stride + tap % 3 - 1 + dx
                )
                importance = mask_memory[(tap * height + y) * width + x]
                total = total + branch.weight[:, :, tap // 3, tap % 3] @ (sampled * importance)
            positions.append(total)
    return torch.stack(positions, dim=1).view(-1, height, width)


def naive_group_norm(image, norm):
    groups = image.view(16, -1)
    mean = groups.mean(1, keepdim=True)
    variance = (groups - mean).square().mean(1, keepdim=True)
    normal = ((groups - mean) / (variance + 1e-5).sqrt()).view_as(image)
    return normal * norm.weight[:, None, None] + norm.bias[:, None, None]


def naive_upsample(image, height, width):
    """Bilinear with aligned corners."""

    def positions(length, target):
        steps = torch.arange(target, dtype=torch.float64)
        return steps * (length - 1) / max(target - 1, 1)

    return torch.stack(
        [
            torch.stack(
                [naive_sample(image, y, x) for x in positions(image.shape[2], width)],
                dim=1,
            )
            for y in positions(image.shape[1], height)
        ],
        dim=1,
    )


def naive_resize(image, height, width):
    """Bilinear, cell on cell: the border's values go on beyond it."""

    def positions(length, target):
        centres = [(step + 0.5) * length / target - 0.5 for step in range(target)]
        return torch.tensor(centres, dtype=torch.float64).clamp(0, length - 1)

    ys, xs = positions(image.shape[1], height), positions(image.shape[2], width)
    rows = [torch.stack([naive_sample(image, y, x) for x in xs], dim=1) for y in ys]
    return torch.stack(rows, dim=1)


def naive_where(maps, options):
    """Offsets and masks of a level as maps (18, H, W) and (9, H, W)."""
    if not options.spatial_aware:
        return torch.zeros_like(maps[:18]), torch.ones_like(maps[18:])
    return maps[:18], maps[18:].sigmoid()


def naive_coarser_where(offset, mask, height, width, options):
    """Give offsets and masks as the coarser level's convolution finds them in memory."""
    if not options.spatial_aware or options.coarser_offsets == "flat_read":
        return offset.flatten(), mask.flatten()
    if options.coarser_offsets == "crop":
        return offset[:, :height, :width].flatten(), mask[:, :height, :width].flatten()
    scale_y, scale_x = height / offset.shape[1], width / offset.shape[2]
    scales = torch.tensor([scale_y, scale_x] * 9, dtype=torch.float64)[:, None, None]
    resized = naive_resize(offset, height, width) * scales
    return resized.flatten(), naive_resize(mask, height, width).flatten()


def naive_hard_sigmoid(x, options):
    if options.hard_sigmoid == "paper":
        return torch.where(x < -1, 0 * x, torch.where(x > 1, 0 * x + 1, x / 2 + 0.5))
    return ((x + 3) / 6).clamp(0, 1)


def naive_scale(block, feature, options):
    """The scalar that scale attention gives a feature (C, H, W)."""
    if not options.scale_aware:
        return 1
    score = block.scale_attention.score
    value = (score.weight.flatten() * feature.mean((1, 2))).sum() + score.bias
    return naive_hard_sigmoid(value.clamp(min=0), options)


def naive_level(block, images, index, options):
    """One level of one sample: images is a list of (C, H, W)."""
    scale_first = options.order == "scale_spatial_task"
    if scale_first:
        images = [image * naive_scale(block, image, options) for image in images]
    spatial = block.spatial_attention
    image = images[index]
    _, height, width = image.shape
    maps = image.new_zeros(27, height, width)
    if options.spatial_aware:
        maps = F.conv2d(
            image[None], spatial.offset_and_mask.weight, spatial.offset_and_mask.bias, padding=1
        )[0]
    offset, mask = naive_where(maps, options)

    def branch_output(source, branch, offset_memory, mask_memory):
        convolved = naive_convolution(source, offset_memory, mask_memory, branch)
        return naive_group_norm(convolved, branch.norm)

    own = offset.flatten(), mask.flatten()
    outputs = [branch_output(image, spatial.same, *own)]
    if index > 0:
        outputs.append(branch_output(images[index - 1], spatial.finer, *own))
    if index + 1 < len(images):
        coarser = images[index + 1]
        if options.coarser_offsets == "upsample_features":
            coarser = naive_upsample(coarser, height, width)
            outputs.append(branch_output(coarser, spatial.coarser, *own))
        else:
            where = naive_coarser_where(offset, mask, *coarser.shape[1:], options)
            coarse = branch_output(coarser, spatial.coarser, *where)
            outputs.append(naive_upsample(coarse, height, width))

    total = 0
    for output in outputs:
        total = total + output * (1 if scale_first else naive_scale(block, output, options))
    feature = total / len(outputs)
    if not options.task_aware:
        return feature.clamp(min=0)

    relu = block.task_attention
    hidden = (relu.squeeze.weight @ feature.mean((1, 2)) + relu.squeeze.bias).clamp(min=0)
    theta = naive_hard_sigmoid(relu.expand.weight @ hidden + relu.expand.bias, options)
    a1, b1, a2, b2 = (theta.view(4, -1) - 0.5)[..., None, None]
    first, second = feature * (2 * a1 + 1) + b1, feature * 2 * a2 + b2
    return torch.where(first > second, first, second)


def naive_block(block, levels, options=None):
    options = options or BlockOptions()
    samples = zip(*levels, strict=True)
    per_sample = [[naive_level(block, s, i, options) for i in range(len(s))] for s in samples]
    outputs = [torch.stack(outputs) for outputs in zip(*per_sample, strict=True)]
    if options.residual:
        return [level + output for level, output in zip(levels, outputs, strict=True)]
    return outputs
