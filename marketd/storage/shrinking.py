"""
Making an image smaller: a process of its own, started anew for each image, `python -m marketd shrink …`.

What is decoded here was sent by strangers, so it is decoded where it can do no harm: the process may take only so much
memory and time, and whatever becomes of it, the service is another one. It writes a WebP without any metadata.

    0            the variant is written
    REFUSED      there is a sentence about the image on standard output
    UNWRITTEN    there is a word about the disk on it
    else         it died of the image; nothing is known but that
"""

import json
import resource
import warnings
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

REFUSED: Final = 3
UNWRITTEN: Final = 4
WIDTH_PX_MAX: Final = 640
HEIGHT_PX_MAX: Final = 16_383  # WebP knows none that are higher
QUALITY: Final = 80
LOSSLESS_PIXELS_MAX: Final = 1_000_000  # without loss takes long
FORMATS: Final = ("PNG", "JPEG", "GIF", "WEBP")
ORIENTATION: Final = 0x0112  # the Exif tag; from 5 on the image lies on its side
ON_ITS_SIDE: Final = 5
RESIZABLE: Final = frozenset({"L", "RGB", "RGBA", "CMYK"})


class Unfit(Exception):
    """No variant can be made of it; the message says why."""


def shrunk(source: Path, pixels_max: int) -> bytes:
    """Make the variant of an image: its first frame, upright, at most so wide; raise `Unfit`."""
    try:
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > pixels_max:
                raise Image.DecompressionBombError
            return _encoded(_resized(image), source.stat().st_size)
    except Image.DecompressionBombError:
        raise Unfit(f"Expected an image of at most {pixels_max} pixels") from None
    except UnidentifiedImageError:
        raise Unfit("Expected a PNG, JPEG, GIF or WebP image") from None
    except MemoryError:
        raise Unfit("Expected an image that takes less memory") from None
    except (OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # Which of them Pillow raises depends on where in the file the damage is.
        raise Unfit(f"Expected an image that can be read: {error}") from None


def _resized(image: Image.Image) -> Image.Image:
    width, height = WIDTH_PX_MAX, HEIGHT_PX_MAX
    if _orientation(image) >= ON_ITS_SIDE:
        width, height = height, width
    if image.mode.startswith("I"):  # 16 bits a pixel, of which a conversion would keep the lower eight
        image = image.point(lambda value: value / 256).convert("L")
    elif image.mode not in RESIZABLE:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.thumbnail((width, height))
    with suppress(OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError):  # damaged Exif
        image = ImageOps.exif_transpose(image)
    if image.mode == "CMYK":
        image = image.convert("RGB")
    image.info.clear()  # or what is in it would be written again
    return image


def _encoded(image: Image.Image, source_bytes: int) -> bytes:
    """Write it as a WebP; drawings and icons, which a lossy one may make larger than they were, also without loss."""
    lossy = BytesIO()
    image.save(lossy, "WEBP", quality=QUALITY)
    if lossy.tell() < source_bytes or image.width * image.height > LOSSLESS_PIXELS_MAX:
        return lossy.getvalue()
    lossless = BytesIO()
    image.save(lossless, "WEBP", lossless=True)
    return min(lossy.getvalue(), lossless.getvalue(), key=len)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError):
        return 1


def main(arguments: Sequence[str]) -> int:
    """SOURCE TARGET PIXELS_MAX MEMORY_BYTES_MAX CPU_S_MAX"""
    source, target, *limits = arguments
    pixels_max, memory_bytes_max, cpu_s_max = map(int, limits)
    for what, limit in (
        (resource.RLIMIT_AS, memory_bytes_max),
        (resource.RLIMIT_CPU, cpu_s_max),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # macOS limits no address space, and a lower limit may hold already
            resource.setrlimit(what, (limit, limit))
    Image.MAX_IMAGE_PIXELS = pixels_max
    warnings.simplefilter("ignore")  # of an image above the limit; above twice the limit it is an error
    try:
        variant = shrunk(Path(source), pixels_max)
    except Unfit as error:
        print(json.dumps(str(error)))
        return REFUSED
    try:
        Path(target).write_bytes(variant)
    except OSError as error:
        print(json.dumps(error.strerror))
        return UNWRITTEN
    return 0
