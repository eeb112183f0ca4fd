"""The smaller variant of an image: what it keeps of it, and what no variant is made of."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from marketd.storage import images, shrinking
from marketd.storage.shrinking import HEIGHT_PX_MAX, Unfit, shrunk
from tests.storage.pictures import BLUE, RED, opened, picture, saved

PIXELS_MAX = 1_000_000
ORIENTATION = 0x0112
FORMATS = ["PNG", "JPEG", "GIF", "WEBP"]


def made(folder: Path, data: bytes, pixels_max: int = PIXELS_MAX) -> bytes:
    source = folder / "source"
    source.write_bytes(data)
    return shrunk(source, pixels_max)


def variant(folder: Path, data: bytes, pixels_max: int = PIXELS_MAX) -> Image.Image:
    return opened(made(folder, data, pixels_max))


def is_near(expected: tuple[int, ...], image: Image.Image, place: tuple[int, int] = (9, 9)) -> bool:
    """WebP keeps colours nearly."""
    colour: Any = image.convert("RGB").getpixel(place)
    return all(abs(one - other) < 8 for one, other in zip(expected, colour, strict=True))


@pytest.mark.parametrize("format", FORMATS)
def test_a_variant_is_a_webp(tmp_path: Path, format: str) -> None:
    assert "WEBP" == variant(tmp_path, picture(format=format)).format


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1000, 500), (640, 320)),
        ((640, 700), (640, 700)),
        ((641, 641), (640, 640)),
        ((300, 200), (300, 200)),
        ((1, 1), (1, 1)),
        ((4, 2 * HEIGHT_PX_MAX), (2, HEIGHT_PX_MAX)),
    ],
)
def test_a_variant_is_at_most_so_wide_and_of_the_same_shape(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert expected == variant(tmp_path, picture(*size)).size


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_sort_of_pixels_is_understood(tmp_path: Path, mode: str) -> None:
    assert (640, 320) == variant(tmp_path, picture(mode=mode)).size


def test_the_colours_of_a_printers_jpeg_are_kept(tmp_path: Path) -> None:
    assert is_near(RED, variant(tmp_path, picture(format="JPEG", mode="CMYK")))


def test_sixteen_bits_of_grey_keep_their_brightness(tmp_path: Path) -> None:
    assert is_near((156, 156, 156), variant(tmp_path, picture(mode="I;16")))


def test_what_can_be_seen_through_stays_so(tmp_path: Path) -> None:
    clear = saved(Image.new("RGBA", (1000, 500), (0, 0, 0, 0)), "PNG")

    assert "RGBA" == variant(tmp_path, clear).mode


@pytest.mark.parametrize(("format", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})])
def test_of_a_moving_picture_the_first_frame_is_kept(tmp_path: Path, format: str, options: dict[str, Any]) -> None:
    first, second = (Image.new("RGB", (100, 100), colour) for colour in (RED, BLUE))
    moving = saved(first, format, save_all=True, append_images=[second], duration=100, **options)
    still = variant(tmp_path, moving)

    assert (1, True) == (getattr(still, "n_frames", 1), is_near(RED, still))


def test_a_photograph_taken_sideways_is_put_upright(tmp_path: Path) -> None:
    sideways = Image.new("RGB", (1400, 700), RED)
    sideways.paste(BLUE, (700, 0, 1400, 700))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright = variant(tmp_path, saved(sideways, "JPEG", exif=exif))

    assert (640, 1280) == upright.size
    assert is_near(RED, upright, (320, 100)) and is_near(BLUE, upright, (320, 1200))


def test_where_a_photograph_was_taken_is_nobodys_business(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "at home"
    telling = picture(format="JPEG", exif=exif, comment=b"at home", icc_profile=b"x" * 200, xmp=b"<at home/>")
    data = made(tmp_path, telling)

    assert (3, 0) == (telling.count(b"at home"), data.count(b"at home"))
    assert set() == {"exif", "icc_profile", "xmp", "comment"} & set(opened(data).info)


@pytest.mark.filterwarnings("ignore")  # as the program does
def test_a_damaged_exif_does_no_harm(tmp_path: Path) -> None:
    damaged = picture(format="JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")

    assert (640, 320) == variant(tmp_path, damaged).size


@pytest.mark.parametrize("size", [(1000, 500), (64, 64)])
def test_a_drawing_of_few_bytes_has_a_variant_of_fewer(tmp_path: Path, size: tuple[int, int]) -> None:
    drawing = Image.new("P", size, 0)
    drawing.putpalette([0, 0, 0, 255, 255, 255])
    for x in range(0, size[0], 8):
        drawing.paste(1, (x, 0, x + 4, size[1]))
    data = saved(drawing, "PNG")

    assert len(made(tmp_path, data)) < len(data)


# What no variant is made of.


def test_an_image_may_have_as_many_pixels_as_are_allowed(tmp_path: Path) -> None:
    assert (10, 10) == variant(tmp_path, picture(10, 10), pixels_max=100).size


@pytest.mark.parametrize("width", [11, 20_000])
def test_one_pixel_more_is_too_many(tmp_path: Path, width: int) -> None:
    with pytest.raises(Unfit, match=r"^Expected an image of at most 100 pixels$"):
        variant(tmp_path, picture(width, 10, mode="1"), pixels_max=100)


@pytest.mark.parametrize(
    "data",
    [b"", b"abc", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x04\0\0\0WEBP", picture(format="TIFF")],
)
def test_what_is_none_of_the_known_formats_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Unfit, match=r"^Expected "):
        variant(tmp_path, data)


@pytest.mark.parametrize("format", FORMATS)
def test_half_an_image_is_refused(tmp_path: Path, format: str) -> None:
    whole = saved(Image.effect_noise((300, 300), 80).convert("RGB"), format)

    with pytest.raises(Unfit, match=r"^Expected an? "):
        variant(tmp_path, whole[: len(whole) // 2])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", FORMATS)
def test_wherever_an_image_is_damaged_it_is_shrunk_or_refused(tmp_path: Path, format: str) -> None:
    whole = picture(60, 60, format)
    outcomes = set()
    for place in range(len(whole)):
        try:
            made(tmp_path, whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            outcomes.add("shrunk")
        except Unfit:
            outcomes.add("refused")

    assert {"shrunk", "refused"} == outcomes


# The program.


class Program:
    """The program, run here without its limits, which would be ours too."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.source, self.target, self._capsys = folder / "source", folder / "target", capsys

    def run(self, data: bytes) -> tuple[int, str]:
        self.source.write_bytes(data)
        code = shrinking.main([str(self.source), str(self.target), str(PIXELS_MAX), "1", "1"])
        return code, self._capsys.readouterr().out


@pytest.fixture
def program(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setattr("resource.setrlimit", lambda what, limits: None)
    monkeypatch.setattr("warnings.simplefilter", lambda action: None)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    return Program(tmp_path, capsys)


def test_what_is_written_is_the_variant(program: Program) -> None:
    assert (0, "") == program.run(picture())
    assert (640, 320) == opened(program.target.read_bytes()).size


def test_what_is_refused_leaves_a_sentence_and_no_file(program: Program) -> None:
    expected = (images.REFUSED, '"Expected a PNG, JPEG, GIF or WebP image"\n')

    assert (expected, False) == (program.run(b"abc"), program.target.exists())


def test_what_could_not_be_written_is_no_fault_of_the_image(program: Program) -> None:
    program.target = program.target / "absent"

    assert (images.UNWRITTEN, '"No such file or directory"\n') == program.run(picture())


def test_both_sides_call_an_outcome_the_same() -> None:
    assert (shrinking.REFUSED, shrinking.UNWRITTEN) == (images.REFUSED, images.UNWRITTEN)
