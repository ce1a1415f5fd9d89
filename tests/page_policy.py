"""Pages allow their own script alone; here are more of them, for tests in a browser."""

import base64
import hashlib
import re


def allow_scripts(page, added):
    """Allow the scripts of some HTML that was added to a page."""
    scripts = re.findall(r'<script>(.*?)</script>', added, re.DOTALL)
    return page.replace('script-src ', f'script-src {" ".join(map(script_digest, scripts))} ', 1)


def script_digest(script):
    """Digest by which a page allows a script."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
