"""Mending by hand: what the tables' ledgers say, and a new ledger where they cannot be gone on with.

    open ──► Scene ─┬─► describe ──► report                                  `python -m neptune_flow ledger show`
                    └─► basis, contents ──► plan ──► land: quarantine, then rows     `python -m neptune_flow ledger set`

- `scene`     opens catalog, tables and Kafka, and sees them once; objects to nothing
- `basis`     pure: the ledgers that there are, and what has become of the log that they are about
- `contents`  the offsets that a table really holds
- `plan`      pure: what the new ledgers say, and what that loses or doubles
- `land`      commits a plan that somebody has agreed to, pinned to what was seen
- `describe`  the ledgers side by side with Kafka's log, and everything that Neptune would stop at

The flow never comes here: it stops, and its error names the command.
"""
