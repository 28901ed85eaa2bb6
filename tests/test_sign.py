"""``doit sign``: with the real programs if they are installed, refused for stale files; no signature outlives its file."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path

import pytest
from conftest import QEMU, Site, environment
from terminal import Terminal

from coconut_tasks.errors import StepError, UsageError
from coconut_tasks.evidence.signing import asks_for_touch, key_as_given, program_for, sign
from coconut_tasks.layout import (
    BESIDE,
    CORIM,
    DIGEST_JSON,
    HEX,
    PROVENANCE,
    REFERENCE_VALUES,
    SIDECARS,
    SIGNATURES,
    SIGNED,
    goes_with,
)

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
needs_cosign = pytest.mark.skipif(shutil.which("cosign") is None, reason="needs cosign")
MADE = [DIGEST_JSON, REFERENCE_VALUES, CORIM, PROVENANCE]
"""The files of a build that are signed."""


def ssh_key(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    key = folder / "key"
    words = ["-q", "-t", "ed25519", "-N", "", "-C", "me@example.org", "-f", str(key)]
    subprocess.run(["ssh-keygen", *words], check=True, stdin=subprocess.DEVNULL)
    return key


def papers(root: Path) -> list[Path]:
    """Two images with one name in different folders."""
    made = [root / "a" / "x.corim", root / "b" / "x.corim"]
    for paper in made:
        paper.parent.mkdir(parents=True)
        paper.write_text(str(paper))
    return made


def stub(folder: Path, program: str, script: str) -> dict[str, str]:
    """An environment in which a program is a shell script."""
    folder.mkdir(exist_ok=True)
    (folder / program).write_text(f"#!/bin/sh\n{script}\n")
    (folder / program).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def signatures(site: Site) -> set[str]:
    return {name for name in site.contents() if name.endswith(tuple(SIGNATURES.values()))}


# What is signed, and what is removed with what


def test_all_papers_that_say_what_they_are_about_are_signed_and_their_signatures_go_with_the_image() -> None:
    assert {*SIGNED} == {*SIDECARS} - {*HEX.values()}
    assert {*goes_with("bin/a.igvm", image=True)} == {f"bin/a.igvm{end}" for end in BESIDE}
    for paper in SIGNED:
        ends = goes_with(f"bin/a.igvm{paper}", image=False)
        assert ends == (f"bin/a.igvm{paper}.sig", f"bin/a.igvm{paper}.sigstore.json")
        assert {*ends} <= {*goes_with("bin/a.igvm", image=True)}
    assert goes_with("bin/svsm", image=False) == ()


# Which program a key is for


@pytest.mark.parametrize(
    ("start", "program"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "ssh-keygen"),
        ("ssh-ed25519 AAAA me@example.org\n", "ssh-keygen"),
        ("sk-ssh-ed25519@openssh.com AAAA\n", "ssh-keygen"),
        ("ecdsa-sha2-nistp256 AAAA\n", "ssh-keygen"),
        ("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "cosign"),
        ("-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n", "cosign"),
    ],
)
def test_a_key_says_which_program_it_is_for(start: str, program: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(start)
    assert program_for(str(tmp_path / "key")) == program


@pytest.mark.parametrize(
    "key", ["awskms:///alias/release", "k8s://space/name", "env://COSIGN_PRIVATE_KEY", "pkcs11:token=x"]
)
def test_a_key_that_is_in_no_file_is_for_cosign_and_stays_as_it_is(key: str) -> None:
    assert program_for(key) == "cosign"
    assert key_as_given(key, "/somewhere") == key


def test_a_key_that_could_be_for_either_is_told(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(UsageError, match="--with ") as error:
        program_for(str(tmp_path / "key"))
    assert error.value.id == "unknown-key" and str(tmp_path / "key") in str(error.value)


def test_a_path_of_a_key_is_seen_from_where_the_user_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = [key_as_given(key, "/work") for key in ("key", "../key", "/key", "~/.ssh/key")]
    assert found == ["/work/key", "/key", "/key", "/home/me/.ssh/key"]


# Signatures


@needs_ssh_keygen
def test_ssh_keygen_signs_each_file_and_a_new_signature_replaces_the_old_one(tmp_path: Path) -> None:
    key, files = ssh_key(tmp_path), papers(tmp_path / "bin")
    for _ in range(2):
        made = sign(files, tmp_path / "bin", str(key), "ssh-keygen", os.environ)
        assert made == [Path(f"{file}.sig") for file in files]
    (tmp_path / "allowed_signers").write_text(f'me@example.org namespaces="file" {Path(f"{key}.pub").read_text()}')
    verify = ["ssh-keygen", "-Y", "verify", "-f", "allowed_signers", "-I", "me@example.org", "-n", "file", "-s"]
    for file, signature in zip(files, made, strict=True):
        assert signature.read_text().startswith("-----BEGIN SSH SIGNATURE-----\n")
        assert (
            subprocess.run([*verify, signature], cwd=tmp_path, input=file.read_bytes(), capture_output=True).returncode
            == 0
        )
    other = subprocess.run([*verify, made[0]], cwd=tmp_path, input=files[1].read_bytes(), capture_output=True)
    assert other.returncode != 0
    assert sorted(path.name for path in (tmp_path / "bin" / "a").iterdir()) == ["x.corim", "x.corim.sig"]


@needs_ssh_keygen
def test_the_pages_lines_verify_a_signature(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "verify-and-sign.md").read_text(encoding="utf-8")
    (block,) = (block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "ssh-keygen -Y verify" in block)
    paper = tmp_path / "coconut-qemu.igvm.launch-digest.json"
    paper.write_text("{}\n")
    sign([paper], tmp_path, str(ssh_key(tmp_path)), "ssh-keygen", os.environ)
    for status in (0, 255):
        done = subprocess.run(["sh", "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert done.stdout.startswith('Good "file" signature for me@example.org') is (status == 0)
        paper.write_text("{ }\n")


def test_cosign_signs_each_file_without_a_log_that_is_public(tmp_path: Path) -> None:
    keeps = f'echo "$@" >> {tmp_path}/called; cp "$5" {tmp_path}/config; echo "bundle of $9" > "$7"'
    environment = stub(tmp_path / "programs", "cosign", keeps)
    files = papers(tmp_path / "bin")
    made = sign(files, tmp_path / "bin", "awskms:///alias/x", "cosign", environment)
    assert [path.read_text() for path in made] == ["bundle of ./a/x.corim\n", "bundle of ./b/x.corim\n"]
    assert made == [Path(f"{file}.sigstore.json") for file in files]
    for line, name in zip((tmp_path / "called").read_text().splitlines(), ("./a/x.corim", "./b/x.corim"), strict=True):
        words = line.split()
        assert words[:4] == ["sign-blob", "--key", "awskms:///alias/x", "--signing-config"]
        assert words[5:] == ["--bundle", f"{name}.sigstore.json", "--yes", name]
    # No log, no time stamps, no certificates: cosign's own configuration would name the public ones.
    assert json.loads((tmp_path / "config").read_text()).keys() == {"mediaType"}


@needs_cosign
def test_cosign_verifies_what_it_made(tmp_path: Path) -> None:
    environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(tmp_path)}
    subprocess.run(["cosign", "generate-key-pair"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert program_for(str(tmp_path / "cosign.key")) == "cosign"
    files = papers(tmp_path / "bin")
    made = sign(files, tmp_path / "bin", str(tmp_path / "cosign.key"), "cosign", environment)
    verify = ["cosign", "verify-blob", "--key", "cosign.pub", "--insecure-ignore-tlog=true", "--bundle"]
    for file, right in zip(files, (True, False), strict=True):
        done = subprocess.run([*verify, made[0], file], cwd=tmp_path, env=environment, capture_output=True)
        assert (done.returncode == 0) is right
    assert "tlogEntries" not in json.loads(made[0].read_text())["verificationMaterial"]


@pytest.mark.parametrize(
    ("script", "id", "value"),
    [
        ("echo one; echo two >&2; exit 3", "signing-failed", " 3; "),
        ("exit 0", "file-not-made", " x.corim.sig"),
        (
            'case "$2" in sign) echo x > ./a/x.corim.sig; echo x > ./b/x.corim.sig;; *) echo no such thing; exit 255;; esac',
            "signature-does-not-fit",
            ": no such thing",
        ),
    ],
    ids=["fails", "makes nothing", "makes another one"],
)
def test_where_the_program_fails_no_signature_is_placed(script: str, id: str, value: str, tmp_path: Path) -> None:
    environment = stub(tmp_path / "programs", "ssh-keygen", script)
    files = papers(tmp_path / "bin")
    with pytest.raises(StepError, match=re.escape(value)) as error:
        sign(files, tmp_path / "bin", "key", "ssh-keygen", environment)
    assert error.value.id == id
    assert id != "signing-failed" or str(error.value).endswith("\none\ntwo")
    assert sorted(path for path in (tmp_path / "bin").rglob("*") if path.is_file()) == files


@needs_ssh_keygen
def test_ssh_keygen_asks_for_a_passphrase_on_the_terminal_and_says_nothing_else(site: Site, tmp_path: Path) -> None:
    site.build(site.recipe())
    for passphrase, status in (("secret", 0), ("wrong", 1)):
        words = ["-q", "-t", "ed25519", "-N", "secret", "-f", str(tmp_path / passphrase)]
        subprocess.run(["ssh-keygen", *words], check=True, stdin=subprocess.DEVNULL)
        argv = site.argv("sign", f"--key={tmp_path / passphrase}", site.recipe())
        with Terminal(argv, site.folder, environment(site.target)) as terminal:
            terminal.see(r"passphrase.*: ")
            terminal.type(f"{passphrase}\n")
            assert terminal.status() == status
            lines = [line for line in terminal.text.splitlines() if line]
        if status == 0:
            assert [line.partition(": ")[0] for line in lines] == [f"bin/q.igvm{end}.sig" for end in MADE]
        else:
            assert lines[0].startswith("error: sign: ssh-keygen ") and "incorrect passphrase" in "\n".join(lines[1:])


def test_what_a_program_asks_on_standard_error_is_shown_and_what_it_says_is_not(site: Site, tmp_path: Path) -> None:
    """Asks for a password, like cosign."""
    site.build(site.recipe())
    script = 'echo before; printf "Password: " >&2; read word; echo >&2; echo after; echo "$word" > "$7"'
    programs = stub(tmp_path / "programs", "cosign", script)["PATH"]
    argv = site.argv("sign", "--key=env://KEY", "measure:qemu", site.recipe())
    with Terminal(argv, site.folder, {**environment(site.target), "PATH": programs}) as terminal:
        for i in range(3):
            shown = terminal.see(r"[\s\S]*^Password: $")[0]
            assert "before" not in shown and "after" not in shown
            terminal.type(f"{i}\n")
        assert terminal.status() == 0
        assert "after" not in terminal.text
    signed = (end for end in MADE if end != PROVENANCE)
    assert [(site.bin / f"q.igvm{end}.sigstore.json").read_text() for end in signed] == ["0\n", "1\n", "2\n"]


def test_a_key_says_whether_it_is_to_be_touched(tmp_path: Path) -> None:
    """ssh-keygen makes such keys only with a plugged-in device: the blob follows PROTOCOL.u2f and PROTOCOL.key."""
    kind = b"sk-ssh-ed25519@openssh.com"
    blob = base64.b64encode(b"openssh-key-v1\0\0\0\0\x0aaes256-ctr\0\0\0\x1a" + kind + b"\0" * 100).decode()
    lines = "\n".join(blob[at : at + 70] for at in range(0, len(blob), 70))
    private = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}\n-----END OPENSSH PRIVATE KEY-----\n"
    for text, touched in ((private, True), (f"{kind.decode()} AAAA me\n", True), ("ssh-ed25519 AAAA me\n", False)):
        (tmp_path / "key").write_text(text)
        assert asks_for_touch(str(tmp_path / "key")) is touched
    assert not asks_for_touch("awskms:///alias/x")
    if shutil.which("ssh-keygen"):
        assert not asks_for_touch(str(ssh_key(tmp_path / "other")))


@pytest.mark.parametrize("program", SIGNATURES)
def test_a_program_that_is_missing_is_named_with_how_to_install_it(program: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"^sign: {program} .*: (apt-get install|https)") as error:
        sign([], tmp_path, "key", program, {"PATH": str(tmp_path)})
    assert error.value.id == "tool-missing"


# The command


@needs_ssh_keygen
def test_sign_signs_an_image_that_is_up_to_date_and_a_signature_goes_with_its_paper(site: Site) -> None:
    ssh_key(site.folder)
    early = site.doit("sign", "--key=key", site.recipe())
    assert (early.status, early.ids) == (2, {"not-up-to-date"})
    assert re.search(r"^error: sign: [^:]+: \S+, \S+, \S+, \S+ and \d more; ", early.err, re.MULTILINE)
    site.build(site.recipe())
    signed = site.doit("sign", "--key=key", site.recipe())
    assert (signed.status, signed.out) == (0, "".join(f"bin/q.igvm{end}.sig: written\n" for end in MADE))
    assert signatures(site) == {f"q.igvm{end}.sig" for end in MADE}
    # A run with nothing to do keeps them, and they do not affect what is stale.
    assert site.build(site.recipe()).built == set()
    assert len(signatures(site)) == 4

    # A sidecar that is replaced loses its signature; others keep theirs.
    (site.bin / "q.igvm.corim").write_bytes(b"not that one")
    refused = site.doit("sign", "--key=key", site.recipe())
    assert refused.ids == {"not-up-to-date"} and " measure:qemu; " in refused.err
    assert site.build(site.recipe()).placed == {"measure:qemu"}
    assert signatures(site) == {f"q.igvm{end}.sig" for end in (DIGEST_JSON, REFERENCE_VALUES, PROVENANCE)}

    # Another image: all signatures are removed, even if the launch digest is the same.
    content = deepcopy(QEMU)
    content["igvm"]["qemu"]["policy"] = "0x30001"
    before = site.contents()
    site.build(site.recipe(content))
    assert site.contents()["q.igvm.reference-values.json"] == before["q.igvm.reference-values.json"]
    assert signatures(site) == set()

    assert site.doit("sign", "--key=key", "measure:qemu", site.recipe(content)).status == 0
    assert len(signatures(site)) == 3

    # A signature from another program is reported and kept.
    foreign = site.bin / "q.igvm.corim.sigstore.json"
    foreign.write_text("of cosign")
    refused = site.doit(site.recipe())
    assert refused.status == 2 and refused.told("foreign-file")[0].startswith(f"error: {foreign} ")
    assert len(signatures(site)) == 4
    foreign.unlink()
    site.build("clean", "measure:qemu", site.recipe(content))
    assert {name for name in site.contents() if name.startswith("q.igvm.")} == {"q.igvm.provenance.json"}


@needs_ssh_keygen
def test_what_is_asked_each_time_can_be_signed(site: Site) -> None:
    """A firmware command runs in each build, so all that is known is that its last run is used."""
    (site.folder / "fw.bin").write_bytes(b"firmware" * 1000)
    ssh_key(site.folder)
    recipe = site.recipe({**deepcopy(QEMU), "firmware": {"command": ["true"], "file": "../fw.bin"}})
    site.build(recipe)
    assert "firmware:guest" in site.build(recipe).built
    assert site.doit("sign", "--key=key", recipe).status == 0
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\n")
    (line,) = site.doit("sign", "--key=key", recipe).told("not-up-to-date")
    assert ": kernel:svsm, igvm:qemu, measure:qemu, provenance:qemu; " in line


def test_sign_says_what_it_needs(site: Site) -> None:
    recipe = site.recipe()
    for words, id, place, value in (
        ([], "wrong-words", "sign: ", ": doit sign --key "),
        (["--key=none"], "system-refused", f"{site.folder}/none: ", "No such file or directory"),
        (["--key=x", "--with=gpg"], "no-such-choice", "--with: unknown value 'gpg'; ", "ssh-keygen or cosign"),
    ):
        outcome = site.doit("sign", *words, recipe)
        assert (outcome.status, outcome.ids) == (2, {id})
        last = outcome.err.splitlines()[-1]
        assert last.startswith(f"error: {place}") and value in last
