"""Tests of the Iceberg package on a SQLite catalog and a local folder; those on real servers are marked `services`."""
