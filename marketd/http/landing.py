"""
The pages that links in mails lead to. They act only when the reader presses the button, because mail programs and link
scanners open links as well.

The token is in the fragment of the URL (after `#`), so it is sent to no server until then.
"""

import hashlib
from base64 import b64encode
from typing import Final

from aiohttp import web

from marketd.http.operation import Answer, Bytes, operation

routes = web.RouteTableDef()

SCRIPT: Final = """
const form = document.forms[0], said = document.querySelector("output");
form.addEventListener("submit", async event => {
  event.preventDefault();
  const body = {token: new URLSearchParams(location.hash.slice(1)).get("token") || ""};
  if (form.elements.password) body.password = form.elements.password.value;
  const answer = await fetch(location.pathname + form.dataset.path, {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
  if (answer.ok) {
    form.remove();
    history.replaceState(null, "", location.pathname);
    said.textContent = said.dataset.done;
  } else {
    const problem = await answer.json();
    said.textContent = (problem.errors || []).map(fault => fault.detail).join("; ") || problem.detail;
  }
});
"""
PAGE: Final = """<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width">
<title>{title}</title>
<style>body{{font:1.1em/1.5 system-ui;max-width:40em;margin:3em auto;padding:0 1em}}
input,button{{font:inherit;padding:.3em .6em}}</style>
<main>
<h1>{title}</h1>
<form data-path="{path}">{fields}<button>{button}</button></form>
<p><output role=status data-done="{done}"></output></p>
<noscript><p>This page needs JavaScript. Your mail has the token on a line of its own, too.</p></noscript>
</main>
<script>{script}</script>
</html>
"""
PASSWORD: Final = (
    "<p><label>New password, 8 characters or more, with a lower-case letter, an upper-case letter and a digit:<br>"
    "<input type=password name=password autocomplete=new-password minlength=8 maxlength=128 required></label></p>"
)
POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    f"frame-ancestors 'none'; script-src 'sha256-{b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)


@routes.get("/auth/verify-email")
@operation(answers={200: Answer(Bytes, "text/html")})
async def verify_email_page(request: web.Request) -> web.Response:
    """Show the page to confirm an e-mail address."""
    return _page("Confirm your e-mail address", "", "", "Confirm", "Your e-mail address is confirmed.")


@routes.get("/auth/password-reset")
@operation(answers={200: Answer(Bytes, "text/html")})
async def reset_password_page(request: web.Request) -> web.Response:
    """Show the page to choose a new password."""
    return _page("Choose a new password", "/confirm", PASSWORD, "Change", "Your password is changed: sign in with it.")


def _page(title: str, path: str, fields: str, button: str, done: str) -> web.Response:
    text = PAGE.format(title=title, path=path, fields=fields, button=button, done=done, script=SCRIPT)
    return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": POLICY})
