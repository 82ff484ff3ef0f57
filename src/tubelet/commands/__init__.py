"""One module a verb: its docstring is the help, `add_arguments(parser)` its options, `run(args)` the work.

A module imports at its top only what argument parsing needs; the heavy imports stand in `run`.
"""
