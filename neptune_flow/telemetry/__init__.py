"""What Neptune says about itself: logs, metrics and traces. Decides nothing; no step of the flow reads what is said here.

    logs       one line per event, on stderr
    catalogue  what each metric is: name, unit, meaning; `readings` has where its numbers come from
    metrics    the OpenTelemetry SDK: the catalogue for `/metrics` and OTLP
    traces     one trace per commit
    links      the producers' traces, from the headers of a few messages
    otlp       what the standard `OTEL_*` variables ask for
    engine     the engine's own metrics, where its server is asked for
    signals    all of it for one process, and the last flush

Logs are the face of this package; what needs OpenTelemetry is imported by its own name, so that a command that only logs does not load it.
"""

from neptune_flow.telemetry.logs import configure_logging, get_logger, register_secret

__all__ = ["configure_logging", "get_logger", "register_secret"]
