"""``cache``: what the cache holds, less of it, and whether it is right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from coconut_tasks.called import called
from coconut_tasks.errors import EXIT_FAILED, EXIT_USAGE, CoconutError, StepError, UsageError, tell
from coconut_tasks.tasks.command import in_order, none_of, switch, text_option
from coconut_tasks.tasks.task_command import ReportCommand

if TYPE_CHECKING:
    from coconut_tasks.cache.settings import Settings
    from coconut_tasks.options import Options
    from coconut_tasks.records.history import Exchange

# The rest is imported where it is used: doit loads this class for its own help, with any dodo.py.

_WORDS = {
    "stats": "what is in the cache, and what the last run exchanged with it",
    "gc": "remove what was not used for the longest time",
    "check": "build what was taken from the cache, and compare",
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(?:([KMGT])(?:iB)?)?", re.IGNORECASE)
CHECK = "cache-check"
"""In the state folder: where ``check`` builds."""


class CacheCommand(ReportCommand):
    """``cache``: exit status 1 if ``check`` finds a difference, or cannot build."""

    name = "cache"
    doc_purpose = "show the cache's use, make it smaller, or check what was taken from it"
    doc_usage = "stats|gc|check [TASK ...] [VARIABLE=value ...]"
    doc_description = """
        stats shows where the cache is, what it holds, and what the last run exchanged with it. gc makes a cache in a folder smaller: what
        was not used for the longest time goes first. check builds again, without the cache, what was taken from it, and compares every
        byte. It sets aside what is in cargo's target folder, and brings it back.

        Exit status: 0 success, 1 check found a difference or a step failed, 2 wrong usage.
    """
    cmd_options = (
        text_option("size", "for gc: the most that is left, for example 10G or 500MiB"),
        switch("json", "for stats: print the result as JSON"),
    )
    examples = (
        "doit cache stats",
        "doit cache gc --size 10G",
        "doit cache check RECIPE=config/qemu.json  # each step of the recipe that was taken from the cache",
        "doit cache check kernel:svsm",
    )

    def parse_execute(self, in_args: Any) -> Any:
        # doit ends a command's options at its first word.
        return super().parse_execute(in_args if self.is_own else in_order(in_args, self.cmdparser))

    def execute(self, params: Any, args: Any) -> Any:
        word, words = (args[0], list(args[1:])) if args else ("", [])
        try:
            _check_words(word, params)
            if word == "check":
                return super().execute(params, words)
            return self._without_tasks(word, words, params)
        except BrokenPipeError:
            from coconut_tasks.tasks.interrupt import nobody_reads

            return nobody_reads()
        except (CoconutError, OSError) as error:
            tell(error)
            return EXIT_USAGE

    def _without_tasks(self, word: str, words: Sequence[str], params: Mapping[str, Any]) -> int:
        """They need no recipe, and no tree."""
        import sys

        from coconut_tasks.cache.settings import find_settings

        if steps := self.loader.take(params, words) if self.is_own else words:
            raise UsageError("wrong-words", f"cache {word}: '{steps[0]}' is too much; expected no step")
        options = self._options()
        settings = find_settings(options)
        text = _collect(settings, _size(params["size"])) if word == "gc" else self._stats(settings, options, params)
        sys.stdout.write(text)
        sys.stdout.flush()
        return 0

    def _options(self) -> Options:
        if self.is_own:
            options: Options = self.loader.asked()
            return options
        from coconut_tasks.options import from_words, process_environment, process_words
        from coconut_tasks.tasks.standing import stand

        return from_words(process_words(), process_environment(), stand())

    def _stats(self, settings: Settings | None, options: Options, params: Mapping[str, Any]) -> str:
        from coconut_tasks.cache.collect import held
        from coconut_tasks.cache.folder import FolderStore
        from coconut_tasks.cache.settings import shown_address
        from coconut_tasks.options import configuration_file
        from coconut_tasks.reports.cache import stats_json, stats_text
        from coconut_tasks.reports.results import head

        address = shown_address(settings) if settings is not None else None
        writes = settings is not None and settings.write
        holds = held(FolderStore(settings.address).kept()) if settings is not None and settings.is_folder else None
        last = _last_exchange(options)
        if params["json"]:
            self.document = stats_json(head("cache"), address, holds, last, writes=writes)
            return ""
        how = (called().setting("CACHE", "1"), "COCONUT_CACHE=1", configuration_file(options.environment))
        return stats_text(address, holds, last, how, writes=writes)

    def _execute(self, size: str, json: bool) -> int:
        from coconut_tasks.compare.recheck import recheck
        from coconut_tasks.freshness.forecast import Fate
        from coconut_tasks.reports.cache import rechecked_text
        from coconut_tasks.tasks.interrupt import listen
        from coconut_tasks.tasks.preflight import preflight, take_lock
        from coconut_tasks.tasks.standing import from_here

        assert self.session is not None
        session, workspace = self.session, self.session.workspace
        nodes = self.named_nodes(self.asked) if self.asked else self.nodes
        taken = {node.step.name: (node.step, node.cached) for node in nodes if node.cached is not None}
        forecasts = self.forecasts() if taken else {}
        stale = [name for name in taken if forecasts[name].fate not in (Fate.RESTS, Fate.PLACES)]
        for name in stale:
            self._say(f"{name}: not compared, since it is stale")
        chosen = [(step, cached) for name, (step, cached) in taken.items() if name not in stale and cached is not None]
        if not chosen:
            self._say("nothing to check: no step that is up to date was taken from a cache")
            return 0
        if problems := preflight(self.nodes) or take_lock(workspace):
            raise UsageError.of(problems)
        listen()
        folder = workspace.state / CHECK
        self._say(f"building {', '.join(step.name for step, _ in chosen)} in {from_here(folder)}")
        try:
            found = recheck(session, chosen, folder)
        except StepError as error:
            tell(StepError("build-for-check", f"cache check: the build failed: {error}"))
            return EXIT_FAILED
        different = [one.step for one in found if not one.is_same]
        again = self.line("forget", *different)
        self._say(rechecked_text(found, from_here(folder), again).removesuffix("\n"))
        return EXIT_FAILED if different else 0

    def _say(self, text: str) -> None:
        self.outstream.write(f"{text}\n")
        self.outstream.flush()


def _check_words(word: str, params: Mapping[str, Any]) -> None:
    example = called().command("cache", "stats")
    if not word:
        raise UsageError("wrong-words", f"cache: expected stats, gc or check; for example: {example}")
    if word not in _WORDS:
        raise UsageError("wrong-words", f"cache: {none_of(word, _WORDS)}")
    if word == "gc" and not params["size"]:
        line = called().command("cache", "gc", "--size", "10G")
        raise UsageError("wrong-words", f"cache gc: --size is missing; for example: {line}")
    if word != "gc" and params["size"]:
        raise UsageError("wrong-words", f"cache {word}: --size is only for gc")
    if word != "stats" and params["json"]:
        raise UsageError("wrong-words", f"cache {word}: --json is only for stats")


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError("not-a-size", f"--size: '{text}' is not a size; expected bytes, or a number with K, M, G or T")
    return int(float(found[1]) * 1024 ** " KMGT".index((found[2] or " ").upper()))


def _collect(settings: Settings | None, most: int) -> str:
    from coconut_tasks.cache.collect import collect
    from coconut_tasks.cache.folder import FolderStore
    from coconut_tasks.reports.cache import collected_text

    if settings is None:
        raise UsageError("no-cache", f"cache gc: no cache is on; expected {called().setting('CACHE', 'FOLDER')}")
    if not settings.is_folder:
        raise UsageError("not-our-cache", "cache gc: the cache is behind a URL, so its server decides what it keeps")
    return collected_text(*collect(FolderStore(settings.address), most), settings.address)


def _last_exchange(options: Options) -> Exchange | None:
    """Of the output folder that these options mean; None if there is no such folder."""
    from coconut_tasks.records.history import History
    from coconut_tasks.workspace.source import find_source
    from coconut_tasks.workspace.workspace import state_folder

    try:
        return History(state_folder(find_source(options).bin)).last_exchange()
    except UsageError:
        return None
