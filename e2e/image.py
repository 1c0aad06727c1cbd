"""Writes the image that a Dockerfile's last stage describes as an archive, without Docker: `docker load` of every engine since 1.10 reads it,
and so does `ctr images import`.

usage: image.py DOCKERFILE OUT.tar TAG ARCHITECTURE NAME=FILE...

The stage is made from scratch, of files that a stage before it has built: each is given by the last part of its name there.
Times and owners are fixed, so that the same files give the same image, which engines then know by its id.
The archive is put in place in one step, and left alone when it is what it would be.
"""

import hashlib
import io
import json
import os
import shlex
import sys
import tarfile

EPOCH = "1970-01-01T00:00:00Z"


def entry(name, size, mode):
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    return info


def tar(files):
    """A tar of (name, content, mode), all owned by root and from the epoch."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content, mode in files:
            archive.addfile(entry(name, len(content), mode), io.BytesIO(content))
    return buffer.getvalue()


def last_stage(dockerfile):
    """The configuration of the image, and where in it each file of the build is: pairs of its name there and the path here."""
    with open(dockerfile) as file:
        lines = [line.strip() for line in file.read().replace("\\\n", " ").splitlines()]
    steps = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    begins = max(number for number, (word, _) in enumerate(steps) if word == "FROM")
    if steps[begins][1] != "scratch":
        sys.exit(f"image.py: the last stage of {dockerfile} is made from {steps[begins][1]}; only what is made from scratch needs no registry")
    config, copies = {}, []
    for word, rest in steps[begins + 1 :]:
        words = shlex.split(rest)
        if word == "COPY" and len(words) == 3 and words[0].startswith("--from="):
            copies.append((words[1].rsplit("/", 1)[1], words[2].lstrip("/")))
        elif word == "ENTRYPOINT" and rest.startswith("["):
            config["Entrypoint"] = json.loads(rest)
        elif word == "USER":
            config["User"] = rest
        elif word == "EXPOSE":
            config["ExposedPorts"] = {port if "/" in port else f"{port}/tcp": {} for port in words}
        elif word == "LABEL":
            config.setdefault("Labels", {}).update(pair.split("=", 1) for pair in words)
        else:
            sys.exit(f"image.py: cannot do what {dockerfile} says: {word} {rest}")
    return config, copies


def image(dockerfile, tag, architecture, given):
    """The archive; `given` has the path of each file by its name."""
    config, copies = last_stage(dockerfile)
    files = []
    for name, path in copies:
        if name not in given:
            sys.exit(f"image.py: {dockerfile} copies {name}; say where it is: {name}=FILE")
        with open(given[name], "rb") as file:
            files.append((path, file.read(), 0o755 if f"/{path}" in config["Entrypoint"] else 0o644))
    layer = tar(files)
    layer_id = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": EPOCH,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_id}"]},
        "history": [{"created": EPOCH, "created_by": "image.py"}],
    }
    config = json.dumps(config, sort_keys=True).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    layer_name = f"{layer_id}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": [layer_name]}]
    return tar([
        (config_name, config, 0o644),
        (layer_name, layer, 0o644),
        ("manifest.json", json.dumps(manifest).encode(), 0o644),
    ])


def main(dockerfile, out, tag, architecture, *given):
    if ":" not in tag.rsplit("/", 1)[-1]:
        sys.exit(f"image.py: {tag} names no tag; write for example {tag}:latest")
    archive = image(dockerfile, tag, architecture, dict(pair.split("=", 1) for pair in given))
    try:
        with open(out, "rb") as file:
            if file.read() == archive:
                print(f"{out}: {tag}, unchanged")
                return
    except FileNotFoundError:
        pass
    part = f"{out}.{os.getpid()}.part"
    with open(part, "wb") as file:
        file.write(archive)
    os.replace(part, out)
    print(f"{out}: {tag}, {len(archive) / 2**20:.1f} MiB")


if __name__ == "__main__":
    if len(sys.argv) < 5 or any("=" not in pair for pair in sys.argv[5:]):
        sys.exit(__doc__)
    main(*sys.argv[1:])
