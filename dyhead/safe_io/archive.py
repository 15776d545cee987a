"""Looking at the file of a checkpoint before anything of it is believed."""

import os
import zipfile

_HEAD = 512  # bytes that tell what a file is
_CHUNK = 2**22
_MAX_INFLATED = 2**32  # bytes; PyTorch compresses nothing, so others' archives only come near it
_LFS = b"version https://git-lfs.github.com/spec/"
_WEB_PAGE = (b"<!doctype", b"<html", b"<?xml", b"<head")


def check_is_data(path: str) -> None:
    """Refuse what stands in the place of a file that was not fetched.

    Raises:
        ValueError: the file is empty, a web page or a git-lfs pointer; the message says which.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise ValueError("it is empty (0 bytes): copy or download it again")
    if head.startswith(_LFS):
        raise ValueError(
            "it is a git-lfs pointer, which only names the file: run `git lfs pull` in its"
            " repository, or download the file itself"
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_WEB_PAGE):
        raise ValueError(
            "it is a web page, not weights: the address that it was downloaded from leads to a"
            " page about the file, so take that of the file itself"
        )


def check_archive(path: str, with_tensors: bool = True) -> None:
    """Compare a zip archive, as PyTorch writes them, with the checksums that it carries.

    Args:
        path: of a file that begins as an archive.
        with_tensors: look at the tensors too, not only at what describes them.

    Raises:
        ValueError: bytes have changed, the end is missing, or what is compressed in it would fill
            the memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_sizes(members, os.path.getsize(path))
            for member in members:
                if with_tensors or "/data/" not in member.filename:
                    _check_member(archive, member)
    except zipfile.BadZipFile as error:
        raise ValueError(_words_for(error, os.path.getsize(path))) from error


def _check_sizes(members: list[zipfile.ZipInfo], size_of_file: int) -> None:
    names = {member.filename for member in members}
    if len(names) != len(members):
        raise ValueError("two parts of it have one name")
    if sum(member.compress_size for member in members) > size_of_file:
        raise ValueError("parts of it overlap")
    inflated = sum(m.file_size for m in members if m.compress_type != zipfile.ZIP_STORED)
    if inflated > _MAX_INFLATED:
        raise ValueError(
            f"what is compressed in it would take {inflated / 2**30:.1f} GiB, and no more than"
            f" {_MAX_INFLATED / 2**30:g} GiB are unpacked: save the weights uncompressed"
        )


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    with archive.open(member) as part:
        length = 0
        while chunk := part.read(_CHUNK):  # the last read compares the checksum
            length += len(chunk)
    if length != member.file_size:
        raise ValueError(f"its part {member.filename} is cut off")


def _words_for(error: zipfile.BadZipFile, size: int) -> str:
    text = str(error)
    if "CRC" in text:
        name = text.rpartition("file ")[2].strip("'\"")
        return f"bytes of its part {name} have changed since it was written (CRC-32 differs)"
    if "not a zip file" in text:
        return f"its end is missing, so it was cut off at {size} bytes: copy or download it again"
    return text
