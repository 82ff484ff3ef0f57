"""The options of jobs are those of how they run, never a keyword of what they do."""

import argparse

import pytest

from tubelet.cli import module_of
from tubelet.cli.options import add_processes, add_running, fields_of


def test_no_option_of_running_reaches_the_function_of_a_command():
    parser = argparse.ArgumentParser()
    add_running(parser)
    assert fields_of(parser.parse_args([])) == {}
    parser = argparse.ArgumentParser()
    add_processes(parser)
    assert fields_of(parser.parse_args([])) == {}


@pytest.mark.parametrize("verb", ["index"])
def test_the_options_of_a_job_are_keywords_of_its_function(verb: str):
    import inspect

    import tubelet

    parser = argparse.ArgumentParser()
    module_of(verb).add_arguments(parser)
    fields = fields_of(parser.parse_args(["--out", "x"]))
    assert set(fields) <= set(inspect.signature(getattr(tubelet, verb)).parameters)
