import pytest
import yaml

from dyhead.safe_io.yaml import (
    file_that_sets,
    is_based_on,
    load_yaml,
    load_yaml_text,
    load_yaml_with_base,
)


def write(path, text):
    path.write_text(text)
    return str(path)


def test_plain_yaml_reads_as_pyyaml_reads_it():
    text = "MODEL:\n  DEPTH: 50\n  NAMES: [a, b]\nLR: 0.01\nSTEPS: (1, 2)\nEMPTY: null\nON: true\n"
    assert load_yaml_text(text, "here") == yaml.safe_load(text)


def test_empty_file_is_an_empty_mapping(tmp_path):
    assert load_yaml(write(tmp_path / "empty.yaml", "# nothing\n")) == {}


@pytest.mark.parametrize(
    "expression",
    [
        "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]",
        "[[x*2,] for x in [32, 64, 128, 256, 512 ]]",
        "[int(x * 0.1 * 640) for x in range(5, 16)]",
        "(1, -2.5, 7 // 2, 7 % 4)",
        "[x + y for x in (1, 2) for y in [10, 20]]",
        "[[x * y for y in range(3)] for x in range(2)]",
    ],
)
def test_arithmetic_in_an_eval_tag_is_computed(expression):
    loaded = load_yaml_text(f'A: !!python/object/apply:eval ["{expression}"]', "here")
    assert loaded["A"] == eval(expression)


def test_tuple_tag_makes_a_tuple():
    assert load_yaml_text("A: !!python/tuple [1, [2, 3]]", "here") == {"A": (1, [2, 3])}


@pytest.mark.parametrize(
    "value",
    [
        """!!python/object/apply:os.system ["touch {target}"]""",
        """!!python/object/apply:eval ["__import__('os').system('touch {target}')"]""",
        """!!python/object/apply:eval ["[open('{target}', 'w') for x in [1]]"]""",
        """!!python/object/apply:eval ["().__class__.__base__.__subclasses__()"]""",
        """!!python/object/apply:exec ["open('{target}', 'w')"]""",
        """!!python/object/new:os.system ["touch {target}"]""",
        """!!python/name:os.system """,
        """!!python/module:os """,
        """!!python/object:pathlib.Path {{a: 1}}""",
        """!!python/tuple [!!python/name:os.system ]""",
        """!unknown 3""",
    ],
)
def test_hostile_tags_run_nothing_and_are_refused_by_name(tmp_path, value):
    target = tmp_path / "touched"
    path = write(
        tmp_path / "bad.yaml", "MODEL:\n  LIST:\n    SIZES: " + value.format(target=target)
    )
    with pytest.raises(ValueError, match=r"MODEL\.LIST\.SIZES") as error:
        load_yaml(path)
    assert path in str(error.value)
    assert "tag !" in str(error.value)
    assert not target.exists()


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9**9",
        "[x for x in range(10**9)]",
        "[[y for y in range(1000)] for x in range(1000)]",
        "[range(20000) for x in range(5000)]",
        "[1] * 1000000000",
        "(-1) ** 0.5",
        "1 / 0",
        "1e400",
        "True",
        "'text'",
        "x",
        "[x for x in [1, 2] if x > 1]",
        "{1: 2}",
        "lambda: 1",
        "range(3, step=1)",
        "1 +",
        "(" * 500 + ")" * 500,
        "1" * 3000,
    ],
)
def test_expressions_beyond_plain_arithmetic_are_refused(expression):
    with pytest.raises(ValueError, match="the key A"):
        load_yaml_text(f'A: !!python/object/apply:eval ["{expression}"]', "here")


@pytest.mark.parametrize("arguments", ['["1", "2"]', "[3]", "{args: ['1']}", "'1'"])
def test_eval_tag_needs_exactly_one_expression(arguments):
    with pytest.raises(ValueError, match="the key A"):
        load_yaml_text(f"A: !!python/object/apply:eval {arguments}", "here")


def test_a_refused_tag_beside_aliases_is_named():
    with pytest.raises(ValueError, match=r"the key A\.C"):
        load_yaml_text("B: &b {X: 1}\nA:\n  B: *b\n  C: !x 1\n  D: *b\n", "here")


def nested_aliases(line: str, levels: int) -> str:
    lines = ["A0: &A0 {X: 1}"]
    return "\n".join(lines + [line.format(i, f"*A{i - 1}") for i in range(1, levels)])


@pytest.mark.parametrize(
    "text",
    [
        nested_aliases("A{0}: &A{0} {{Y: {1}, Z: {1}}}", 40),
        nested_aliases("A{0}: &A{0} {{<<: [{1}, {1}], Y{0}: 1}}", 40),
        "A: &A [*A]",
        "A: &A\n  B: *A\n",
        "A: " + "[" * 3000 + "]" * 3000,
    ],
    ids=["doubling", "merging", "list in itself", "mapping in itself", "deep"],
)
def test_small_texts_of_enormous_values_are_refused_at_once(text):
    with pytest.raises(ValueError, match="here is not well-formed YAML"):
        load_yaml_text(text, "here")


def test_ordinary_aliases_and_merge_keys_work():
    text = "A: &A {X: 1, Y: 2}\nB: {<<: *A, Y: 3}\nC: *A\n"
    assert load_yaml_text(text, "here")["B"] == {"X": 1, "Y": 3}


@pytest.mark.parametrize("value", ["!!int text", "{!!python/tuple [[1]]: 2}"])
def test_values_that_cannot_be_built_name_the_file(value):
    with pytest.raises(ValueError, match=r"some\.yaml is not well-formed"):
        load_yaml_text(f"A: {value}", "some.yaml")


@pytest.mark.parametrize("text", ["A: [1, 2", "A: 'b", "\tA: 1"])
def test_malformed_yaml_is_a_value_error_that_names_the_file(text):
    with pytest.raises(ValueError, match=r"some\.yaml is not well-formed"):
        load_yaml_text(text, "some.yaml")


def test_top_level_has_to_be_a_mapping():
    with pytest.raises(ValueError, match=r"some\.yaml"):
        load_yaml_text("[1, 2]", "some.yaml")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.yaml"):
        load_yaml(tmp_path / "absent.yaml")


def test_base_is_relative_to_the_file_and_is_overridden(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "base.yaml", "A: {X: 1, Y: 2}\nB: 1\n")
    path = write(tmp_path / "sub" / "child.yaml", "_BASE_: ../base.yaml\nA: {Y: 3}\nC: 4\n")
    assert load_yaml_with_base(path) == {"A": {"X": 1, "Y": 3}, "B": 1, "C": 4}


def test_later_bases_win_and_bases_have_bases(tmp_path):
    write(tmp_path / "root.yaml", "A: 1\nB: 1\nC: 1\n")
    write(tmp_path / "first.yaml", "_BASE_: root.yaml\nB: 2\nC: 2\n")
    write(tmp_path / "second.yaml", "C: 3\n")
    path = write(tmp_path / "child.yaml", "_BASE_: [first.yaml, second.yaml]\n")
    assert load_yaml_with_base(path) == {"A": 1, "B": 2, "C": 3}


def test_base_may_be_absolute_or_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    absolute = write(tmp_path / "base.yaml", "A: 1\n")
    (tmp_path / "sub").mkdir()
    for base in (absolute, "~/base.yaml"):
        path = write(tmp_path / "sub" / "child.yaml", f"_BASE_: {base}\n")
        assert load_yaml_with_base(path) == {"A": 1}


def test_bases_in_a_circle_are_refused(tmp_path):
    write(tmp_path / "a.yaml", "_BASE_: b.yaml\n")
    path = write(tmp_path / "b.yaml", "_BASE_: a.yaml\n")
    with pytest.raises(ValueError, match="circle"):
        load_yaml_with_base(path)


def test_a_group_cannot_override_a_value_of_its_base(tmp_path):
    write(tmp_path / "base.yaml", "A: {B: 1}\n")
    path = write(tmp_path / "child.yaml", "_BASE_: base.yaml\nA: {B: {C: 1}}\n")
    with pytest.raises(ValueError, match="B is a group"):
        load_yaml_with_base(path)


@pytest.mark.parametrize("date", ["2026-11-27", "2020-99-99", "2026-11-27 18:00:00"])
def test_what_looks_like_a_date_is_text(date):
    assert load_yaml_text(f"OUTPUT_DIR: {date}\n", "some.yaml") == {"OUTPUT_DIR": date}


@pytest.mark.parametrize(
    "value", ["!!set {a, b}", "!!binary aGk=", "!!omap [a: 1]", "!!timestamp 2026-11-27"]
)
def test_standard_yaml_for_what_no_config_holds_is_refused_by_name(value):
    tag = value.split()[0]
    with pytest.raises(ValueError, match=f"some.yaml, line 2: the tag {tag} of the key A.B is not"):
        load_yaml_text(f"A:\n  B: {value}\n", "some.yaml")


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("A:\n  B: 1\nC: 2\nA:\n  D: 3\n", "A", "1 and 4"),
        ("A:\n  B: 1\n  B: 1\n", "A.B", "2 and 3"),
        ("A: [{B: 1, B: 2}]\n", "A.B", "1 and 1"),
    ],
)
def test_a_key_that_stands_twice_is_refused(text, key, lines):
    with pytest.raises(ValueError, match=f"some.yaml: {key} stands twice, in lines {lines}"):
        load_yaml_text(text, "some.yaml")


def test_the_same_name_in_two_groups_or_of_an_alias_is_no_duplicate():
    text = "A: &a {B: 1}\nC: {B: 2}\nD:\n  <<: *a\n  B: 3\n"
    assert load_yaml_text(text, "some.yaml") == {"A": {"B": 1}, "C": {"B": 2}, "D": {"B": 3}}


def test_text_in_another_encoding_names_the_file(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("OUTPUT_DIR: grün\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.yaml is no UTF-8 text \(see byte 14\)"):
        load_yaml(path)


def test_a_folder_and_a_file_beyond_all_configs_are_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        load_yaml(tmp_path)
    with open(tmp_path / "large.yaml", "wb") as file:
        file.truncate(1 << 33)  # takes no room
    with pytest.raises(ValueError, match=r"large\.yaml is larger than 8 MB"):
        load_yaml(tmp_path / "large.yaml")


def test_the_file_that_sets_a_key_is_found_among_its_bases(tmp_path):
    write(tmp_path / "a.yaml", "A: {B: 1, C: 1}\n")
    write(tmp_path / "b.yaml", "A: {B: 2}\n")
    top = tmp_path / "top.yaml"
    write(top, "_BASE_: [a.yaml, b.yaml]\nD: 1\n")
    found = [file_that_sets(top, key).rpartition("/")[2] for key in ("A.B", "A.C", "D", "E")]
    assert found == ["b.yaml", "a.yaml", "top.yaml", ""]


def test_what_a_file_stands_on_is_told(tmp_path):
    write(tmp_path / "a.yaml", "A: 1\n")
    write(tmp_path / "b.yaml", "_BASE_: a.yaml\n")
    top = tmp_path / "top.yaml"
    write(top, "_BASE_: [b.yaml]\n")
    assert is_based_on(top, tmp_path / "b.yaml") and is_based_on(top, tmp_path / "a.yaml")
    assert not is_based_on(top, top) and not is_based_on(tmp_path / "a.yaml", tmp_path / "b.yaml")
