"""From the detector's image size to the size of the original image."""

from ..structures import Instances


def detector_postprocess(
    results: Instances, output_height: int, output_width: int, mask_threshold: float = 0.5
) -> Instances:
    """Scale detections to the output size, clip them to it and drop what is empty then.

    Args:
        results: detections with "pred_boxes" (or "proposal_boxes") in pixels of an image of
            `results.image_size`; it stays as it is.
        output_height: height in pixels of the image that the detections are wanted for.
        output_width: its width.
        mask_threshold: for "pred_masks" only, which the embedded host has none of.

    Raises:
        ValueError: no boxes, or masks or keypoints, which take genuine Detectron2.
    """
    unknown = [name for name in ("pred_masks", "pred_keypoints") if results.has(name)]
    if unknown:
        raise ValueError(f"The embedded host has boxes only: run on Detectron2 for {unknown}.")
    names = [name for name in ("pred_boxes", "proposal_boxes") if results.has(name)]
    if not names:
        raise ValueError("Detections have neither the field 'pred_boxes' nor 'proposal_boxes'.")
    boxes = results.get(names[0]).clone()
    height, width = results.image_size
    boxes.scale(output_width / width, output_height / height)
    boxes.clip((output_height, output_width))
    fields = {**results.get_fields(), names[0]: boxes}
    return Instances((output_height, output_width), **fields)[boxes.nonempty()]
