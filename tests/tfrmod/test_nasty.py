"""Files that break decoders, and what becomes of each: kept as they are, encoded again, or left out with the reason."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from tfrmod.convert import ConvertOptions, convert
from tfrmod.image_file import ImageError, check_image

KEPT, ENCODED = "kept", "encoded again"
TABLE = {
    "exif_landscape_1.jpg": (KEPT, 1200, 1800),
    "exif_landscape_6.jpg": (ENCODED, 1200, 1800),
    "exif_portrait_5.jpg": (ENCODED, 1800, 1200),
    "exif_portrait_8.jpg": (ENCODED, 1800, 1200),
    "gen_256Mpx_1bit.png": "16000x16000 pixels",
    "gen_empty_0bytes.jpg": "an empty file",
    "gen_flower_cmyk.jpg": (ENCODED, 360, 480),
    "gen_flower_png_named.jpg": (ENCODED, 360, 480),
    "gen_flower_progressive.jpg": (KEPT, 360, 480),
    "gen_flower_truncated_baseline.jpg": "truncated",
    "gen_html_named.jpg": "an HTML page",
    "gen_lfs_pointer.jpg": "a Git LFS pointer",
    "ljt_12bit.jpg": "12 bits",
    "ljt_16bit.png": (ENCODED, 227, 149),
    "ljt_arithmetic.jpg": (ENCODED, 149, 227),
    "pillow_16bit_gray.tif": (ENCODED, 64, 64),
    "pillow_16bit_qtables.jpg": (KEPT, 128, 128),
    "pillow_1x1_gray.jpg": (KEPT, 1, 1),
    "pillow_2x1_exif8.jpg": (ENCODED, 2, 1),
    "pillow_animated_rgba.webp": (ENCODED, 245, 245),
    "pillow_apng_16bit_rgba.png": (ENCODED, 64, 128),
    "pillow_bad_exif_gray.jpg": (KEPT, 500, 500),
    "pillow_bad_mpo_header.jpg": (KEPT, 480, 640),
    "pillow_bomb_4.3Gpx.gif": "pixels",
    "pillow_broken_80bytes.png": "pixels",
    "pillow_broken_data_stream.png": "pixels cannot be read",
    "pillow_cmyk.jpg": (ENCODED, 100, 100),
    "pillow_exif_orientation6.jpg": (ENCODED, 128, 128),
    "pillow_exif_orientation6.webp": (ENCODED, 128, 128),
    "pillow_exif_typeerror.jpg": (KEPT, 531, 800),
    "pillow_flower.jpg": (KEPT, 360, 480),
    "pillow_flower.webp": (ENCODED, 360, 480),
    "pillow_gray.jpg": (KEPT, 128, 128),
    "pillow_gray_alpha.png": (ENCODED, 128, 128),
    "pillow_junk_header.jpg": (KEPT, 768, 1024),
    "pillow_palette_interlaced.png": (ENCODED, 150, 162),
    "pillow_png_exif_orientation3.png": (ENCODED, 512, 512),
    "pillow_rgba.png": (ENCODED, 150, 200),
    "pillow_rle8.bmp": (ENCODED, 128, 128),
    "pillow_truncated.png": "truncated",
    "pillow_truncated_app14.jpg": (KEPT, 100, 100),
    "pillow_truncated_progressive.jpg": "truncated",
    "pillow_ultrahdr.jpg": "truncated",
    "pngsuite_gray1bit.png": (KEPT, 32, 32),
    "pngsuite_rgb16.png": (ENCODED, 32, 32),
    "pngsuite_rgba16_interlaced.png": (ENCODED, 32, 32),
}
REFUSALS = ("image_undecodable", "image_too_large")
TURNED = {
    "exif_landscape_6.jpg",
    "exif_portrait_5.jpg",
    "exif_portrait_8.jpg",
    "pillow_2x1_exif8.jpg",
    "pillow_exif_orientation6.jpg",
    "pillow_exif_orientation6.webp",
    "pillow_png_exif_orientation3.png",
}
# Sixteen more MiB are all that it may have.
CRAMPED = """
import resource, sys
from tfrmod.image_file import ImageError, check_image
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (16 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    try:
        check_image(open(path, "rb").read())
    except ImageError as error:
        print(error.code)
"""


@pytest.mark.parametrize("name", TABLE)
def test_nasty_what_becomes_of_a_nasty_image(test_data: Path, name: str) -> None:
    data = (test_data / "nasty" / name).read_bytes()
    expected = TABLE[name]
    if isinstance(expected, str):
        with pytest.raises(ImageError, match=expected):
            check_image(data)
        return
    checked_image = check_image(data)
    assert (KEPT if checked_image.encoded is data else ENCODED, checked_image.height, checked_image.width) == expected
    decoded = tf.io.decode_image(checked_image.encoded, channels=3, expand_animations=False)
    assert decoded.shape == (checked_image.height, checked_image.width, 3)


def test_nasty_table_names_every_file(test_data: Path) -> None:
    assert nasty_names(test_data) == TABLE.keys() | {"gen_100Mpx_1bit.png"}


def test_nasty_hundred_megapixels_are_no_bomb(test_data: Path) -> None:
    data = (test_data / "nasty" / "gen_100Mpx_1bit.png").read_bytes()
    checked_image = check_image(data)
    assert checked_image.encoded is data
    assert (checked_image.height, checked_image.width) == (10_000, 10_000)


def test_nasty_every_nasty_image_ends_in_a_record_or_in_the_list_of_problems(
    test_data: Path, tmp_path: Path, xml
) -> None:
    names = nasty_names(test_data)
    (tmp_path / "data").mkdir()
    for name in names:
        (tmp_path / "data" / name).symlink_to(test_data / "nasty" / name)
        # Some share a stem: each XML says whose it is.
        text = xml([("cat", 0, 0, 2, 2)], filename=name, size=None)
        (tmp_path / "data" / f"of {name}.xml").write_text(text)
    options = ConvertOptions(train_valid_split=1.0, max_pixels=50_000_000, num_workers=1)
    manifest = convert(tmp_path / "data", tmp_path / "out", options)
    manifest.verify()
    kept = (tmp_path / "out" / "train.txt").read_text().splitlines()
    problems = [json.loads(line) for line in (tmp_path / "out" / "problems.jsonl").read_text().splitlines()]
    refused = {problem["file"]: problem["code"] for problem in problems if problem["code"] in REFUSALS}
    assert sorted([*kept, *refused]) == sorted(names)
    assert set(kept) == {name for name in TABLE if isinstance(TABLE[name], tuple)}
    bombs = {"gen_100Mpx_1bit.png", "gen_256Mpx_1bit.png", "pillow_bomb_4.3Gpx.gif", "pillow_broken_80bytes.png"}
    assert {name for name, code in refused.items() if code == "image_too_large"} == bombs
    assert set(manifest.problems["exif_unclear"].files) == TURNED


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="memory cannot be limited here")
def test_nasty_bombs_are_refused_without_taking_memory(test_data: Path) -> None:
    bombs = [str(test_data / "nasty" / name) for name in ("pillow_bomb_4.3Gpx.gif", "gen_256Mpx_1bit.png")]
    done = subprocess.run([sys.executable, "-c", CRAMPED, *bombs], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["image_too_large"] * 2


def nasty_names(test_data: Path) -> set[str]:
    names = {path.name for path in (test_data / "nasty").iterdir()}
    return {name for name in names if not name.startswith("LICENSE") and name != "README.md"}
