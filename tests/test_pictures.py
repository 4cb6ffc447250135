"""Facts about reading picture files and finding them in directories."""

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from jaxcolor.colorize import picture_files
from jaxcolor.data.pictures import is_greyscale, list_pictures, read_picture, read_size
from jaxcolor.errors import DataError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def assert_one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def save(path, width=8, height=4, colour=RED):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)
    return path


def test_transparent_parts_are_white(tmp_path):
    for mode, colour in (("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))):
        Image.new(mode, (2, 2), colour).save(tmp_path / "a.png")
        assert np.all(read_picture(tmp_path / "a.png") == 255)
    Image.new("RGBA", (2, 2), (255, 0, 0, 51)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png")[0, 0], (255, 204, 204))
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "a.png", transparency=0)
    assert read_picture(tmp_path / "a.png").tolist() == [[[255] * 3, [40, 50, 60]]]


def test_other_modes_become_rgb(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (2, 2), 100).save(path)
    assert np.all(read_picture(path) == 100)
    Image.new("1", (2, 2), 1).save(path)
    assert np.all(read_picture(path) == 255)
    Image.fromarray(np.full((2, 2), 0x8080, np.uint16)).save(path)
    assert np.all(read_picture(path) == 0x80)
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert read_picture(tmp_path / "a.tif")[0, 0].tolist() == [255, 0, 0]
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="32-bit numbers") as caught:
        read_picture(tmp_path / "a.tif")
    assert_one_line(caught, tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_honoured(tmp_path, suffix):
    # Orientation 6: what is stored must be turned by 90 degrees clockwise to be upright.
    stored = Image.new("RGB", (16, 48), RED)
    stored.paste(Image.new("RGB", (16, 24), BLUE))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif)
    pixels = read_picture(path)
    assert pixels.shape == (16, 48, 3)
    assert pixels[8, 4, 0] > 240  # the bottom of what is stored is on the left
    assert pixels[8, 44, 2] > 240
    assert read_size(path) == (48, 16)  # the header is read as turned too


DAMAGED_EXIF = [b"Exif\0\0nonsense", b"MM\0*"]


@pytest.mark.parametrize("exif", DAMAGED_EXIF)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_picture_with_damaged_exif_is_read(tmp_path, suffix, exif):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (9, 5), RED).save(path, exif=exif)
    assert read_picture(path).shape == (5, 9, 3)
    assert read_size(path) == (9, 5)


def test_a_png_with_damaged_exif_of_imagemagick_is_read(tmp_path):
    info = PngInfo()
    info.add_text("Raw profile type exif", "\nexif\n 4\nno digits")
    Image.new("RGB", (9, 5), RED).save(tmp_path / "a.png", pnginfo=info)
    assert read_picture(tmp_path / "a.png").shape == (5, 9, 3)
    assert picture_files.read(tmp_path / "a.png").pixels.shape == (5, 9, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "TIFF", "JPEG"])
def test_every_format_comes_back(tmp_path, suffix):
    path = save(tmp_path / f"ä ö.{suffix}", 9, 5, (200, 100, 50))
    assert read_picture(path).shape == (5, 9, 3)
    assert np.abs(read_picture(path).astype(int) - (200, 100, 50)).max() <= 6
    assert read_size(path) == (9, 5)
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_picture(file), read_picture(path))


def test_transparency_is_laid_on_the_background(tmp_path):
    Image.new("RGBA", (2, 2), (255, 0, 0, 51)).save(tmp_path / "a.png")
    pixels = read_picture(tmp_path / "a.png", background="black")
    assert pixels[0, 0].tolist() == [51, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_of_colour_are_rounded_to_eight(tmp_path, suffix):
    import cv2

    path = tmp_path / f"a.{suffix}"
    red_first = np.full((4, 6, 3), (0x8080, 0x4040, 0xFFFF), np.uint16)
    assert cv2.imwrite(str(path), red_first[..., ::-1])
    assert read_picture(path)[3, 5].tolist() == [0x80, 0x40, 0xFF]
    assert read_size(path) == (6, 4)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="cannot read the picture"):
        read_picture(path)


def test_colours_under_a_profile_become_srgb(tmp_path):
    """As the profile's own conversion says; the sRGB profile and a damaged one change nothing."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in (("plain", srgb), ("damaged", b"no profile"), ("unfit", lab)):
        Image.new("RGB", (2, 2), (10, 200, 90)).save(tmp_path / f"{name}.png", icc_profile=profile)
        assert read_picture(tmp_path / f"{name}.png")[0, 0].tolist() == [10, 200, 90]
    swapped = _swap_red_and_blue(srgb)
    Image.new("RGB", (2, 2), (10, 200, 90)).save(tmp_path / "b.png", icc_profile=swapped)
    found = read_picture(tmp_path / "b.png")[0, 0].astype(int)
    assert np.abs(found - (90, 200, 10)).max() <= 3
    Image.new("RGBA", (2, 2), (10, 200, 90, 255)).save(tmp_path / "b.png", icc_profile=swapped)
    assert np.abs(read_picture(tmp_path / "b.png")[0, 0] - found).max() == 0


def _swap_red_and_blue(profile):
    """An sRGB profile under another name whose red primary is blue and the reverse."""
    data = bytearray(profile)
    count = int.from_bytes(data[128:132])
    for start in range(132, 132 + 12 * count, 12):
        name = bytes(data[start : start + 4])
        data[start : start + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    return bytes(data).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_what_has_no_visible_colour_is_greyscale():
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(0, 256, (64, 64, 1), dtype=np.uint8), 3, 2)
    assert is_greyscale(grey)
    tinted = grey.copy()
    tinted[..., 2] = np.clip(tinted[..., 2].astype(int) - 6, 0, 255)  # as JPEG may do
    assert is_greyscale(tinted)
    dotted = grey.copy()
    dotted[:4, :4] = (200, 30, 30)  # 0.4 % of it
    assert not is_greyscale(dotted)
    assert not is_greyscale((grey * (1.0, 0.85, 0.7)).astype(np.uint8))  # sepia is a colour


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_truncated_pictures_are_named(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cannot read the picture") as caught:
        read_picture(path)
    assert_one_line(caught, path)


def test_what_is_no_picture_is_named(tmp_path):
    for data in (b"", b"no picture\nat all", b"\x89PNG\r\n\x1a\n garbage", b"II*\0"):
        (tmp_path / "a.png").write_bytes(data)
        for read in (read_picture, read_size):
            with pytest.raises(DataError, match="cannot read the picture") as caught:
                read(tmp_path / "a.png")
            assert_one_line(caught, tmp_path / "a.png")
    with pytest.raises(DataError) as caught:
        read_picture(tmp_path / "missing.png")
    assert_one_line(caught, tmp_path / "missing.png")


def test_reasons_of_several_lines_are_told_in_one(tmp_path, monkeypatch):
    def fail(path, **_):
        raise OSError("first\n  second")

    (tmp_path / "a.png").touch()
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DataError, match=r"\(first second\)") as caught:
        read_picture(tmp_path / "a.png")
    assert_one_line(caught, tmp_path / "a.png")


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    save(tmp_path / "a.png", 100, 100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="decompression bomb") as caught:
        read_picture(tmp_path / "a.png")
    assert_one_line(caught, tmp_path / "a.png")


def test_pictures_are_listed_by_name_with_their_folders(tmp_path):
    for name in ("b.png", "a.PNG", "sub dir/ü.jpeg", "sub dir/deep/c.WebP", "10.png", "9.bmp"):
        save(tmp_path / name)
    for name in (".hidden.png", "Thumbs.db", "notes.txt", "sub dir/._b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    save(tmp_path / ".hidden" / "d.png")
    (tmp_path / "folder.png").mkdir()
    found = list_pictures(tmp_path)
    assert found.names == ["10", "9", "a", "b", "sub dir/deep/c", "sub dir/ü"]
    assert all(read_picture(path).shape == (4, 8, 3) for path in found.paths)
    assert found.ignored == []
    (tmp_path / "phone.HEIC").write_bytes(b"no matter")
    ((path, reason),) = list_pictures(tmp_path).ignored
    assert path == str(tmp_path / "phone.HEIC")
    assert reason.startswith("of another kind than .bmp")


def test_names_stay_different_where_only_the_suffix_differs(tmp_path):
    for name in ("a.jpg", "a/b.png", "a.png", "c.png", "a.png.png"):
        save(tmp_path / name)
    found = list_pictures(tmp_path)
    assert sorted(found.names) == ["a.jpg", "a.png", "a.png.png", "a/b", "c"]
    assert sorted(found.stems) == ["a", "a", "a.png", "a/b", "c"]


def test_links_are_followed_once_and_broken_ones_told(tmp_path):
    save(tmp_path / "elsewhere" / "a.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "one.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (root / "itself").symlink_to(root)
    (root / "again").symlink_to(tmp_path / "elsewhere")
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("knot", "knot.png"):
        (root / name).symlink_to(root / name)
    deep = root.joinpath(*["d"] * 400)
    deep.mkdir(parents=True)
    found = list_pictures(root)
    assert found.names == ["again/a", "one"]
    reasons = dict(found.ignored)
    assert reasons.pop(str(root / "gone.png")) == "a link to nothing"
    assert list(reasons) == [str(root / "knot.png")]


def test_missing_directories_are_named(tmp_path):
    with pytest.raises(DataError, match="no directory") as caught:
        list_pictures(tmp_path / "nowhere")
    assert_one_line(caught, tmp_path / "nowhere")
    assert list_pictures(tmp_path) == ([], [], [], [])
    with pytest.raises(DataError, match="is a file: set data") as caught:
        list_pictures(save(tmp_path / "a.png"))
    assert_one_line(caught, tmp_path / "a.png")
