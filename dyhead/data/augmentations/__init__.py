"""The augmentations of training: one a file, put together by the config.

Those that move the pixels of one picture are Detectron2's `Augmentation`s, so that they stand in a
list with the host's. After them others work on tensors: they mix further pictures into one, change
colours and fill up to a size.
"""
