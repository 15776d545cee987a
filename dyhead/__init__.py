"""DyHead: dynamic detection heads for Detectron2 (Dai et al., CVPR 2021).

Importing `dyhead` registers nothing; `dyhead.modeling` registers the models with the host.
"""

import warnings

# fvcore compiles a loss with it when it is imported, which users can do nothing about
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)

__version__ = "0.1.0"
