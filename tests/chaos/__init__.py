"""Real faults on real servers: Neptune's processes are killed, frozen, starved and lied to, and what landed is counted.

    python -m tests.chaos --restarts 1000 --seed 7

`families` has one function for each kind of fault, `arena` what they act on, `proxy` the faults of HTTP, `run` spreads the restarts over
the families, `report` says what came of it. An *episode* is one family on a topic and tables of its own, from one seed.
"""
