"""The formats of texts in the settings, each as a pattern and in words for the operator."""

from typing import Annotated

from msgspec import Meta


def _form(pattern: str, expected: str) -> Meta:
    return Meta(pattern=rf"^{pattern}\Z", extra={"expected": expected})


NatsUrl = Annotated[str, _form(r"(nats|tls)://\S+", "a URL of nats:// or tls://")]
LeafUrl = Annotated[
    str, _form(r"(nats-leaf|tls|wss?)://[^@\s]+", "a URL of nats-leaf://, tls://, ws:// or wss://, without a user")
]
WebUrl = Annotated[
    str, _form(r"https?://[^\s/?#]+(/[^\s/?#]+)*", "a URL of http:// or https://, without a slash at the end")
]
Origin = Annotated[
    str, _form(r"(\*|https?://[^\s/?#@*]+)", "`*`, or origins such as https://shop.example, without a path")
]
StripeKey = Annotated[str, _form("[sr]k_[!-~]+", "a key that begins with sk_ or rk_")]
SigningSecret = Annotated[str, _form("[!-~]+", "letters, digits and signs of ASCII, without spaces")]
BearerToken = Annotated[str, _form("[A-Za-z0-9._~+/=-]{16,}", "at least 16 letters, digits or any of ._~+/=-")]
Source = Annotated[str, _form("[!-~]+", "letters, digits and signs of ASCII, without spaces")]
MailAddress = Annotated[str, _form("[!-?A-~]+@[A-Za-z0-9.-]+", "an e-mail address")]
SenderName = Annotated[str, _form(r"[^\x00-\x1f\x7f]*", "one line")]
PushContact = Annotated[
    str,
    _form(
        "(mailto:[!-?A-~]+@[A-Za-z0-9.-]+|https://[A-Za-z0-9.-]+)",
        "an e-mail address after mailto:, or https:// and a host",
    ),
]
