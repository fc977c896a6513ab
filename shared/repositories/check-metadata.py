#!/usr/bin/python3
"""Opens metadata files as streams and holds them to what repomd.xml says, before any library reads them. check-metadata.ts has the shapes of question and answer.

Standard input: JSON, a list of files. Standard output: JSON, `{"openBytes": N}` or `{"problem": TEXT, "file": PATH}`. Exit status 0 for both.
"""
import bz2
import concurrent.futures
import hashlib
import json
import lzma
import subprocess
import sys
import zlib

CHUNK = 1 << 20
# Longer than any name, text or list of attributes of a real package.
WITHOUT_TAG_MAX = 256 * 1024
XZ_MEMORY_MAX = 256 * 1024 * 1024


class Problem(Exception):
    """The file is not what it should be; the text says why."""


def gzip_chunks(stream):
    decoder = zlib.decompressobj(wbits=31)
    for data in iter(lambda: stream.read(CHUNK), b""):
        while data:
            # Bounded, so that a bomb is met a megabyte at a time.
            yield decoder.decompress(data, CHUNK)
            data = decoder.unconsumed_tail
            if decoder.eof:
                data = decoder.unused_data + data
                if data:
                    decoder = zlib.decompressobj(wbits=31)
    yield decoder.flush()
    if not decoder.eof:
        raise Problem("ends in the middle of its compressed data")


def incremental_chunks(stream, make):
    decoder = make()
    data = stream.read(CHUNK)
    while data:
        yield decoder.decompress(data, CHUNK)
        while not decoder.eof and not decoder.needs_input:
            yield decoder.decompress(b"", CHUNK)
        data = decoder.unused_data if decoder.eof else b""
        data += stream.read(CHUNK)
        if decoder.eof and data:
            decoder = make()
    if not decoder.eof:
        raise Problem("ends in the middle of its compressed data")


def zstd_chunks(path):
    # 128 MiB is zstd's own bound for windows that need no special wish.
    with subprocess.Popen(
        ["zstd", "-dcq", "--no-progress", "--memory=128MB", "--", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        is_whole = False
        try:
            yield from iter(lambda: process.stdout.read(CHUNK), b"")
            is_whole = True
        finally:
            # Whoever stopped reading had reason to; the rest of a bomb need not be made.
            if not is_whole:
                process.kill()
        if process.wait() != 0:
            raise Problem("cannot be decompressed as zstd")


def open_chunks(path):
    with open(path, "rb") as stream:
        magic = stream.read(6)
        stream.seek(0)
        if magic[:2] == b"\x1f\x8b":
            yield from gzip_chunks(stream)
        elif magic[:4] == b"\x28\xb5\x2f\xfd":
            yield from zstd_chunks(path)
        elif magic == b"\xfd7zXZ\x00":
            yield from incremental_chunks(stream, lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY_MAX))
        elif magic[:3] == b"BZh":
            yield from incremental_chunks(stream, bz2.BZ2Decompressor)
        else:
            yield from iter(lambda: stream.read(CHUNK), b"")


def check_tags(chunk, since):
    """How many bytes have passed since the last tag began; raises Problem where they are too many."""
    at = 0
    while at < len(chunk):
        found = chunk.rfind(b"<", at, at + WITHOUT_TAG_MAX - since)
        if found < 0:
            rest = len(chunk) - at
            if since + rest >= WITHOUT_TAG_MAX:
                raise Problem(f"has a name, text or tag of more than {WITHOUT_TAG_MAX} bytes")
            return since + rest
        at = found + 1
        since = 0
    return since


def check(file):
    sums = {}
    if file["openChecksum"]:
        sums[file["openChecksum"]["type"]] = hashlib.new(file["openChecksum"]["type"])
    size = 0
    since = 0
    tail = b""
    limit = file["openSize"] if file["openSize"] is not None else file["openBytesMax"]
    try:
        for chunk in open_chunks(file["path"]):
            size += len(chunk)
            if size > limit or size > file["openBytesMax"]:
                expected = f"the {limit} bytes that it announces" if file["openSize"] is not None and limit <= file["openBytesMax"] else f"{file['openBytesMax']} bytes"
                raise Problem(f"opens to more than {expected}")
            for digest in sums.values():
                digest.update(chunk)
            seen = tail + chunk
            if b"<!ENTITY" in seen:
                raise Problem("declares entities")
            if b"<!DOCTYPE" in seen and file["type"] != "group":
                raise Problem("holds a document type")
            if b"\0" in chunk:
                raise Problem("holds a NUL byte, so it is no XML in UTF-8")
            since = check_tags(chunk, since)
            tail = seen[-16:]
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise Problem(f"cannot be opened: {error}") from error
    if file["openSize"] is not None and size != file["openSize"]:
        raise Problem(f"opens to {size} bytes instead of {file['openSize']}")
    for name, digest in sums.items():
        if digest.hexdigest() != file["openChecksum"]["value"]:
            raise Problem(f"has the {name} {digest.hexdigest()} once opened instead of {file['openChecksum']['value']}")
    return size


def main():
    files = json.load(sys.stdin)
    # Decompressing and hashing leave Python's lock, so two files are looked at side by side.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        checks = [(file, pool.submit(check, file)) for file in files]
        total = 0
        for file, checked in checks:
            try:
                total += checked.result()
            except Problem as problem:
                json.dump({"problem": str(problem), "file": file["path"]}, sys.stdout)
                return
    json.dump({"openBytes": total}, sys.stdout)


if __name__ == "__main__":
    main()
