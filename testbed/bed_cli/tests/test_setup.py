"""What setup plans on machines that have more or less of a Rust, and what the doctor says of them."""
import os
import shutil
from pathlib import Path

import pytest

from bed_cli import doctor, places, rust, setup
from bed_cli.http import unproxied
from bed_cli.main import parser

MUSL = "x86_64-unknown-linux-musl"


def path(folder, *programs):
    """A PATH of these programs alone: a name, or one with the shell script that it is."""
    folder.mkdir()
    for name, script in programs:
        if script is None:
            (folder / name).symlink_to(Path(shutil.which(name)).resolve())
        else:
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
    return str(folder)


@pytest.fixture
def others_rust(tmp_path, monkeypatch):
    """A Rust as a distribution has it, in a sysroot with so much in it."""
    def made(version, *files):
        for file in files:
            (tmp_path / "root" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "root" / file).mkdir() if file.endswith("lib") else (tmp_path / "root" / file).touch()
        monkeypatch.setenv("PATH", path(tmp_path / "bin", ("cargo", f"echo cargo {version}"), ("rustc", f"echo {tmp_path}/root")))
        return {finding.what: finding for finding in doctor.examine([], ("rust",))}["rust"]
    return made


COMPONENTS = ("bin/cargo-clippy", "bin/cargo-fmt")


def test_a_rust_that_has_everything_is_taken(others_rust):
    channel = rust.wanted().channel
    assert others_rust(channel, *COMPONENTS, f"lib/rustlib/{MUSL}/lib").remedy == ""
    assert setup.toolchain() == []


def test_what_a_rust_of_another_lacks_is_its_owners_to_add(others_rust):
    finding = others_rust(rust.wanted().channel, "bin/cargo-clippy")
    assert setup.toolchain() == []
    assert f"rustfmt, the target {MUSL}" in finding.remedy and "rustup" in finding.remedy


def test_an_old_rust_is_refused(others_rust):
    assert rust.wanted().channel in others_rust("1.70.0", *COMPONENTS, f"lib/rustlib/{MUSL}/lib").remedy


def test_without_cargo_the_doctor_says_where_rustup_is(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", path(tmp_path / "bin"))
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "cargo"))
    [finding] = [finding for finding in doctor.examine([], ("rust",)) if finding.what == "rust"]
    assert "rustup.rs" in finding.remedy
    (tmp_path / "cargo" / "bin").mkdir(parents=True)
    (tmp_path / "cargo" / "bin" / "rustup").touch()
    [finding] = [finding for finding in doctor.examine([], ("rust",)) if finding.what == "rust"]
    assert finding.remedy == f". {tmp_path}/cargo/env"


@pytest.mark.skipif(not rust.by_rustup(), reason="this machine's Rust is not rustup's")
def test_a_rustup_without_a_toolchain_is_a_step_and_no_lack(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTUP_HOME", str(tmp_path / "rustup"))
    monkeypatch.delenv("RUSTUP_TOOLCHAIN", raising=False)
    steps = setup.missing(("demo",), setup.ENGINES[:1])
    [step] = [step for step in steps if step.name == setup.TOOLCHAIN]
    assert step.command[:4] == ["rustup", "toolchain", "install", rust.wanted().channel]
    assert {"clippy", "rustfmt", MUSL} <= set(step.command)
    builds = [step for step in steps if step.always]
    assert builds and all(setup.TOOLCHAIN in step.after for step in builds)
    [finding] = [finding for finding in doctor.examine(steps, ("demo",)) if finding.what == "rust"]
    assert finding.remedy == "" and f"Rust {rust.wanted().channel}" in finding.found
    assert not os.listdir(tmp_path / "rustup" / "toolchains") if (tmp_path / "rustup" / "toolchains").exists() else True


def test_a_step_comes_after_all_that_it_waits_for(tmp_path, monkeypatch):
    """The runner keeps a place for a step that cannot begin: what it waits for must be before it in the plan."""
    monkeypatch.setenv("TESTKIT_CACHE", str(tmp_path))
    names = [step.name for step in setup.missing(("demo",), setup.ENGINES)]
    for number, step in enumerate(setup.missing(("demo",), setup.ENGINES)):
        assert all(name in names[:number] for name in step.after if name in names)


def test_with_everything_there_only_cargo_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("TESTKIT_CACHE", str(tmp_path))
    for name in setup.COMPONENTS:
        programme(places.kubernetes_built() / name)
    programme(places.own_kernel())
    for done in (places.venv() / "complete", places.images() / "complete-28.5"):
        programme(done)
    assert [step for step in setup.missing(("bed",), ("28.5",)) if step.name != setup.PACKAGES] == []
    assert all(step.always or step.name in (setup.PACKAGES, setup.TOOLCHAIN) for step in setup.missing(("demo",), ("28.5",)))


def names(*whats):
    return {step.name for step in setup.missing(whats, ("28.5",))}


def finding(what, whats):
    [found] = [finding for finding in doctor.examine([], whats) if finding.what == what]
    assert not found.remedy
    return found.found


def test_a_demo_boots_debians_kernel_until_the_own_one_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("TESTKIT_CACHE", str(tmp_path))
    for what in ("up", "demo"):
        assert setup.PREBUILT_KERNEL in names(what) and setup.OWN_KERNEL not in names(what)
        assert "testbed/bed setup" in finding("hosts' kernel", (what,))
    assert {setup.PREBUILT_KERNEL, setup.OWN_KERNEL} <= names("bed")
    assert not {"flex", "bison"} & setup.packages({"demo"}) and {"flex", "bison", "patchelf"} <= setup.packages({"bed"})

    programme(places.prebuilt_kernel())
    programme(places.images() / "complete-28.5")
    assert not {setup.PREBUILT_KERNEL, setup.OWN_KERNEL} & names("demo") and setup.OWN_KERNEL in names("bed")
    assert places.host_kernel() == [places.prebuilt_kernel()]

    programme(places.own_kernel())
    assert places.host_kernel() == [places.own_kernel(), "seccomp=on"]
    assert finding("hosts' kernel", ("demo",)) == "their own"
    places.prebuilt_kernel().unlink()
    assert not {setup.PREBUILT_KERNEL, setup.OWN_KERNEL} & names("bed", "demo")
    # Its modules are in every image.
    (places.images() / "complete-28.5").unlink()
    assert setup.PREBUILT_KERNEL in names("bed")


def programme(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    file.chmod(0o755)


@pytest.mark.parametrize("verb", ["setup", "doctor"])
def test_nothing_need_be_named(verb):
    assert parser().parse_args([verb]).what == []
    assert parser().parse_args([verb, "bed", "rust"]).what == ["bed", "rust"]
    with pytest.raises(SystemExit):
        parser().parse_args([verb, "beds"])


def test_what_judges_manifests_is_for_the_checks_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TESTKIT_CACHE", str(tmp_path))
    judges = {setup.HELM, setup.KSTATUS}
    assert not judges & names("demo", "bed", "kubernetes", "checks")
    plan = [step.name for step in setup.missing(("tools", "kubernetes"), ("28.5",))]
    assert plan.index(setup.CONTROL_PROGRAMS) < plan.index(setup.KSTATUS) and plan.index(setup.PYTHON) < plan.index(setup.HELM)
    programme(places.helm())
    programme(places.kstatus())
    assert not judges & names("tools")


def test_a_node_takes_what_pods_need_and_helm(tmp_path, monkeypatch):
    monkeypatch.setenv("TESTKIT_CACHE", str(tmp_path))
    steps = {step.name: step for step in setup.missing(("node",), ("28.5",))}
    assert setup.HELM in steps and setup.KSTATUS not in steps and {"kubelet", "kube-proxy", "kube-scheduler", "etcd"} <= set(steps[setup.CONTROL_PROGRAMS].command)
    # What is built once more for it is what was not there.
    for name in setup.COMPONENTS:
        programme(places.kubernetes_built() / name)
    [step] = [step for step in setup.missing(("node", "demo"), ("28.5",)) if step.name == setup.CONTROL_PROGRAMS]
    assert "etcd" not in step.command and "kubelet" in step.command
    assert setup.CONTROL_PROGRAMS not in names("demo")


@pytest.mark.parametrize("sources, found", [
    (["http://mirror/debian-security/", "http://mirror/debian/"], "http://mirror/debian/"),
    (["http://mirror/ubuntu/"], ""),
    ([], ""),
    # So many that whoever reads only the first of them breaks the pipe.
    (["http://mirror/debian/"] * 20000, "http://mirror/debian/"),
])
def test_a_machine_without_a_mirror_of_debian_hears_of_it_first(sources, found, tmp_path, monkeypatch):
    (tmp_path / "sources").write_text("".join(f"{source}\n" for source in sources))
    monkeypatch.setenv("PATH", path(tmp_path / "bin", ("apt-get", f"cat {tmp_path}/sources"), ("cat", None), ("awk", None)))
    finding = doctor._mirror()
    assert (finding.found, finding.remedy) == (found, "") if found else "Debian 12 or newer" in finding.remedy, finding


@pytest.mark.parametrize("before, after", [({}, "127.0.0.1,localhost,::1"), ({"NO_PROXY": "a, 127.0.0.1"}, "a,127.0.0.1,localhost,::1"),
                                           ({"no_proxy": "a", "NO_PROXY": "b"}, "b,a,127.0.0.1,localhost,::1")])
def test_nobody_asks_a_proxy_for_the_beds_own_servers(before, after):
    assert unproxied(before) == {"NO_PROXY": after, "no_proxy": after}
