"""What can be looked at without changing anything: is all well, what has landed, what was refused and why, and any question in SQL.

`check` asks each outside world once and says what is wrong; `status` reads table and Kafka; `rejects` and `marking` show the quarantine; `query`
runs SQL on a snapshot; `columns` holds the contract against the table. No running Neptune is needed, and none is disturbed. The command line prints
what these find.
"""
