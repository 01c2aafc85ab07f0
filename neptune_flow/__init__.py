"""Neptune lands a Kafka topic in an Apache Iceberg table, each message exactly once."""

__version__ = "0.1.0.dev0"
