"""Fixtures for tests of several folders. It imports nothing that only some of them need."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_loggers() -> Iterator[None]:
    """Take away what a test does to loggers, which are the whole test run's.

    Within the test their messages reach the root logger, where pytest captures each once. To a
    logger that keeps its messages to itself when the test begins, some versions of pytest attach
    themselves, so that a test which lets the messages through would count each twice.
    """
    loggers = [logging.getLogger(name) for name in ("dyhead", "detectron2", "fvcore")]
    before = [(logger.propagate, logger.level, list(logger.handlers)) for logger in loggers]
    for logger in loggers:
        logger.propagate = True
    yield
    for logger, state in zip(loggers, before, strict=True):
        logger.propagate, logger.level, logger.handlers[:] = state


@pytest.fixture
def own_catalogs() -> Iterator[None]:
    """Take away what a test registers in the host's catalogs, which are the whole test run's."""
    from dyhead.d2.data import DatasetCatalog, MetadataCatalog
    from dyhead.data import coco_json

    tables = (DatasetCatalog.data, MetadataCatalog.data, coco_json._registered)
    before = [dict(table) for table in tables]
    yield
    for table, old in zip(tables, before, strict=True):
        table.clear()
        table.update(old)
    coco_json._reported.clear()
