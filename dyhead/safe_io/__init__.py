"""Reading and writing files safely, on either host: YAML, checkpoints, atomic replacement."""
