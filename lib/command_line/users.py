"""The commands ``users`` and ``audit``: who may log in to the server, and what they did."""

from __future__ import annotations

import argparse
import getpass
import sys

from lib.access.audit import AuditLog
from lib.access.passwords import hash_password
from lib.access.people import Role
from lib.access.users_file import NAME, User, changed_users, read_users
from lib.command_line.output import json_line, tell
from lib.command_line.project import project_folder
from lib.command_line.statuses import DONE
from lib.config import Config
from lib.errors import ConfigError, NotFoundError


def run_users(options: argparse.Namespace) -> int:
    """Add, change, remove or list the users of a file; a running server takes the change at once."""
    if options.action == "list":
        users = read_users(options.file).values()
        found = [{"name": user.name, "role": user.role.title} for user in users]
        tell(options, found, "\n".join(f"{user.name}  {user.role.title}" for user in users))
    elif options.action == "remove":
        with changed_users(options.file) as known:
            if known.pop(options.name, None) is None:
                raise NotFoundError(f"There is no user '{options.name}' in {options.file}")
        words = f"{options.name} is removed; open sessions of this user have ended."
        tell(options, {"name": options.name, "role": None}, words)
    else:
        _add(options)
    return DONE


def run_audit(options: argparse.Namespace, config: Config) -> int:
    """Print the audit log, oldest first."""
    for entry in AuditLog(project_folder(options, config).path).entries(options.last):
        if options.json:
            print(json_line(entry))
            continue
        first = [entry.get(key, "-") for key in ("when", "who", "from", "what")]
        rest = [f"{key}={value}" for key, value in entry.items() if key not in ("when", "who", "from", "what")]
        print("  ".join([*first, *rest]))
    return DONE


def _add(options: argparse.Namespace) -> None:
    """A new user, or another password or role of one who is there."""
    if not NAME.fullmatch(options.name):
        raise ConfigError(f"'{options.name}' cannot be a name: 1 to 64 letters, digits and . _ - @, and not 'server'")
    known = read_users(options.file).get(options.name) if options.file.exists() else None
    role = Role.named(options.role or (known.role.title if known else ""))
    if role is None:
        raise ConfigError(f"{options.name} is new: give a role, --role {' | '.join(each.title for each in Role)}")
    only_the_role = bool(known and options.role and not options.password_stdin and known.role != role)
    hashed = known.hash if known and only_the_role else hash_password(_password(options.password_stdin))
    with changed_users(options.file) as users:
        users[options.name] = User(options.name, role, hashed)
    tell(options, {"name": options.name, "role": role.title}, f"{options.name} is {role.title} in {options.file}.")


def _password(from_input: bool) -> str:
    if from_input:
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Again: "):
        raise ConfigError("The two passwords differ")
    return first
