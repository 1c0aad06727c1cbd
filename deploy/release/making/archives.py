"""Archives that are the same for the same content: sorted, owned by root, of one time."""
import gzip
import io
import tarfile
import time
import zipfile

# (name, content, mode)
Files = list[tuple[str, bytes, int]]


def tar(files: Files, mtime: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content, mode in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(content), mode, mtime
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tar_gz(files: Files, mtime: int) -> bytes:
    return gzip.compress(tar(files, mtime), compresslevel=9, mtime=0)


def zipped(files: Files, mtime: int) -> bytes:
    buffer = io.BytesIO()
    # Zip begins in 1980.
    moment = max(time.gmtime(mtime)[:6], (1980, 1, 1, 0, 0, 0))
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content, mode in sorted(files):
            info = zipfile.ZipInfo(name, moment)
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, (0o100000 | mode) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def again(package: bytes, mtime: int) -> bytes:
    """A `.tar.gz` of somebody else, with the same files, as these are."""
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        return tar_gz([(member.name, archive.extractfile(member).read(), 0o644) for member in archive if member.isfile()], mtime)
