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
    ("word", "message"),
    [
        ("RECIP=x", "RECIP: no such variable (did you mean 'RECIPE'?): RECIPE, SVSM, BIN, RELEASE, FEATURES, "),
        ("release=1", "release: no such variable (did you mean 'RELEASE'?)"),
        ("RELEASE=treu", "RELEASE: 'treu' is neither yes nor no: 1 or 0 (did you mean 'true'?)"),
        ("RELEASE=2", "RELEASE: '2' is neither yes nor no: 1 or 0"),
        ("FEATURES=svsm:", "FEATURES: 'svsm:' is not a feature: [pkg:]feature"),
        ("FEATURES=:x", "FEATURES: ':x' is not a feature"),
        ("FEATURES=--release", "FEATURES: '--release' is not a feature"),
        ("FEATURES=svsm:-x", "FEATURES: 'svsm:-x' is not a feature"),
        ("RECIPE=", "RECIPE: nothing after the equal sign"),
        ("RECIPE=,", "RECIPE: nothing after the equal sign"),
        ("FEATURES=svsm:a\x01b", r"FEATURES: 'svsm:a\x01b' is not a feature"),
        ("SVSM= ", "SVSM: nothing after the equal sign"),
    ],
)
def test_a_wrong_word_is_an_error(word: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        options(word)
    assert str(error.value).startswith(message)


def test_a_variable_is_given_once() -> None:
    with pytest.raises(
        UsageError, match=r"^RECIPE: given 2 times: once, build recipes, separated by commas or spaces$"
    ):
        options("RECIPE=a", "RECIPE=b")


def test_a_list_is_separated_by_what_one_sees_as_blank_and_by_nothing_else() -> None:
    assert split_list(" a,b\tc\n\r\vd ,, ") == ("a", "b", "c", "d")
    assert split_list("a\x1cb\x85c\u00a0d") == ("a\x1cb\x85c\u00a0d",)


def test_all_wrong_words_are_told_at_once() -> None:
    with pytest.raises(UsageError) as error:
        options("RECIP=x", "RELEASE=treu", "FEATURES=:")
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["RECIP", "RELEASE", "FEATURES"]


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
    # Between commas too: of several in such a folder, each is one.
    assert recipes("RECIPE=my recipes/a b.json, x.json y.json,") == ("my recipes/a b.json", "x.json", "y.json")
