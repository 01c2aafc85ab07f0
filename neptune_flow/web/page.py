"""The page: one HTML file that brings all it needs, and the policy that lets a browser run that and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

PAGE = resources.files("neptune_flow.web").joinpath("page.html").read_bytes()


def _hash_of(tag: str) -> str:
    """The digest of what stands between the tags, as a policy names it."""
    (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), PAGE, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        f"script-src {_hash_of('script')}",
        f"style-src {_hash_of('style')}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
