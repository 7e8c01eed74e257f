"""The reference of the commands, out of the parser: ``python -m lib.command_line.reference`` prints the page."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from lib.command_line.parser import build_parser
from lib.command_line.statuses import MEANING
from lib.command_line.texts import GROUPS, About

HEAD = """\
# Command line

<!-- Made by: python -m lib.command_line.reference. A test compares. -->

`python apps/semiseg/main.py COMMAND --help` says the same of one command. Every [setting](settings.md) is an option of
every command that has `--studies`, as `--key value` or `--conf key value`. Results go to the standard output. Bars, or
without a terminal a line for each stage and every 30 seconds, go to the error output, with all sentences and warnings.

| exit status | meaning |
|---|---|
{statuses}

With `--json` a result is printed as JSON, for scripts; a failure is a sentence on the error output all the same.

```bash
python apps/semiseg/main.py next --studies DIR --count 3 --json \\
    | python -c "import json, sys; print(*(each['id'] for each in json.load(sys.stdin)))"
```
"""
PREFIX = "python apps/semiseg/main.py"


def page() -> str:
    """The page, in Markdown."""
    parser = build_parser()
    commands = _choices(parser)
    statuses = "\n".join(f"| {status} | {meaning} |" for status, meaning in MEANING.items())
    parts = [HEAD.format(statuses=statuses)]
    for group, members in GROUPS.items():
        parts.append(f"## {group[0].upper()}{group[1:]}\n")
        parts += [_section(name, about, commands[name]) for name, about in members.items()]
    return "\n".join(parts)


def _section(name: str, about: About, command: argparse.ArgumentParser) -> str:
    rows = ["| option | what it does |", "|---|---|", *_rows(command)]
    for action, parser in _choices(command).items():
        rows += list(_rows(parser, f"{action} "))
    lines = [
        f"### {name}\n",
        f"{command.description}\n",
        f"```bash\n{PREFIX} {name} {about.example}\n```\n",
        "\n".join(rows) + "\n",
        f"`--json`: {about.json}.\n",
    ]
    if about.settings:
        lines.append(f"Settings that matter most: {', '.join(f'`{key}`' for key in about.settings)}.\n")
    return "\n".join(lines)


def _rows(command: argparse.ArgumentParser, before: str = "") -> Iterator[str]:
    """A row for each option of the command's own; the settings have a page."""
    settings = next((group for group in command._action_groups if group.title == "settings"), None)
    hidden = {id(action) for action in settings._group_actions} if settings else set()
    for action in command._actions:
        skipped = isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)) or action.dest == "json"
        if skipped or id(action) in hidden:
            continue
        name = action.option_strings[0] if action.option_strings else str(action.metavar or action.dest)
        value = f" {action.metavar}" if action.option_strings and action.metavar else ""
        choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
        needed = ", needed" if action.option_strings and action.required else ""
        yield f"| `{before}{name}{value}`{needed} | {action.help or 'its name'}{choices} |"


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name -> parser of what may follow."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


if __name__ == "__main__":
    print(page(), end="")
