"""The augmentations of training: one a file, put together by the config.

Those of one picture that move its pixels are Detectron2's `Augmentation`s, so that they stand in one
list with the host's. Those that mix other pictures into one, and those of the colours and the size
of the result, work on tensors, after them.
"""
