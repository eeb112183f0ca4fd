"""Two sections of the settings, by the rules of settings.py: notices by mail, and by push messages."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from marketd.config.forms import MailAddress, PushContact, SenderName

SECRET: Final = {"secret": True}


class Mail(Struct, frozen=True):
    """How mail goes out: over SMTP, or as files in the data directory while there is no `host`."""

    host: Annotated[str | None, Meta(description="the mail server; mails are kept as files if empty")] = None
    port: Annotated[int, Meta(description="its TCP port", ge=1, le=65535)] = 587
    user: Annotated[str | None, Meta(description="who we are to it; nobody if empty")] = None
    password: Annotated[str | None, Meta(description="what proves it", extra=SECRET)] = None
    encryption: Annotated[
        Literal["starttls", "tls", "none"], Meta(description="whether TLS is begun by STARTTLS, at once, or never")
    ] = "starttls"
    ca_file: Annotated[
        str | None, Meta(description="a file of certificates to trust beside those of the system, in PEM")
    ] = None
    from_address: Annotated[MailAddress, Meta(description="who the mails are from")] = "marketd@localhost"
    from_name: Annotated[SenderName, Meta(description="what this one is called")] = "marketd"
    send_s_max: Annotated[float, Meta(description="the time that sending one mail may take", gt=0, le=600)] = 30.0
    retry_s: Annotated[float, Meta(description="the first pause before a mail is tried again", gt=0, le=86400)] = 1.0
    retry_s_max: Annotated[
        float, Meta(description="the longest pause before a mail is tried again", gt=0, le=86400)
    ] = 60.0
    patience_s: Annotated[
        float, Meta(description="a mail that could not go out for so long is given up", gt=0, le=2_592_000)
    ] = 259_200.0
    at_once_max: Annotated[int, Meta(description="mails sent at once", ge=1, le=1000)] = 4
    waiting_max: Annotated[
        int, Meta(description="accounts that wait for mail in memory; more wait in the log", ge=1, le=1_000_000)
    ] = 10_000
    files_max: Annotated[int, Meta(description="mails kept as files; the oldest goes first", ge=1, le=1_000_000)] = 1000
    templates: Annotated[
        str | None, Meta(description="a folder of templates that take the place of ours, file by file")
    ] = None
    notices_second_max: Annotated[
        float, Meta(description="notices by mail sent in a second; more wait in the log", gt=0, le=10_000)
    ] = 10.0
    notices_waiting_max: Annotated[
        int, Meta(description="notices by mail that wait in memory; more wait in the log", ge=1, le=1_000_000)
    ] = 1000


class Push(Struct, frozen=True):
    """How push messages go out to browsers."""

    contact: Annotated[
        PushContact | None,
        Meta(description="whom push services may complain to, `mailto:…` or `https://…`; `mail.from_address` if empty"),
    ] = None
    private_allowed: Annotated[
        bool, Meta(description="whether push services may be in our own network, and without TLS; for tests")
    ] = False
    send_s_max: Annotated[float, Meta(description="the time that sending one message may take", gt=0, le=600)] = 15.0
    retry_s: Annotated[float, Meta(description="the first pause before a message is tried again", gt=0, le=86400)] = 1.0
    retry_s_max: Annotated[
        float, Meta(description="the longest pause before a message is tried again", gt=0, le=86400)
    ] = 60.0
    patience_s: Annotated[
        float, Meta(description="a message is worth showing for so long, and given up then", gt=0, le=2_419_200)
    ] = 14_400.0
    at_once_max: Annotated[int, Meta(description="messages sent at once", ge=1, le=1000)] = 8
    second_max: Annotated[
        float, Meta(description="notices looked at in a second; more wait in the log", gt=0, le=10_000)
    ] = 20.0
    waiting_max: Annotated[
        int, Meta(description="notices that wait in memory; more wait in the log", ge=1, le=1_000_000)
    ] = 1000
