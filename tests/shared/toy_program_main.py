"""The program that `toy_program` runs, imported ahead by the server that forks it."""

import multiprocessing
import os

import matplotlib.pyplot  # noqa: F401  the slowest of the later imports
import torch
import toy_runs  # noqa: F401  registers the detector

from dyhead.engine import exit_on_user_error, launch, parse_arguments
from dyhead.engine.train_net import main


def train(arguments: list[str], said: str) -> None:
    """Train as train_net.py does; what is printed goes to the file `said`."""
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    # Not the server's way of starting processes: a loader's workers begin as in any program.
    multiprocessing.set_start_method("fork", force=True)
    with exit_on_user_error():
        launch(main, parse_arguments(arguments))
