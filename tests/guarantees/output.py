"""Bugs in what is printed, by the promise that each one breaks."""

from __future__ import annotations

from tests.guarantees.breaking import Breaking

_EVERYWHERE = "render/test_hostile_everywhere.py::test_nothing_hostile_comes_out"
_COMMANDS = "render/test_hostile_everywhere.py::test_commands_are_made_of_checked_words"
_CORPUS = "cli/test_hostile_names.py::"
_CODES = "cli/test_exit_codes.py::"
_ARGUMENTS = "system/test_origin.py::"

BREAKINGS = {
    "No foreign string": (
        Breaking(
            "control characters of the second half (C1) are let through",
            "render/safe.py",
            "    if character.isprintable():",
            "    if character.isprintable() or 0x80 <= ord(character) < 0xA0:",
            [_EVERYWHERE],
        ),
        Breaking(
            "a holder's directory is printed as it is",
            "render/text.py",
            'parts.append(f"in {safe(process.cwd, _PATH_LIMIT)}")',
            'parts.append(f"in {process.cwd}")',
            [_EVERYWHERE],
        ),
        Breaking(
            "what is the matter with a port is printed as it is",
            "render/text.py",
            'f"  {safe(port.message, _LINE_LIMIT)}"]',
            'f"  {port.message}"]',
            [_EVERYWHERE],
        ),
        Breaking(
            "the path of a config is printed as it is",
            "render/text.py",
            '    return safe((path or "").removeprefix(cwd.rstrip("/") + "/"), _PATH_LIMIT)',
            '    return (path or "").removeprefix(cwd.rstrip("/") + "/")',
            [_EVERYWHERE],
        ),
        Breaking(
            "errors are printed as they are",
            "render/text.py",
            'lines = [f"portguard: {safe(message, _LINE_LIMIT)}" for message in messages]',
            'lines = [f"portguard: {message}" for message in messages]',
            [_EVERYWHERE],
        ),
        Breaking(
            "notes are printed as they are",
            "render/text.py",
            '    return "".join(f"note: {safe(note.message)}\\n" for note in found)',
            '    return "".join(f"note: {note.message}\\n" for note in found)',
            [_EVERYWHERE],
        ),
        Breaking(
            "`who` prints branches as they are",
            "render/who.py",
            'yield from (f"  {safe(line, _LINE_LIMIT)}" for line in _holder(',
            'yield from (f"  {line}" for line in _holder(',
            [_EVERYWHERE],
        ),
        Breaking(
            "`who` prints the owners of connections as they are",
            "render/who.py",
            "{safe(explain.owner_of(connection), _LINE_LIMIT)}",
            "{explain.owner_of(connection)}",
            [_EVERYWHERE],
        ),
        Breaking(
            "`list` prints services as they are",
            "render/listing.py",
            "named = safe(service, _NAME_LIMIT) if service",
            "named = service if service",
            [_EVERYWHERE],
        ),
        Breaking(
            "`list` prints projects as they are",
            "render/listing.py",
            'head = "(no project)" if project is None else safe(project, width)',
            'head = "(no project)" if project is None else project',
            [_EVERYWHERE],
        ),
        Breaking(
            "`kill` prints what it would end as it is",
            "render/kill.py",
            'yield f"  would {verb} {safe(action.text + more, _LINE_LIMIT)}"',
            'yield f"  would {verb} {action.text + more}"',
            [_EVERYWHERE],
        ),
        Breaking(
            "`kill` prints what became of a port as it is",
            "render/kill.py",
            'yield f"{_where(port)}  {word}: {safe(port.message, _LINE_LIMIT)}"',
            'yield f"{_where(port)}  {word}: {port.message}"',
            [_EVERYWHERE],
        ),
        Breaking(
            "`leases` prints directories as they are",
            "render/leases.py",
            "    return safe(path, _PATH_LIMIT)",
            "    return path",
            [_EVERYWHERE],
        ),
        Breaking(
            "`leases` prints what has a number as it is",
            "render/leases.py",
            "f\"{safe(item.process.name or '?', _NAME_LIMIT)} ({item.process.pid})\"",
            "f\"{item.process.name or '?'} ({item.process.pid})\"",
            [_EVERYWHERE],
        ),
        Breaking(
            "`lint` prints a finding's text as it is",
            "render/text.py",
            "{severity} {item.id}: {safe(item.message, _LINE_LIMIT)}",
            "{severity} {item.id}: {item.message}",
            [_EVERYWHERE],
        ),
        Breaking(
            "JSON has foreign characters as they are",
            "render/documents.py",
            "json.dumps(envelope, ensure_ascii=True)",
            "json.dumps(envelope, ensure_ascii=False)",
            [_EVERYWHERE],
        ),
        Breaking(
            "JSON has names as a terminal is shown them",
            "render/documents.py",
            "return found if port.last_port is None else",
            'found["service"] = __import__("portguard.render.safe").render.safe.safe(port.service or "")\n    return found if port.last_port is None else',
            [_EVERYWHERE],
        ),
        Breaking(
            "whatever calls itself docker-proxy has its arguments read",
            "system/origin.py",
            "        return os.path.basename(os.readlink(",
            '        return os.fsdecode(_read(f"{proc}/{pid}/comm")).strip() in names or os.path.basename(os.readlink(',
            [_ARGUMENTS + "test_no_other_program_s_arguments"],
        ),
    ),
    "Exit codes and JSON keys": (
        Breaking(
            "a conflict exits 0",
            "rules/verdicts.py",
            '    if port.verdict in ("conflict", "unavailable"):\n        return errors.NO',
            '    if port.verdict == "unavailable":\n        return errors.NO',
            [_CODES + "test_1_conflict"],
        ),
        Breaking(
            "what is asked wrongly exits 1",
            "errors.py",
            '    code = "usage"\n    exit_code = USAGE',
            '    code = "usage"\n    exit_code = NO',
            [_CODES + "test_2_asked_wrongly"],
        ),
        Breaking(
            "a bug is a traceback",
            "cli/main.py",
            "        return _bug(words, error)\n",
            "        raise\n",
            [_CODES + "test_4_a_bug"],
        ),
        Breaking(
            "an interrupt is a traceback",
            "cli/main.py",
            "    except KeyboardInterrupt:\n        return _fail(",
            "    except BrokenPipeError:\n        return _fail(",
            [_CODES + "test_130_interrupted"],
        ),
        Breaking(
            "an answer that cannot be written is one",
            "cli/output.py",
            '        raise OutputError(f"could not write the answer: {reason}") from error\n',
            '        message(f"portguard: could not write the answer: {reason}\\n")\n',
            [_CODES + "test_3_could_not_do_it"],
        ),
        Breaking(
            "a key of the document has another name",
            "render/documents.py",
            "        if field not in moved\n    }\n    change",
            '        if field not in moved and field != "declared_port"\n    }\n    change',
            [_CODES + "test_document_of_a_check"],
        ),
        Breaking(
            "the document of a conflict is ok",
            "render/documents.py",
            '        "ok": exit_code == 0,\n',
            '        "ok": not errors,\n',
            [_CODES + "test_document_of_a_check"],
        ),
        Breaking(
            "an error has no next step",
            "render/text.py",
            'return "\\n".join([*lines, *([f"  next: {safe(hint)}"] if hint else [])]) + "\\n"',
            'return "\\n".join(lines) + "\\n"',
            [_CODES + "test_4_a_bug"],
        ),
        Breaking(
            "colours are written into a pipe",
            "cli/output.py",
            "        return sys.stdout is not None and sys.stdout.isatty()\n",
            "        return sys.stdout is not None\n",
            [_CODES + "test_text_has_no_escapes_when_piped"],
        ),
    ),
}
