"""Commands, options, keys, files and links that README and docs name exist."""

import importlib
import importlib.util
import itertools
import re
from pathlib import Path

import pytest
from docs_pages import PAGES, ROOT, all_commands, commands, shown_files

# Names that stand for something of the reader's: F, RUN/round_02, TARGET.yaml, A/ticket.safetensors, lower_case.pth ...
_PLACEHOLDER = re.compile(r"^(?:[A-Z][A-Z0-9_]*(?:/.*|\.yaml)?|\.\.\.)$")
_KEY = re.compile(r"^[A-Z][A-Z0-9_]*(?:\.[A-Z0-9_]+)+$")
_LTH_KEY = re.compile(r"(?<![\w.])LTH(?:\.[A-Z][A-Z0-9_]*)+(?!\w)")
_CONFIG = re.compile(r"(?<![\w/])configs/[\w/.+-]+\.yaml")
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_SHOWN = {name for page in PAGES for name in shown_files(page)}
_PARSERS = {}


def parser_of(tool):
    """Return the argument parser of a tool."""
    if tool not in _PARSERS:
        if tool == "train_net":
            pytest.importorskip("detectron2")
        _PARSERS[tool] = importlib.import_module(f"lth_det.cli.{tool}").build_parser()
    return _PARSERS[tool]


def problems(words):
    """Return what is wrong with a command; empty if nothing is."""
    first, rest = words[0], words[1:]
    if first == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return [
            f"make has no target {word}" for word in rest if "=" not in word and word not in targets
        ]
    if first == "python":
        return _python_problems(rest)
    if first.startswith("lth-"):
        known = first in (ROOT / "setup.py").read_text()
        return [] if known else [f"setup.py makes no command {first}"]
    if not first.endswith(".py"):
        return []
    if not (ROOT / first).is_file():
        return [f"there is no {first}"]
    if not rest or first == "tools/build_detectron2.py":
        return []
    return _option_problems(Path(first).stem, rest)


def _python_problems(words):
    if words[0] == "-m":
        return [] if importlib.util.find_spec(words[1]) else [f"there is no module {words[1]}"]
    script = ROOT / words[0]
    if not script.is_file():
        return [f"there is no {words[0]}"]
    # These scripts are not imported here: an option is known where its name stands in the script or beside it.
    text = "".join(
        path.read_text() for path in (script, script.parent / "common.py") if path.is_file()
    )
    flags = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
    return [
        f"{words[0]} has no option {flag}"
        for flag in flags
        if flag != "--help" and f'"{flag}"' not in text
    ]


def _option_problems(tool, words):
    known = parser_of(tool)._option_string_actions
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    found = [f"{tool}.py has no option {flag}" for flag in flags if flag not in known]
    for flag, value in itertools.pairwise(words):
        if flag == "--config-file" and not _is_there(value):
            found.append(f"--config-file {value} is not there")
        choices = getattr(known.get(flag), "choices", None)
        if choices and value not in choices and "|" not in value and not _PLACEHOLDER.match(value):
            found.append(f"{flag} cannot be {value}")
    return found


def _is_there(path):
    return path in _SHOWN or bool(_PLACEHOLDER.match(path)) or (ROOT / path).is_file()


def slug(heading):
    """Return the anchor of a heading, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "command", sorted(set(all_commands())), ids=lambda command: " ".join(command.words)[:60]
)
def test_every_command_can_be_typed(command):
    assert not problems(command.words), f"{command.page}: {' '.join(command.words)}"


def test_the_commands_are_found_at_all():
    found = all_commands()
    pages = {command.page for command in found}
    assert len(found) > 60
    assert {
        "README.md",
        "docs/tutorial.md",
        "docs/howto.md",
        "docs/transfer.md",
        "docs/sweeps.md",
    } <= pages
    tools = {command.words[0] for command in found}
    assert len([tool for tool in tools if tool.startswith("tools/")]) >= 9


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("```\ntools/nothing.py --help\n```\n", "there is no tools/nothing.py"),
        ("Use `tools/compare_tickets.py --config-file F --dryrun`.", "no option --dryrun"),
        (
            "    tools/run_study.py --config-file configs/study/no.yaml\n",
            "configs/study/no.yaml is not there",
        ),
        (
            "```\nPYTHONPATH=. .venv/bin/python tools/inspect_ticket.py --config-file my_no.yaml\n```\n",
            "is not there",
        ),
        ("```\ntools/transfer_ticket.py \\\n  --kind tickets\n```\n", "--kind cannot be tickets"),
        ("`make nonsense`", "make has no target nonsense"),
        ("`python -m lth_det.nonsense`", "there is no module lth_det.nonsense"),
        ("`python benchmarks/nonsense.py`", "there is no benchmarks/nonsense.py"),
        ("`python benchmarks/run_all.py --fast`", "benchmarks/run_all.py has no option --fast"),
        ("`lth-nonsense`", "setup.py makes no command lth-nonsense"),
    ],
)
def test_a_wrong_command_is_noticed(text, sentence):
    (command,) = commands(text)
    assert sentence in " ".join(problems(command.words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_configurations_and_links_are_there(page):
    text = page.read_text()
    missing = [path for path in _CONFIG.findall(text) if not (ROOT / path).is_file()]
    assert not missing
    for groups in _LINK.findall(text):
        link = "".join(groups)
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, link


def test_the_front_page_begins_with_what_a_stranger_asks():
    """Three sentences, one picture, two commands, what sets it apart with a test for each claim, and the map."""
    page = (ROOT / "README.md").read_text()
    places = [
        page.index(part) for part in ("![", "## Two commands", "## What sets it apart", "## Map")
    ]
    assert places == sorted(places)
    first = " ".join(page[: places[0]].replace("et al.", "").split())
    assert len(re.findall(r"[.](?= |$)", first)) == 3
    claims = [line for line in page[places[2] : places[3]].splitlines() if line.startswith("| ")]
    assert len(claims) > 8
    assert all("](tests/" in line for line in claims[1:])


def test_the_changelog_begins_with_this_version():
    from lth_det.version import __version__

    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == __version__


@pytest.mark.d2
def test_every_key_of_detectors_exists():
    pytest.importorskip("detectron2")
    from lth_det.d2.setup_cfg import load_config

    config = load_config(str(ROOT / "configs/mask_rcnn_imp.yaml"))

    def is_key(key):
        value = config
        for part in key.split("."):
            if not hasattr(value, "keys") or part not in value:
                return False
            value = value[part]
        return True

    wrong = []
    for page in PAGES:
        wrong += [(page.name, key) for key in _LTH_KEY.findall(page.read_text()) if not is_key(key)]
    for command in all_commands():
        if command.words[0] in (
            "tools/train_net.py",
            "tools/inspect_ticket.py",
            "tools/transfer_ticket.py",
        ):
            wrong += [
                (command.page, word)
                for word in command.words
                if _KEY.match(word) and not is_key(word)
            ]
    assert not wrong
    assert is_key("LTH.REWIND.TO")
    assert not is_key("LTH.REWIND.NOWHERE")


def test_every_dotted_key_of_classifiers_exists():
    from lth_det.classify.config import ClassifyConfig

    seen = 0
    for command in all_commands():
        if command.words[0] != "tools/train_classifier.py":
            continue
        for word in command.words:
            if re.fullmatch(r"[a-z_]+\.[a-z_]+", word) and not word.endswith(
                (".yaml", ".json", ".py")
            ):
                section, key = word.split(".")
                assert hasattr(getattr(ClassifyConfig(), section), key), f"{command.page}: {word}"
                seen += 1
    assert seen >= 2


def test_the_criterion_and_the_attribute_of_the_how_tos(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from lth_det.pruning.criteria import CRITERIA

    files = shown_files(ROOT / "docs/howto.md")
    for name in ("my_criterion.py", "my_attribute.py"):
        (tmp_path / name).write_text(files[name])
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        importlib.import_module("my_criterion")
        scores = CRITERIA["inverse"]().scores({"w": torch.tensor([1.0, -3.0])})
        assert scores["w"].tolist() == [-1.0, -3.0]
    finally:
        CRITERIA.pop("inverse", None)
    attribute = importlib.import_module("my_attribute")
    box = {"image_id": 1, "category_id": 1, "area": 100.0, "iscrowd": 0}
    truth = {
        "images": [{"id": 1, "width": 160, "height": 160}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {**box, "id": 1, "bbox": [10, 10, 10, 10]},
            {**box, "id": 2, "bbox": [100, 10, 10, 10]},
        ],
    }
    results = [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 10, 10], "score": 0.9}]
    found = attribute.by_side(truth, results)
    assert (found["left"]["objects"], found["right"]["objects"]) == (1, 1)
    assert found["left"]["AP"] == pytest.approx(1.0)
    assert found["right"]["AR"] == 0.0
