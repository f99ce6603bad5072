"""Image sets: what is handed out is what was published, split as stated, or an error that names the file."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import struct
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from PIL import Image

from rotvq.training import files, images
from rotvq.training.config import Config
from rotvq.training.train import train

SHIPPED = files.CHECKOUT / "data"
TEST_FILE = "fashion-mnist/t10k-images-idx3-ubyte.gz"


@pytest.fixture
def fresh():
    """No set is remembered from an earlier test, nor by a later one."""
    images._load.cache_clear()
    yield
    images._load.cache_clear()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch, fresh):
    """An empty ROTVQ_DATA, an empty checkout, an empty cache, and no source that can be reached."""
    pooch = pytest.importorskip("pooch")
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("ROTVQ_DATA", str(data))
    monkeypatch.setattr(files, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    for name, (_, md5, sha256) in files.FILES.items():
        monkeypatch.setitem(files.FILES, name, ("http://127.0.0.1:9/", md5, sha256))  # port 9 refuses
    return data


# --- Fashion-MNIST -------------------------------------------------------------------------------------------------


def test_registry_is_the_table_of_the_module_and_fits_what_ships():
    lines = (SHIPPED / "registry.txt").read_text().splitlines()
    registry = {name: sha256 for sha256, name in map(str.split, lines)}
    for name, (_, _, sha256) in files.FILES.items():
        assert registry[name.replace("ubyte.gz", "ubyte")] == sha256  # an IDX file is listed by its uncompressed bytes
    shipped = sorted((SHIPPED / "fashion-mnist").glob("*.gz"))
    assert len(shipped) == 4
    for file in shipped:
        contents = gzip.decompress(file.read_bytes())
        assert hashlib.sha256(contents).hexdigest() == registry[f"fashion-mnist/{file.stem}"], file.name
    assert "MIT" in (SHIPPED / "fashion-mnist" / "LICENSE").read_text()


def test_fashion_mnist_is_split_by_position_and_normalised_by_its_training_split():
    data = images.load("fashion-mnist")
    # An independent reading: NumPy, 16 bytes of header, one byte per pixel.
    pixels = {
        part: np.frombuffer(
            gzip.decompress((SHIPPED / f"fashion-mnist/{part}-images-idx3-ubyte.gz").read_bytes()),
            np.uint8,
            offset=16,
        ).reshape(-1, 1, 28, 28)
        for part in ("train", "t10k")
    }
    for split, expected in (
        (data.train, pixels["train"][:55_000]),
        (data.validation, pixels["train"][55_000:]),
        (data.test, pixels["t10k"]),
    ):
        assert split.dtype == torch.uint8 and split.shape == expected.shape
        assert (split.numpy() == expected).all()
    # Exact counts against NumPy's pairwise float64 sums: equal to rounding.
    scaled = pixels["train"][:55_000] / 255.0
    assert data.mean == pytest.approx([scaled.mean()], rel=1e-12)
    assert data.std == pytest.approx([scaled.std()], rel=1e-12)
    assert data.sha256 == "0fbbfcb392782b3b702472ead3688778e1509e8cf40f5c24d9d3303618b193ab"


def test_normalise_has_unit_moments_and_denormalise_inverts_it():
    data = images.load("fashion-mnist")
    x = data.normalise(data.train)
    assert x.dtype == torch.float32
    # float32 rounding of 4e7 numbers around 0 and 1; torch sums pairwise, so 1e-5 is ample.
    assert x.double().mean().item() == pytest.approx(0, abs=1e-5)
    assert x.double().var(correction=0).item() == pytest.approx(1, abs=1e-5)
    back = data.denormalise(x[:100]) * 255
    assert (back - data.train[:100]).abs().max() < 1e-3  # a few float32 roundings of numbers up to 255


def test_a_set_is_read_once_and_the_seed_does_not_change_it():
    assert images.load("fashion-mnist", 0) is images.load("fashion-mnist", 7)


def _cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _flip(whole: bytes) -> bytes:
    return whole[:100_000] + bytes([whole[100_000] ^ 1]) + whole[100_001:]


def _another_pixel(whole: bytes) -> bytes:
    contents = bytearray(gzip.decompress(whole))
    contents[5_000] ^= 1
    return gzip.compress(bytes(contents), 1)


DAMAGE = {
    "empty": lambda whole: b"",
    "truncated": _cut,
    "one bit flipped": _flip,
    "one pixel altered": _another_pixel,
    "short but whole gzip": lambda whole: gzip.compress(gzip.decompress(whole)[:-784], 1),
    "no gzip": lambda whole: b"<html>not found</html>",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named_and_nothing_is_returned(damage, elsewhere):
    whole = (SHIPPED / TEST_FILE).read_bytes()
    file = elsewhere / TEST_FILE
    file.parent.mkdir()
    file.write_bytes(damage(whole))
    with pytest.raises(images.DataError) as error:
        files.read(TEST_FILE)
    assert str(file) in str(error.value) and "intact copy" in str(error.value)
    file.write_bytes(whole)
    assert files.read(TEST_FILE) == gzip.decompress(whole)


def test_load_raises_as_long_as_one_of_its_files_is_missing(elsewhere):
    shipped = SHIPPED / "fashion-mnist"
    (elsewhere / "fashion-mnist").mkdir()
    train = "train-images-idx3-ubyte.gz"
    (elsewhere / "fashion-mnist" / train).write_bytes((shipped / train).read_bytes())
    with pytest.raises(images.DataError, match="t10k-images.*could not be fetched.*ROTVQ_DATA"):
        images.load("fashion-mnist")
    (elsewhere / TEST_FILE).write_bytes((shipped / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert len(images.load("fashion-mnist").test) == 10_000


def test_without_pooch_one_sentence_says_what_to_do(elsewhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(images.DataError, match="ROTVQ_DATA.*install pooch") as error:
        images.load("fashion-mnist")
    assert str(elsewhere) in str(error.value)


UNKNOWN = ["mnist", "", "imagefolder", "imagefolder:", "Fashion-MNIST", "photographs:1", "imagefolder:@native"]
UNKNOWN += ["imagefolder:a@0", "arrays:", "arrays:a.csv", "arrays:.npy", "arrays", "a.npy"]


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_name_is_refused_with_the_allowed_ones(name):
    with pytest.raises(ValueError, match="fashion-mnist-mini, photographs, cifar10, imagefolder:<path>.*<path>.npy"):
        images.load(name)


# --- fetching ------------------------------------------------------------------------------------------------------


class _Source(BaseHTTPRequestHandler):
    """A server that honours ranges, and breaks off after `allowance` bytes of each answer."""

    def do_GET(self):
        contents, first = self.server.contents, 0
        if "Range" in self.headers:
            first = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.server.asked.append(first)
        status = 206 if first else 200
        self.send_response(416 if first >= len(contents) else status)
        rest = contents[first:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.allowance])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(elsewhere, monkeypatch):
    with HTTPServer(("127.0.0.1", 0), _Source) as server:
        server.contents = (SHIPPED / TEST_FILE).read_bytes()
        server.asked, server.allowance = [], len(server.contents)
        md5 = hashlib.md5(server.contents).hexdigest()
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setitem(files.FILES, TEST_FILE, (address, md5, files.FILES[TEST_FILE][2]))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_interrupted_download_is_resumed_and_then_kept(server, elsewhere):
    server.allowance = 3_000_000
    with pytest.raises(images.DataError, match="resumes the download"):
        files.read(TEST_FILE)
    part = next((elsewhere.parent / "cache").rglob("*.part"))
    have = part.stat().st_size
    assert have > 1_000_000  # most of what was sent has been kept
    contents = files.read(TEST_FILE)
    assert server.asked == [0, have]
    assert contents == gzip.decompress(server.contents)
    assert files.read(TEST_FILE) == contents and len(server.asked) == 2  # from the cache
    assert not list((elsewhere.parent / "cache").rglob("*.part"))


def test_a_part_that_is_whole_needs_no_more_bytes(server, elsewhere):
    part = elsewhere.parent / "cache" / "rotvq" / (TEST_FILE + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(server.contents)
    assert files.read(TEST_FILE) == gzip.decompress(server.contents)


def test_a_wrong_download_is_refused_and_not_kept(server, elsewhere):
    right, server.contents = server.contents, b"a page that is no data set"
    with pytest.raises(images.DataError, match="hash"):
        files.read(TEST_FILE)
    assert not [file for file in (elsewhere.parent / "cache").rglob("*") if file.is_file()]
    server.contents = right
    assert files.read(TEST_FILE) == gzip.decompress(right)


# --- photographs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def numbered():
    """For each photograph one of its size whose pixels are numbered through all photographs, 24 bits in RGB."""
    start, pictures, ranges = 0, {}, {}
    for name in files.PHOTOGRAPHS:
        height, width = images._photograph(name).shape[1:]
        number = torch.arange(start, start + height * width).view(height, width)
        pictures[name] = torch.stack([number >> 16, number >> 8 & 255, number & 255]).to(torch.uint8)
        ranges[name] = slice(start, start := start + height * width)
    return pictures, ranges


@pytest.mark.parametrize("fold", range(5))
def test_no_pixel_is_in_two_splits_and_the_test_photographs_are_in_none_but_the_test(fold, numbered, monkeypatch):
    pictures, ranges = numbered
    monkeypatch.setattr(images, "_photograph", pictures.__getitem__)
    seen, photographs = [], []
    for split in images._photographs(fold):
        red, green, blue = split.int().unbind(1)
        used = torch.zeros(1 << 24, dtype=torch.bool)
        used[(red << 16 | green << 8 | blue).flatten()] = True
        seen.append(used)
        photographs.append({name for name, pixels in ranges.items() if used[pixels].any()})
    train, validation, test = seen
    assert not (train & validation).any() and not (train & test).any() and not (validation & test).any()
    assert photographs[2] == set(images.FOLDS[fold])
    assert photographs[0] == photographs[1] == set(ranges) - set(images.FOLDS[fold])


def test_each_photograph_is_tested_in_one_fold_and_the_stereo_pair_in_the_same():
    assert sorted(name for pair in images.FOLDS for name in pair) == sorted(files.PHOTOGRAPHS)
    assert any(all("motorcycle" in name for name in pair) for pair in images.FOLDS)


def test_photographs_are_colour_crops_at_fixed_places(fresh):
    first = images.load("photographs", 2)
    assert [len(split) for split in (first.train, first.validation, first.test)] == [12_288, 768, 768]
    assert first.train.shape[1:] == (3, 32, 32) and first.train.dtype == torch.uint8
    assert (first.test[:, 0] != first.test[:, 2]).any()
    images._load.cache_clear()
    again, other = images.load("photographs", 7), images.load("photographs", 3)
    assert again.sha256 == first.sha256 != other.sha256
    assert torch.equal(again.train, first.train)


def test_an_altered_photograph_and_a_missing_package_are_named(monkeypatch, fresh):
    name = "skimage/data/coffee.png"
    images._photograph.cache_clear()
    monkeypatch.setitem(files.PHOTOGRAPHS, name, "0" * 64)
    with pytest.raises(images.DataError, match="coffee.png"):
        images.load("photographs")
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(images.DataError, match="install scikit-image"):
        files.read_photograph(name)


# --- CIFAR-10 ------------------------------------------------------------------------------------------------------


def _python2_pickle(rows: np.ndarray) -> bytes:
    """One CIFAR batch as Python 2 pickled it: protocol 2, byte strings, the module path of NumPy 1."""

    def string(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text

    shape = b"".join(b"M" + struct.pack("<H", n) for n in rows.shape) + b"\x86"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R(K\x03" + string(b"|")
    dtype += b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    array += b"(K\x01" + shape + dtype + b"\x89" + string(rows.tobytes()) + b"tb"
    items = string(b"batch_label") + string(b"a batch") + string(b"data") + array
    labels = string(b"labels") + b"](" + b"K\x03" * len(rows) + b"e"
    return b"\x80\x02}(" + items + labels + b"u."


@pytest.fixture
def cifar(elsewhere, monkeypatch):
    """An archive in the true format with 4 images a batch, and its rows."""
    rows = np.random.default_rng(0).integers(0, 256, (6, 4, 3072), dtype=np.uint8)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, batch in zip([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"], rows, strict=True):
            contents = _python2_pickle(batch)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
    name = "cifar10/cifar-10-python.tar.gz"
    file = elsewhere / name
    file.parent.mkdir()
    file.write_bytes(buffer.getvalue())
    address, md5, _ = files.FILES[name]
    monkeypatch.setitem(files.FILES, name, (address, md5, hashlib.sha256(buffer.getvalue()).hexdigest()))
    monkeypatch.setattr(images, "HELD_OUT", 3)
    return file, rows


def test_cifar10_reads_the_published_format(cifar):
    _, rows = cifar
    data = images.load("cifar10")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [17, 3, 4]
    everything = torch.cat([data.train, data.validation, data.test]).numpy()
    # A row is red, green, blue, each 32 rows of 32: pixel (c, y, x) is entry 1024 c + 32 y + x.
    assert everything[9, 2, 5, 7] == rows[2, 1, 2048 + 32 * 5 + 7]
    assert (everything.reshape(24, 3072) == rows.reshape(24, 3072)).all()
    assert len(data.mean) == len(data.std) == 3


def test_cifar10_that_is_cut_is_not_unpickled(cifar):
    file, _ = cifar
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(images.DataError, match="cifar-10-python.tar.gz"):
        images.load("cifar10")


# --- image folder --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, fresh):
    """train/ and val/ with two classes: 40 + 3 pictures, each grey level its own number, some not square or not RGB."""
    level = 0
    for part, count in (("train", 20), ("val", 2)):
        for label in ("n01440764", "n01443537"):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(count):
                picture = Image.new(("RGB", "L", "RGBA")[i % 3], ((300, 500), (280, 260))[i % 2], 0)
                picture.paste((level,) * len(picture.getbands()), (0, 0, *picture.size))
                picture.save(tmp_path / part / label / f"{label}_{i:02d}.png")
                level += 1
    (tmp_path / "val" / "n01443537" / "notes.txt").write_text("no image")
    return tmp_path


def test_an_image_folder_is_split_and_cropped(folder):
    data = images.load(f"imagefolder:{folder}")
    assert [tuple(split.shape) for split in (data.train, data.validation, data.test)] == [
        (38, 3, 256, 256),
        (2, 3, 256, 256),
        (4, 3, 256, 256),
    ]
    levels = [split[:, 1, 128, 128].tolist() for split in (data.train, data.validation, data.test)]
    assert levels[1] == [0, 20] and levels[2] == [40, 41, 42, 43]
    assert sorted(levels[0] + levels[1]) == list(range(40))


def test_an_image_folder_keeps_the_centre(folder):
    # 512 x 256: the shorter side is 256 already, so the crop is the columns 128 to 383, untouched by resizing.
    ramp = np.broadcast_to(np.arange(512) // 2, (256, 512)).astype(np.uint8)
    Image.fromarray(ramp).save(folder / "val" / "n01440764" / "n01440764_00.png")
    test = images.load(f"imagefolder:{folder}").test
    assert (test[0].numpy() == ramp[:, 128:384]).all()


def test_an_image_folder_is_found_below_the_data_folder(folder, monkeypatch):
    monkeypatch.setenv("ROTVQ_DATA", str(folder.parent))
    data = images.load(f"imagefolder:{folder.name}")
    assert data.name == f"imagefolder:{folder.name}" and len(data.train) == 38


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_cut_image_is_named(folder, suffix):
    bad = folder / "train" / "n01443537" / f"bad.{suffix}"
    Image.effect_noise((300, 300), 50).save(bad)
    bad.write_bytes(bad.read_bytes()[:-2_000])
    with pytest.raises(images.DataError, match=f"bad.{suffix} is no whole image"):
        images.load(f"imagefolder:{folder}")


def test_an_image_folder_that_is_not_there_or_without_val_is_refused(folder):
    with pytest.raises(images.DataError, match="absent is not there: looked for .*absent$"):
        images.load(f"imagefolder:{folder / 'absent'}")
    for size in ("-3", "16.0", "16x16", "Native", " 16", "", "²"):
        with pytest.raises(images.DataError, match="; behind @ stands a side from 1 to 4096, or native$"):
            images.load(f"imagefolder:{folder}@{size}")
    shutil.rmtree(folder / "val")
    with pytest.raises(images.DataError, match="val holds 0 images: it needs a folder per class"):
        images.load(f"imagefolder:{folder}")


@pytest.fixture
def small(tmp_path, fresh):
    """20 noisy pictures of 12 x 8 in two folders, and their pixels in sorted order: (20, 3, 8, 12)."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 12, 3), dtype=np.uint8)
    for i, picture in enumerate(pixels):
        (tmp_path / f"{i // 10}").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / f"{i // 10}" / f"{i:02d}.png")
    return tmp_path, torch.from_numpy(pixels).movedim(-1, 1)


def test_a_folder_without_train_at_the_size_of_its_images(small):
    folder, pixels = small
    data = images.load(f"imagefolder:{folder}@native")
    assert torch.equal(data.test, pixels[[9, 19]]) and torch.equal(data.validation, pixels[[8, 18]])
    assert torch.equal(data.train, pixels[[*range(8), *range(10, 18)]])


@pytest.mark.parametrize("side", [4, 8, 32])
def test_a_folder_at_a_given_size(small, side):
    folder, pixels = small
    data = images.load(f"imagefolder:{folder}@{side}")
    assert data.train.shape == (16, 3, side, side)
    if side == 8:  # the height is kept, so only columns are cut
        assert torch.equal(data.test, pixels[[9, 19], :, :, 2:10])


def test_sizes_of_one_folder_are_two_sets(small):
    folder, _ = small
    assert len({images.load(f"imagefolder:{folder}{at}").sha256 for at in ("@native", "@8", "")}) == 3


def test_images_of_two_sizes_have_no_native_one(small):
    folder, _ = small
    Image.new("RGB", (12, 9)).save(folder / "1" / "19.png")
    with pytest.raises(images.DataError, match="00.png of 12 x 8 and .*19.png of 12 x 9: give a side"):
        images.load(f"imagefolder:{folder}@native")


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_16_bits_keep_their_high_8(small, format):
    """Grey of 16 bits, as microscopes and depth cameras write it, and a file of another format under a name of ours."""
    folder, _ = small
    ramp = np.arange(8 * 12, dtype=np.uint16).reshape(8, 12) * 682
    for path in folder.rglob("*.png"):
        Image.fromarray(ramp).save(path, format=format)
    with Image.open(path) as read:
        assert read.mode.startswith("I")
    seen = images.load(f"imagefolder:{folder}@native").train
    assert (seen[0].numpy() == ramp // 256).all() and seen.max() == 253


def colours(mode: str) -> Image.Image:
    """A picture of 12 x 8 in a mode of Pillow's, the left half dark, the right half light, transparent if it can be."""
    picture = Image.new("RGB", (12, 8), (20, 40, 60))
    picture.paste((200, 220, 240), (6, 0, 12, 8))
    picture = picture.convert(mode.partition(",")[0], palette=Image.Palette.ADAPTIVE)
    if mode in ("LA", "RGBA"):
        picture.putalpha(100)
    if mode == "P, transparent":
        picture.info["transparency"] = bytes([0, 128])
    return picture


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "P, transparent", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_every_mode_of_8_bits_keeps_its_colours(small, mode):
    folder, _ = small
    for path in folder.rglob("*.png"):
        colours(mode).save(path, format="tiff" if mode in ("CMYK", "YCbCr", "LAB") else "png")
    seen = images.load(f"imagefolder:{folder}@native").train.float().mean((0, 2)).T  # (12, 3)
    wanted = {"L": (36.0, 216.0), "LA": (36.0, 216.0)}.get(mode)
    if mode == "1":
        assert seen[:6].mean() < 80 and seen[6:].mean() > 180
    elif wanted:
        torch.testing.assert_close(
            seen, torch.tensor(wanted).repeat_interleave(6)[:, None].expand(12, 3), atol=2, rtol=0
        )
    else:
        both = torch.tensor([[20.0, 40.0, 60.0], [200.0, 220.0, 240.0]]).repeat_interleave(6, 0)
        torch.testing.assert_close(seen, both, atol=4, rtol=0)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused_by_name(small, mode):
    folder, _ = small
    Image.new(mode, (12, 8), 70_000).save(folder / "1" / "13.png", format="tiff")
    with pytest.raises(
        images.DataError, match=rf"13.png holds numbers of 32 bits \(mode {mode}\): save it with 8 or 16"
    ):
        images.load(f"imagefolder:{folder}@native")


@pytest.mark.parametrize("suffix", ["bmp", "tiff"])
@pytest.mark.parametrize("inside", ["", "train"])
def test_a_folder_of_another_format_is_told_which_it_takes(tmp_path, suffix, inside):
    (tmp_path / inside / "a").mkdir(parents=True)
    for number in range(20):
        Image.new("L", (8, 8), number).save(tmp_path / inside / "a" / f"{number}.{suffix}")
    with pytest.raises(images.DataError, match="holds 0 images: it needs .* jpeg, png or webp"):
        images.load(f"imagefolder:{tmp_path}")


@pytest.mark.parametrize("side, right", [(0, False), (1, True), (4096, True), (4097, False), (99999999, False)])
def test_the_side_of_an_image_is_bounded(side, right):
    if right:
        images.check(f"imagefolder:cats@{side}")
    else:
        with pytest.raises(ValueError, match="imagefolder:<path>@<side up to 4096>"):
            images.check(f"imagefolder:cats@{side}")


# --- arrays --------------------------------------------------------------------------------------------------------


def rows(*shape, dtype=np.uint8):
    drawn = np.random.default_rng(0).normal(3, 50, shape)
    return drawn.astype(dtype) if np.dtype(dtype).kind == "f" else drawn.clip(0, 255).astype(dtype)


ARRAYS = [
    (rows(30, 8, 12), (1, 8, 12)),
    (rows(30, 8, 12, 3), (3, 8, 12)),
    (rows(30, 8, 12, 3, dtype=np.float64), (3, 8, 12)),
    (rows(30, 4, 4, 16, dtype=np.float16), (16, 4, 4)),
    (rows(30, 5, dtype=np.float32), (5, 1, 1)),
    (np.asfortranarray(rows(30, 5)), (5, 1, 1)),
]


@pytest.mark.parametrize("array, shape", ARRAYS, ids=[f"{a.shape} {a.dtype}" for a, _ in ARRAYS])
def test_an_array_keeps_its_values_and_is_normalised_by_its_training_split(array, shape, tmp_path, fresh):
    np.save(tmp_path / "a.npy", array)
    data = images.load(f"arrays:{tmp_path / 'a.npy'}")
    last = np.arange(30) % 10
    kept = {"train": last < 8, "validation": last == 8, "test": last == 9}
    for split, mask in kept.items():
        found, wanted = getattr(data, split), array[mask].astype(np.float64)
        assert found.shape == (mask.sum(), *shape)
        wanted = wanted[:, None] if array.ndim == 3 else np.moveaxis(wanted, -1, 1).reshape(found.shape)
        scale = 1 if array.dtype == np.uint8 else 255
        np.testing.assert_allclose(found.double() / scale, wanted, rtol=2e-7)
        np.testing.assert_allclose(data.denormalise(data.normalise(found)), found.float() / 255, rtol=1e-3, atol=1e-3)
    normal = data.normalise(data.train).double().transpose(0, 1).flatten(1)
    np.testing.assert_allclose(normal.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(normal.square().mean(1), 1, rtol=1e-4)


@pytest.mark.parametrize("own", [True, False])
def test_a_file_of_arrays_may_have_its_own_split(own, tmp_path, fresh):
    parts = {"train": rows(40, 3, dtype=np.float32), "test": rows(5, 3, dtype=np.float32) + 1}
    parts |= {"validation": rows(6, 3, dtype=np.float32) - 1} if own else {}
    np.savez(tmp_path / "a.npz", **parts)
    data = images.load(f"arrays:{tmp_path / 'a.npz'}")
    assert [len(split) for split in (data.train, data.validation, data.test)] == ([40, 6, 5] if own else [38, 2, 5])
    wanted = parts["validation"] if own else parts["train"][[0, 20]]
    np.testing.assert_allclose(data.validation[:, :, 0, 0] / 255, wanted, rtol=2e-7)


def test_an_array_is_found_below_the_data_folder(tmp_path, fresh, monkeypatch):
    monkeypatch.setenv("ROTVQ_DATA", str(tmp_path))
    np.savez_compressed(tmp_path / "a.npz", rows(20, 3))
    assert len(images.load("arrays:a.npz").train) == 16
    with pytest.raises(images.DataError, match="arrays:b.npy is not there"):
        images.load("arrays:b.npy")


BAD_ARRAYS = {
    "whole numbers": (rows(20, 4).astype(np.int64), r"an array of \(20, 4\) int64: it must be .* uint8 or float"),
    "objects": (np.array([{}] * 20), "no whole .npy"),
    "one axis": (rows(20), r"must be \(N, H, W\)"),
    "no rows": (rows(0, 4), r"\(0, 4\)"),
    "nine rows": (rows(9, 4), "a row or more"),
    "not finite": (np.where(np.eye(20) > 0, np.inf, 0.0), "not finite"),
    "too large": (np.full((20, 2), 1e38), "not finite"),
    "channels first": (rows(20, 3, 8, 8), "move the channels to the end"),
    "other names": ({"x": rows(9, 4), "y": rows(9, 4)}, "needs one array, or train and test"),
    "labels beside": (
        {"train": rows(20, 4), "test": rows(20, 4), "labels": np.array(["a"] * 40)},
        "holds train, test, labels: it needs one array, or train and test",
    ),
    "no array": ({}, "holds nothing: it needs one array, or train and test"),
    "two widths": ({"train": rows(20, 4), "test": rows(20, 5)}, "all one shape and type"),
    "two types": ({"train": rows(20, 4), "test": rows(20, 4, dtype=float)}, "all one shape and type"),
}


@pytest.mark.parametrize("content, words", BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_an_array_that_cannot_be_meant_is_refused(content, words, tmp_path, fresh):
    path = tmp_path / ("a.npz" if isinstance(content, dict) else "a.npy")
    np.savez(path, **content) if isinstance(content, dict) else np.save(path, content)
    with pytest.raises(images.DataError, match=words):
        images.load(f"arrays:{path}")


@pytest.mark.parametrize(
    "beside, words", [(False, "uint8 or float"), (True, "holds train, read.me: it needs one array")]
)
def test_a_text_among_arrays_is_refused(beside, words, tmp_path, fresh):
    if beside:
        np.savez(tmp_path / "a.npz", train=rows(20, 4))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("read.me", "words")
    with pytest.raises(images.DataError, match=words):
        images.load(f"arrays:{tmp_path / 'a.npz'}")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_an_array_that_is_cut_is_named(suffix, tmp_path, fresh):
    path = tmp_path / f"a.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, rows(50, 40))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(images.DataError, match=f"a.{suffix} is no whole"):
        images.load(f"arrays:{path}")


def test_vectors_are_trained_and_their_error_is_in_their_units(tmp_path, fresh):
    """Eight clusters of variance 1 at the corners of a cube of side 100: eight codes leave that variance, no more."""
    draw = np.random.default_rng(0)
    corners = draw.integers(0, 2, (1000, 3)) * 100.0
    np.save(tmp_path / "a.npy", corners + draw.normal(0, 1, corners.shape))
    how = {"estimator": "ste", "update": "ema", "revival": "unused", "init": "kmeans", "init_latents": 512, "lr": 3e-3}
    config = Config(
        data=f"arrays:{tmp_path / 'a.npy'}", model="mlp", dim=3, codebook_size=8, batch=64, steps=200, **how
    )
    result = train(config)["final"]
    assert 0.8 < result["test_mse"] < 1.5 and result["test_usage_tokens"] == 100


def test_an_array_file_that_was_written_again_is_read_again(tmp_path):
    path = tmp_path / "rows.npy"
    for value in (0.25, 0.75):
        np.save(path, np.full((40, 6), value, np.float32))
        os.utime(path, ns=(int(1e18 * value), int(1e18 * value)))
        assert images.load(f"arrays:{path}").train.unique().tolist() == [255 * value]
