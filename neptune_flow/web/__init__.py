"""What a process shows over HTTP: health for the platform, a page for people. Read only; nothing here touches the flow.

`server` is a small, bounded server for a table of routes; `routes` is that table; `document` is what the page shows, as JSON; `page` is the page.
"""

from neptune_flow.web.routes import POLICIES, status_routes
from neptune_flow.web.server import Answer, Route, Server, open_server

__all__ = ["POLICIES", "Answer", "Route", "Server", "open_server", "status_routes"]
