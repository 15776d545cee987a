import logging
import sys

import pytest

from dyhead.d2 import HOST
from dyhead.d2.utils.logger import (
    create_small_table,
    log_every_n_seconds,
    log_first_n,
    setup_logger,
)

embedded_only = pytest.mark.skipif(HOST != "embedded", reason="of the embedded host only")


@pytest.fixture
def name(request):
    """A logger of its own for each test, without handlers before and after."""
    name = f"host_test.{request.node.name}"
    yield name
    logger = logging.getLogger(name)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def flush(logger):
    for handler in logger.handlers:
        handler.flush()


def test_main_process_logs_to_console_and_file(tmp_path, name, capsys):
    logger = setup_logger(str(tmp_path), name=name, abbrev_name="short")
    assert logger is logging.getLogger(name)
    logging.getLogger(name + ".child").info("hello")
    flush(logger)
    assert "short.child" in capsys.readouterr().out
    assert "hello" in (tmp_path / "log.txt").read_text()


def test_other_processes_log_to_their_own_file_only(tmp_path, name, capsys):
    logger = setup_logger(str(tmp_path / "run.log"), distributed_rank=2, name=name)
    logger.info("hello")
    flush(logger)
    assert capsys.readouterr().out == ""
    assert "hello" in (tmp_path / "run.log.rank2").read_text()
    assert not (tmp_path / "run.log").exists()


def test_console_can_be_left_out(name):
    assert setup_logger(name=name, configure_stdout=False).handlers == []


@pytest.mark.parametrize("propagate", [True, False])
def test_propagation(name, propagate):
    assert setup_logger(name=name, enable_propagation=propagate).propagate is propagate


def test_setting_up_twice_logs_once(tmp_path, name):
    for _ in range(2):
        logger = setup_logger(str(tmp_path), name=name)
    logger.info("hello")
    flush(logger)
    assert (tmp_path / "log.txt").read_text().count("hello") == 1
    assert len(logger.handlers) == 2


@embedded_only
def test_another_file_is_added_without_a_second_console(tmp_path, name):
    logger = setup_logger(str(tmp_path / "a.txt"), name=name)
    setup_logger(str(tmp_path / "b.txt"), name=name)
    consoles = [h for h in logger.handlers if getattr(h, "stream", None) is sys.stdout]
    assert (len(logger.handlers), len(consoles)) == (3, 1)


def test_first_n_counts_by_caller_or_message(caplog):
    with caplog.at_level(logging.INFO):
        for message in ("a", "b", "a"):
            log_first_n(logging.INFO, message, name="host_test")
        for message in ("c", "d", "c"):
            log_first_n(logging.INFO, message, name="host_test", key="message")
        for _ in range(5):
            log_first_n(logging.INFO, "twice", n=2, name="host_test", key=("caller", "message"))
    assert [r.message for r in caplog.records] == ["a", "c", "d", "twice", "twice"]


def test_messages_come_from_the_calling_module(caplog):
    with caplog.at_level(logging.INFO):
        log_first_n(logging.INFO, "hello")
    assert caplog.records[0].name == __name__


def test_every_n_seconds_holds_back_what_comes_too_soon(caplog):
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            log_every_n_seconds(logging.INFO, "hello", n=1000, name="host_test")
        for _ in range(3):
            log_every_n_seconds(logging.INFO, "now", n=0, name="host_test")
    assert [r.message for r in caplog.records] == ["hello", "now", "now", "now"]


def test_small_table_has_names_above_values():
    header, _, values = create_small_table({"AP": 41.23456, "name": "x"}).splitlines()
    assert header.split() == ["|", "AP", "|", "name", "|"]
    assert values.split() == ["|", "41.235", "|", "x", "|"]
