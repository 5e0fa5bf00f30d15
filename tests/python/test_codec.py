# SPDX-License-Identifier: Apache-2.0
"""forebay.codec: what it writes others read, what others write it reads, and nothing runs away."""

import array
import bz2
import gzip
import inspect
import lzma
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import forebay
from forebay import codec

NAMES = ("zstd", "lz4", "gzip", "bz2", "lzma")
LEVELS = {"zstd": (-131072, 22), "lz4": (-65536, 12), "gzip": (0, 9), "bz2": (1, 9), "lzma": (0, 9)}
TEXT = b"".join(b'{"id": %d, "name": "customer %d", "city": "Springfield"}' % (n, n * 7919) for n in range(300))


def others():
    """Who else reads and writes the formats: name -> (compress, decompress)."""
    known = {
        "gzip": (gzip.compress, gzip.decompress),
        "bz2": (bz2.compress, bz2.decompress),
        "lzma": (lzma.compress, lzma.decompress),
    }
    try:
        import zstandard
    except ImportError:
        pass
    else:
        known["zstd"] = (
            lambda data: zstandard.ZstdCompressor().compress(data),
            lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
        )
    try:
        import lz4.frame
    except ImportError:
        pass
    else:
        known["lz4"] = (lz4.frame.compress, lz4.frame.decompress)
    return known


OTHERS = others()
payloads = st.binary(max_size=2000) | st.builds(lambda part, n: part * n, st.binary(min_size=1, max_size=40), st.integers(0, 500))


@pytest.fixture(scope="module")
def dictionary():
    return codec.train_dictionary([TEXT[n : n + 400] for n in range(0, len(TEXT) - 400, 37)], 4096)


def test_there_are_five_and_their_order_stays():
    assert codec.codecs() == NAMES


@pytest.mark.parametrize("name", NAMES)
@given(data=payloads)
@settings(max_examples=50, deadline=None)
def test_whatever_is_compressed_comes_back(name, data):
    small = codec.compress(data, name)
    assert codec.decompress(small) == data
    assert codec.decompress(small, name, max_size=max(1, len(data))) == data


@pytest.mark.parametrize("name", OTHERS)
@given(data=payloads)
@settings(max_examples=50, deadline=None)
def test_others_read_what_is_written_and_the_reverse(name, data):
    write, read = OTHERS[name]
    assert read(codec.compress(data, name)) == data
    assert codec.decompress(write(data)) == data
    both = write(data) + codec.compress(data, name)
    assert codec.decompress(both) == 2 * data


@pytest.mark.parametrize("name", NAMES)
def test_both_ends_of_the_levels_work_and_no_further(name):
    least, most = LEVELS[name]
    for level in (least, most):
        assert codec.decompress(codec.compress(TEXT[:3000], name, level)) == TEXT[:3000]
    for level in (least - 1, most + 1, 2**31, 2**31 - 1, -(2**31), -(2**31) - 1, 2**80, -(2**80)):
        with pytest.raises(ValueError, match=f"{name} has the levels {least} to {most}, not"):
            codec.compress(b"x", name, level)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_knows_the_levels(name):
    least, most = LEVELS[name]
    assert f"{name} {least} to {most} (" in " ".join(inspect.getdoc(codec.compress).split())


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda data: array.array("B", data)])
def test_any_buffer_will_do(make, dictionary):
    small = codec.compress(make(TEXT), dictionary=make(dictionary))
    assert codec.decompress(make(small), dictionary=make(dictionary)) == TEXT
    assert codec.train_dictionary([make(TEXT[n : n + 100]) for n in range(500)], 2048)


def test_a_buffer_that_is_not_contiguous_is_refused():
    with pytest.raises(BufferError):
        codec.compress(memoryview(TEXT)[::2])


@pytest.mark.parametrize(
    "call",
    [
        lambda: codec.compress("text"),
        lambda: codec.compress(None),
        lambda: codec.compress(b"", 3),
        lambda: codec.compress(b"", None),
        lambda: codec.compress(b"", level="9"),
        lambda: codec.compress(b"", level=3.0),
        lambda: codec.compress(b"", level=True),
        lambda: codec.compress(b"", dictionary="text"),
        lambda: codec.compress(b"", dictionary=5),
        lambda: codec.compress(b"", 3, dictionary=b"abc"),
        lambda: codec.decompress("text"),
        lambda: codec.decompress("text", "zstd"),
        lambda: codec.decompress(b"", "zstd", max_size=1.5),
        lambda: codec.decompress(b"", b"zstd"),
        lambda: codec.train_dictionary(b"abc"),
        lambda: codec.train_dictionary("abc"),
        lambda: codec.train_dictionary(5),
        lambda: codec.train_dictionary([None] * 100),
        lambda: codec.train_dictionary([b"abc"] * 100, None),
    ],
)
def test_wrong_types_are_type_errors(call):
    with pytest.raises(TypeError):
        call()


@pytest.mark.parametrize("name", ["", "ZSTD", "zlib", "zstd\0", "\ud800", "none"])
def test_an_unknown_codec_names_those_there_are(name):
    for call in (
        lambda: codec.compress(b"x", name),
        lambda: codec.decompress(b"x", name),
        lambda: codec.compress(b"x", name, dictionary=b"abc"),
    ):
        with pytest.raises(ValueError, match=r"zstd, lz4, gzip, bz2, lzma|surrogates"):
            call()


@pytest.mark.parametrize("name", NAMES)
def test_no_more_comes_out_than_max_size(name):
    bomb = codec.compress(bytes(100_000_000), name, LEVELS[name][0] if name == "lzma" else None)
    assert len(bomb) < 1_000_000
    begun = time.process_time()
    with pytest.raises(forebay.TooBigError, match="more than 1048576 bytes would come out") as caught:
        codec.decompress(bomb, max_size="1MiB")
    assert time.process_time() - begun < 1
    assert isinstance(caught.value, ValueError)
    with pytest.raises(forebay.TooBigError, match=f"{64 * 2**20}"):
        codec.decompress(bomb)


@pytest.mark.parametrize("size", [0, -1, "0", "much", 2**63])
def test_a_max_size_that_is_none_is_a_value_error(size):
    with pytest.raises(ValueError, match="max_size"):
        codec.decompress(codec.compress(b"x"), max_size=size)


@pytest.mark.parametrize("name", NAMES)
def test_every_cut_is_a_corrupt_error(name):
    small = codec.compress(TEXT[:500], name)
    for cut in range(len(small)):
        with pytest.raises(forebay.CorruptError) as caught:
            codec.decompress(small[:cut], name)
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", NAMES)
def test_what_follows_is_a_corrupt_error(name):
    small = codec.compress(b"tea", name)
    for tail in (b"x", b"garbage", b"\0garbage", codec.compress(b"tea", "gzip" if name != "gzip" else "bz2")):
        with pytest.raises(forebay.CorruptError):
            codec.decompress(small + tail)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_garbage_is_a_value_error(name, data):
    try:
        codec.decompress(data, name, max_size=10_000)
    except ValueError:
        pass


@pytest.mark.parametrize("data", [b"", b"plain", b"\x1f", b"BZ", b"\x78\x9c" + bytes(20), zlib.compress(b"x")])
def test_data_of_no_codec_says_so(data):
    with pytest.raises(forebay.CorruptError, match="begins like that of no codec; if you know it, pass codec="):
        codec.decompress(data)


def test_zero_bytes_after_gzip_are_skipped_as_python_does():
    padded = gzip.compress(b"tea") + bytes(10) + gzip.compress(b"milk")
    assert codec.decompress(padded) == gzip.decompress(padded) == b"teamilk"


@pytest.mark.parametrize("check", [lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_CRC64, lzma.CHECK_SHA256])
def test_xz_with_any_check_and_filter_is_read(check):
    filters = [{"id": lzma.FILTER_DELTA, "dist": 4}, {"id": lzma.FILTER_LZMA2, "preset": 9}]
    assert codec.decompress(lzma.compress(TEXT, check=check)) == TEXT
    assert codec.decompress(lzma.compress(TEXT, check=check, filters=filters)) == TEXT


def test_gzip_with_a_name_and_a_time_is_read(tmp_path):
    path = tmp_path / "named.gz"
    with gzip.GzipFile(path, "wb", mtime=1234567890) as file:
        file.write(TEXT)
    assert codec.decompress(path.read_bytes()) == TEXT


@pytest.mark.parametrize("name", ["zstd", "lz4"])
def test_a_dictionary_makes_small_data_smaller(name, dictionary):
    value = TEXT[5000:5300]
    with_it = codec.compress(value, name, dictionary=dictionary)
    assert len(with_it) < 0.7 * len(codec.compress(value, name))
    assert codec.decompress(with_it, dictionary=dictionary) == value
    for wrong in (None, TEXT[:1000]):
        with pytest.raises(forebay.CorruptError):
            codec.decompress(with_it, dictionary=wrong)
    assert codec.decompress(with_it, dictionary=bytes(bytearray(dictionary))) == value


def test_zstandard_takes_the_dictionary(dictionary):
    zstandard = pytest.importorskip("zstandard")
    theirs = zstandard.ZstdCompressionDict(dictionary)
    value = TEXT[5000:5300]
    small = codec.compress(value, dictionary=dictionary)
    assert zstandard.ZstdDecompressor(dict_data=theirs).decompress(small) == value
    small = zstandard.ZstdCompressor(dict_data=theirs).compress(value)
    assert codec.decompress(small, dictionary=dictionary) == value


@pytest.mark.parametrize("name", ["gzip", "bz2", "lzma"])
def test_codecs_without_dictionaries_say_so(name, dictionary):
    with pytest.raises(forebay.InvalidError, match=f"{name} takes no dictionary"):
        codec.compress(b"x", name, dictionary=dictionary)


@pytest.mark.parametrize(("bad", "why"), [(b"", "empty"), (b"\x37\xa4\x30\xec" + bytes(50), "damaged")])
def test_a_bad_dictionary_says_so(bad, why):
    with pytest.raises(forebay.InvalidError, match=why):
        codec.compress(b"x", dictionary=bad)


@pytest.mark.parametrize(
    "samples", [[], [b""] * 100, [TEXT[:100]] * 15, [b"x"] * 1000, [TEXT]]
)
def test_samples_that_are_not_enough_are_a_value_error(samples):
    with pytest.raises(forebay.InvalidError, match="samples"):
        codec.train_dictionary(samples)


def test_samples_may_come_from_an_iterator_and_give_the_same_each_time():
    samples = [TEXT[n : n + 400] for n in range(0, len(TEXT) - 400, 37)]
    first = codec.train_dictionary(iter(samples), "4KiB")
    assert 1024 < len(first) <= 4096
    assert codec.train_dictionary(samples, 4096) == first


@pytest.mark.parametrize("size", [1, 1023, 2**20 + 1, 2**62])
def test_a_size_out_of_range_is_a_value_error(size):
    with pytest.raises(ValueError, match="1024 to 1048576 bytes"):
        codec.train_dictionary([TEXT[n : n + 400] for n in range(100)], size)


def test_other_threads_run_meanwhile():
    """A thread counts while another compresses: with the GIL held it would stand still."""
    data = TEXT * 100
    counted = []
    done = threading.Event()

    def count():
        while not done.is_set():
            counted.append(None)
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    begun = time.monotonic()
    while not counted:
        time.sleep(0.001)
    before = len(counted)
    codec.compress(data, "lzma", 9)
    lasted, during = time.monotonic() - begun, len(counted) - before
    done.set()
    thread.join()
    if lasted < 0.05:
        pytest.skip("too fast to tell")
    assert during > 5


def test_threads_share_everything(dictionary):
    def work(n):
        name = NAMES[n % len(NAMES)]
        mine = dictionary if name in ("zstd", "lz4") and n % 2 else None
        value = TEXT[n : n + 700]
        return codec.decompress(codec.compress(value, name, dictionary=mine), dictionary=mine) == value

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(work, range(600)))


def test_a_bytearray_is_pinned_while_it_is_read():
    data = bytearray(TEXT * 200)

    def grow():
        while not done.is_set():
            try:
                data.append(0)  # moves it, unless it is pinned
            except BufferError:
                pass
            time.sleep(0.0005)

    done = threading.Event()
    thread = threading.Thread(target=grow)
    thread.start()
    small = codec.compress(data, "lzma", 6)
    done.set()
    thread.join()
    assert codec.decompress(small).startswith(TEXT)


def test_importing_forebay_does_not_import_it():
    code = f"import sys; sys.path[:] = {sys.path!r}; import forebay; print('forebay.codec' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
