"""`make demo`, or `python -m neptune_flow.demo`: the same as `neptune demo`."""

from neptune_flow.cli.demo import command

if __name__ == "__main__":
    command(prog_name="python -m neptune_flow.demo")
