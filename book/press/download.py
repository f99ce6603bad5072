"""The book as one file to take away: a PDF, or a zip of the site, with their checksums beside them."""

from __future__ import annotations

import hashlib
import io
import sys
import time
import zipfile
from pathlib import Path

from book.press import hosted, paths
from book.press.edition import edition, file_name
from book.press.pdf import printed

SUMS = "SHA256SUMS"
READABLE = 0o644 << 16  # the mode of a file, where a zip keeps it
UNIX = 3  # the system that a zip says it was made on, wherever that was


def write_pdf() -> None:
    """Write the built site as one PDF, `_build/download/rotvq-VERSION.pdf`, and its checksum.

    Raises:
        SystemExit: if the book was not built, or there is no Chromium.
    """
    _require_site()
    start, this = time.perf_counter(), edition()
    _publish(f"{file_name(this)}.pdf", printed(this, hosted.address(hosted.read_settings())), start)


def write_zip() -> None:
    """Write the built site as one zip, `_build/download/rotvq-VERSION.zip`, and its checksum.

    Raises:
        SystemExit: if the book was not built.
    """
    _require_site()
    start, this = time.perf_counter(), edition()
    name = file_name(this)
    _publish(f"{name}.zip", packed(paths.SITE, name, this.time.timetuple()[:6]), start)


def packed(folder: Path, inside: str, when: tuple[int, int, int, int, int, int]) -> bytes:
    """A folder as a zip. Equal files give equal bytes: they are in the order of their names, all of one time and mode.

    Args:
        folder: of the site.
        inside: The name of the folder in the zip.
        when: year, month, day, hour, minute and second of every file.
    """
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{inside}/{path.relative_to(folder).as_posix()}", when)
            entry.external_attr, entry.create_system = READABLE, UNIX
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return found.getvalue()


def sums(folder: Path) -> str:
    """The checksums of the files in a folder, as `sha256sum --check` reads them."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def _require_site() -> None:
    if not (paths.SITE / "index.html").exists():
        sys.exit("no built book: run `make book` first")


def _publish(name: str, content: bytes, start: float) -> None:
    """Put a file into the folder of downloads, and note its checksum."""
    paths.DOWNLOAD.mkdir(exist_ok=True)
    target = paths.DOWNLOAD / name
    target.write_bytes(content)
    (paths.DOWNLOAD / SUMS).write_text(sums(paths.DOWNLOAD))
    print(f"{target.relative_to(paths.ROOT)}: {len(content) / 2**20:.1f} MiB, {time.perf_counter() - start:.1f} s")
