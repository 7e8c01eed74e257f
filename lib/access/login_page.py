"""The page where people log in: plain HTML that needs nothing else, on screens that are light or dark."""

from __future__ import annotations

import re
from html import escape

INSIDE = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")  # a path: what begins with // or /\ is another host to browsers
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>semiseg: log in</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 20rem; margin: 12vh auto; padding: 0 1rem; }}
label {{ display: block; margin-top: 1rem; }}
input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; }}
button {{ margin-top: 1.5rem; cursor: pointer; }}
[role=alert] {{ border-left: .25rem solid #c33; padding-left: .75rem; }}
</style>
</head>
<body>
<main>
<h1>semiseg</h1>
{content}
</main>
</body>
</html>
"""
FORM = """<form method="post">
<label for="username">Name</label>
<input id="username" name="username" autocomplete="username" autocapitalize="none" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button type="submit">Log in</button>
</form>"""
KNOWN = """<p>You are logged in as <strong>{name}</strong> ({role}).</p>
<p><a href="{target}">Go on</a></p>
<form method="post" action="{logout}"><button type="submit">Log out</button></form>"""


def login_form(failure: str = "") -> str:
    """The form, with what went wrong the last time. It is sent to the address of the page, whose query says where to go
    on after it."""
    return PAGE.format(content=(f'<p role="alert">{escape(failure)}</p>\n' if failure else "") + FORM)


def known_page(name: str, role: str, target: str, logout: str) -> str:
    """For somebody who is logged in already: go on to ``target``, or log out."""
    texts = {"name": name, "role": role, "target": target, "logout": logout}
    return PAGE.format(content=KNOWN.format(**{key: escape(text) for key, text in texts.items()}))


def inside(target: str | None, default: str) -> str:
    """``target``, if it is an address on this server, else ``default``: no link may lead elsewhere after a login."""
    return target if target and INSIDE.fullmatch(target) else default
