"""`python -m neptune_flow.simulator`: the same as `neptune simulate`."""

from neptune_flow.cli.simulate import command

if __name__ == "__main__":
    command(prog_name="python -m neptune_flow.simulator")
