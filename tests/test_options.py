"""Command-line words → options."""

from __future__ import annotations

from pathlib import Path

import pytest

from coconut_tasks.errors import UsageError
from coconut_tasks.options import ExtraFeature, Options, from_words, parse_features, split_list


def options(*words: str, **environment: str) -> Options:
    return from_words(words, environment, "/home/me")


def test_nothing_asked_for_is_the_defaults() -> None:
    assert options() == Options(workdir="/home/me")


def test_every_variable_is_read() -> None:
    found = options(
        "RECIPE=a.json,b.json c.json",
        "SVSM=tree",
        "BIN=out",
        "RELEASE=1",
        "FEATURES=attest, userinit:extra",
        "ALL_FEATURES=yes",
        "OFFLINE=true",
        "VERBOSE=on",
        "LENIENT=1",
        "ASK_CARGO=1",
    )
    assert found == Options(
        recipes=("a.json", "b.json", "c.json"),
        svsm="tree",
        bin="out",
        release=True,
        features=(ExtraFeature("svsm", "attest"), ExtraFeature("userinit", "extra")),
        all_features=True,
        offline=True,
        verbose=True,
        lenient=True,
        ask_cargo=True,
        workdir="/home/me",
    )


@pytest.mark.parametrize(("word", "value"), [("1", True), ("YES", True), ("0", False), ("off", False), ("", False)])
def test_a_switch_takes_yes_and_no(word: str, value: bool) -> None:
    assert options(f"RELEASE={word}").release is value


def test_task_names_and_options_of_doit_are_not_variables() -> None:
    assert options("igvm:qemu", "-n", "4", "--db-file=x").recipes == ()


def test_the_tree_comes_from_the_environment_too_and_the_command_line_wins() -> None:
    assert options(SVSM="/env").svsm == "/env"
    assert options("SVSM=/word", SVSM="/env").svsm == "/word"
    assert options(SVSM="").svsm is None


def test_a_release_variable_in_the_environment_is_not_our_option() -> None:
    assert options(RELEASE="1").release is False


@pytest.mark.parametrize(
    ("word", "id", "nearest"),
    [
        ("RECIP=x", "no-such-variable", "'RECIPE'"),
        ("release=1", "no-such-variable", "'RELEASE'"),
        ("RELEASE=treu", "not-a-switch", "'true'"),
        ("RELEASE=2", "not-a-switch", "'2'"),
        ("FEATURES=svsm:", "not-a-feature", "'svsm:'"),
        ("FEATURES=:x", "not-a-feature", "':x'"),
        ("FEATURES=--release", "not-a-feature", "'--release'"),
        ("FEATURES=svsm:-x", "not-a-feature", "'svsm:-x'"),
        ("RECIPE=", "empty-variable", ""),
        ("RECIPE=,", "empty-variable", ""),
        ("FEATURES=svsm:a\x01b", "not-a-feature", r"'svsm:a\x01b'"),
        ("SVSM= ", "empty-variable", ""),
    ],
)
def test_a_wrong_word_is_an_error(word: str, id: str, nearest: str) -> None:
    with pytest.raises(UsageError) as error:
        options(word)
    (fault,) = error.value.faults
    assert (fault.id, fault.text.partition(": ")[0]) == (id, word.partition("=")[0])
    assert nearest in fault.text


def test_a_variable_is_given_once() -> None:
    with pytest.raises(UsageError, match=r"^RECIPE: ") as error:
        options("RECIPE=a", "RECIPE=b")
    assert error.value.id == "variable-twice"


def test_a_list_is_separated_by_what_one_sees_as_blank_and_by_nothing_else() -> None:
    assert split_list(" a,b\tc\n\r\vd ,, ") == ("a", "b", "c", "d")
    assert split_list("a\x1cb\x85c\u00a0d") == ("a\x1cb\x85c\u00a0d",)


def test_all_wrong_words_are_told_at_once() -> None:
    with pytest.raises(UsageError) as error:
        options("RECIP=x", "RELEASE=treu", "FEATURES=:")
    assert [(fault.text.partition(":")[0], fault.id) for fault in error.value.faults] == [
        ("RECIP", "no-such-variable"),
        ("RELEASE", "not-a-switch"),
        ("FEATURES", "not-a-feature"),
    ]
    assert [line.rpartition("  ")[2] for line in error.value.shown.splitlines()] == [
        "[no-such-variable]",
        "[not-a-switch]",
        "[not-a-feature]",
    ]


def test_a_package_names_only_the_feature_right_behind_it() -> None:
    assert parse_features("svsm:a,b") == (ExtraFeature("svsm", "a"), ExtraFeature("svsm", "b"))
    assert parse_features("userinit:a,b") == (ExtraFeature("userinit", "a"), ExtraFeature("svsm", "b"))
    assert parse_features(" a,, a ") == (ExtraFeature("svsm", "a"),)


def test_a_recipe_that_is_a_file_as_it_stands_is_no_list(tmp_path: Path) -> None:
    for folder in (tmp_path / "my recipes", tmp_path / "svsm" / "my, configs"):
        folder.mkdir(parents=True)
        (folder / "a b.json").write_text("{}")

    def recipes(*words: str) -> tuple[str, ...]:
        return from_words(words, {}, str(tmp_path)).recipes

    assert recipes("RECIPE=my recipes/a b.json") == ("my recipes/a b.json",)
    assert recipes("RECIPE=my, configs/a b.json", "SVSM=svsm") == ("my, configs/a b.json",)
    assert recipes("RECIPE=a.json b.json") == ("a.json", "b.json")
    # Between commas too: each of several files in such a folder is one.
    assert recipes("RECIPE=my recipes/a b.json, x.json y.json,") == ("my recipes/a b.json", "x.json", "y.json")
