"""The words of mails: ours, or the operator's file by file; nothing that people have written gets out of its place."""

from pathlib import Path
from typing import Any, Final

import pytest

from marketd.actors.notices.templates import OURS, TRIED, TemplateFault, Templates

URL: Final = "https://shop.example"
NASTY: Final = '<script>alert("x")</script>\r\nBcc: eve@evil.example {{ url }}'


def values(kind: str, **changes: Any) -> dict[str, Any]:
    return {"url": URL, **TRIED[kind], **changes}


def override(folder: Path, name: str, text: str) -> Templates:
    (folder / name).write_text(text, encoding="utf-8")
    return Templates("Shop", folder)


def fault(folder: Path, name: str, text: str) -> str:
    with pytest.raises(TemplateFault) as caught:
        override(folder, name, text)
    return str(caught.value)


def test_every_kind_has_its_two_templates_and_no_others_are_there() -> None:
    expected = {f"{kind}.{form}" for kind in TRIED for form in ("txt", "html")} | {"layout.html"}

    assert expected == {path.name for path in OURS.iterdir()}


@pytest.mark.parametrize("kind", TRIED)
def test_every_kind_has_a_subject_a_text_and_html(kind: str) -> None:
    words = Templates("Shop").write(kind, values(kind))

    assert (True, True) == (bool(words.subject), words.text.endswith("\n"))
    assert words.html.startswith("<!doctype html>")


@pytest.mark.parametrize("kind", TRIED)
def test_html_is_for_every_reader_and_fetches_nothing(kind: str) -> None:
    html = Templates("Shop").write(kind, values(kind)).html

    assert [True] * 3 == ['<html lang="en"' in html, "<title>" in html, html.count("<h1") == 1]
    assert [] == [word for word in ("<img", "<script", "<link", "src=", "url(", "@import") if word in html]


@pytest.mark.parametrize("kind", TRIED)
def test_the_text_has_no_html_in_it(kind: str) -> None:
    text = Templates("Shop").write(kind, values(kind, title="Salt & pepper")).text

    assert [] == [word for word in ("&amp;", "<p", "</") if word in text]


@pytest.mark.parametrize("kind", ["receipt", "sale", "refund", "order-failed", "refund-delayed"])
def test_what_people_have_written_is_no_html(kind: str) -> None:
    html = Templates("Shop").write(kind, values(kind, title=NASTY, reason=NASTY)).html

    assert (False, True) == ("<script" in html, "&lt;script&gt;" in html)


@pytest.mark.parametrize("kind", ["receipt", "sale", "refund", "order-failed", "refund-delayed"])
def test_a_subject_is_one_line_whatever_is_in_it(kind: str) -> None:
    words = Templates("Shop").write(kind, values(kind, title=NASTY))

    assert [] == [sign for sign in "\r\n\x00\u2028" if sign in words.subject]
    assert "Bcc: eve@evil.example {{ url }}" in words.subject  # of the title nothing is lost, and nothing is done


@pytest.mark.parametrize("kind", ["receipt", "order-failed"])
def test_what_people_have_written_stays_on_its_line(kind: str) -> None:
    text = Templates("Shop").write(kind, values(kind, title=NASTY, reason=NASTY)).text

    assert [] == [line for line in text.splitlines() if line.startswith("Bcc:")]


def test_a_file_of_the_operators_takes_the_place_of_ours(tmp_path: Path) -> None:
    words = override(tmp_path, "sale.txt", "Subject: Verkauft\n\n{{ title }} bei {{ shop }}\n").write(
        "sale", values("sale")
    )

    assert ("Verkauft", "Rain <1> bei Shop\n") == (words.subject, words.text)
    assert "A sale" in words.html


def test_a_layout_of_the_operators_is_that_of_all(tmp_path: Path) -> None:
    written = override(tmp_path, "layout.html", "<main>{% block main %}{% endblock %}</main>")

    assert all(written.write(kind, values(kind)).html.startswith("<main>") for kind in TRIED)


def test_a_template_may_take_in_another_of_the_operators(tmp_path: Path) -> None:
    (tmp_path / "foot.html").write_text("Greetings", encoding="utf-8")

    assert (
        "Greetings" == override(tmp_path, "sale.html", '{% include "foot.html" %}').write("sale", values("sale")).html
    )


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("<p>\n{{ title", 2, "unexpected end of template"),
        ("<p>\n\n{{ titel }}", 3, "'titel' is undefined"),
        ("{% for file in files %}", 1, "Unexpected end of template"),
        ("<p>\n{{ title.x.y }}", 2, "has no attribute"),
        ("\n{{ 1 / 0 }}", 2, "ZeroDivisionError"),
        ('\n{{ "".__class__.__mro__ }}', 2, "unsafe"),
        ('{% include "nowhere.html" %}', 1, "nowhere.html"),
    ],
)
def test_a_template_that_is_no_good_is_found_at_the_start(tmp_path: Path, text: str, line: int, why: str) -> None:
    said = fault(tmp_path, "receipt.html", text)

    assert said.startswith(f"{tmp_path}/receipt.html, line {line}: ") and why in said, said
    assert "\n" not in said


def test_what_is_wrong_only_for_one_of_the_reasons_is_found_too(tmp_path: Path) -> None:
    text = '{% if why == "gone" %}{{ titel }}{% endif %}'

    assert "'titel' is undefined" in fault(tmp_path, "webhook-disabled.html", text)


def test_what_is_wrong_only_where_there_is_little_to_say_is_found_too(tmp_path: Path) -> None:
    assert "line 1" in fault(tmp_path, "receipt.html", "{{ files[0].name }}")


@pytest.mark.parametrize("text", ["Hello\n", "", "Subject:\n\ntext\n", "\nSubject: late\n"])
def test_a_text_without_a_subject_is_no_good(tmp_path: Path, text: str) -> None:
    assert f"{tmp_path}/sale.txt, line 1: expected `Subject:` and what it is" == fault(tmp_path, "sale.txt", text)


def test_a_file_that_is_no_text_is_no_good(tmp_path: Path) -> None:
    (tmp_path / "sale.txt").write_bytes(b"Subject: \xff\n\n")

    with pytest.raises(TemplateFault, match="sale"):
        Templates("Shop", tmp_path)
