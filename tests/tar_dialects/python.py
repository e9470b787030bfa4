"""Writes an archive to stdout: FORMAT UID [XATTR=HEX...]. What is in it, writers.rs knows."""

import io
import sys
import tarfile

format, uid, xattrs = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
pax = format == "PAX_FORMAT"
large = uid > 0o7777777


def text(raw):
    """Bytes as tarfile wants them."""
    return raw.decode("utf-8", "surrogateescape")


def add(name, type=tarfile.REGTYPE, data=b"", link="", headers=None):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = type, link, len(data)
    info.mode, info.uid, info.gid, info.mtime = 0o644, uid, uid, 1700000000
    info.devmajor, info.devminor = 7, 300
    info.pax_headers = headers or {}
    out.addfile(info, io.BytesIO(data))


out = tarfile.open(
    fileobj=sys.stdout.buffer,
    mode="w|",
    format=getattr(tarfile, format),
    encoding="utf-8",
    errors="surrogateescape",
    pax_headers={"comment": "global", "path": "not/inherited"} if pax else None,
)
values = (xattr.split("=") for xattr in xattrs)
headers = {"SCHILY.xattr." + name: text(bytes.fromhex(value)) for name, value in values}
add("./", tarfile.DIRTYPE)
add("dir", tarfile.DIRTYPE)
# tarfile writes these records before those of uid and gid; so must size stand.
add("dir/body", data=b"b" * 700, headers=dict(headers, size="700") if pax else None)
add("hard", tarfile.LNKTYPE, link="./dir/body")
add("soft", tarfile.SYMTYPE, link=text(b"dir/\xff"))
add(text(b"byte-\xff"), data=b"1")
add("block", tarfile.BLKTYPE)
add("char", tarfile.CHRTYPE)
add("fifo", tarfile.FIFOTYPE)
add("p" * 140 + "/" + "n" * 90, data=b"split")
if large:
    add("l/" * 200 + "n" * 255, data=b"long")
    add("long-link", tarfile.SYMTYPE, link="t" * 4095)
out.close()
