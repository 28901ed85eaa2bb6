"""``cache stats``, ``gc`` and ``check``, and what other commands say of steps that were taken from a cache."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from cache_servers import free_port, make_certificates, nginx_program
from conftest import Outcome, Site, at_work, environment, has
from test_results import by_name, document
from test_safety import wait_for
from test_watch import watch

from coconut_tasks.cache.collect import collect
from coconut_tasks.cache.folder import FolderStore, Kept
from coconut_tasks.cache.http import HttpStore
from coconut_tasks.cache.settings import Settings
from coconut_tasks.cache.store import Blob, CachedFile, CacheFault, CacheReadOnly, Result, blob_of
from coconut_tasks.compare.reproduce import build_command
from coconut_tasks.effects.aside import ASIDE, emptied
from coconut_tasks.options import Options

DAY_NS = 86_400 * 1_000_000_000
KERNEL = {"igvm": {}, "kernel": {"svsm": {"features": "vtpm"}}}
STEP = "kernel:svsm"


# The folder


def keep(store: FolderStore, key: str, content: bytes, age_days: int) -> tuple[Path, Path]:
    """A result with a blob, used so long ago: their files."""
    blob = blob_of(content)
    store.upload({blob: content})
    store.put_result(key, Result((CachedFile("output", blob),)))
    files = store.path_of_result(key), store.path_of(blob.sha256)
    used_ns = time.time_ns() - age_days * DAY_NS
    for file in files:
        os.utime(file, ns=(used_ns, used_ns))
    return files


def key(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "cache"))


def test_what_was_not_used_for_the_longest_time_goes_first(store: FolderStore) -> None:
    old, middle, new = (keep(store, key(age), bytes([age]) * 10_000, age) for age in (9, 5, 1))
    removed, left = collect(store, 22_000)
    assert (removed.results, removed.blobs, left.results, left.blobs) == (1, 1, 2, 2)
    assert left.bytes <= 22_000 and not any(file.exists() for file in old)
    assert all(file.exists() for file in (*middle, *new))
    assert collect(store, left.bytes)[0].bytes == 0  # all of it fits
    assert collect(store, 0)[1].bytes == 0


def test_a_result_goes_with_its_blob_and_a_blob_that_two_results_name_stays(store: FolderStore) -> None:
    shared = b"s" * 10_000
    keep(store, key(1), shared, 9)
    keep(store, key(2), shared, 1)  # uses the blob again
    result, blob = keep(store, key(3), b"t" * 10_000, 9)
    os.utime(result)
    size = sum(one.size for one in store.kept())
    removed, _ = collect(store, size - 5_000)
    assert not blob.exists() and not result.exists() and removed.blobs == 1
    assert store.path_of(blob_of(shared).sha256).exists() and store.path_of_result(key(2)).exists()


def test_a_result_without_a_file_or_with_an_empty_one_stays(store: FolderStore) -> None:
    store.put_result(key(1), Result((), b'{"listings": []}'))
    store.put_result(key(2), Result((CachedFile("output", blob_of(b"")),)))
    assert collect(store, 1 << 20)[0].results == 0
    assert collect(store, 1 << 20)[1].results == 2


def test_a_torn_result_is_removed(store: FolderStore) -> None:
    result, _ = keep(store, key(1), b"content", 0)
    result.write_bytes(result.read_bytes()[:70])
    assert collect(store, 1 << 20)[0].results == 1


def test_a_file_that_is_written_stays_and_one_of_a_killed_writer_goes(store: FolderStore) -> None:
    _, blob = keep(store, key(1), b"x" * 1000, 3)
    young, old = blob.with_name(f"{'a' * 64}.part-1"), blob.with_name(f"{'b' * 64}.part-2")
    for part, days in ((young, 0.9), (old, 1.1)):
        part.write_bytes(b"y" * 100)
        used_ns = time.time_ns() - int(days * DAY_NS)
        os.utime(part, ns=(used_ns, used_ns))
    removed, left = collect(store, 1 << 20)
    assert (removed.unfinished, removed.blobs, left.unfinished) == (1, 0, 1)
    assert young.exists() and not old.exists() and blob.exists()
    assert collect(store, 0)[1].unfinished == 1
    assert young.exists() and not blob.exists()


def test_what_was_used_since_the_start_stays(store: FolderStore) -> None:
    files = keep(store, key(1), b"x" * 1000, 9)

    class Busy(FolderStore):
        def kept(self) -> Iterator[Kept]:
            yield from list(super().kept())
            for file in files:
                os.utime(file)

    removed, left = collect(Busy(store.shown), 0)
    assert removed.bytes == 0 and (left.results, left.blobs) == (1, 1)


def test_who_asks_whether_a_blob_is_there_uses_it(store: FolderStore) -> None:
    _, blob = keep(store, key(1), b"x" * 1000, 9)
    there, other = blob_of(b"x" * 1000), Blob("0" * 64, 5)
    assert store.missing({there, other}) == {other}
    assert time.time_ns() - blob.stat().st_mtime_ns < DAY_NS


# The folder that is set aside


@contextmanager
def nobody_else() -> Iterator[None]:
    yield


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Each path below it, with what tells whether it is the same file."""
    found = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*")}
    return {name: (one.st_ino, 0 if stat.S_ISDIR(one.st_mode) else one.st_mtime_ns) for name, one in found.items()}


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    (folder / "debug" / "deps").mkdir(parents=True)
    (folder / "debug" / "deps" / "a.rlib").write_text("a")
    (folder / ".rustc_info.json").write_text("{}")
    (folder / "CACHEDIR.TAG").write_text("tag")
    return folder


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_all_is_brought_back_and_nothing_more(filled: Path, error: type[BaseException] | None) -> None:
    before = contents(filled)

    def build() -> None:
        with emptied(filled, nobody_else):
            assert sorted(os.listdir(filled)) == [ASIDE, "CACHEDIR.TAG"]
            (filled / "debug").mkdir()
            (filled / "debug" / "b").write_text("b")
            (filled / "release").mkdir()
            if error is not None:
                raise error

    with nullcontext() if error is None else pytest.raises(error):
        build()
    assert contents(filled) == before


def test_a_folder_that_was_not_there_is_not_there_after(tmp_path: Path) -> None:
    folder = tmp_path / "target"
    with emptied(folder, nobody_else):
        folder.mkdir()
        (folder / "a").write_text("a")
    assert not folder.exists()


def test_what_a_killed_one_left_is_brought_back_first(filled: Path) -> None:
    before = contents(filled)
    # It was killed after it had set all aside, and built something.
    (filled / ASIDE).mkdir()
    for name in ("debug", ".rustc_info.json"):
        (filled / name).rename(filled / ASIDE / name)
    (filled / "debug").mkdir()
    (filled / "debug" / "of-the-killed-one").write_text("x")
    with emptied(filled, nobody_else):
        assert sorted(os.listdir(filled)) == [ASIDE, "CACHEDIR.TAG"]
        assert sorted(os.listdir(filled / ASIDE)) == [".rustc_info.json", "debug"]
    assert contents(filled) == before


# Real builds


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For all tests, since reading every tool takes seconds."""
    return tmp_path_factory.mktemp("home")


class Cached:
    """A site with a target folder of its own, whose kernel was built and put into a cache."""

    def __init__(self, site: Site, home: Path, folder: Path) -> None:
        self.site = replace(site, target=folder / "target", firsts=None)
        self.env: dict[str, str | None] = {"XDG_CACHE_HOME": str(home), "XDG_CONFIG_HOME": str(folder / "config")}
        self.store = FolderStore(str(folder / "cache"))
        self.recipe = self.site.recipe(KERNEL)
        self.first = self.build()

    def doit(self, *words: str) -> Outcome:
        return self.site.doit(*words, self.recipe, env=self.env)

    def build(self, *words: str) -> Outcome:
        outcome = self.doit(*words, f"CACHE={self.store.shown}")
        assert outcome.status == 0, outcome.text
        return outcome

    def take(self, *words: str) -> Outcome:
        """What a clean clone does."""
        self.remove_bin()
        return self.build(*words)

    def remove_bin(self) -> None:
        subprocess.run(["rm", "-rf", self.site.bin], check=True)

    @property
    def program(self) -> Path:
        return self.site.bin / "svsm"


@pytest.fixture
def cached(site: Site, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cached:
    monkeypatch.setenv("CARGO_INCREMENTAL", "0")  # what is compiled on top of an earlier state is not shared
    return Cached(site, home, tmp_path)


def test_a_run_says_what_was_taken_and_shows_no_command_that_is_not_run(cached: Cached) -> None:
    assert has(cached.first.out, f"{STEP}: cargo build…{STEP}: done in ")
    made = cached.program.read_bytes()
    outcome = cached.take()
    assert f"{STEP}: from the cache in " in outcome.out and "cargo build" not in outcome.text
    assert re.search(r"^1 from the cache, 1 up to date, in ", outcome.out, re.MULTILINE)
    assert cached.program.read_bytes() == made

    info = cached.doit("info", STEP).out
    (action,) = re.findall(
        r"from the cache: action ([0-9a-f]{64}), built by urn:coconut-tasks:builder \S+$", info, re.M
    )
    assert cached.store.path_of_result(action).exists()
    log = cached.doit("log", STEP).out
    assert has(log, f"taken from the cache {cached.store.shown}…action: {action}…built by: urn:coconut-tasks:builder")

    page = cached.doit("timeline")
    assert page.status == 0 and ", 1 of 1 steps from the cache; " in page.out
    html, trace = ((cached.site.bin / f"timeline.{end}").read_text() for end in ("html", "json"))
    assert 'class="bar cached"' in html and '<i class="key cached"></i>cached' in html
    assert f"looking into the cache {cached.store.shown}" in html
    assert f"looking into the cache {cached.store.shown}" in {one["name"] for one in json.loads(trace)["traceEvents"]}


def test_json_says_where_a_step_is_from(cached: Cached) -> None:
    cached.remove_bin()
    words = ("--json", f"CACHE={cached.store.shown}")
    taken = by_name(document(cached.doit(*words), "build"))
    step = taken[STEP]
    assert step["result"] == "cached" and taken["version:git"]["cached"] is None
    assert step["cached"]["cache"] == cached.store.shown
    assert cached.store.path_of_result(step["cached"]["action"]).exists()
    assert step["cached"]["builder"].startswith("urn:coconut-tasks:builder ")
    # It still is, if nothing has changed.
    again = by_name(document(cached.doit(*words), "build"))[STEP]
    assert (again["result"], again["cached"]) == ("up-to-date", step["cached"])
    cached.program.unlink()
    placed = by_name(document(cached.doit(*words), "build"))[STEP]
    assert (placed["result"], placed["cached"]) == ("placed", step["cached"])
    assert by_name(document(cached.doit("info", "--json", STEP), "info"))[STEP]["cached"] == step["cached"]

    main = cached.site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\n#[used]\nstatic MORE: [u8; 3] = [1, 2, 3];\n")
    built = by_name(document(cached.doit(*words), "build"))[STEP]
    assert (built["result"], built["cached"]) == ("built", None)
    assert by_name(document(cached.doit("info", "--json", STEP), "info"))[STEP]["cached"] is None


def test_a_watch_takes_from_the_cache_and_builds_the_next_edit(cached: Cached) -> None:
    cached.remove_bin()
    env = {name: value for name, value in cached.env.items() if value is not None}
    with watch(cached.site, cached.recipe, f"CACHE={cached.store.shown}", env=env) as watching:
        watching.wait(r"^1 from the cache, .*\n(.*\n)*.*waiting for changes")
        at = watching.settle()
        main = cached.site.tree / "kernel" / "src" / "main.rs"
        main.write_text(main.read_text() + "\n#[used]\nstatic MORE: [u8; 3] = [1, 2, 3];\n")
        watching.wait(rf"^{STEP}: cargo build .*\n(.*\n)*{STEP}: done in ", at)


def test_the_numbers_are_of_the_folder_and_of_the_last_run(cached: Cached) -> None:
    where = f"CACHE={cached.store.shown}"
    first = document(cached.doit("cache", "stats", "--json", where), "cache")
    assert (first["cache"]["address"], first["cache"]["writes"]) == (cached.store.shown, True)
    kept = list(cached.store.kept())
    results = [one.size for one in kept if one.is_result]
    assert first["cache"]["holds"]["results"] == {"count": len(results), "bytes": sum(results)}
    assert first["cache"]["holds"]["blobs"]["count"] == len(kept) - len(results) > 0
    run = first["last_run"]
    assert (run["hits"], run["misses"], run["received"]) == (0, 1, 0) and run["sent"] > 10_000

    cached.take()
    second = document(cached.doit("cache", "stats", "--json", where), "cache")["last_run"]
    assert (second["hits"], second["misses"], second["sent"]) == (1, 0, 0)
    assert second["received"] > 10_000 and second["began"] >= run["began"]
    cached.build()  # asks no cache, since nothing is to be built
    assert document(cached.doit("cache", "stats", "--json", where), "cache")["last_run"] == second

    text = cached.doit("cache", "stats", where, "CACHE_WRITE=0").out
    assert has(text, f"cache      {cached.store.shown}…only read…results    {len(results)}, …1 hit, 0 misses\n")
    off = cached.doit("cache", "stats")
    assert off.status == 0 and has(off.out, f"cache      off…CACHE=1…COCONUT_CACHE=1…of {cached.store.shown}")
    assert document(cached.doit("cache", "stats", "--json"), "cache")["cache"] is None


def test_less_is_left(cached: Cached) -> None:
    where = f"CACHE={cached.store.shown}"
    size = sum(one.size for one in cached.store.kept())
    assert has(
        cached.doit("cache", "gc", "--size", "1G", where).out, f"nothing to remove; …left in {cached.store.shown}"
    )
    outcome = cached.doit("cache", "gc", "--size", str(size // 2), where)
    assert outcome.status == 0 and has(outcome.out, "removed …blob…left in ")
    assert sum(one.size for one in cached.store.kept()) <= size // 2
    cached.doit("cache", "gc", "--size", "0", where)
    assert has(cached.take().out, f"{STEP}: cargo build…{STEP}: done in ")


def test_what_was_taken_is_built_and_compared(cached: Cached) -> None:
    cached.take()
    before = contents(cached.site.target)
    outcome = cached.doit("cache", "check")
    assert outcome.status == 0, outcome.text
    assert outcome.out.splitlines()[1:] == [f"{STEP}: the same", "1 step as taken"]
    assert contents(cached.site.target) == before
    assert not (cached.site.bin / ".coconut" / "cache-check").exists()
    log = (cached.site.bin / ".coconut" / "logs" / "cache-check.log").read_text()
    assert f"{STEP}: cargo build" in log and f"{STEP}: done in " in log  # although a cache is on in the file below
    assert "up to date" in cached.build().out


def test_a_wrong_result_is_found(cached: Cached) -> None:
    blob = blob_of(b"forged")
    cached.store.upload({blob: b"forged"})
    (action,) = (
        one.path.name
        for one in cached.store.kept()
        if one.is_result
        and (found := cached.store.result(one.path.name)) is not None
        and [file.path for file in found.files] == ["output"]
    )
    cached.store.put_result(action, Result((CachedFile("output", blob, True),), b"{}", "urn:forger"))
    cached.take()
    assert cached.program.read_bytes() == b"forged"
    # A cache that is on does not help: the build of the check asks none.
    file = Path(str(cached.env["XDG_CONFIG_HOME"]), "coconut-tasks", "config.toml")
    file.parent.mkdir(parents=True)
    file.write_text(f'cache = "{cached.store.shown}"\n')
    outcome = cached.doit("cache", "check", STEP)
    assert outcome.status == 1
    said = f"{STEP}: different\n…action {action}, built by urn:forger\n…rm {cached.store.path_of_result(action)}\n"
    assert has(outcome.out, f"{said}…1 of 1 steps differ…doit forget {STEP}")
    made = cached.site.bin / ".coconut" / "cache-check" / "svsm"
    assert made.read_bytes()[:4] == b"\x7fELF" and cached.program.read_bytes() == b"forged"


def test_what_is_stale_or_was_built_here_is_not_compared(cached: Cached) -> None:
    assert "nothing to check" in cached.doit("cache", "check").out
    cached.take()
    main = cached.site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\n#[used]\nstatic MORE: [u8; 3] = [1, 2, 3];\n")
    outcome = cached.doit("cache", "check")
    assert outcome.status == 0 and has(outcome.out, f"{STEP}: not compared, …nothing to check")


def test_a_check_that_cannot_build_says_why(cached: Cached) -> None:
    script = cached.site.tree / "kernel" / "build.rs"
    text = script.read_text()
    at = text.index("fn main() {") + len("fn main() {")
    # What decides is in no input, so that the result is still that of these sources.
    gone = cached.site.folder / "gone"
    script.write_text(f'{text[:at]}\n    assert!(!std::path::Path::new("{gone}").exists());{text[at:]}')
    cached.build()
    cached.take()
    before = contents(cached.site.target)
    gone.touch()
    outcome = cached.doit("cache", "check")
    assert (outcome.status, "build-for-check" in outcome.ids) == (1, True), outcome.text
    assert contents(cached.site.target) == before


def test_an_interrupted_check_brings_the_target_folder_back(cached: Cached) -> None:
    cached.take()
    before = contents(cached.site.target)
    argv = cached.site.argv("cache", "check", cached.recipe)
    env = {**environment(cached.site.target), **{name: str(value) for name, value in cached.env.items()}}
    pipe = subprocess.PIPE
    with at_work(argv, cached.site.folder, env, stdout=pipe, stderr=pipe) as process:
        wait_for(cached.site.target / ASIDE, process)
        wait_for(cached.site.bin / ".coconut" / "logs" / "cache-check.log", process)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert contents(cached.site.target) == before


# The page about teams


def test_the_nginx_of_the_page_lets_all_read_and_only_writers_write(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "cache-ci.md").read_text()
    (block,) = re.findall(r"```text\n(map .*?)```", page, re.DOTALL)
    certificates, port = make_certificates(tmp_path), free_port()
    (tmp_path / "data").mkdir()
    for there, here in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/nginx/cache/server.pem": certificates.server,
        "/etc/nginx/cache/server.key": certificates.server_key,
        "/etc/nginx/cache/writers-ca.pem": certificates.ca,
        "/var/cache/coconut": str(tmp_path / "data"),
    }.items():
        assert there in block
        block = block.replace(there, here)
    folders = "".join(f"{kind}_temp_path {tmp_path}/{kind}; " for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    main = f"daemon off; master_process off; pid {tmp_path}/pid; error_log stderr; events {{ }}"
    (tmp_path / "nginx.conf").write_text(f"{main}\nhttp {{ access_log off; {folders}\n{block} }}\n")
    argv = [nginx_program(), "-p", str(tmp_path), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    plain = Settings(f"https://localhost:{port}/svsm", ca=certificates.ca)
    token = replace(plain, headers=(("Authorization", "Bearer THE-TOKEN"),))
    certificate = replace(plain, certificate=certificates.client, key=certificates.client_key)
    wrong = replace(plain, headers=(("Authorization", "Bearer THE-TOKEN-"),))
    with at_work(argv, tmp_path, dict(os.environ), stderr=subprocess.PIPE) as server:
        wait_for(tmp_path / "pid", server)
        for number, settings in enumerate((plain, wrong, token, certificate)):
            writer, reader = HttpStore(settings), HttpStore(plain)
            content = b"content %d" % number * 1000
            blob, result = blob_of(content), Result((CachedFile("output", blob_of(content)),), b"{}", "urn:builder")
            may_write = settings in (token, certificate)
            with nullcontext() if may_write else pytest.raises(CacheReadOnly):
                writer.upload({blob: content})
            with nullcontext() if may_write else pytest.raises(CacheReadOnly):
                writer.put_result(key(number), result)
            assert reader.missing({blob}) == (set() if may_write else {blob})
            assert reader.result(key(number)) == (result if may_write else None)
            if may_write:
                reader.fetch({blob: tmp_path / "fetched"})
                assert (tmp_path / "fetched").read_bytes() == content
                (tmp_path / "fetched").unlink()
            writer.close()
            reader.close()
        # Only the cache's own places.
        elsewhere = HttpStore(replace(token, address=f"https://localhost:{port}/other"))
        with pytest.raises(CacheFault):
            elsewhere.upload({blob_of(b"x"): b"x"})
        elsewhere.close()
    assert sorted(os.listdir(tmp_path / "data")) == [".tmp", "svsm"]


# Wrong use


@pytest.mark.parametrize(
    ("words", "id"),
    [
        ([], "wrong-words"),
        (["stat"], "wrong-words"),
        (["gc", "CACHE=c"], "wrong-words"),
        (["gc", "--size", "10G"], "no-cache"),
        (["gc", "--size", "10G", "CACHE=https://u:secret@localhost/c"], "not-our-cache"),
        (["gc", "--size", "10G", "kernel", "CACHE=c"], "wrong-words"),
        (["stats", "--size", "10G"], "wrong-words"),
        (["check", "--json"], "wrong-words"),
        (["stats", "CACHE=ftp://u:secret@localhost/c"], "not-a-cache"),
        *(
            (["gc", "--size", size, "CACHE=c"], "not-a-size")
            for size in ("10X", "G", "-1", "10GB", "1.G", "ten", "1e3")
        ),
    ],
)
def test_wrong_use_is_said(site: Site, tmp_path: Path, words: list[str], id: str) -> None:
    outcome = site.doit("cache", *words, env={"XDG_CONFIG_HOME": str(tmp_path)})
    assert outcome.status == 2 and outcome.ids == {id}, outcome.text
    assert "secret" not in outcome.text


@pytest.mark.parametrize(
    ("size", "left"),
    [
        ("3000", 2),
        ("2K", 2),
        ("2KiB", 2),
        ("2k", 2),
        ("1.5K", 1),
        ("0.5kib", 0),
        ("1M", 3),
        ("1G", 3),
        ("1T", 3),
        ("0", 0),
    ],
)
def test_a_size_is_said_as_people_say_it(site: Site, store: FolderStore, size: str, left: int) -> None:
    for number in range(3):
        blob = blob_of(bytes([number]) * 1024)
        store.upload({blob: bytes([number]) * 1024})
    outcome = site.doit("cache", "gc", f"--size={size}", f"CACHE={store.shown}")
    assert outcome.status == 0, outcome.text
    assert len(list(store.kept())) == left


def test_the_numbers_of_a_url_are_its_servers_and_its_secrets_are_not_shown(site: Site, tmp_path: Path) -> None:
    address = "grpcs://me:secret@cache.invalid:8980/svsm?token=secret"
    env: dict[str, str | None] = {"XDG_CONFIG_HOME": str(tmp_path), "COCONUT_CACHE": address}
    outcome = site.doit("cache", "stats", env={**env, "COCONUT_CACHE_HEADERS": "Authorization: Bearer secret"})
    assert (outcome.status, outcome.err) == (0, "")
    assert has(outcome.out, "cache      grpcs://cache.invalid:8980/svsm\n…only its server knows…none here has asked")
    assert "secret" not in outcome.text and "me" not in outcome.out.split("\n")[0].split("//")[1]
    found = document(site.doit("cache", "stats", "--json", env=env), "cache")
    assert found["cache"] == {"address": "grpcs://cache.invalid:8980/svsm", "writes": True, "holds": None}


def test_builds_that_prove_something_ask_no_cache() -> None:
    options = Options(cache="/c", cache_write=True, cache_variables={"COCONUT_CACHE": "/c"})
    argv = build_command(options, "/t", "/b", 1, ["r.json"]).argv
    assert argv[argv.index("--cache") + 1] == "0" and "/c" not in argv
