"""A run of four pictures that was evaluated, and a server of its page in the test's process."""

from pathlib import Path
from threading import Thread

from dyhead.viewer.answers import Answers
from dyhead.viewer.load import find_sets, load_set
from dyhead.viewer.server import LocalServer


def prediction(image: int, category: int, box: list[float], score: float) -> dict:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


# of the data set of `label_files`: what the page has to say of it is worked out by hand
PREDICTIONS = [
    prediction(1, 2, [3, 4, 20, 16], 0.9),  # matched
    prediction(1, 2, [4, 4, 20, 16], 0.8),  # duplicate
    prediction(1, 3, [30, 10, 24, 30], 0.7),  # wrong class: an ant called a fly
    prediction(2, 3, [16, 0, 32, 40], 0.6),  # badly placed: an IoU of 1 / 3
    prediction(3, 1, [10, 8, 40, 32], 0.25),  # matched
    prediction(4, 1, [0, 0, 8, 8], 0.5),  # background
]


class Served:
    """A server of a page in a thread of the test."""

    def __init__(self, path: Path, follow_links: bool = False) -> None:
        self.server = LocalServer(0)
        self.sets = [load_set(each) for each in find_sets(path, follow_links)]
        self._thread = Thread(target=self.server.serve, args=[Answers(path.name, self.sets)])
        self._thread.start()

    @property
    def port(self) -> int:
        return self.server.server_port

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()
