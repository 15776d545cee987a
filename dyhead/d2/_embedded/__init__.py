"""The embedded host: the part of Detectron2's public interface that the project uses.

Own work from that interface, with Detectron2's names, signatures, config keys, defaults, state-dict
keys and output formats, so that configs, checkpoints and registered backbones work on either host.
It imports nothing of the project outside `dyhead.d2`.
"""
