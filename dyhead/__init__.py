"""DyHead: dynamic detection heads for Detectron2 (Dai et al., CVPR 2021).

Importing `dyhead` registers nothing; `dyhead.modeling` registers the models with the host.
"""

__version__ = "0.1.0"
