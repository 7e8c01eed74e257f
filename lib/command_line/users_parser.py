"""The options of the command ``users``, which has a file of users in the place of a folder of studies."""

from __future__ import annotations

import argparse
from pathlib import Path

from lib.access.people import Role
from lib.command_line.output import add_json


def add_users_options(command: argparse.ArgumentParser) -> None:
    """The file, then what to do with it."""
    command.add_argument("file", type=Path, metavar="FILE", help="the users file, as in --conf users FILE")
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add a user, or give one another password or role; asks for the password")
    add.add_argument("name", help="1 to 64 letters, digits and . _ - @")
    add.add_argument("--role", choices=[role.title for role in Role], help="needed for a new user")
    add.add_argument("--password-stdin", action="store_true", help="read the password from the standard input")
    remove = actions.add_parser("remove", help="remove a user, whose open sessions end")
    remove.add_argument("name")
    for action in (add, remove, actions.add_parser("list", help="list the users with their roles")):
        add_json(action)
