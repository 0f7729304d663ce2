#!/usr/bin/env python3
"""Makes a package for pkg(8) from a tree that "make install" has made, and checks one.

pkg.py make STAGE VERSION RELEASE ARCHITECTURE TIME OUTPUT   writes a tar archive (to be compressed by zstd)
pkg.py check ARCHIVE STAGE                                   compares archive, manifests and tree

The format is that of pkg-create(8): +COMPACT_MANIFEST and +MANIFEST first, then the files by their absolute names.
RELEASE is the major number of the FreeBSD release that the programs are linked for, TIME the time of every file.
"""

import hashlib
import io
import json
import os
import re
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
PREFIX = "/usr/local"
# What pkg(8) calls an architecture in "abi" and in "arch".
ARCHITECTURES = {"x86_64": ("amd64", "x86:64"), "aarch64": ("aarch64", "aarch64:64")}
# Keys that pkg-create(8) demands.
REQUIRED = {"name", "origin", "version", "comment", "maintainer", "www", "prefix", "desc", "abi", "flatsize"}


def read(*path):
    with open(os.path.join(HERE, *path), encoding="utf-8") as file:
        return file.read()


def port_value(name):
    return re.search(rf"^{name}=\s*(.*)$", read("port", "Makefile"), re.M).group(1)


def messages():
    text = read("port", "files", "pkg-message.in").replace("%%PREFIX%%", PREFIX)
    found = re.findall(r"type: (\w+)\s+message: <<EOM\n(.*?)EOM", text, re.S)
    return [{"type": kind, "message": body} for kind, body in found]


def sample_scripts(paths):
    """What the keyword @sample of a port's list does: a first copy, taken away again only if it was not changed."""
    install, remove = [], []
    for sample in (path for path in paths if path.endswith(".sample")):
        live = sample[: -len(".sample")]
        if "/devd/" in sample:
            continue
        install.append(f"if [ ! -f {live} ]; then cp -p {sample} {live}; fi")
        remove.append(f"if cmp -s {sample} {live}; then rm -f {live}; fi")
    return {"post-install": "\n".join(install), "pre-deinstall": "\n".join(remove)}


def files_below(stage):
    found = []
    for directory, _, names in os.walk(stage):
        found += [os.path.join(directory, name) for name in names]
    return sorted(found)


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def manifests(stage, version, release, architecture):
    paths = {"/" + os.path.relpath(path, stage): path for path in files_below(stage)}
    abi, arch = ARCHITECTURES[architecture]
    compact = {
        "name": port_value("PORTNAME"),
        "origin": "sysutils/" + port_value("PORTNAME"),
        "version": version,
        "comment": port_value("COMMENT"),
        "maintainer": port_value("MAINTAINER"),
        "www": "UNKNOWN",
        "abi": f"FreeBSD:{release}:{abi}",
        "arch": f"freebsd:{release}:{arch}",
        "prefix": PREFIX,
        "flatsize": sum(os.path.getsize(path) for path in paths.values()),
        "licenselogic": "single",
        "licenses": [port_value("LICENSE")],
        "desc": read("port", "pkg-descr").strip(),
        "categories": port_value("CATEGORIES").split(),
    }
    sums = {name: "1$" + hashlib.sha256(contents(path)).hexdigest() for name, path in paths.items()}
    full = dict(compact, files=sums, scripts=sample_scripts(paths), messages=messages())
    return compact, full


def add(archive, name, data, mode, time):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), mode, time
    entry.uname, entry.gname = "root", "wheel"
    archive.addfile(entry, io.BytesIO(data))


def make(stage, version, release, architecture, time, output):
    compact, full = manifests(stage, version, release, architecture)
    with tarfile.open(output, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, manifest in (("+COMPACT_MANIFEST", compact), ("+MANIFEST", full)):
            add(archive, name, json.dumps(manifest, sort_keys=True).encode(), 0o644, int(time))
        for path in files_below(stage):
            name = "/" + os.path.relpath(path, stage)
            add(archive, name, contents(path), os.stat(path).st_mode & 0o7777, int(time))


def expect(truth, complaint):
    if not truth:
        sys.exit(f"pkg: {complaint}")


def check(path, stage):
    with tarfile.open(path) as archive:
        entries = archive.getmembers()
        data = {entry.name: archive.extractfile(entry).read() for entry in entries}
    names = [entry.name for entry in entries]
    expect(names[:2] == ["+COMPACT_MANIFEST", "+MANIFEST"], "the manifests must be the first entries")
    compact, full = (json.loads(data[name]) for name in names[:2])
    expect(REQUIRED <= compact.keys(), f"the manifest lacks {sorted(REQUIRED - compact.keys())}")
    expect(full | compact == full, "the manifests differ")
    expect("files" not in compact and "scripts" not in compact, "the compact manifest is not compact")
    expect({one["type"] for one in full["messages"]} == {"install", "upgrade", "remove"}, "a message is missing")
    expect(re.fullmatch(r"FreeBSD:\d+:\w+", full["abi"]), "the ABI is not one")
    files = {name: body for name, body in data.items() if not name.startswith("+")}
    sums = {name: "1$" + hashlib.sha256(body).hexdigest() for name, body in files.items()}
    expect(full["files"] == sums, "sums and files differ")
    expect(full["flatsize"] == sum(map(len, files.values())), "the size is wrong")
    expect(all(name.startswith(PREFIX + "/") for name in files), "a file lies outside of the prefix")
    tree = {"/" + os.path.relpath(path, stage): path for path in files_below(stage)}
    expect(tree.keys() == files.keys(), f"not the same files: {sorted(tree.keys() ^ files.keys())}")
    for entry in entries[2:]:
        expect((entry.uname, entry.gname, entry.isfile()) == ("root", "wheel", True), f"{entry.name}: owner or kind")
        expect(entry.mode == os.stat(tree[entry.name]).st_mode & 0o7777, f"{entry.name}: mode")
        expect(contents(tree[entry.name]) == files[entry.name], f"{entry.name}: content")
    print(f"pkg: {full['name']} {full['version']} for {full['abi']}, {len(files)} files, as installed")


if __name__ == "__main__":
    verb, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    actions = {"make": (make, 6), "check": (check, 2)}
    if verb not in actions or len(arguments) != actions[verb][1]:
        sys.exit(__doc__)
    actions[verb][0](*arguments)
