"""Neptune's dataflow: `python -m bytewax.run dataflow:flow`, or `python dataflow.py` with the same options."""

from neptune_flow.early import leaving_on_signals

with leaving_on_signals():
    from neptune_flow import launch, runner

    if __name__ == "__main__":
        runner.run(__file__)
    else:
        flow = launch.flow()
