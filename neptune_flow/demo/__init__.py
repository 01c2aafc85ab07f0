"""The demonstration: the real flow on one machine with nothing but Python.

    simulator (thread) ─► broker (in this process) ─► the flow (a process of its own) ─► SQLite catalog, local folder
                                                                                            └─► evidence ─► report

`play` is one run: `stage` has its actors, `evidence` reads the tables and checks them against what was produced, `report` shows both.
Nothing of the flow is replaced: it is started as a user starts it, with settings from the environment.
"""
