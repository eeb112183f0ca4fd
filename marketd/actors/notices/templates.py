"""
The words of our mails, by Jinja2: of each kind a text and the same as HTML, from our own folder or the operator's.

    receipt.txt     `Subject: …`, an empty line, and the text
    receipt.html    what is put into it is escaped

Whatever people have written (titles, names, reasons) is one line wherever it is put in.

The one rule: a template that can't be used is found out at the start, with its file and line, and not with the first
letter. So each is tried with every value that it may use, and once with as few as there may be; where it says why, with
each reason.

    TemplateFault   a template can't be used; the message is one line for the operator
"""

import re
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final, NamedTuple, get_args

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from marketd.actors.webhook import Why

OURS: Final = Path(__file__).parent / "templates"
SUBJECT: Final = "Subject:"

# What a template may use beside `shop`, `url`, `subject` (HTML only) and `unsubscribe`, with values to try it with.
_TOKEN: Final = {"token": "MDE5MmYzYTQ", "link": "https://shop.example/auth#token=MDE5MmYzYTQ", "until": "1 May"}
_FILE: Final = {"name": "rain.zip", "size": "1.2 MB", "url": "https://shop.example/downloads/x"}
_ORDER: Final = {"order_id": "0192f3ae", "title": "Rain <1>", "price": "USD 19.99", "at": "1 May", "reason": "sold out"}
_BOUGHT: Final = {"licence_key": "RAIN-4711", "files": [_FILE], "until": "8 May"}
_WEBHOOK: Final = {"webhook_id": "0192f3ae", "host": "hooks.example", "description": "Books <1>", "at": "1 May"}
_WHYS: Final = tuple(why for why in get_args(Why) if why != "by hand")
TRIED: Final[dict[str, dict[str, Any]]] = {
    "verify-email": _TOKEN,
    "password-reset": _TOKEN,
    "password-changed": {"at": "1 May"},
    "receipt": _ORDER | _BOUGHT,
    "sale": _ORDER,
    "refund": _ORDER,
    "order-failed": _ORDER,
    "refund-delayed": _ORDER,
    "webhook-disabled": _WEBHOOK | {"why": _WHYS[0]},
}
_LEAST: Final = {"description": "", "licence_key": "", "files": [], "unsubscribe": ""}
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class TemplateFault(Exception):
    """A template can't be used."""


class Words(NamedTuple):
    """What a letter says."""

    subject: str
    text: str
    html: str


class Templates:
    """The templates of `folder`, file by file in the place of ours; raise `TemplateFault` where one is no good."""

    def __init__(self, shop: str, folder: Path | None = None) -> None:
        self._shop, self._folders = shop, [*([folder] if folder else []), OURS]
        if folder and not folder.is_dir():
            raise TemplateFault(f"there is no folder of templates {folder}")
        self._environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(self._folders),
            autoescape=lambda name: not (name or "").endswith(".txt"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        for kind, values in TRIED.items():
            self._try(kind, {"url": "https://shop.example", "unsubscribe": "https://shop.example/u"} | values)

    def write(self, kind: str, values: dict[str, Any]) -> Words:
        """Put the values into the templates of a kind; a subject is one line whatever is in them."""
        given = {"shop": self._shop, "unsubscribe": "", **_lined(values)}
        head, _, text = self._environment.get_template(f"{kind}.txt").render(given).partition("\n")
        subject = one_line(head.removeprefix(SUBJECT))
        html = self._environment.get_template(f"{kind}.html").render({**given, "subject": subject})
        return Words(subject, text.removeprefix("\n"), html)

    def _try(self, kind: str, values: dict[str, Any]) -> None:
        try:
            first, _, _ = self._environment.get_template(f"{kind}.txt").render({"shop": "", **values}).partition("\n")
            whys = [{**values, "why": why} for why in _WHYS if "why" in values]
            for tried in (values, {**values, **_LEAST}, *whys):
                self.write(kind, tried)
        except TemplateError as error:
            raise TemplateFault(f"{self._place(error, kind)}: {one_line(str(error))}") from None
        except Exception as error:  # whatever an expression of the operator's does
            raise TemplateFault(f"{self._place(error, kind)}: {type(error).__name__}: {one_line(str(error))}") from None
        if not first.startswith(SUBJECT) or not one_line(first.removeprefix(SUBJECT)):
            raise TemplateFault(f"{self._path(f'{kind}.txt')}, line 1: expected `{SUBJECT}` and what it is")

    def _place(self, error: Exception, kind: str) -> str:
        """Say in which line of which file it went wrong: Jinja2 puts its templates into the traceback."""
        name, line = getattr(error, "filename", None), getattr(error, "lineno", None)
        for frame in extract_tb(error.__traceback__) if name is None else ():
            if any(Path(frame.filename).is_relative_to(folder) for folder in self._folders):
                name, line = frame.filename, frame.lineno
        return f"{name}, line {line}" if name else f"{self._path(f'{kind}.*')}"

    def _path(self, name: str) -> Path:
        return next((folder / name for folder in self._folders if any(folder.glob(name))), OURS / name)


def _lined(value: Any) -> Any:
    """Keep every text that is put in on its line, so that it can't begin a header or pass for words of ours."""
    match value:
        case str():
            return one_line(value)
        case list():
            return [_lined(one) for one in value]
        case dict():
            return {name: _lined(one) for name, one in value.items()}
        case _:
            return value


def one_line(text: str) -> str:
    """Leave out what breaks lines or is not seen."""
    return " ".join(_UNSEEN.sub(" ", text).split())
